//! Random sequences of life-cycle operations on a live service, against a small model that knows nothing of the service's
//! table. A failure shows the seed and what was done; `CHANCERY_TEST_SEED` runs one seed again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use chancery_api::v1::{self, Algorithm, Verdict};
use chancery_client::Client;
use chancery_testkit::Chancery;
use chancery_tests::contract::{Fixture, create, message, new_key, sign, uuid};
use chancery_tests::life_cycle::{
    cancel, compromise, deactivate, get_key, get_version, resume, schedule, suspend, update,
};
use tonic::{Code, Status};

static CHANCERY: Fixture = Fixture::new(Chancery::setup);

const RING: &str = "keyRings/dev";
const STEPS: usize = 80;
const SEEDS: [u64; 3] = [1, 2, 3];

/// What the model knows of a version. SP 800-57 in flags, not in states: whether it may still be used, was stopped, retired,
/// given up.
#[derive(Debug, Clone, Copy, Default)]
struct Version {
    suspended: bool,
    retired: bool,
    compromised: bool,
    doomed: bool,
}

impl Version {
    fn state(self) -> &'static str {
        match self {
            Self { doomed: true, .. } => "DESTROY_SCHEDULED",
            Self { compromised: true, .. } => "COMPROMISED",
            Self { retired: true, .. } => "DEACTIVATED",
            Self { suspended: true, .. } => "SUSPENDED",
            Self { .. } => "ACTIVE",
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Self { compromised: true, .. } => Verdict::KeyCompromised,
            Self { doomed: true, .. } => Verdict::KeyDestroyed,
            Self { .. } => Verdict::Valid,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Rotate,
    Protect(bool),
    Suspend(usize),
    Resume(usize),
    Deactivate(usize),
    Compromise(usize),
    Doom(usize),
    Spare(usize),
}

struct Model {
    versions: Vec<Version>,
    protected: bool,
}

impl Model {
    /// Takes a step where it is possible; whether it was.
    fn take(&mut self, step: Step) -> bool {
        let protected = self.protected;
        let (Step::Suspend(at)
        | Step::Resume(at)
        | Step::Deactivate(at)
        | Step::Compromise(at)
        | Step::Doom(at)
        | Step::Spare(at)) = step
        else {
            match step {
                Step::Rotate => self.versions.push(Version::default()),
                Step::Protect(on) => self.protected = on,
                _ => unreachable!(),
            }
            return true;
        };
        let version = &mut self.versions[at];
        let open = !version.retired && !version.compromised && !version.doomed;
        match step {
            Step::Suspend(_) if open => version.suspended = true,
            Step::Resume(_) if open => version.suspended = false,
            Step::Deactivate(_) if !version.compromised && !version.doomed => version.retired = true,
            Step::Compromise(_) => version.compromised = true,
            Step::Doom(_) if !version.doomed && !protected => version.doomed = true,
            Step::Spare(_) if version.doomed => version.doomed = false,
            _ => return false,
        }
        true
    }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        usize::try_from(high).unwrap() % bound
    }

    fn step(&mut self, versions: usize) -> Step {
        let at = self.below(versions);
        match self.below(16) {
            0 => Step::Rotate,
            1 => Step::Protect(self.below(3) == 0),
            2..=4 => Step::Suspend(at),
            5..=7 => Step::Resume(at),
            8 => Step::Deactivate(at),
            9 => Step::Compromise(at),
            10..=12 => Step::Doom(at),
            _ => Step::Spare(at),
        }
    }
}

async fn carry_out(operator: &Client, key: &str, step: Step) -> Result<(), Status> {
    let name = |at: usize| format!("{key}/versions/{}", at + 1);
    match step {
        Step::Rotate => {
            let request = v1::RotateKeyRequest { name: key.to_owned(), ..v1::RotateKeyRequest::default() };
            operator.keys().rotate_key(request).await.map(drop)
        }
        Step::Protect(on) => {
            let wanted = v1::Key { name: key.to_owned(), deletion_protection: on, ..v1::Key::default() };
            update(operator, wanted, &["deletion_protection"]).await.map(drop)
        }
        Step::Suspend(at) => suspend(operator, &name(at)).await.map(drop),
        Step::Resume(at) => resume(operator, &name(at)).await.map(drop),
        Step::Deactivate(at) => deactivate(operator, &name(at)).await.map(drop),
        Step::Compromise(at) => compromise(operator, &name(at)).await.map(drop),
        Step::Doom(at) => schedule(operator, &name(at), None).await.map(drop),
        Step::Spare(at) => cancel(operator, &name(at)).await.map(drop),
    }
}

/// Compares all of the key with the model: each version's state, whether it signs, and what is said of what it signed.
async fn compare(operator: &Client, caller: &Client, key: &str, model: &Model, signatures: &[Vec<u8>]) {
    let shown = get_key(operator, key).await;
    assert_eq!(shown.deletion_protection, model.protected);
    assert_eq!(shown.primary_version, format!("{key}/versions/{}", model.versions.len()));
    for (version, (expected, signature)) in model.versions.iter().zip(signatures).enumerate() {
        let name = format!("{key}/versions/{}", version + 1);
        let state = get_version(operator, &name).await.state().as_str_name();
        assert_eq!(state.strip_prefix("KEY_STATE_"), Some(expected.state()), "{name}");
        let signed = caller.signing().sign(sign(&name, b"m")).await;
        assert_eq!(signed.is_ok(), expected.state() == "ACTIVE", "{name}: {signed:?}");
        let request = v1::VerifyRequest {
            name: name.clone(),
            input: message(b"m"),
            signature: signature.clone(),
            ..v1::VerifyRequest::default()
        };
        let verdict = caller.signing().verify(request).await.unwrap().into_inner().verdict();
        assert_eq!(verdict, expected.verdict(), "{name}");
    }
}

async fn run(operator: &Client, caller: &Client, seed: u64, done: &mut Vec<Step>) {
    let key = create(operator, new_key(RING, &format!("m{}", uuid()), Algorithm::Ed25519)).await.name;
    let first = async |name: &str| caller.signing().sign(sign(name, b"m")).await.unwrap().into_inner().signature;
    let mut signatures = vec![first(&key).await];
    let mut model = Model { versions: vec![Version::default()], protected: false };
    let mut random = Random(seed);
    for _ in 0..STEPS {
        let step = random.step(model.versions.len());
        done.push(step);
        let expected = model.take(step);
        match carry_out(operator, &key, step).await {
            Ok(()) => assert!(expected, "{step:?} was done"),
            Err(status) => {
                assert!(!expected, "{step:?}: {status:?}");
                assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
            }
        }
        if matches!(step, Step::Rotate) {
            signatures.push(first(&key).await);
        }
        compare(operator, caller, &key, &model, &signatures).await;
    }
}

/// What was done, shown where it did not go as the model says.
struct Story {
    seed: u64,
    done: Vec<Step>,
}

impl Drop for Story {
    #[allow(clippy::print_stderr, reason = "the test runner captures and shows it with the failing test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("CHANCERY_TEST_SEED={}: {:?}", self.seed, self.done);
        }
    }
}

#[tokio::test]
async fn random_lives_go_as_the_model_says() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let seeds = match std::env::var("CHANCERY_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => SEEDS.to_vec(),
    };
    for seed in seeds {
        let mut story = Story { seed, done: Vec::new() };
        run(&operator, &caller, seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, &mut story.done).await;
    }
}
