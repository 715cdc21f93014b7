//! Rows of the log. To the store a leaf is bytes, and so are its details; it knows only by what columns they are found.

use chancery_model::{Action, Id, Timestamp};

/// A leaf and its details, to be appended.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    /// The leaf's index, taken in the same transaction.
    pub index: u64,
    /// The leaf; never changed or removed later.
    pub leaf: &'a [u8],
    /// The salt of the leaf's commitment to the details.
    pub salt: &'a [u8; 32],
    /// The details, exactly as committed to.
    pub details: &'a [u8],
    /// By what the record is found.
    pub search: SearchColumns<'a>,
}

/// By what a record is found. Kept beside the details, and erased with them.
#[derive(Debug, Clone, Copy)]
pub struct SearchColumns<'a> {
    /// The record's time.
    pub time: Timestamp,
    /// The kind's code, as in the leaf.
    pub kind: u8,
    /// The caller's id.
    pub caller: Option<&'a str>,
    /// The resource's full name.
    pub resource: Option<&'a str>,
    /// The action.
    pub action: Option<Action>,
    /// The decision's code, as in the leaf.
    pub decision: Option<u8>,
    /// The first bytes of the digest of what is signed.
    pub digest: Option<[u8; SEARCHED_BYTES]>,
    /// The trace id of the request.
    pub trace_id: Option<[u8; SEARCHED_BYTES]>,
}

/// How much of a digest it is found by: as much as a trace id has.
pub const SEARCHED_BYTES: usize = 16;

/// Which records to list. What is `None` does not matter.
///
/// A record whose details were erased is found by its index alone: it appears only where no field but
/// `from_index`, `since_index`, `before_index`, `order` and `limit` is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordQuery {
    /// At this time or later.
    pub from_time: Option<Timestamp>,
    /// Before this time.
    pub until_time: Option<Timestamp>,
    /// By this caller.
    pub caller: Option<Id>,
    /// On this resource or anything in it: `keyRings/r`, `keyRings/r/keys/k` (with its versions) or
    /// `keyRings/r/keys/k/versions/1`.
    pub resource: Option<String>,
    /// Of this action.
    pub action: Option<Action>,
    /// Of the kind with this code (`chancery_audit::Kind::code`).
    pub kind: Option<u8>,
    /// With the decision of this code (`chancery_audit::Decision::code`).
    pub decision: Option<u8>,
    /// On something with this digest. Found by its first [`SEARCHED_BYTES`] bytes: who wants to be sure compares the rest
    /// with the details.
    pub digest: Option<Vec<u8>>,
    /// Of the request with this trace id.
    pub trace_id: Option<[u8; SEARCHED_BYTES]>,
    /// Starting at this index, itself included, in the direction of `order`.
    pub from_index: Option<u64>,
    /// Of this index or a higher one, whatever the order.
    pub since_index: Option<u64>,
    /// Of a lower index than this, whatever the order.
    pub before_index: Option<u64>,
    /// In which direction.
    pub order: Order,
    /// At most so many.
    pub limit: u32,
}

/// The direction in which records are listed: by index, which is the order in which they were recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// From the highest index down.
    #[default]
    NewestFirst,
    /// From the lowest index up.
    OldestFirst,
}

impl Default for RecordQuery {
    /// The newest hundred records.
    fn default() -> Self {
        Self {
            from_time: None,
            until_time: None,
            caller: None,
            resource: None,
            action: None,
            kind: None,
            decision: None,
            digest: None,
            trace_id: None,
            from_index: None,
            since_index: None,
            before_index: None,
            order: Order::NewestFirst,
            limit: 100,
        }
    }
}

/// Records that match a query, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPage {
    /// The records: at most as many as asked for; fewer, perhaps none, also where many had to be looked at.
    pub records: Vec<StoredRecord>,
    /// The `from_index` of the next page. `None`: everything was looked at.
    pub next: Option<u64>,
}

/// A leaf as stored, with its details unless they were erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The leaf's index.
    pub index: u64,
    /// The leaf.
    pub leaf: Vec<u8>,
    /// The details; `None` once they were erased.
    pub details: Option<StoredDetails>,
    /// The record that says so, where they were erased on the record.
    pub erased_by: Option<u64>,
    /// Whether the record has ended.
    pub progress: RecordProgress,
}

/// Whether a record has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordProgress {
    /// It has no outcome to wait for: a denial, an outcome, or an act that is complete in itself.
    Complete,
    /// It waits for its outcome.
    Open,
    /// It ended so.
    Ended(RecordEnd),
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordEnd {
    /// Index of the outcome's leaf.
    pub outcome: u64,
    /// The result's code in that leaf (`chancery_audit::OutcomeResult::code`).
    pub result: u8,
}

/// Details as stored: what opens the leaf's commitment.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredDetails {
    /// The commitment's salt.
    pub salt: [u8; 32],
    /// The details, exactly as committed to.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for StoredDetails {
    // Names, addresses and digests go into the record, not into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredDetails({} bytes)", self.content.len())
    }
}

/// A leaf and its details, as they are read for a whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// The leaf's index.
    pub index: u64,
    /// The leaf.
    pub leaf: Vec<u8>,
    /// The details; `None` once they were erased.
    pub details: Option<StoredDetails>,
    /// By what the record is found, where there is a row of details.
    pub found_by: Option<FoundBy>,
    /// The record that says so, where they were erased on the record.
    pub erased_by: Option<u64>,
    /// How the record ended, as it is noted.
    pub end: NotedEnd,
}

/// How a record ended, as it is noted beside the log: nothing commits to it. Of a record that waits for nothing, nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotedEnd {
    /// The instance whose record waits for its outcome, and whether as an act.
    pub waits: Option<(String, bool)>,
    /// The index of the outcome's leaf and the result's code in it, whatever numbers stand there.
    pub ended: Option<(i64, i64)>,
}

/// By what a record is found, as it stands beside its details: nothing commits to it.
#[derive(Clone, PartialEq, Eq)]
pub struct FoundBy {
    /// The kind's code.
    pub kind: u8,
    /// The caller's id.
    pub caller: Option<String>,
    /// The resource's full name.
    pub resource: Option<String>,
    /// Whether the key is that of the resource, or none where that has none.
    pub key_is_the_resources: bool,
    /// The action.
    pub action: Option<String>,
    /// The decision's code.
    pub decision: Option<u8>,
    /// The first bytes of the digest of what is signed.
    pub digest: Option<Vec<u8>>,
    /// The trace id of the request.
    pub trace_id: Option<Vec<u8>>,
}

impl std::fmt::Debug for FoundBy {
    // Names, addresses and digests go into the record, not into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FoundBy(..)")
    }
}

/// Where a log ends, by what the head says and by what there is; the same, unless leaves are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The index that the next leaf gets.
    pub next_index: u64,
    /// One more than the highest index that a leaf has.
    pub leaves: u64,
}

/// Whose details may be erased. Records that wait for their outcome are never among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasableQuery {
    /// Of these kinds, by their codes.
    pub kinds: Vec<u8>,
    /// Of before this time; `None`: of any.
    pub before: Option<Timestamp>,
    /// Of this caller alone.
    pub caller: Option<Id>,
    /// Of this index or a higher one.
    pub from_index: u64,
    /// At most so many.
    pub limit: u32,
}

/// A record whose details may be erased, as far as the store can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasable {
    /// The leaf's index.
    pub index: u64,
    /// The leaf.
    pub leaf: Vec<u8>,
}

/// A record that still waits for its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIntent {
    /// The record's index.
    pub index: u64,
    /// The instance that recorded it, and that alone may close it.
    pub instance: Id,
    /// Whether it is an administrative act, whose end depends on what the token holds, and not an intent to sign.
    pub act: bool,
    /// The leaf.
    pub leaf: Vec<u8>,
}
