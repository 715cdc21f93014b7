//! The body of `add-checkpoint`: the size that the witness has seen, what leads from there to the checkpoint, and the
//! checkpoint.

use crate::checkpoint::{CheckpointError, SignedCheckpoint, hash_from_base64};
use crate::decimal;
use crate::note::MAX_NOTE_BYTES;
use base64ct::{Base64, Encoding};
use chancery_model::Sha256Hash;
use std::fmt;

/// The most hashes that a proof may have: no two trees of at most 2^63 - 1 leaves need more.
pub const MAX_PROOF_LINES: usize = 63;

/// The longest body: the longest note, after the longest proof.
pub const MAX_ADD_CHECKPOINT_BYTES: usize = MAX_NOTE_BYTES + (MAX_PROOF_LINES + 1) * 64;

/// What a log asks of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the newest checkpoint that the witness has cosigned; 0 before the first.
    pub old_size: u64,
    /// That the tree of the checkpoint begins with the one of that size.
    pub proof: Vec<Sha256Hash>,
    /// The checkpoint, not verified.
    pub checkpoint: SignedCheckpoint,
}

/// Why a body is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddCheckpointError {
    /// Its form.
    #[error("not a request to add a checkpoint: {0}")]
    Form(&'static str),
    /// The checkpoint in it.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl AddCheckpoint {
    /// Reads a body, strictly: writing it again gives the same bytes.
    ///
    /// # Errors
    /// [`AddCheckpointError`] says what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, AddCheckpointError> {
        let form = AddCheckpointError::Form;
        let end = body.windows(2).position(|pair| pair == b"\n\n").ok_or(form("no empty line ends the proof"))?;
        let (head, rest) = body.split_at(end);
        let head = std::str::from_utf8(head).or(Err(form("it is not UTF-8")))?;
        let mut lines = head.split('\n');
        let old_size = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal::parse);
        let old_size = old_size.ok_or(form("its first line is not \"old\" and a size"))?;
        let proof: Option<Vec<_>> = lines.map(hash_from_base64).collect();
        let proof = proof.ok_or(form("a line of its proof is not a SHA-256 hash in base64"))?;
        if proof.len() > MAX_PROOF_LINES {
            return Err(form("its proof has more lines than any proof needs"));
        }
        let checkpoint = SignedCheckpoint::parse(rest.get(2..).unwrap_or_default())?;
        Ok(Self { old_size, proof, checkpoint })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", Base64::encode_string(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
";

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let request = AddCheckpoint::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!((request.old_size, request.proof.len()), (20_852_014, 4));
        let checkpoint = request.checkpoint.unverified();
        assert_eq!((checkpoint.origin(), checkpoint.size()), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(request.to_string(), EXAMPLE);
        let first = EXAMPLE.split_once("\n\n").unwrap().1;
        let first = AddCheckpoint::parse(format!("old 0\n\n{first}").as_bytes()).unwrap();
        assert_eq!((first.old_size, first.proof.len()), (0, 0));
    }

    #[test]
    fn what_is_not_exactly_so_is_refused() {
        let refused = |from: &str, to: &str| {
            let body = EXAMPLE.replacen(from, to, 1);
            assert_ne!(body, EXAMPLE, "{from}");
            AddCheckpoint::parse(body.as_bytes()).expect_err(to)
        };
        for (from, to) in [
            ("old 2", "old 02"),
            ("old 2", "old +2"),
            ("old 2", "old  2"),
            ("old 2", "old -2"),
            ("old 20852014", "old "),
            ("old 20852014", "old 18446744073709551616"),
            ("old ", "Old "),
            ("old 20852014\n", ""),
            ("old 20852014\n", "old 20852014\r\n"),
            ("PlRNCrwH", "PlRNCrw"),
            ("PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=", "AAAA"),
            ("\n\nexample", "\nexample"),
            ("\n\nexample", "\n\n\nexample"),
            ("20852163\n", "020852163\n"),
            ("— example", "- example"),
        ] {
            let _error = refused(from, to);
        }
        let line = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";
        let lines = |count: usize| format!("old 1\n{}", line.repeat(count));
        let rest = EXAMPLE.split_once("\n\n").unwrap().1;
        assert!(AddCheckpoint::parse(format!("{}\n{rest}", lines(63)).as_bytes()).is_ok());
        assert!(AddCheckpoint::parse(format!("{}\n{rest}", lines(64)).as_bytes()).is_err());
        assert!(AddCheckpoint::parse(b"").is_err() && AddCheckpoint::parse(b"\n\n").is_err());
    }
}
