//! Rounds on one database and one token: start, compare, load, kill.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use chancery_api::v1;
use chancery_client::model::Algorithm;
use chancery_client::{Client, PublicKeyFormat};
use chancery_fail_point::FAIL_POINT_VARIABLE;
use chancery_testkit::{CallerSetup, Chancery, Module, Setup};
use chancery_tests::contract::hex;

use crate::changes::{Change, Operator, hash_of, is_closed, policy_set};
use crate::checker::{Checked, Checker, State, Violation, violation};
use crate::entry::Entry;
use crate::load::{Answer, CALLERS, Call, EDWARDS, FIRST, Load, MACS, OldMac, TOGGLED};
use crate::plan::{Chance, Kill, kills, needs_a_new_key};
use crate::report::Report;
use crate::token_files::TokenFiles;
use crate::{database, entry};

/// How long what must come may take: far longer than on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);
/// Records of a page; the most that the API gives.
const PAGE: i32 = 1000;
/// One round in so many has its database read before the service is started again, and all keys listed.
const THOROUGH: u64 = 8;
/// MACs of earlier rounds that are checked in a round.
const OLD_MACS: usize = 20;

/// A service, all that happened to it, and what is to be compared.
pub struct Campaign {
    seed: u64,
    number: usize,
    rounds: usize,
}

impl Campaign {
    pub const fn new(seed: u64, number: usize, rounds: usize) -> Self {
        Self { seed, number, rounds }
    }

    /// Goes through all rounds; tells of each.
    ///
    /// # Panics
    /// At the first violation, once the service has been stopped; the folder stays.
    pub async fn run(self, tell: impl Fn()) -> Report {
        let Self { seed, number, rounds } = self;
        let mut running = Running::begin(seed, number).await;
        let plan = kills(&mut running.chance, rounds);
        for (round, kill) in plan.into_iter().enumerate() {
            if let Err(Violation(what)) = running.round(round, kill).await {
                running
                    .give_up(&format!("{what}\nin round {round} of campaign {number}, which was to end by {kill:?}"))
                    .await;
            }
            tell();
        }
        if let Err(Violation(what)) = running.last_look().await {
            running.give_up(&format!("{what}\nafter the last round of campaign {number}")).await;
        }
        running.chancery.keep_folder(std::env::var_os("CHANCERY_TESTKIT_KEEP").is_some());
        running.report.records = running.checker.next();
        running.report.intents = running.checker.intents() as u64;
        running.report.unknown = running.checker.unknown;
        running.report
    }
}

struct Running {
    seed: u64,
    number: usize,
    chancery: Chancery,
    chance: Chance,
    checker: Checker,
    token: TokenFiles,
    report: Report,
    /// What was asked for and answered since the last comparison.
    calls: Vec<Call>,
    changes: Vec<Change>,
    old_macs: Vec<OldMac>,
    /// DER of the public halves, by version; each was compared with its hash in the record.
    public_keys: BTreeMap<String, Vec<u8>>,
}

impl Running {
    async fn begin(seed: u64, number: usize) -> Self {
        let setup =
            Setup::default().module(Module::SoftHsm).with(CallerSetup::new(CALLERS[1]).role("signer").ring("dev"));
        let mut chancery = setup.start().await.unwrap();
        chancery.keep_folder(true);
        for (key, algorithm) in [
            (FIRST, Algorithm::EcdsaP256Sha256),
            (EDWARDS, Algorithm::Ed25519),
            (MACS, Algorithm::HmacSha256),
            (TOGGLED, Algorithm::EcdsaP256Sha256),
        ] {
            chancery.create_key(key.rsplit('/').next().unwrap(), algorithm).await.unwrap();
        }
        let mut running = Self {
            seed,
            number,
            chancery,
            chance: Chance::of(seed, number),
            checker: Checker::default(),
            token: TokenFiles::default(),
            report: Report::of_a_folder(),
            calls: Vec::new(),
            changes: Vec::new(),
            old_macs: Vec::new(),
            public_keys: BTreeMap::new(),
        };
        let operator = running.chancery.operator().await.unwrap();
        let beginning = running.take_record(&operator).await.and_then(|()| running.checker.begin());
        if let Err(Violation(what)) = beginning {
            running.give_up(&what).await;
        }
        running.chancery.terminate().await.unwrap();
        running
    }

    /// Ends the test. The service is stopped in good order first: a worker that is killed may take its token with it, which
    /// somebody is to look into.
    async fn give_up(&mut self, what: &str) -> ! {
        let stopped = self.chancery.terminate().await;
        panic!(
            "{what}\nCHANCERY_CRASH_SEED={} repeats the plan; {} has database, token and log (the service: {stopped:?})",
            self.seed,
            self.chancery.dir().parent().unwrap().display(),
        );
    }

    async fn round(&mut self, round: usize, kill: Kill) -> Checked {
        let point = match kill {
            Kill::At(point, pass) => Some(format!("{}:{pass}", point.name())),
            Kill::UnderLoad(_) | Kill::Starting(_) => None,
        };
        let armed = point.is_some();
        self.chancery.set_environment(FAIL_POINT_VARIABLE, point.as_deref());
        let begun = Instant::now();
        self.chancery.launch().map_err(broken)?;
        if let Kill::Starting(after) = kill {
            tokio::time::sleep(after).await;
            return self.kill("while starting");
        }
        if let Err(error) = self.chancery.wait_until_serving().await {
            // It may have come past its point on the way up.
            if armed && self.was_killed() {
                return self.died(kill);
            }
            return violation!("the service did not start: {error}");
        }
        self.compare().await?;
        // With what was compared the restart is over: it serves, and says what it should.
        self.report.slowest_restart = self.report.slowest_restart.max(begun.elapsed());

        let stop = Arc::new(AtomicBool::new(false));
        let connect = async |caller: &str| self.chancery.connect_as(caller).await.map_err(broken);
        let clients = [self.chancery.caller().await.map_err(broken)?, connect(CALLERS[1]).await?];
        let operator = Operator {
            client: self.chancery.operator().await.map_err(broken)?,
            chance: self.chance.clone(),
            makes_keys: matches!(kill, Kill::At(point, _) if needs_a_new_key(point)),
            names: format!("r{round}"),
            suspended: self.is_suspended(),
        };
        // The operator goes on with a copy.
        let _another = self.chance.milliseconds(u64::MAX);
        let names = format!("campaign {} round {round} message", self.number);
        let load = Load::start(clients, names, Arc::clone(&stop), self.old_macs.clone());
        let operator = tokio::spawn(operator.run(Arc::clone(&stop)));
        let killed = match kill {
            Kill::UnderLoad(after) => {
                tokio::time::sleep(after).await;
                self.kill("under load")
            }
            Kill::At(..) | Kill::Starting(_) => self.await_death(kill).await,
        };
        if killed.is_err() {
            self.chancery.kill().map_err(broken)?;
        }
        stop.store(true, Ordering::SeqCst);
        self.calls = load.end().await;
        self.changes = operator.await.unwrap().map_err(Violation)?;
        killed?;
        self.checker.ask(&self.calls);
        if self.chance.below(THOROUGH) == 0 {
            self.look_at_database()?;
        }
        Ok(())
    }

    fn kill(&mut self, how: &'static str) -> Checked {
        if let Some(status) = self.chancery.ended().map_err(broken)? {
            return violation!("the service ended by itself: {status}");
        }
        self.chancery.kill().map_err(broken)?;
        self.report.killed(how);
        Ok(())
    }

    fn was_killed(&mut self) -> bool {
        matches!(self.chancery.ended(), Ok(Some(status)) if status.signal() == Some(9))
    }

    async fn await_death(&mut self, kill: Kill) -> Checked {
        let until = Instant::now() + PATIENCE;
        while self.chancery.ended().map_err(broken)?.is_none() {
            if Instant::now() > until {
                return violation!("the service did not come past {kill:?} in {PATIENCE:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        self.died(kill)
    }

    /// It has ended, and must have killed itself.
    fn died(&mut self, kill: Kill) -> Checked {
        let status = self.chancery.ended().map_err(broken)?;
        match kill {
            Kill::At(point, _) if self.was_killed() => {
                self.report.killed(point.name());
                Ok(())
            }
            _ => violation!("the service ended by itself: {status:?}"),
        }
    }

    /// What a killed service left on the disk holds all that its clients were answered, before anybody repairs anything.
    fn look_at_database(&mut self) -> Checked {
        let copy = database::read(&self.chancery.dir(), self.checker.next())?;
        let mut checker = self.checker.clone();
        copy.entries.iter().try_for_each(|entry| checker.take(entry))?;
        checker.compare_unsettled(&self.calls)?;
        if copy.open != checker.open() {
            return violation!(
                "the database has {:?} open intents and acts; by the record {:?}",
                copy.open,
                checker.open()
            );
        }
        self.report.databases += 1;
        Ok(())
    }

    /// Compares what was answered before the kill with what the restarted service says, and what it holds.
    async fn compare(&mut self) -> Checked {
        let operator = self.chancery.operator().await.map_err(broken)?;
        self.take_record(&operator).await?;
        if self.checker.open().0 > 0 {
            return violation!(
                "the service serves, and {:?} intents and acts of its last run are open",
                self.checker.open()
            );
        }
        // A reservation is settled as soon as the token answers.
        let until = Instant::now() + PATIENCE;
        while self.checker.open().1 > 0 {
            if Instant::now() > until {
                return violation!("a key version is unfinished after {PATIENCE:?}");
            }
            tokio::time::sleep(POLL).await;
            self.take_record(&operator).await?;
        }
        let policy = policy_set(&operator).await.map_err(broken)?;
        if hash_of(&policy) != self.checker.policy_set() {
            return violation!("{} is in force, and the record says {}", hash_of(&policy), self.checker.policy_set());
        }
        if is_closed(&policy) {
            self.checker.closes(self.checker.policy_set().to_owned());
        }
        let (calls, changes) = (std::mem::take(&mut self.calls), std::mem::take(&mut self.changes));
        for Change { wanted, answer } in &changes {
            if let (crate::changes::Wanted::Apply { closed: true, .. }, Some(hash)) = (wanted, answer) {
                self.checker.closes(hash.clone());
            }
        }
        let compared = self.checker.compare(&calls)?;
        self.report.signatures += compared.signatures;
        self.report.macs += compared.macs;
        self.report.unanswered += compared.unanswered;
        self.report.unanswered_and_recorded += compared.unanswered_and_recorded;
        let compared = self.checker.compare_changes(&changes)?;
        self.report.changes += compared.changes;
        self.report.changes_cut_off_in_force += compared.changes_cut_off_in_force;
        self.report.changes_cut_off_undone += compared.changes_cut_off_undone;
        self.verify(&operator, &calls).await?;
        self.compare_keys(&operator, &changes).await?;
        self.compare_token()
    }

    /// Reads what is new on the record, newest first until what is known; that must be what it was.
    async fn take_record(&mut self, operator: &Client) -> Checked {
        let next = self.checker.next();
        let (mut new, mut page_token) = (Vec::new(), String::new());
        'pages: loop {
            let request = v1::ListRecordsRequest { page_size: PAGE, page_token, ..Default::default() };
            let page = operator.audit().list_records(request).await.map_err(broken)?.into_inner();
            for record in page.records {
                let entry = Entry::read(record.index, &record.leaf, &record.salt, &record.details_json);
                if entry.index >= next {
                    new.push(entry);
                } else {
                    self.checker.again(&entry)?;
                    if entry.index + 50 < next {
                        break 'pages;
                    }
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        new.iter().rev().try_for_each(|entry| self.checker.take(entry))
    }

    /// Each signature verifies under the key that was pinned when its version was made.
    async fn verify(&mut self, operator: &Client, calls: &[Call]) -> Checked {
        for Call { caller, action, message, digest: _, answer } in calls {
            let received = match answer {
                Answer::Received(received) => received,
                Answer::Nothing => continue,
                Answer::Refused(reason) => {
                    let suspended = *action == "Sign" && reason == "KEY_VERSION_NOT_ACTIVE";
                    let closed = *action == "MacSign" && reason == "ACCESS_DENIED";
                    // The state changed three times while it was decided; nothing was done.
                    if suspended || closed || reason == "STATE_CHANGING" {
                        continue;
                    }
                    return violation!("{caller} was refused to {action} for {reason}");
                }
            };
            match *action {
                "Sign" => {
                    let key = self.public_key(operator, &received.version).await?;
                    let (algorithm, length): (&dyn VerificationAlgorithm, usize) =
                        if received.version.starts_with(EDWARDS) {
                            (&ED25519, 32)
                        } else {
                            (&ECDSA_P256_SHA256_FIXED, 65)
                        };
                    // Both keys stand at the end of their SubjectPublicKeyInfo, in the form that is verified with.
                    let key = UnparsedPublicKey::new(algorithm, &key[key.len() - length..]);
                    if key.verify(message, &received.bytes).is_err() {
                        return violation!(
                            "the signature of {} for the record {} is wrong",
                            received.version,
                            received.record_index
                        );
                    }
                }
                "MacSign" => {
                    let (version, mac) = (received.version.clone(), received.bytes.clone());
                    self.old_macs.push(OldMac { version, message: message.clone(), mac });
                }
                _ => {}
            }
        }
        let many = self.old_macs.len().saturating_sub(OLD_MACS);
        self.old_macs.drain(..many);
        Ok(())
    }

    async fn public_key(&mut self, operator: &Client, version: &str) -> Checked<Vec<u8>> {
        if let Some(key) = self.public_keys.get(version) {
            return Ok(key.clone());
        }
        let caller = self.chancery.caller().await.map_err(broken)?;
        let _ = operator;
        let key = caller.public_key(version, PublicKeyFormat::Der).await.map_err(broken)?.data;
        let pinned = self.checker.versions().get(version).and_then(|version| version.spki.clone());
        if pinned.as_deref() != Some(&*hex(&entry::sha256(&key))) {
            return violation!("{version} shows another public key than the record pins: {pinned:?}");
        }
        self.public_keys.insert(version.to_owned(), key.clone());
        Ok(key)
    }

    /// The keys are those of the record, each in the state that the record says. All of them now and then, else those that
    /// the last round touched.
    async fn compare_keys(&mut self, operator: &Client, changes: &[Change]) -> Checked {
        let mut known = BTreeMap::<&str, BTreeMap<&str, State>>::new();
        for (name, version) in self.checker.versions() {
            let key = name.split_once("/versions/").unwrap().0;
            known.entry(key).or_default().insert(name, version.state);
        }
        let keys = operator.list_keys(&"keyRings/dev".parse().unwrap()).collect().await.map_err(broken)?;
        let listed: BTreeSet<String> = keys.iter().map(|key| key.name.to_string()).collect();
        if !listed.iter().map(String::as_str).eq(known.keys().copied()) {
            return violation!("the keys are {listed:?}, and by the record {:?}", known.keys());
        }
        let all = self.chance.below(THOROUGH) == 0;
        let touched: BTreeSet<&str> = changes.iter().filter_map(|change| change.wanted.key()).collect();
        for key in &keys {
            let name = key.name.to_string();
            if !(all || touched.contains(&*name)) {
                continue;
            }
            let versions = operator.key_versions(&key.name).collect().await.map_err(broken)?;
            let listed: BTreeMap<String, String> =
                versions.iter().map(|version| (version.name.to_string(), version.state.to_string())).collect();
            let by_the_record: BTreeMap<String, String> =
                known[&*name].iter().map(|(name, state)| ((*name).to_owned(), state.name().to_owned())).collect();
            if listed != by_the_record {
                return violation!("the versions are {listed:?}, and by the record {by_the_record:?}");
            }
        }
        Ok(())
    }

    /// The token holds the keys of the record, and no others.
    fn compare_token(&mut self) -> Checked {
        let holds = self.token.read(&self.chancery.dir());
        let pairs = self.checker.versions().values().filter(|version| !version.is_secret());
        let uids: BTreeSet<String> = pairs.map(|version| version.uid.clone()).collect();
        let secrets = self.checker.versions().len() - uids.len();
        let numbers = (holds.public, holds.private, holds.secret);
        if holds.uids != uids || numbers != (uids.len(), uids.len(), secrets) {
            let (foreign, missing) = (&holds.uids - &uids, &uids - &holds.uids);
            return violation!(
                "the token holds {numbers:?} public, private and secret keys, and by the record there are {} pairs and \
                 {secrets} secrets; unknown to the record: {foreign:?}; not in the token: {missing:?}",
                uids.len()
            );
        }
        Ok(())
    }

    fn is_suspended(&self) -> bool {
        let version = self.checker.versions().get(&format!("{TOGGLED}/versions/1"));
        version.is_some_and(|version| version.state == State::Suspended)
    }

    /// After the last kill: it starts, says what it should, stops in good order, and leaves a whole database.
    async fn last_look(&mut self) -> Checked {
        self.chancery.set_environment(FAIL_POINT_VARIABLE, None);
        self.chancery.launch().map_err(broken)?;
        self.chancery.wait_until_serving().await.map_err(broken)?;
        self.compare().await?;
        let status = self.chancery.terminate().await.map_err(broken)?;
        if !status.success() {
            return violation!("the service was stopped and ended with {status}");
        }
        let copy = database::read(&self.chancery.dir(), 0)?;
        copy.entries
            .iter()
            .take_while(|entry| entry.index < self.checker.next())
            .try_for_each(|entry| self.checker.again(entry))?;
        if (copy.entries.len() as u64) < self.checker.next() || copy.open != (0, 0) {
            return violation!(
                "of {} records {} are in the database; open: {:?}",
                self.checker.next(),
                copy.entries.len(),
                copy.open
            );
        }
        self.report.databases += 1;
        Ok(())
    }
}

/// What must work does not.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: impl std::fmt::Debug) -> Violation {
    Violation(format!("{error:?}"))
}
