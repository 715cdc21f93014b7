//! The checker finds what it is there to find: a true record, changed in one place at a time, is refused.

use super::*;
use crate::load::Received;

const VERSION: &str = "keyRings/dev/keys/first/versions/1";
const SET: &str = "aa";

/// A true record, with what clients and the operator were answered of it.
#[derive(Clone)]
struct Case {
    record: Vec<(u64, What)>,
    calls: Vec<Call>,
    changes: Vec<Change>,
}

fn call(message: &str, answer: Answer) -> Call {
    let message = message.as_bytes().to_vec();
    Call { caller: "caller", action: "Sign", digest: format!("digest of {}", message.len()), message, answer }
}

fn received(record_index: u64, sha256: &str) -> Answer {
    Answer::Received(Received { version: VERSION.to_owned(), record_index, bytes: vec![1], sha256: sha256.to_owned() })
}

fn intent(of: &Call) -> What {
    What::Intent {
        caller: of.caller.to_owned(),
        action: of.action.to_owned(),
        version: VERSION.to_owned(),
        uid: "01".to_owned(),
        digest: of.digest.clone(),
        policy_set: SET.to_owned(),
    }
}

fn act(action: &str, resource: &str, opens: bool) -> What {
    What::Act {
        action: action.to_owned(),
        resource: resource.to_owned(),
        uid: "01".to_owned(),
        algorithm: "ECDSA_P256_SHA256".to_owned(),
        policy_set: SET.to_owned(),
        applies: (action == "ApplyPolicySet").then(|| SET.to_owned()),
        opens,
        continues: false,
    }
}

fn outcome(record: u64, end: End, signature: &str, changes: bool) -> What {
    let item = Item { record, end, signature: signature.to_owned() };
    What::Outcome { items: vec![item], spki: None, changes }
}

/// Two signatures that arrived, one of which the record does not know the end of; one call that was cut off; one key.
fn truth() -> Case {
    let calls = vec![call("a", received(5, "f1")), call("ab", received(6, "f2")), call("abc", Answer::Nothing)];
    let record = vec![
        (2, act("", "", false)),
        (3, act("ApplyPolicySet", "policySet", false)),
        (4, act("CreateKey", VERSION, true)),
        (5, outcome(2, End::Done, "", true)),
        (5, What::Denial),
        (5, intent(&calls[0])),
        (5, intent(&calls[1])),
        (5, intent(&calls[2])),
        (5, outcome(5, End::Done, "f1", false)),
        (6, act("SuspendKeyVersion", VERSION, false)),
        (7, act("ResumeKeyVersion", VERSION, false)),
        (7, outcome(6, End::Unknown, "", false)),
        (7, outcome(7, End::Unknown, "", false)),
    ];
    let key = "keyRings/dev/keys/first".to_owned();
    let changes = [
        Wanted::Create { key, algorithm: chancery_api::v1::Algorithm::EcdsaP256Sha256 },
        Wanted::Suspend { version: VERSION.to_owned() },
        Wanted::Resume { version: VERSION.to_owned() },
    ];
    let changes = changes.map(|wanted| Change { wanted, answer: Some(VERSION.to_owned()) });
    Case { record, calls, changes: changes.into() }
}

impl Case {
    /// Indexes are given in order, so that what is taken out leaves no gap.
    fn check(&self) -> Checked<Compared> {
        let entries = (0..).zip(&self.record).map(|(index, (epoch, what))| Entry {
            index,
            epoch: *epoch,
            leaf: vec![u8::try_from(index).unwrap()],
            what: what.clone(),
        });
        self.check_entries(&entries.collect::<Vec<_>>())
    }

    fn check_entries(&self, entries: &[Entry]) -> Checked<Compared> {
        let mut checker = Checker::default();
        checker.ask(&self.calls);
        entries.iter().try_for_each(|entry| checker.take(entry))?;
        if checker.open() != (0, 0) {
            return violation!("{:?} are open", checker.open());
        }
        let compared = checker.compare(&self.calls)?;
        let changed = checker.compare_changes(&self.changes)?;
        Ok(Compared { changes: changed.changes, ..compared })
    }

    #[track_caller]
    fn refused_for(&self, why: &str) {
        let Violation(said) = self.check().expect_err("it is not true");
        assert!(said.contains(why), "{said}");
    }
}

/// The truth, changed.
fn but(change: impl FnOnce(&mut Case)) -> Case {
    let mut case = truth();
    change(&mut case);
    case
}

#[test]
fn the_truth_holds() {
    let compared = truth().check().unwrap();
    let unanswered = (compared.unanswered, compared.unanswered_and_recorded);
    assert_eq!((compared.signatures, compared.macs, unanswered, compared.changes), (2, 0, (1, 1), 3));
}

#[test]
fn an_answer_without_its_intent_is_found() {
    // In its place stands something harmless.
    but(|case| {
        case.record[6].1 = What::Denial;
        case.record.remove(11);
    })
    .refused_for("which is no intent");
    // The record ends before it.
    but(|case| {
        case.record.truncate(5);
        case.changes.truncate(1);
    })
    .refused_for("the record 5, which is no intent");
}

#[test]
fn an_intent_of_something_else_is_found() {
    type Fields<'a> = (&'a mut String, &'a mut String, &'a mut String, &'a mut String);
    let with = |edit: fn(Fields<'_>)| {
        but(|case| {
            // Somebody asked for it, so that it is what was answered that does not fit.
            case.calls.push(Call { caller: "second", ..call("other one", Answer::Nothing) });
            let What::Intent { caller, version, digest, policy_set, .. } = &mut case.record[5].1 else { panic!() };
            edit((caller, version, digest, policy_set));
        })
    };
    with(|(caller, _, digest, _)| (*caller, *digest) = ("second".to_owned(), "digest of 9".to_owned()))
        .refused_for("what was answered is");
    with(|(_, _, digest, _)| *digest = "digest of 8".to_owned()).refused_for("not so often");
    with(|(_, version, _, _)| *version = "keyRings/dev/keys/first/versions/2".to_owned()).refused_for("does not know");
    with(|(_, _, _, policy_set)| *policy_set = "bb".to_owned()).refused_for("was decided by bb");
    but(|case| case.calls[0].answer = received(6, "f1")).refused_for("the record 6 is of");
}

#[test]
fn an_intent_of_a_call_that_was_refused_is_found() {
    but(|case| case.calls[2].answer = Answer::Refused("ACCESS_DENIED".to_owned())).refused_for("was refused for");
}

#[test]
fn what_nobody_asked_for_is_found() {
    but(|case| drop(case.calls.pop())).refused_for("not so often");
    // The same call twice on the record.
    but(|case| {
        case.record[7].1 = case.record[6].1.clone();
    })
    .refused_for("not so often");
    but(|case| drop(case.changes.pop())).refused_for("nobody asked for");
    but(|case| case.record.push((8, act("SuspendKeyVersion", VERSION, false)))).refused_for("nobody asked for");
}

#[test]
fn a_missing_outcome_is_found() {
    for place in [8, 11, 12] {
        but(|case| drop(case.record.remove(place))).refused_for("are open");
    }
    but(|case| {
        case.record[3].1 = What::Denial;
        case.record[3].0 = 4;
    })
    .check()
    .expect_err("the key was never completed");
}

#[test]
fn an_outcome_that_is_not_what_was_answered_is_found() {
    but(|case| case.record[8].1 = outcome(5, End::Done, "f9", false)).refused_for("a client was answered");
    but(|case| case.record[8].1 = outcome(5, End::Failed, "", false)).refused_for("a client was answered");
    but(|case| case.record[8].1 = outcome(5, End::Abandoned, "", false)).refused_for("a client was answered");
    but(|case| case.record[8].1 = outcome(5, End::Done, "", false)).refused_for("its signature is");
    but(|case| case.record[12].1 = outcome(7, End::Unknown, "f3", false)).refused_for("its signature is");
}

#[test]
fn a_second_outcome_and_an_outcome_of_nothing_are_found() {
    but(|case| case.record[12].1 = outcome(5, End::Done, "f1", false)).refused_for("which is not open");
    but(|case| case.record.push((7, outcome(4, End::Unknown, "", false)))).refused_for("which is not open");
    but(|case| case.record.push((7, outcome(99, End::Unknown, "", false)))).refused_for("which is not open");
}

#[test]
fn two_answers_of_one_intent_are_found() {
    but(|case| {
        let twice = case.calls[0].clone();
        case.calls.push(twice);
    })
    .refused_for("two answers");
}

#[test]
fn an_epoch_that_goes_back_or_moves_by_itself_is_found() {
    but(|case| case.record[12].0 = 6).refused_for("has the epoch 6 after 7");
    but(|case| case.record[12].0 = 8).refused_for("has the epoch 8 after 7");
    but(|case| case.record[9].0 = 5).refused_for("has the epoch 5 after 5, and changes: true");
}

#[test]
fn gaps_repetitions_and_changed_leaves_are_found() {
    let case = truth();
    let entry = |index, leaf| Entry { index, epoch: 5, leaf: vec![leaf], what: What::Denial };
    assert!(case.check_entries(&[entry(0, 0), entry(2, 2)]).unwrap_err().0.contains("where 1 should"));
    assert!(case.check_entries(&[entry(0, 0), entry(0, 0)]).unwrap_err().0.contains("where 1 should"));
    let mut checker = Checker::default();
    checker.take(&entry(0, 7)).unwrap();
    checker.again(&entry(0, 7)).unwrap();
    assert!(checker.again(&entry(0, 8)).is_err());
    assert!(checker.again(&entry(1, 7)).is_err());
}

#[test]
fn a_use_of_a_version_that_may_not_is_found() {
    // The intent stands behind the suspension; every index stays what it is.
    but(|case| {
        case.record[7].1 = What::Denial;
        case.record[10] = (6, intent(&case.calls[2]));
        case.record[12].1 = outcome(10, End::Unknown, "", false);
        case.record[11].0 = 6;
        case.record[12].0 = 6;
    })
    .refused_for("is Suspended there");
    but(|case| case.record[9].1 = act("ResumeKeyVersion", VERSION, false)).refused_for("makes");
}

#[test]
fn a_change_that_was_answered_and_is_not_in_force_is_found() {
    but(|case| case.record.truncate(9)).check().expect_err("intents are open");
    but(|case| {
        case.record[10] = (6, What::Denial);
        case.record[11].0 = 6;
        case.record[12].0 = 6;
    })
    .refused_for("is not on the record");
    but(|case| case.changes[0].answer = Some("keyRings/dev/keys/first/versions/2".to_owned()))
        .refused_for("was answered with");
    // The key was answered, and the record took it back.
    but(|case| {
        case.record.truncate(3);
        case.record.push((5, outcome(2, End::Failed, "", true)));
        case.calls.clear();
        case.changes.truncate(1);
    })
    .refused_for("was made, says the answer");
}

#[test]
fn a_change_that_was_cut_off_is_there_or_is_not() {
    let cut_off = |case: &mut Case| case.changes[2].answer = None;
    but(cut_off).check().unwrap();
    but(|case| {
        cut_off(case);
        case.record[10] = (6, What::Denial);
        case.record[11].0 = 6;
        case.record[12].0 = 6;
    })
    .check()
    .unwrap();
    but(|case| {
        cut_off(case);
        case.changes[2].wanted = Wanted::Apply { number: 1, closed: false };
    })
    .refused_for("was not answered, and the record says");
}

#[test]
fn a_mac_that_the_policy_set_forbids_is_found() {
    let mac = |case: &mut Case| {
        for (place, call) in case.calls.iter_mut().enumerate() {
            call.action = "MacSign";
            case.record[5 + place].1 = intent(call);
        }
    };
    let case = but(mac);
    assert_eq!(case.check().unwrap().macs, 2);
    let mut checker = Checker::default();
    checker.ask(&case.calls);
    checker.closes(SET.to_owned());
    for (index, (epoch, what)) in (0..).zip(&case.record) {
        checker.take(&Entry { index, epoch: *epoch, leaf: Vec::new(), what: what.clone() }).unwrap();
    }
    assert!(checker.compare(&case.calls).unwrap_err().0.contains("allows no MacSign"));
}
