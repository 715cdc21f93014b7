//! A record as the checker sees it: read from the leaf's bytes by `docs/audit-record.md` and from the details that the leaf
//! commits to. Shares no code with the service.

use aws_lc_rs::digest::{SHA256, digest};
use chancery_tests::contract::hex;
use chancery_tests::leaf::{Body, Leaf};
use serde_json::Value;

/// A record.
#[derive(Debug, Clone)]
pub struct Entry {
    pub index: u64,
    pub epoch: u64,
    /// SHA-256 of the leaf.
    pub leaf: Vec<u8>,
    pub what: What,
}

/// What it says. Uids, digests and hashes in hexadecimal.
#[derive(Debug, Clone)]
pub enum What {
    Intent {
        caller: String,
        action: String,
        version: String,
        uid: String,
        digest: String,
        policy_set: String,
    },
    Act {
        action: String,
        resource: String,
        uid: String,
        algorithm: String,
        policy_set: String,
        /// The policy set that it applies.
        applies: Option<String>,
        opens: bool,
        continues: bool,
    },
    Outcome {
        items: Vec<Item>,
        /// Of the making of a key: SHA-256 of its public half.
        spki: Option<String>,
        changes: bool,
    },
    Denial,
}

/// How one intent or act ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub record: u64,
    pub end: End,
    /// SHA-256 of the signature; empty where there is none.
    pub signature: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    Failed,
    Unknown,
    Abandoned,
}

impl Entry {
    /// Reads a record, and checks that the leaf commits to the details.
    pub fn read(index: u64, bytes: &[u8], salt: &[u8], details: &[u8]) -> Self {
        let Leaf { epoch, time: _, instance, body, commitment } = Leaf::read(bytes);
        assert_eq!(instance, "dev", "record {index}");
        let committed = [b"chancery/audit-details/v1", salt, details].concat();
        assert_eq!(commitment, sha256(&committed), "record {index} has other details than its leaf commits to");
        let details: Value = serde_json::from_slice(details).unwrap();
        let text = |name: &str| details[name].as_str().unwrap_or_default().to_owned();
        let what = match body {
            Body::Intent { caller: _, resource, action: _, decision: _, policy_set } => What::Intent {
                caller: text("caller"),
                action: text("action"),
                version: text("resource"),
                uid: hex(&resource),
                digest: details["signed"]["digest"].as_str().unwrap_or_default().to_owned(),
                policy_set: hex(&policy_set),
            },
            Body::Act { caller, resource, action: _, decision: _, policy_set, opens, continues, rows: _ } => {
                let (action, policy_set) = (text("action"), hex(&policy_set));
                let by_hand = text("message")
                    .strip_prefix("policy set ")
                    .and_then(|rest| rest.split(' ').next().map(str::to_owned));
                // The first one comes from the configuration, and is what decides from then on.
                let first = caller.iter().all(|byte| *byte == 0).then(|| policy_set.clone());
                let applies = (action == "ApplyPolicySet").then(|| by_hand.or(first)).flatten();
                let (resource, uid) = (text("resource"), hex(&resource));
                What::Act { action, resource, uid, algorithm: text("algorithm"), policy_set, applies, opens, continues }
            }
            Body::Outcome { continues, items, rows } => {
                let item = |(record, result, signature): (u64, u8, Vec<u8>)| Item {
                    record,
                    end: match result {
                        1 => End::Done,
                        2 => End::Failed,
                        3 => End::Unknown,
                        4 => End::Abandoned,
                        other => panic!("record {index}: result {other}"),
                    },
                    signature: hex(&signature),
                };
                What::Outcome {
                    items: items.into_iter().map(item).collect(),
                    spki: details["spki_sha256"].as_str().map(str::to_owned),
                    changes: rows > 0 && !continues,
                }
            }
            Body::Denial { .. } => What::Denial,
        };
        Self { index, epoch, leaf: sha256(bytes), what }
    }
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}
