//! Who has signed a checkpoint that is not believed: the checkpoint is another log's, or the key that was given is.

use chancery_audit::checkpoint::{CheckpointError, SignedCheckpoint};
use chancery_audit::note::{NoteError, NoteSignature, VerifierKey};

use crate::exit::Failure;

/// How many keys are named.
const NAMED: usize = 4;

/// Adds why a checkpoint is not one of the log's, by these keys, and what to look at.
pub fn not_believed(
    failure: Failure,
    signed: &SignedCheckpoint,
    keys: &[VerifierKey],
    error: CheckpointError,
) -> Failure {
    match error {
        CheckpointError::Note(NoteError::NotTrusted) | CheckpointError::Origin { .. } => {
            let (by, given) = (list(signers(signed)), list(keys.iter().map(beginning)));
            failure.because(error).hint(format!(
                "it is signed by {by}, and --log-key names {given} (each the beginning of a verifier key); chancery audit log-key \
                 prints what the service says to be its keys: believe them only if whoever operates the log says so, too, over \
                 another way"
            ))
        }
        error => failure.because(error),
    }
}

/// The keys that are said to have signed for the log; where none is, all that are said to have signed.
fn signers(signed: &SignedCheckpoint) -> impl Iterator<Item = String> {
    let (signatures, origin) = (signed.note().signatures(), signed.unverified().origin());
    let of_the_log = move |signature: &&NoteSignature| signature.name.as_str() == origin;
    let none = !signatures.iter().any(|signature| of_the_log(&signature));
    let named = signatures.iter().filter(move |signature| none || of_the_log(signature));
    named.map(|NoteSignature { name, key_id, .. }| format!("{name}+{key_id:08x}"))
}

/// Name and id of a key, as its text begins with them.
pub fn beginning(key: &VerifierKey) -> String {
    format!("{}+{:08x}", key.name(), key.id())
}

/// In words, the first few.
pub fn list(keys: impl Iterator<Item = String>) -> String {
    let mut keys: Vec<String> = keys.collect();
    if keys.len() > NAMED {
        keys.truncate(NAMED);
        keys.push("others".to_owned());
    }
    keys.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "log.example/chancery+fe94a607+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    const OTHER: &str = "log.example/a+870806f8+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    /// Of docs/transparency-log.md.
    const NOTE: &str = "log.example/chancery\n300\n56/ILTiUT8eTBUUygJHUWCMojB9zTL2sBjlnE+vUtdU=\n\n\
        \u{2014} log.example/chancery /pSmBzcGsDTvjE5vjBNl87JDQFXGotXbLSNggN86Q+97UvFzfRfzzGk011EHGRoh2hksmnhkH8ETs8vnWNuC1R7qFwU=\n\
        \u{2014} witness.example/w1 3xwKNQAAAABrCrpNNZs6o7OXWz5BK1/VRcQvBIrBjICxwt8AMYaVGkCrFx2wT2AMRHNGtN1PheG5/R+sQ3LzF/aZcze+lNkhafxRCg==\n";

    fn report(note: &str, keys: &[&str]) -> String {
        let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
        let keys: Vec<VerifierKey> = keys.iter().map(|key| VerifierKey::parse(key).unwrap()).collect();
        let error = signed.verify(&keys).unwrap_err();
        not_believed(Failure::no("the checkpoint does not hold"), &signed, &keys, error).report().0
    }

    #[test]
    fn the_key_that_signed_and_the_one_that_was_given_are_named() {
        let said = report(NOTE, &[OTHER]);
        assert!(said.starts_with("error: the checkpoint does not hold: none of the note's signatures"), "{said}");
        let named = "it is signed by log.example/chancery+fe94a607, and --log-key names log.example/a+870806f8";
        assert!(said.contains(named) && !said.contains("w1"), "{said}");
        // By nobody of the log's name.
        let renamed = NOTE.replacen("log.example/chancery\n", "log.example/b\n", 1);
        let said = report(&renamed, &[OTHER]);
        assert!(said.contains("signed by log.example/chancery+fe94a607, witness.example/w1+df1c0a35, and"), "{said}");
    }

    #[test]
    fn a_false_signature_is_not_a_matter_of_the_key() {
        let said = report(&NOTE.replacen("\n300\n", "\n301\n", 1), &[LOG]);
        assert!(said.contains("the note was changed, or the signature") && !said.contains("hint"), "{said}");
    }
}
