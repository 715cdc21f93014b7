//! Rounds on one database and one token: start, compare, load, kill.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chancery_client::model::Algorithm;
use chancery_fail_point::FAIL_POINT_VARIABLE;
use chancery_testkit::{CallerSetup, Chancery, Module, Setup};

use crate::changes::{Change, Operator};
use crate::checker::{Checked, Checker, State, Violation, violation};
use crate::database;
use crate::load::{CALLERS, Call, EDWARDS, FIRST, Load, MACS, OldMac, TOGGLED};
use crate::plan::{Chance, Kill, kills, needs_a_new_key};
use crate::report::Report;
use crate::token_files::TokenFiles;
use crate::transparency::{self, Follower};

/// How long what must come may take: far longer than on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const POLL: Duration = Duration::from_millis(5);
/// One round in so many has its database read before the service is started again, and all keys listed.
pub const THOROUGH: u64 = 8;

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
        running.report.records = running.checker.next();
        running.report.intents = running.checker.intents() as u64;
        running.report.unknown = running.checker.unknown;
        std::mem::take(&mut running.report)
    }
}

/// A campaign under way.
pub struct Running {
    seed: u64,
    number: usize,
    pub chancery: Chancery,
    pub chance: Chance,
    pub checker: Checker,
    pub token: TokenFiles,
    /// `None` before the first start has ended.
    log: Option<Follower>,
    pub report: Report,
    /// What was asked for and answered since the last comparison.
    pub calls: Vec<Call>,
    pub changes: Vec<Change>,
    pub old_macs: Vec<OldMac>,
    /// DER of the public halves, by version; each was compared with its hash in the record.
    pub public_keys: BTreeMap<String, Vec<u8>>,
}

impl Running {
    async fn begin(seed: u64, number: usize) -> Self {
        let setup =
            Setup::default().module(Module::SoftHsm).with(CallerSetup::new(CALLERS[1]).role("signer").ring("dev"));
        let chancery = setup.start().await.unwrap();
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
            log: None,
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
        running.log = Follower::begin(&running.chancery.dir()).ok();
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
        self.report.slowest_restart = self.report.slowest_restart.max(begun.elapsed());
        self.compare().await?;
        let dev = self.chancery.dir();
        self.follower()?.follow(&dev)?;

        let stop = Arc::new(AtomicBool::new(false));
        let connect = async |caller: &str| self.chancery.connect_as(caller).await.map_err(broken);
        let clients = [self.chancery.caller().await.map_err(broken)?, connect(CALLERS[1]).await?];
        let operator = Operator {
            client: self.chancery.operator().await.map_err(broken)?,
            chance: self.chance.another(),
            makes_keys: matches!(kill, Kill::At(point, _) if needs_a_new_key(point)),
            names: format!("r{round}"),
            suspended: self.is_suspended(),
        };
        let names = format!("campaign {} round {round} message", self.number);
        let load = Load::start(clients, names, Arc::clone(&stop), self.old_macs.clone());
        let follower = tokio::spawn(transparency::watch(operator.client.clone(), Arc::clone(&stop)));
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
        let seen = follower.await.unwrap();
        self.changes = operator.await.unwrap().map_err(Violation)?;
        self.follower()?.saw(seen);
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
                return violation!(
                    "the service did not come past {kill:?} in {PATIENCE:?}: is the binary of this build?"
                );
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

    fn follower(&mut self) -> Checked<&mut Follower> {
        self.log.as_mut().ok_or_else(|| broken("the log has no key after the first start"))
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
        let dev = self.chancery.dir();
        self.follower()?.last_look(&dev)?;
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

impl Drop for Running {
    /// What came to a violation, or to a surprise, is there to be looked into.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.chancery.keep_folder(true);
        }
    }
}

/// What must work does not.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub fn broken(error: impl std::fmt::Debug) -> Violation {
    Violation(format!("{error:?}"))
}
