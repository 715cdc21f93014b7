//! Reading a leaf, strictly: what this reads back is byte for byte what was written.

use super::{Body, CONTINUES, Leaf, MAX_BYTES, OPENS, RowDigest, Subject, VERSION};
use crate::codes::{Decision, DenialReason, Kind, OutcomeResult, action_from_code};
use crate::record::OutcomeItem;
use chancery_model::{Action, Id, Sha256Hash, Timestamp, Uid};
use chancery_store::{RowId, RowTable};

/// Why bytes are no leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Another version of the encoding.
    #[error("the leaf has version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// Bytes are missing, or left over.
    #[error("the leaf has not the length that its content says")]
    Length,
    /// A number that stands for no word.
    #[error("{code} is no {what} that this program knows")]
    Word {
        /// For what it should stand.
        what: &'static str,
        /// The number.
        code: u16,
    },
    /// The instance is no id.
    #[error("the leaf's instance is no id")]
    Instance,
}

impl Leaf {
    /// Reads a leaf.
    ///
    /// # Errors
    /// [`LeafError`]: the bytes are no leaf that this program knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > MAX_BYTES {
            return Err(LeafError::Length);
        }
        let mut input = Input(bytes);
        let version = input.u8()?;
        if version != VERSION {
            return Err(LeafError::Version(version));
        }
        let kind = input.word("kind", Kind::from_code)?;
        let epoch = u64::from_be_bytes(input.array()?);
        let time = Timestamp::from_unix_micros(i64::from_be_bytes(input.array()?));
        let length = input.u8()?;
        let instance = std::str::from_utf8(input.take(usize::from(length))?).ok();
        let instance = instance.and_then(|text| Id::parse("the instance", text).ok()).ok_or(LeafError::Instance)?;
        let body = match kind {
            Kind::Intent => match input.subject()? {
                Subject { action: None, .. } => return Err(LeafError::Word { what: "action of an intent", code: 0 }),
                subject => Body::Intent(subject),
            },
            Kind::Outcome => {
                let (_, continues) = input.flags(CONTINUES)?;
                Body::Outcome { continues, items: input.list(Input::item)?, rows: input.list(Input::row)? }
            }
            Kind::Act => {
                let subject = input.subject()?;
                let (opens, continues) = input.flags(OPENS | CONTINUES)?;
                Body::Act { subject, opens, continues, rows: input.list(Input::row)? }
            }
            Kind::Denial => Body::Denial {
                caller: input.uid()?,
                resource: input.uid()?,
                action: input.action()?,
                reason: input.word("denial reason", DenialReason::from_code)?,
                count: u32::from_be_bytes(input.array()?),
            },
        };
        let commitment = input.array()?;
        if input.0.is_empty() { Ok(Self { epoch, time, instance, body, commitment }) } else { Err(LeafError::Length) }
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], LeafError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(LeafError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LeafError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(LeafError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, LeafError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, LeafError> {
        self.array().map(u16::from_be_bytes)
    }

    fn uid(&mut self) -> Result<Uid, LeafError> {
        self.array().map(Uid::from_bytes)
    }

    fn action(&mut self) -> Result<Option<Action>, LeafError> {
        match self.u16()? {
            0 => Ok(None),
            code => action_from_code(code).map(Some).ok_or(LeafError::Word { what: "action", code }),
        }
    }

    fn word<T>(&mut self, what: &'static str, known: fn(u8) -> Option<T>) -> Result<T, LeafError> {
        let code = self.u8()?;
        known(code).ok_or(LeafError::Word { what, code: u16::from(code) })
    }

    /// (opens, continues); no bit may be set that is not `allowed`.
    fn flags(&mut self, allowed: u8) -> Result<(bool, bool), LeafError> {
        let flags = self.u8()?;
        if flags & !allowed != 0 {
            return Err(LeafError::Word { what: "set of flags", code: u16::from(flags) });
        }
        Ok((flags & OPENS != 0, flags & CONTINUES != 0))
    }

    fn list<T>(&mut self, one: fn(&mut Self) -> Result<T, LeafError>) -> Result<Vec<T>, LeafError> {
        (0..self.u16()?).map(|_| one(self)).collect()
    }

    fn subject(&mut self) -> Result<Subject, LeafError> {
        Ok(Subject {
            caller: self.uid()?,
            resource: self.uid()?,
            action: self.action()?,
            decision: self.word("decision", Decision::from_code)?,
            policy_set: self.array()?,
        })
    }

    fn item(&mut self) -> Result<OutcomeItem, LeafError> {
        let intent = u64::from_be_bytes(self.array()?);
        let result = self.word("result", OutcomeResult::from_code)?;
        let signature_sha256: Option<Sha256Hash> = match self.u8()? {
            0 => None,
            1 => Some(self.array()?),
            code => return Err(LeafError::Word { what: "presence of a hash", code: u16::from(code) }),
        };
        Ok(OutcomeItem { intent, result, signature_sha256 })
    }

    fn row(&mut self) -> Result<RowDigest, LeafError> {
        Ok(RowDigest {
            table: self.word("table", RowTable::from_code)?,
            id: RowId::from_bytes(self.array()?),
            commitment: self.array()?,
        })
    }
}
