use chancery_model::{Algorithm, KeyRules};
use chancery_store::KeyRow;

use super::*;

const CALLER: Uid = Uid::from_bytes([1; 16]);
const RATE: Rate = Rate { per_second: 1, burst: 10 };

fn key(byte: u8, pace: Pace) -> Arc<KeyEntry> {
    let row = KeyRow {
        uid: Uid::from_bytes([byte; 16]),
        name: format!("keyRings/r/keys/k{byte}").parse().unwrap(),
        algorithm: Algorithm::Ed25519,
        allow_digest: false,
        labels: BTreeMap::new(),
        max_jwt_lifetime_seconds: None,
        rules: KeyRules { pace, ..KeyRules::default() },
        primary_version: None,
        created: now(),
        updated: now(),
        request_id: None,
    };
    let (keys, _) = Snapshot::keys_from_rows(vec![row], Vec::new()).unwrap();
    Arc::clone(keys.values().next().unwrap())
}

fn uses(key: &Arc<KeyEntry>, uses: u32) -> KeyUses {
    KeyUses { key: Arc::clone(key), uses, refused: None }
}

fn now() -> Timestamp {
    Timestamp::from_unix_micros(0)
}

fn per_second(per_second: u32, burst: u32) -> Pace {
    Pace { per_second: Some(per_second), burst: Some(burst), concurrent: None }
}

/// How many uses are left of a rate.
fn left(paces: &Paces, of: Uid, rate: Rate) -> u32 {
    let mut meters = lock(&paces.meters);
    let meter = meters.meter(of, now());
    let left = (0..).take_while(|_| meter.take(rate, 1, now()).is_ok()).count();
    let left = u32::try_from(left).unwrap();
    meters.give_back(of, left, true, false);
    left
}

#[test]
fn what_a_key_refuses_its_caller_gets_back() {
    let paces = Paces::default();
    let (tight, loose) = (key(2, per_second(1, 3)), key(3, per_second(1, 5)));
    let mut keys = [uses(&tight, 4), uses(&loose, 5)];
    let mut admitted = paces.begin(Some((CALLER, RATE)), 10, &mut keys, now).unwrap();
    let rate = Rate { per_second: 1, burst: 3 };
    assert_eq!(keys.each_ref().map(|key| key.refused), [Some(Refused::Rate(rate, Empty::Always)), None]);
    admitted.spend();
    drop(admitted);
    // Ten less the four that did not begin; one was of a key without a pace.
    assert_eq!(left(&paces, CALLER, RATE), 4);
    assert_eq!(left(&paces, tight.uid, rate), 3);
    assert_eq!(left(&paces, loose.uid, Rate { per_second: 1, burst: 5 }), 0);
}

#[test]
fn what_was_not_spent_is_given_back_once() {
    let paces = Paces::default();
    let key = key(2, per_second(1, 5));
    let admitted = paces.begin(Some((CALLER, RATE)), 2, &mut [uses(&key, 2)], now).unwrap();
    let rate = Rate { per_second: 1, burst: 5 };
    assert_eq!((left(&paces, CALLER, RATE), left(&paces, key.uid, rate)), (8, 3));
    drop(admitted);
    assert_eq!((left(&paces, CALLER, RATE), left(&paces, key.uid, rate)), (10, 5));
}

#[test]
fn a_caller_who_is_too_fast_takes_nothing_from_a_key() {
    let paces = Paces::default();
    let key = key(2, per_second(1, 50));
    let refused = paces.begin(Some((CALLER, RATE)), 11, &mut [uses(&key, 11)], now);
    assert!(matches!(refused, Err((RATE, Empty::Always))));
    assert_eq!(left(&paces, key.uid, Rate { per_second: 1, burst: 50 }), 50);
}

#[test]
fn uses_of_a_key_are_under_way_until_they_end_however_they_end() {
    let paces = Paces::default();
    let key = key(2, Pace { concurrent: Some(3), ..Pace::default() });
    let begin = |number| {
        let mut keys = [uses(&key, number)];
        let admitted = paces.begin(None, number, &mut keys, now).ok().unwrap();
        let [KeyUses { refused, .. }] = keys;
        refused.map_or(Ok(admitted), Err)
    };
    let mut first = begin(2).ok().unwrap();
    first.spend();
    assert!(matches!(begin(2), Err(Refused::Concurrency(3))));
    let second = begin(1).ok().unwrap();
    assert!(begin(1).is_err());
    drop(first);
    assert!(begin(3).is_err());
    drop(second);
    assert!(begin(3).is_ok());
    assert!(begin(4).is_err(), "more than ever may be");
}

#[test]
fn who_has_no_limit_leaves_no_trace_and_idle_ones_are_dropped() {
    let paces = Paces::default();
    drop(paces.begin(None, 5, &mut [], || panic!("nobody asks for the time")).ok());
    assert_eq!(lock(&paces.meters).of.len(), 0);
    for number in 0..1000_u128 {
        let caller = Uid::from_bytes(number.to_be_bytes());
        let at = move || Timestamp::from_unix_micros(i64::try_from(number).unwrap() * 1_000_000);
        let mut admitted = paces.begin(Some((caller, RATE)), 1, &mut [], at).ok().unwrap();
        admitted.spend();
    }
    assert!(lock(&paces.meters).of.len() <= 2 * FEW);
}
