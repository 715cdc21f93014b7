//! Witnesses: each new checkpoint is sent to all of them, and counts once enough have cosigned it.
//!
//! One checkpoint at a time: were each witness sent the newest one when it is its turn, slow and fast ones would cosign
//! different ones, and none would get enough. Signing, of checkpoints and of all else, never waits for a witness.

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::kept_tree;
use chancery_audit::note::NoteSignature;
use chancery_audit::tree::MakeProofError;
use chancery_audit::witness::AddCheckpoint;
use chancery_store::{Reader, StoreError};
use chancery_witness::{Answer, AskError, Witness};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::conflicts::Conflicts;
use super::standing::WitnessTrouble;
use super::{Checkpoints, NewestCheckpoint};
use crate::{Chancery, Error};

/// How long a witness may take, with all that is said to and fro.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the others are waited for once enough have cosigned.
const GRACE: Duration = Duration::from_secs(1);
/// The longest wait before a witness that did not cosign is asked again.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// A witness says where it is, and is asked from there; while others ask it, too, it may be somewhere else by then.
const ATTEMPTS: u32 = 3;

/// What is known of a witness.
struct Asked {
    witness: Arc<Witness>,
    /// The size of the newest checkpoint that it has cosigned, as far as is known.
    seen: Option<u64>,
    /// How often it has not cosigned since it last did.
    failures: u32,
    /// Not asked before.
    rests_until: Instant,
    /// Whether it has cosigned the checkpoint that is under way.
    cosigned: bool,
    conflicts: Conflicts,
}

/// The checkpoint that is under way, and the witnesses.
struct Round {
    asked: Vec<Asked>,
    checkpoint: Option<NewestCheckpoint>,
}

/// How asking a witness ended, and where it is then.
struct Asking {
    place: usize,
    seen: Option<u64>,
    result: Result<NoteSignature, NotCosigned>,
}

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
enum NotCosigned {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("it did not answer in time")]
    Slow,
    #[error("it has cosigned a log of {seen} records, and this one has {size}")]
    Ahead { seen: u64, size: u64 },
    #[error("it has cosigned another log of {0} records")]
    Forks(u64),
    #[error("it says each time that it is at another size")]
    Restless,
    /// On our side.
    #[error("no proof can be made for it")]
    Proof(#[source] MakeProofError<StoreError>),
    #[error("asking it broke off")]
    Broken,
}

impl NotCosigned {
    const fn trouble(&self) -> WitnessTrouble {
        match self {
            Self::Slow | Self::Ask(AskError::Request(_)) => WitnessTrouble::Silent,
            Self::Ahead { seen, .. } => WitnessTrouble::Ahead { seen: *seen },
            Self::Forks(_) | Self::Ask(AskError::Proof(_)) => WitnessTrouble::Forks,
            Self::Ask(AskError::Unknown { .. }) => WitnessTrouble::Unknown,
            Self::Ask(AskError::Status { .. } | AskError::NoSize | AskError::Cosignature(_))
            | Self::Restless
            | Self::Proof(_)
            | Self::Broken => WitnessTrouble::Other,
        }
    }
}

impl Chancery {
    /// Sends checkpoints to the witnesses from now on. The newest is sent again first, whatever they had cosigned before: of a
    /// database of yesterday, with its anchor, they are the only ones who know.
    pub(super) fn keep_cosignatures(&self) {
        let Some(checkpoints) = &self.inner.checkpoints else { return };
        let witnesses = &checkpoints.settings.witnesses;
        if witnesses.is_empty() {
            return;
        }
        let now = Instant::now();
        let asked = witnesses.iter().map(|witness| Asked {
            witness: Arc::clone(witness),
            seen: None,
            failures: 0,
            rests_until: now,
            cosigned: false,
            conflicts: Conflicts::default(),
        });
        let mut round = Round { asked: asked.collect(), checkpoint: None };
        let mut standing = checkpoints.standing.subscribe();
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                round.take(standing.borrow_and_update().newest.as_deref());
                let Some(wake) = round.wake() else {
                    if standing.changed().await.is_err() {
                        return;
                    }
                    continue;
                };
                tokio::select! {
                    () = tokio::time::sleep_until(wake) => {}
                    changed = standing.changed() => match changed {
                        Ok(()) => continue,
                        Err(_gone) => return,
                    },
                }
                let Some(inner) = inner.upgrade() else { return };
                if let Err(Error::RecordClosed { .. }) = (Self { inner }).ask_witnesses(&mut round).await {
                    return;
                }
            }
        });
    }

    /// Asks the witnesses that are to be asked, until all have answered, or enough have cosigned and the others are late.
    async fn ask_witnesses(&self, round: &mut Round) -> Result<(), Error> {
        let Some(checkpoints) = &self.inner.checkpoints else { return Ok(()) };
        let Some(checkpoint) = &mut round.checkpoint else { return Ok(()) };
        let now = Instant::now();
        let mut asking = JoinSet::new();
        let mut waiting = Vec::new();
        for (place, asked) in round.asked.iter().enumerate() {
            if asked.cosigned || asked.rests_until > now {
                continue;
            }
            let (witness, seen) = (Arc::clone(&asked.witness), asked.seen);
            let (reader, checkpoint) = (self.inner.reader.clone(), checkpoint.checkpoint.clone());
            waiting.push(place);
            asking.spawn(async move { ask(place, &witness, seen, &checkpoint, &reader).await });
        }
        // Where it counts already, who is asked again is not waited for: the next checkpoint is.
        let counts = checkpoints.settings.required > 0 && checkpoints.counts(checkpoint);
        let mut late = counts.then(|| Instant::now() + GRACE);
        let mut kept = true;
        while !waiting.is_empty() {
            let next = async { asking.join_next().await };
            let answered = match late {
                None => next.await,
                // Later than that is as none.
                Some(late) => tokio::time::timeout_at(late, next).await.unwrap_or_default(),
            };
            let Some(Ok(Asking { place, seen, result })) = answered else { break };
            waiting.retain(|other| *other != place);
            let Some(asked) = round.asked.get_mut(place) else { continue };
            asked.seen = seen;
            let result = result.and_then(|cosignature| {
                let (line, key) = (format!("{cosignature}\n"), std::slice::from_ref(asked.witness.key()));
                let added = checkpoint.checkpoint.note_mut().add_verified(line.as_bytes(), key);
                added.map(drop).map_err(|error| AskError::Cosignature(error).into())
            });
            kept &= result.is_err();
            asked.ended(result.as_ref().err(), checkpoints);
            if late.is_none() && checkpoints.settings.required > 0 && checkpoints.counts(checkpoint) {
                self.keep_counted(checkpoints, checkpoint).await?;
                (kept, late) = (true, Some(Instant::now() + GRACE));
            }
        }
        // Where asking one panicked, nobody knows which.
        let why = if late.is_some() { NotCosigned::Slow } else { NotCosigned::Broken };
        for place in waiting {
            if let Some(asked) = round.asked.get_mut(place) {
                asked.ended(Some(&why), checkpoints);
            }
        }
        if !kept && checkpoints.counts(checkpoint) {
            self.keep_counted(checkpoints, checkpoint).await?;
        }
        for asked in &mut round.asked {
            let Some(conflict) = asked.conflicts.due() else { continue };
            let witness = asked.witness.key().name().as_str();
            match self.record_conflict(witness, conflict, checkpoint.checkpoint.unverified()).await {
                Ok(()) => asked.conflicts.recorded(Instant::now()),
                Err(error @ Error::RecordClosed { .. }) => return Err(error),
                Err(error) => {
                    tracing::error!(witness, %error, "that a witness has seen another history is not recorded yet")
                }
            }
        }
        Ok(())
    }

    /// Keeps a checkpoint that counts, and lets it count then.
    async fn keep_counted(&self, checkpoints: &Checkpoints, checkpoint: &NewestCheckpoint) -> Result<(), Error> {
        // After a restart it is cosigned anew, one by one; with all that have cosigned it, it is kept already.
        if checkpoints.standing.borrow().counts_with_as_many(checkpoint) {
            return Ok(());
        }
        self.inner.log.keep_cosigned(&checkpoint.checkpoint, checkpoint.signed).await?;
        checkpoints.standing.send_modify(|standing| standing.count(checkpoint));
        Ok(())
    }
}

impl Round {
    /// Turns to the newest checkpoint, if it is another.
    fn take(&mut self, newest: Option<&NewestCheckpoint>) {
        let text = |checkpoint: &NewestCheckpoint| checkpoint.checkpoint.note().text().to_owned();
        if newest.map(text) != self.checkpoint.as_ref().map(text) {
            self.checkpoint = newest.cloned();
            self.asked.iter_mut().for_each(|asked| asked.cosigned = false);
        }
    }

    /// When the next witness is to be asked; `None` where all have cosigned.
    fn wake(&self) -> Option<Instant> {
        self.checkpoint.as_ref()?;
        self.asked.iter().filter(|asked| !asked.cosigned).map(|asked| asked.rests_until).min()
    }
}

impl Asked {
    fn ended(&mut self, not_cosigned: Option<&NotCosigned>, checkpoints: &Checkpoints) {
        self.cosigned = not_cosigned.is_none();
        self.failures = if self.cosigned { 0 } else { self.failures.saturating_add(1) };
        if !self.cosigned {
            self.rests_until = Instant::now() + rest(self.failures);
        }
        let trouble = not_cosigned.map(NotCosigned::trouble);
        self.conflicts.asked(trouble, self.seen, Instant::now());
        let error = not_cosigned.map(|error| error as &(dyn std::error::Error + 'static));
        checkpoints.witness_is(self.witness.key().name(), trouble, error);
    }
}

/// How long a witness is left alone: a second, twice as long each time, a minute at most.
fn rest(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(LONGEST_REST)
}

async fn ask(
    place: usize,
    witness: &Witness,
    mut seen: Option<u64>,
    checkpoint: &SignedCheckpoint,
    reader: &Reader,
) -> Asking {
    let result = tokio::time::timeout(PATIENCE, converse(witness, &mut seen, checkpoint, reader)).await;
    Asking { place, seen, result: result.unwrap_or(Err(NotCosigned::Slow)) }
}

async fn converse(
    witness: &Witness,
    seen: &mut Option<u64>,
    checkpoint: &SignedCheckpoint,
    reader: &Reader,
) -> Result<NoteSignature, NotCosigned> {
    let size = checkpoint.unverified().size();
    for _ in 0..ATTEMPTS {
        // Where nothing is known, or it was further than this, it says where it is.
        let old_size = seen.filter(|seen| *seen <= size).unwrap_or(0);
        let reader = reader.clone();
        let proof = crate::blocking(move || kept_tree(&reader, size).consistency_proof(old_size)).await;
        let proof = proof.or(Err(NotCosigned::Broken))?.map_err(NotCosigned::Proof)?;
        match witness.add_checkpoint(&AddCheckpoint { old_size, proof, checkpoint: checkpoint.clone() }).await? {
            Answer::Cosigned(cosignature) => {
                *seen = Some(size);
                return Ok(cosignature);
            }
            Answer::Conflict { size: theirs } => {
                *seen = Some(theirs);
                if theirs > size {
                    return Err(NotCosigned::Ahead { seen: theirs, size });
                }
                // It was asked from there: earlier versions of the protocol say so of another root of the same size.
                if theirs == old_size {
                    return Err(NotCosigned::Forks(theirs));
                }
            }
        }
    }
    Err(NotCosigned::Restless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_that_does_not_cosign_is_left_alone_for_longer_each_time() {
        let rests: Vec<u64> = (1..=9).map(|failures| rest(failures).as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(rest(u32::MAX), LONGEST_REST);
    }
}
