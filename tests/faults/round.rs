//! One fault on one token: made to happen, met by calls, ended, and what the record says of all of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery_api::v1;
use chancery_pkcs11_fault::Rule;
use chancery_tests::faults::{BREAKER, Bystander, Faulty, FaultyToken, PublicKey};
use chancery_tests::load::{Call, Record, details, failures, until};
use chancery_tests::reliability::{Finding, Findings};

use crate::table::failed;

/// From the end of a fault until signing works again, besides the start of a worker.
pub const RECOVERY: Duration = Duration::from_secs(5);
/// What the start of a worker may take on a machine that is busy with other tests.
pub const WORKER_START: Duration = Duration::from_secs(60);
/// A rule's name in the log.
pub const FAULT: &str = "fault";

/// The tokens of a service that fail, each with a P-256 key, while somebody signs with one that does not; all calls that
/// are made.
pub struct Rounds {
    pub faulty: Faulty,
    bystander: Bystander,
    calls: Arc<Mutex<Vec<Call>>>,
    findings: Findings,
}

/// A token in the middle of its rounds.
#[derive(Clone)]
pub struct Round {
    pub token: FaultyToken,
    pub key: String,
    pub public: PublicKey,
    /// How often the token's worker had not been replaced, although it asked for it, before this round.
    held_back: u32,
    calls: Arc<Mutex<Vec<Call>>>,
    findings: Findings,
}

/// What came of a fault.
pub struct Met {
    /// The calls that were made under it.
    pub burst: Vec<Call>,
    /// How often it happened.
    pub happened: usize,
}

/// The key of each token.
const KEY: &str = "k";

impl Rounds {
    /// `test` is the name of the test function.
    pub async fn start(test: &'static str, tokens: usize) -> Self {
        let faulty = Faulty::with_tokens(tokens).await;
        for token in faulty.tokens() {
            token.key(KEY).await;
        }
        let bystander = faulty.bystander().await;
        Self { faulty, bystander, calls: Arc::default(), findings: Findings::of(test) }
    }

    /// Goes through cases, on all tokens at once.
    pub async fn each<C, R, F>(&self, cases: Vec<C>, run: impl Fn(Round, C) -> F + Clone + Send + 'static) -> Vec<R>
    where
        C: Send + 'static,
        R: Send + 'static,
        F: Future<Output = R> + Send,
    {
        let (calls, findings) = (Arc::clone(&self.calls), self.findings.clone());
        let with_round = move |token: FaultyToken, case: C| {
            let (run, calls, findings) = (run.clone(), Arc::clone(&calls), findings.clone());
            async move {
                let key = format!("keyRings/{}/keys/{KEY}", token.ring);
                let public = token.public(&key).await;
                let held_back = token.status().await.replacements_held_back;
                run(Round { token, key, public, held_back, calls, findings }, case).await
            }
        };
        self.faulty.share(cases, with_round).await
    }

    /// Nothing of it reached the other token; every call is on the record as it ended.
    pub async fn end(self) -> Faulty {
        let Self { faulty, bystander, calls, findings } = self;
        let mut calls = std::mem::take(&mut *calls.lock().unwrap());
        calls.extend(bystander.assert_unaffected().await);
        assert_recorded(&faulty, &calls).await;
        assert_acts_ended(&faulty).await;
        findings.write();
        faulty
    }
}

impl Round {
    /// Has faults happen from now on, with an empty log.
    pub fn begin(&self, rules: &[Rule]) {
        self.token.faults.clear_log().unwrap();
        self.token.rules(rules);
    }

    /// Has faults happen, signs, ends them, and waits until signing works again. Every signature is verified, and that it
    /// works in time.
    pub async fn meet(&self, case: &Case<'_>, rules: &[Rule], count: usize) -> Met {
        self.begin(rules);
        let burst = self.token.burst(&self.key, count).await;
        let happened = self.token.faults.count(FAULT).unwrap();
        self.recover(case, happened, count, count - failed(&burst)).await;
        self.public.assert_verifies(&burst);
        Met { burst, happened }
    }

    /// Ends all faults, signs until that works again, and notes what was found.
    pub async fn recover(&self, case: &Case<'_>, faults: usize, calls: usize, answered: usize) {
        let (took, after) = self.token.recover(&self.key).await;
        let held_back = self.token.status().await.replacements_held_back > self.held_back;
        let allowed = RECOVERY + WORKER_START + if held_back { BREAKER } else { Duration::ZERO };
        assert!(took < allowed, "{}: signing again only after {took:?}", case.name());
        self.find(case, faults, calls, answered, took);
        self.public.assert_verifies(&after);
        self.keep(after);
    }

    /// Notes what was found, and that it did not take too long.
    pub fn note(&self, case: &Case<'_>, faults: usize, calls: usize, answered: usize, took: Duration) {
        assert!(took < RECOVERY + WORKER_START, "{}: signing again only after {took:?}", case.name());
        self.find(case, faults, calls, answered, took);
    }

    fn find(&self, case: &Case<'_>, faults: usize, calls: usize, answered: usize, took: Duration) {
        let Case { fault, function, often } = case;
        let (fault, function, often) = ((*fault).to_owned(), (*function).to_owned(), (*often).to_owned());
        self.findings.note(Finding { fault, function, often, faults, calls, answered, recovery: Some(took) });
    }

    /// Has calls looked for in the record at the end.
    pub fn keep(&self, calls: Vec<Call>) {
        self.calls.lock().unwrap().extend(calls);
    }
}

/// Which fault, where, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The row of the page that it counts for.
    pub fault: &'a str,
    pub function: &'a str,
    pub often: &'a str,
}

impl Case<'_> {
    pub fn name(&self) -> String {
        format!("{} of {}, {}", self.fault, self.function, self.often)
    }
}

/// The record of all these calls is whole: as many signatures as were handed out, each unknown outcome said to be so, no
/// token asked a third time.
async fn assert_recorded(faulty: &Faulty, calls: &[Call]) {
    let record = Record::read_settled(&faulty.operator).await;
    record.assert_holds(calls);
    let unknown = failures(calls).filter(|failure| failure.reason() == Some("TOKEN_OUTCOME_UNKNOWN")).count();
    let of_sign = |result: &str| {
        let ended = record.ended(result);
        ended.iter().filter(|index| record.records[usize::try_from(**index).unwrap()].action == "Sign").count()
    };
    assert_eq!(of_sign("DONE"), calls.len() - failed(calls), "signatures on the record");
    assert_eq!(of_sign("UNKNOWN"), unknown, "unknown outcomes on the record");
    assert_eq!(of_sign("FAILED"), failed(calls) - unknown, "failures on the record");
    for outcome in record.of(v1::RecordKind::Outcome) {
        for item in details(outcome)["items"].as_array().unwrap() {
            assert!(item["attempts"].as_u64().is_none_or(|attempts| attempts <= 2), "asked a third time: {item}");
        }
    }
}

/// Each creation of a key that is on the record has its end there.
async fn assert_acts_ended(faulty: &Faulty) {
    until("each creation has its outcome", async || {
        let record = Record::read(&faulty.operator).await;
        let mut creations = record.of(v1::RecordKind::Act).filter(|act| act.action == "CreateKey");
        creations.all(|act| record.end(act.index).is_some()).then_some(())
    })
    .await;
}
