//! How records ended, as a database notes it in `open_intents` and `outcomes`, held to what the leaves say. Nothing commits to
//! these tables: whoever edits one deceives those who ask how a record ended, and the service about what it has still to end.

use super::walk::Stop;
use super::{Check, Fault, Place, archived};
use crate::codes::OutcomeResult;
use crate::leaf::{Body, Leaf};
use crate::record::OutcomeItem;
use chancery_store::{NotedEnd, Reader, StoreError};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Ends {
    /// What no outcome has ended yet: as many as the verifier has open, and it takes no more than [`super::MAX_OPEN`].
    open: BTreeMap<u64, Noted>,
}

/// What is noted of a record that waits, or waited, for its outcome.
#[derive(Debug, Clone, Copy)]
struct Noted {
    waits: bool,
    ended: Option<(i64, i64)>,
}

impl Ends {
    /// Takes the next record, and what is noted of it. What was not open and ends here, the verifier names.
    pub fn next(&mut self, index: u64, leaf: &Leaf, end: &NotedEnd) -> Result<(), Fault> {
        let NotedEnd { waits, ended } = end;
        let noted = Noted { waits: waits.is_some(), ended: *ended };
        let act = match &leaf.body {
            Body::Intent(_) => Some(false),
            Body::Act { opens: true, .. } => Some(true),
            Body::Act { .. } | Body::Outcome { .. } | Body::Denial { .. } => None,
        };
        match (act, waits) {
            (None, _) if noted.waits || noted.ended.is_some() => {
                return Err(fault(index, "has no end to wait for".to_owned(), noted.in_words()));
            }
            (None, _) => {}
            (Some(act), Some((instance, as_act))) if instance != leaf.instance.as_str() || *as_act != act => {
                return Err(fault(index, waiting(leaf.instance.as_str(), act), waiting(instance, *as_act)));
            }
            (Some(_), _) => {
                self.open.insert(index, noted);
            }
        }
        let Body::Outcome { items, .. } = &leaf.body else { return Ok(()) };
        for item in items {
            if let Some(noted) = self.open.remove(&item.intent)
                && !noted.is_end(index, item)
            {
                let said = format!("ended with record {index}, {}", item.result.as_str());
                return Err(fault(item.intent, said, noted.in_words()));
            }
        }
        Ok(())
    }

    /// The end of what was read. A service may have ended more since: then the outcome's leaf is behind it.
    pub fn finish(self, reader: &Reader) -> Result<(), Stop<StoreError>> {
        for (index, noted) in self.open {
            let so = match noted {
                Noted { waits: true, ended: None } => true,
                Noted { waits: false, ended: Some((outcome, _)) } => is_ended_by(reader, index, noted, outcome)?,
                Noted { waits: true, ended: Some(_) } | Noted { waits: false, ended: None } => false,
            };
            if !so {
                return Err(fault(index, "waits for its outcome".to_owned(), noted.in_words()).into());
            }
        }
        Ok(())
    }
}

fn is_ended_by(reader: &Reader, index: u64, noted: Noted, outcome: i64) -> Result<bool, Stop<StoreError>> {
    let Ok(outcome) = u64::try_from(outcome) else { return Ok(false) };
    let rows = reader.log_rows(outcome, 1).map_err(archived::leaf_not_had)?;
    let leaf = rows.first().filter(|row| row.index == outcome).and_then(|row| Leaf::decode(&row.leaf).ok());
    let Some(Leaf { body: Body::Outcome { items, .. }, .. }) = leaf else { return Ok(false) };
    Ok(items.iter().any(|item| item.intent == index && noted.is_end(outcome, item)))
}

impl Noted {
    fn is_end(self, outcome: u64, item: &OutcomeItem) -> bool {
        let Self { waits, ended } = self;
        let so = |(by, result)| u64::try_from(by) == Ok(outcome) && result == i64::from(item.result.code());
        !waits && ended.is_some_and(so)
    }

    fn in_words(self) -> String {
        let ended = self.ended.map(|(outcome, result)| {
            let known = u8::try_from(result).ok().and_then(OutcomeResult::from_code);
            let result = known.map_or_else(|| format!("result {result}"), |known| known.as_str().to_owned());
            format!("ended with record {outcome}, {result}")
        });
        match (self.waits, ended) {
            (false, None) => "has no end to wait for".to_owned(),
            (false, Some(ended)) => ended,
            (true, None) => "waits for its outcome".to_owned(),
            (true, Some(ended)) => format!("waits for its outcome, and {ended}"),
        }
    }
}

fn waiting(instance: &str, act: bool) -> String {
    let what = if act { "act" } else { "intent" };
    format!("is an {what} of the instance {instance}, which waits for its outcome")
}

fn fault(index: u64, said: String, noted: String) -> Fault {
    Fault { at: Place::Record(index), check: Check::NotedEnd { said, noted } }
}
