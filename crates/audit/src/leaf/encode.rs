//! Writing a leaf.

use super::{Body, CONTINUES, Leaf, OPENS, RowDigest, Subject, VERSION};
use crate::codes::action_code;
use crate::record::OutcomeItem;
use chancery_model::Action;

impl Leaf {
    /// Appends the leaf's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { epoch, time, instance, body, commitment } = self;
        out.push(VERSION);
        out.push(self.kind().code());
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&time.unix_micros().to_be_bytes());
        // An id has at most 63 bytes.
        out.push(u8::try_from(instance.as_str().len()).unwrap_or(u8::MAX));
        out.extend_from_slice(instance.as_str().as_bytes());
        match body {
            Body::Intent(subject) => write_subject(subject, out),
            Body::Outcome { continues, items, rows } => {
                out.push(flags(false, *continues));
                write_items(items, out);
                write_rows(rows, out);
            }
            Body::Act { subject, opens, continues, rows } => {
                write_subject(subject, out);
                out.push(flags(*opens, *continues));
                write_rows(rows, out);
            }
            Body::Denial { caller, resource, action, reason, count } => {
                out.extend_from_slice(caller.as_bytes());
                out.extend_from_slice(resource.as_bytes());
                write_action(*action, out);
                out.push(reason.code());
                out.extend_from_slice(&count.to_be_bytes());
            }
        }
        out.extend_from_slice(commitment);
    }
}

const fn flags(opens: bool, continues: bool) -> u8 {
    (if opens { OPENS } else { 0 }) | (if continues { CONTINUES } else { 0 })
}

fn write_subject(subject: &Subject, out: &mut Vec<u8>) {
    let Subject { caller, resource, action, decision, policy_set } = subject;
    out.extend_from_slice(caller.as_bytes());
    out.extend_from_slice(resource.as_bytes());
    write_action(*action, out);
    out.push(decision.code());
    out.extend_from_slice(policy_set);
}

fn write_action(action: Option<Action>, out: &mut Vec<u8>) {
    out.extend_from_slice(&action.map_or(0, action_code).to_be_bytes());
}

fn write_items(items: &[OutcomeItem], out: &mut Vec<u8>) {
    write_count(items.len(), out);
    for OutcomeItem { intent, result, signature_sha256 } in items {
        out.extend_from_slice(&intent.to_be_bytes());
        out.push(result.code());
        match signature_sha256 {
            None => out.push(0),
            Some(hash) => {
                out.push(1);
                out.extend_from_slice(hash);
            }
        }
    }
}

fn write_rows(rows: &[RowDigest], out: &mut Vec<u8>) {
    write_count(rows.len(), out);
    for RowDigest { table, id, commitment } in rows {
        out.push(table.code());
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(commitment);
    }
}

/// Records are cut into leaves of at most `MAX_ITEMS` and `MAX_ROWS` before (see `prepared`).
fn write_count(count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}
