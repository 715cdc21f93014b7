//! What stands in a file of rules.

use serde::{Deserialize, Serialize};

/// A file of rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Its rules. Of several that fire in the same call each does what it says, in this order.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// One rule: what is to go wrong, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name in the log: 1 to 64 letters, digits, `-`, `_` and `.`. Without one it is `rule-1` and so on, by place.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Any number. With another one a rule is not the same as before, and begins its counts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The functions that it is about; without any, those that what it does is made for.
    #[serde(default, skip_serializing_if = "Functions::is_default")]
    pub function: Functions,
    /// On which calls of these. On all, if nothing is said.
    #[serde(default, skip_serializing_if = "When::is_default")]
    pub when: When,
    /// Before or after the module behind has really done what it was asked for.
    #[serde(default, skip_serializing_if = "At::is_default")]
    pub at: At,
    /// What goes wrong.
    pub then: Then,
}

/// Functions, by the names that the standard gives them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Functions {
    /// Those that the effect is made for.
    #[default]
    Default,
    /// One, or all with `*`.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// Conditions on a call. All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Only the n-th call, from 1. These counts are of calls in one process that meet the conditions below on key, slot,
    /// session and output, from the moment at which the process reads a rule for the first time or reads it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// Each n-th call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Only the first n calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Not the first n calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Each call with this probability, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Makes [`Self::probability`] choose other calls. The same seed chooses the same ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// At most this often, in all processes together, for as long as the rule stands in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Only with an object of this CKA_LABEL: that which is used, read, searched for or made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Only with an object of this CKA_ID, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only in this slot, by the number that the module behind gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u64>,
    /// Only with the token of this label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Only in this session, by its handle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// Only calls with a place for what they make (true), or only those that ask how long it will be (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<bool>,
}

/// Before or after the real call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// Before it. With an error as the effect, it does not happen at all.
    #[default]
    Before,
    /// After it: a key is generated, and the answer is an error all the same.
    After,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The call answers this code: a name of the standard, or a number as `0x80000001`.
    Return(String),
    /// The call takes so many milliseconds longer.
    DelayMs(u64),
    /// So many bytes of memory are taken, written to, and never given back.
    LeakBytes(u64),
    /// The call does not return.
    Hang(Hang),
    /// The process dies.
    Crash(Crash),
    /// All sessions of the slot are closed behind the program's back.
    CloseSessions,
    /// The user is logged out behind the program's back.
    Logout,
    /// This bit of the output is flipped: bit 0 is the lowest of the first byte. Counted modulo the output's length.
    FlipBit(u64),
    /// Another key does the work.
    OtherKey(Choice),
    /// The public key that is read is another's. CKA_ID, label and the rest are not.
    OtherPublicKey(Choice),
    /// A search finds too much or too little.
    Find(Find),
    /// An attribute has another value than it has.
    Attribute(AttributeLie),
    /// An ECDSA signature has the r of an earlier one with the same key.
    RepeatNonce,
    /// Random bytes are zero.
    Zeros,
    /// Each signature, or none, is valid.
    Verify(Verdict),
    /// The device has no more than so many sessions in a slot.
    SessionCap(u64),
    /// A session dies when it is not used for so many milliseconds.
    IdleExpiryMs(u64),
    /// The token is not there.
    Absent,
    /// The slot has this number.
    SlotNumber(u64),
    /// The user's PIN is locked after so many wrong ones in a row, in all processes together.
    PinLocksAfter(u64),
}

/// How long a call hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hang {
    /// Until the rule no longer stands in the file, or stands there changed.
    UntilRemoved,
    /// Until the process ends.
    ForEver,
}

/// How a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crash {
    /// By SIGSEGV.
    Segv,
    /// By `abort`.
    Abort,
}

/// Which other key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The first that is found of the same class and type (and, of an elliptic curve, the same parameters).
    Any,
    /// The one of this label.
    Label(String),
    /// The one of this CKA_ID, in hexadecimal.
    Id(String),
}

/// What a search finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Find {
    /// The first object twice.
    Duplicate,
    /// Not the first object.
    Missing,
}

/// A lie about an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeLie {
    /// Its name in the standard, or its number as `0x80000001`.
    pub name: String,
    /// The value that is told.
    pub value: AttributeValue,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// A CK_BBOOL.
    Boolean(bool),
    /// A CK_ULONG.
    Number(u32),
    /// The bytes of a text.
    Text(String),
}

/// What is said of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Each is valid.
    Yes,
    /// None is.
    No,
}

impl Rule {
    /// A rule that fires on each call of the functions that its effect is made for.
    #[must_use]
    pub fn new(id: &str, then: Then) -> Self {
        let id = id.to_owned();
        Self { id, revision: None, function: Functions::Default, when: When::default(), at: At::Before, then }
    }

    /// A rule by which a function answers a code: a name of the standard, or a number as `0x80000001`.
    #[must_use]
    pub fn returning(id: &str, function: &str, code: &str) -> Self {
        Self::new(id, Then::Return(code.to_owned())).on(function)
    }

    /// On another function; `*` for all.
    #[must_use]
    pub fn on(self, function: &str) -> Self {
        Self { function: Functions::One(function.to_owned()), ..self }
    }

    /// On several functions.
    #[must_use]
    pub fn on_each(self, functions: &[&str]) -> Self {
        Self { function: Functions::Several(functions.iter().map(|name| (*name).to_owned()).collect()), ..self }
    }

    /// Under conditions: `rule.when(|when| when.nth = Some(3))`.
    #[must_use]
    pub fn when(mut self, set: impl FnOnce(&mut When)) -> Self {
        set(&mut self.when);
        self
    }

    /// At most so often, in all processes together.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        self.when(|when| when.times = Some(times))
    }

    /// After the real call.
    #[must_use]
    pub fn after_the_call(self) -> Self {
        Self { at: At::After, ..self }
    }
}

impl Functions {
    fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

impl When {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl At {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::Before
    }
}
