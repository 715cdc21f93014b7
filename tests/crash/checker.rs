//! What must hold of a record, and between it and what clients were answered. Pure: it is handed records and answers, and
//! says what is wrong with them.
//!
//! In scope: indexes, epochs, the outcome of each intent, the state of keys and policy as the record tells it from the
//! beginning, each answered call and change. Out of scope: reading (`entry`), signatures (`campaign`), what the API and the
//! token say (`campaign`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::changes::{Change, Wanted};
use crate::entry::{End, Entry, Item, What};
use crate::load::{Answer, Call};

/// Why a record cannot be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

pub type Checked<T = ()> = Result<T, Violation>;

macro_rules! violation {
    ($($what:tt)*) => { Err($crate::checker::Violation(format!($($what)*))) };
}
pub(crate) use violation;

/// Where a key version stands, by the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Pending,
    Active,
    Suspended,
}

impl State {
    /// The API's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING_GENERATION",
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
        }
    }
}

/// A key version, by the record.
#[derive(Debug, Clone)]
pub struct Version {
    pub uid: String,
    pub algorithm: String,
    pub state: State,
    /// SHA-256 of the public half, once it is made.
    pub spki: Option<String>,
}

impl Version {
    /// Whether it is a MAC key's.
    pub fn is_secret(&self) -> bool {
        self.algorithm.starts_with("HMAC")
    }
}

/// An intent, and its end where it has one.
#[derive(Debug, Clone)]
struct Intent {
    caller: String,
    action: String,
    version: String,
    digest: String,
    policy_set: String,
    end: Option<(End, String)>,
}

/// What the rounds' comparison found, to be counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub signatures: u64,
    pub macs: u64,
    pub unanswered: u64,
    pub unanswered_and_recorded: u64,
    pub changes: u64,
    pub changes_cut_off_in_force: u64,
    pub changes_cut_off_undone: u64,
}

/// Follows a record from its beginning.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    /// SHA-256 of each leaf, by index: a leaf is final.
    leaves: Vec<Vec<u8>>,
    epoch: u64,
    policy_set: String,
    versions: BTreeMap<String, Version>,
    /// Acts that make a secret or a key pair of the service's own, by its uid for a pair, and wait for their outcome.
    own_acts: BTreeMap<u64, Option<String>>,
    own_secrets: usize,
    own_pairs: BTreeSet<String>,
    /// What waits for an outcome: intents, and acts by their key version.
    open_intents: BTreeSet<u64>,
    open_acts: BTreeMap<u64, String>,
    intents: BTreeMap<u64, Intent>,
    /// The first record that was not compared with answers yet.
    compared: u64,
    /// The operator's acts since then: action, resource, applied policy set.
    acts: Vec<(String, String, Option<String>)>,
    /// What clients asked for (caller, action, digest), and how often.
    asked: HashMap<String, usize>,
    /// Policy sets that allow no MacSign.
    closed: BTreeSet<String>,
    pub unknown: u64,
}

impl Checker {
    /// The index that the next record must have.
    pub fn next(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub fn policy_set(&self) -> &str {
        &self.policy_set
    }

    pub fn versions(&self) -> &BTreeMap<String, Version> {
        &self.versions
    }

    /// How many secrets of its own the service has made.
    pub fn own_secrets(&self) -> usize {
        self.own_secrets
    }

    /// The uids of the key pairs of its own that the service has made.
    pub const fn own_pairs(&self) -> &BTreeSet<String> {
        &self.own_pairs
    }

    pub fn intents(&self) -> usize {
        self.intents.len()
    }

    /// What waits for an outcome: intents, and acts.
    pub fn open(&self) -> (usize, usize) {
        (self.open_intents.len(), self.open_acts.len())
    }

    /// Clients ask for this. To be told before the records are taken.
    pub fn ask(&mut self, calls: &[Call]) {
        for call in calls {
            *self.asked.entry(asked(call.caller, call.action, &call.digest)).or_default() += 1;
        }
    }

    /// Under this policy set no MacSign is allowed.
    pub fn closes(&mut self, policy_set: String) {
        self.closed.insert(policy_set);
    }

    /// What was done until now was done by whoever set the service up; comparing begins with the next record.
    pub fn begin(&mut self) -> Checked {
        self.compared = self.next();
        self.acts.clear();
        if self.open() == (0, 0) { Ok(()) } else { violation!("{:?} intents and acts are open", self.open()) }
    }

    /// A record that was read before must be what it was.
    pub fn again(&self, entry: &Entry) -> Checked {
        let leaf = usize::try_from(entry.index).ok().and_then(|index| self.leaves.get(index));
        if leaf == Some(&entry.leaf) { Ok(()) } else { violation!("the leaf {} is not what it was", entry.index) }
    }

    /// Takes the next record.
    pub fn take(&mut self, entry: &Entry) -> Checked {
        let Entry { index, epoch, leaf, what } = entry;
        if *index != self.next() {
            return violation!("record {index} comes where {} should", self.next());
        }
        let changes = match what {
            What::Act { continues, .. } => !continues,
            What::Outcome { changes, .. } => *changes,
            What::Intent { .. } | What::Denial => false,
        };
        // The use of a secret of its own, which changes no row, leaves the epoch before the state was checked, and raises it
        // afterwards.
        let own = matches!(what, What::Act { action, resource, .. } if action.is_empty() && is_own(resource));
        let may_stay = own && *epoch == self.epoch;
        // The first leaf has nothing before it to be compared with.
        if *index > 0 && *epoch != self.epoch + u64::from(changes) && !may_stay {
            return violation!("record {index} has the epoch {epoch} after {}, and changes: {changes}", self.epoch);
        }
        self.epoch = *epoch;
        self.leaves.push(leaf.clone());
        match what {
            What::Intent { caller, action, version, uid, digest, policy_set } => {
                self.intend(*index, caller, action, version, uid, digest, policy_set)
            }
            What::Act { action, resource, uid, algorithm, policy_set, applies, opens, continues: _ } => {
                self.act(*index, action, resource, uid, algorithm, policy_set, applies.as_ref(), *opens)
            }
            What::Outcome { items, spki, changes: _ } => {
                items.iter().try_for_each(|item| self.end(*index, item, spki.as_ref()))
            }
            What::Denial => Ok(()),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of an intent, each of which is looked at")]
    fn intend(
        &mut self,
        index: u64,
        caller: &str,
        action: &str,
        version: &str,
        uid: &str,
        digest: &str,
        policy_set: &str,
    ) -> Checked {
        let Some(known) = self.versions.get(version) else {
            return violation!("the intent {index} is for {version}, of which the record does not know");
        };
        if known.uid != uid {
            return violation!("the intent {index} gives {version} another uid than its making does");
        }
        let may = match known.state {
            State::Active => true,
            State::Suspended => action == "MacVerify",
            State::Pending => false,
        };
        if !may {
            return violation!("the intent {index} to {action} is for {version}, which is {:?} there", known.state);
        }
        if policy_set != self.policy_set {
            return violation!(
                "the intent {index} was decided by {policy_set}, and {} is in force there",
                self.policy_set
            );
        }
        match self.asked.get_mut(&asked(caller, action, digest)) {
            Some(times) if *times > 0 => *times -= 1,
            _ => return violation!("the intent {index} says that {caller} asked to {action} {digest}: not so often"),
        }
        self.open_intents.insert(index);
        let intent = Intent {
            caller: caller.to_owned(),
            action: action.to_owned(),
            version: version.to_owned(),
            digest: digest.to_owned(),
            policy_set: policy_set.to_owned(),
            end: None,
        };
        self.intents.insert(index, intent);
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of an act, each of which is looked at")]
    fn act(
        &mut self,
        index: u64,
        action: &str,
        resource: &str,
        uid: &str,
        algorithm: &str,
        policy_set: &str,
        applies: Option<&String>,
        opens: bool,
    ) -> Checked {
        let by_the_service = action.is_empty() || self.policy_set.is_empty();
        if !by_the_service && policy_set != self.policy_set {
            return violation!(
                "the act {index} was decided by {policy_set}, and {} is in force there",
                self.policy_set
            );
        }
        match (action, opens) {
            ("CreateKey" | "RotateKey", true) => {
                let (state, spki) = (State::Pending, None);
                let version = Version { uid: uid.to_owned(), algorithm: algorithm.to_owned(), state, spki };
                if self.versions.insert(resource.to_owned(), version).is_some() {
                    return violation!("the act {index} makes {resource}, which there is");
                }
                self.open_acts.insert(index, resource.to_owned());
            }
            ("SuspendKeyVersion", false) => self.turn(index, resource, State::Active, State::Suspended)?,
            ("ResumeKeyVersion", false) => self.turn(index, resource, State::Suspended, State::Active)?,
            ("ApplyPolicySet", false) => match applies {
                Some(hash) => self.policy_set.clone_from(hash),
                None => return violation!("the act {index} does not say which policy set it applies"),
            },
            ("", true) if is_own(resource) => {
                let pair = (algorithm == "ED25519").then(|| uid.to_owned());
                self.own_acts.insert(index, pair);
            }
            // The service registers its callers.
            ("", false) => return Ok(()),
            other => return violation!("the act {index} is one that nobody asked for: {other:?}"),
        }
        if !by_the_service {
            self.acts.push((action.to_owned(), resource.to_owned(), applies.cloned()));
        }
        Ok(())
    }

    fn turn(&mut self, index: u64, version: &str, from: State, to: State) -> Checked {
        match self.versions.get_mut(version) {
            Some(known) if known.state == from => {
                known.state = to;
                Ok(())
            }
            other => violation!("the act {index} makes {version} {to:?}, which was {other:?}"),
        }
    }

    fn end(&mut self, index: u64, item: &Item, spki: Option<&String>) -> Checked {
        let Item { record, end, signature } = item;
        if let Some(pair) = self.own_acts.remove(record) {
            match (pair, *end == End::Done) {
                (Some(uid), true) => drop(self.own_pairs.insert(uid)),
                (None, true) => self.own_secrets += 1,
                (_, false) => {}
            }
            return Ok(());
        }
        if let Some(version) = self.open_acts.remove(record) {
            match (end, self.versions.get_mut(&version)) {
                (End::Done, Some(known)) => {
                    known.state = State::Active;
                    known.spki = spki.cloned();
                }
                (End::Failed, Some(_)) => drop(self.versions.remove(&version)),
                (end, _) => return violation!("the outcome {index} says that the making of {version} is {end:?}"),
            }
            return Ok(());
        }
        if !self.open_intents.remove(record) {
            return violation!("the outcome {index} is of {record}, which is not open");
        }
        let Some(intent) = self.intents.get_mut(record) else {
            return violation!("the outcome {index} is of {record}, which is no intent");
        };
        if signature.is_empty() != (*end != End::Done || intent.action == "MacVerify") {
            return violation!("the outcome {index} of {record} is {end:?}, and its signature is {signature:?}");
        }
        self.unknown += u64::from(*end == End::Unknown);
        intent.end = Some((*end, signature.clone()));
        Ok(())
    }

    /// Compares what clients were answered in a round with the records that were taken since the last comparison: each
    /// answered call is an intent of its own, for what was asked, by whom, with what was answered as its outcome.
    pub fn compare(&mut self, calls: &[Call]) -> Checked<Compared> {
        let compared = self.look_up(calls, true)?;
        self.compared = self.next();
        Ok(compared)
    }

    /// The same on the record as a kill left it, where outcomes may be missing.
    pub fn compare_unsettled(&self, calls: &[Call]) -> Checked {
        self.look_up(calls, false).map(drop)
    }

    fn look_up(&self, calls: &[Call], settled: bool) -> Checked<Compared> {
        let new = self.compared..self.next();
        for (index, intent) in self.intents.range(new.clone()) {
            if intent.action == "MacSign" && self.closed.contains(&intent.policy_set) {
                return violation!("the intent {index} was allowed by a policy set that allows no MacSign");
            }
        }
        let recorded: HashMap<(&str, &str), u64> = self
            .intents
            .range(new.clone())
            .map(|(index, it)| ((it.action.as_str(), it.digest.as_str()), *index))
            .collect();
        let mut used = BTreeSet::new();
        let mut compared = Compared::default();
        for call in calls {
            let answered = match &call.answer {
                Answer::Received(answered) => answered,
                Answer::Refused(reason) => {
                    if let Some(index) = recorded.get(&(call.action, call.digest.as_str())) {
                        return violation!("a client was refused for {reason}, and has the intent {index}: {call:?}");
                    }
                    continue;
                }
                Answer::Nothing => {
                    compared.unanswered += 1;
                    let index = recorded.get(&(call.action, call.digest.as_str()));
                    compared.unanswered_and_recorded += u64::from(index.is_some());
                    continue;
                }
            };
            let index = answered.record_index;
            let Some(intent) = self.intents.get(&index).filter(|_| new.contains(&index)) else {
                return violation!("a client was answered with the record {index}, which is no intent of that round");
            };
            if !used.insert(index) {
                return violation!("two answers point to the record {index}");
            }
            let of_the_record = (&*intent.caller, &*intent.action, &*intent.version, &*intent.digest);
            if of_the_record != (call.caller, call.action, &*answered.version, &*call.digest) {
                return violation!("the record {index} is of {of_the_record:?}, and what was answered is {call:?}");
            }
            match &intent.end {
                Some((End::Done, signature)) if *signature == answered.sha256 => {}
                Some((End::Unknown, _)) => {}
                None if !settled => {}
                other => return violation!("a client was answered, and the record {index} says {other:?}: {call:?}"),
            }
            match call.action {
                "Sign" => compared.signatures += 1,
                _ => compared.macs += 1,
            }
        }
        Ok(compared)
    }

    /// Compares what the operator was answered in a round with the acts since the last comparison. He asks for one thing
    /// after the other, so they are those that were answered, in order, and at most the one behind that was not.
    pub fn compare_changes(&mut self, changes: &[Change]) -> Checked<Compared> {
        let acts = std::mem::take(&mut self.acts);
        let mut compared = Compared::default();
        let mut acts = acts.into_iter();
        for Change { wanted, answer } in changes {
            let Some(answer) = answer else {
                match acts.next() {
                    Some(act) if asks_for(wanted, &act) => {
                        // A key that could not be made is on the record, and taken back.
                        let undone = makes_a_key(wanted) && !self.versions.contains_key(&act.1);
                        compared.changes_cut_off_undone += u64::from(undone);
                        compared.changes_cut_off_in_force += u64::from(!undone);
                    }
                    Some(act) => return violation!("{wanted:?} was not answered, and the record says {act:?}"),
                    None => compared.changes_cut_off_undone += 1,
                }
                break;
            };
            let Some(act) = acts.next().filter(|act| asks_for(wanted, act)) else {
                return violation!("{wanted:?} was answered with {answer}, and is not on the record");
            };
            let (_, resource, applies) = act;
            let said = applies.unwrap_or_else(|| resource.clone());
            if said != *answer {
                return violation!("{wanted:?} was answered with {answer}, and the record says {said}");
            }
            if makes_a_key(wanted) && self.versions.get(&resource).is_none_or(|known| known.state == State::Pending) {
                return violation!("{answer} was made, says the answer, and the record does not");
            }
            compared.changes += 1;
        }
        match acts.next() {
            None => Ok(compared),
            Some(act) => violation!("nobody asked for {act:?}"),
        }
    }
}

fn asked(caller: &str, action: &str, digest: &str) -> String {
    format!("{caller} {action} {digest}")
}

/// Whether it is in the ring that no caller reaches.
fn is_own(resource: &str) -> bool {
    resource.starts_with("keyRings/system/")
}

fn makes_a_key(wanted: &Wanted) -> bool {
    match wanted {
        Wanted::Create { .. } | Wanted::Rotate { .. } => true,
        Wanted::Suspend { .. } | Wanted::Resume { .. } | Wanted::Apply { .. } => false,
    }
}

fn asks_for(wanted: &Wanted, (action, resource, _): &(String, String, Option<String>)) -> bool {
    match wanted {
        Wanted::Create { key, .. } => action == "CreateKey" && *resource == format!("{key}/versions/1"),
        Wanted::Rotate { key } => action == "RotateKey" && resource.starts_with(&format!("{key}/versions/")),
        Wanted::Suspend { version } => action == "SuspendKeyVersion" && resource == version,
        Wanted::Resume { version } => action == "ResumeKeyVersion" && resource == version,
        Wanted::Apply { .. } => action == "ApplyPolicySet",
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
