//! Checkpoints and cosignatures: who may say what about a log.

use crate::notaries::{GO_CHECKPOINT, GO_LOG, GO_TIME, GO_WITNESS, Notary, key, notaries, tree_of_300};
use base64ct::{Base64, Encoding};
use chancery_audit::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use chancery_audit::note::{MAX_SIGNATURES, NoteError, SignError, SignedNote};
use std::convert::Infallible;
use std::future::ready;

#[test]
fn the_published_checkpoint_is_read() {
    // C2SP tlog-cosignature: tlog-checkpoint's example, with a cosignature.
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    let signed = SignedCheckpoint::parse(text.as_bytes()).unwrap();
    assert_eq!(signed.to_string(), text);
    let checkpoint = signed.unverified();
    assert_eq!((checkpoint.origin(), checkpoint.size()), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(Base64::encode_string(checkpoint.root()), "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=");
    assert_eq!(checkpoint.to_string(), signed.note().text());
    // The time that the specification prints in the cosigned message is the one in the signature.
    let cosignature = &signed.note().signatures()[1];
    assert_eq!(cosignature.signature.len(), 8 + 64);
    assert_eq!(cosignature.signature[..8], 1_679_315_147_u64.to_be_bytes());
}

#[tokio::test]
async fn a_checkpoint_is_made_and_cosigned_as_go_does() {
    let (log, witness) = notaries();
    assert_eq!((log.key.to_string(), witness.key.to_string()), (GO_LOG.to_owned(), GO_WITNESS.to_owned()));
    let tree = tree_of_300();
    let mut checkpoint = log.checkpoint(tree.size(), tree.root()).await;
    checkpoint.note_mut().cosign(&witness.key, GO_TIME, witness.signer()).await.unwrap();
    assert_eq!(checkpoint.to_string(), GO_CHECKPOINT);

    let parsed = SignedCheckpoint::parse(GO_CHECKPOINT.as_bytes()).unwrap();
    assert_eq!(parsed, checkpoint);
    let verified = parsed.verify(&[key(GO_LOG)]).unwrap();
    assert_eq!((verified.size(), *verified.root()), (300, tree.root()));
    let witnesses = [key(GO_WITNESS)];
    let cosignatures = parsed.cosignatures(&witnesses).unwrap();
    assert_eq!(cosignatures.len(), 1);
    assert_eq!((cosignatures[0].key, cosignatures[0].time), (&witnesses[0], Some(GO_TIME)));
}

#[tokio::test]
async fn only_the_log_speaks_for_the_log() {
    let (log, witness) = notaries();
    let root = tree_of_300().root();
    let origin = |origin: &str| Err(CheckpointError::Origin { origin: origin.to_owned() });

    let signed = log.checkpoint(300, root).await;
    assert_eq!(signed.verify(&[]), Err(NoteError::NotTrusted.into()));
    assert_eq!(signed.verify(std::slice::from_ref(&witness.key)), Err(NoteError::NotTrusted.into()));
    assert_eq!(signed.cosignatures(std::slice::from_ref(&witness.key)), Ok(Vec::new()));
    // The log is no witness of itself.
    assert_eq!(signed.cosignatures(std::slice::from_ref(&log.key)), Ok(Vec::new()));

    // Another log, trusted for itself, says it.
    let other = Notary::log("other.example", 3);
    let unsigned = || SignedCheckpoint::unsigned(Checkpoint::new(log.key.name(), 300, root)).unwrap();
    let mut by_another = unsigned();
    by_another.note_mut().sign(&other.key, other.signer()).await.unwrap();
    assert_eq!(by_another.verify(std::slice::from_ref(&other.key)), origin("log.example/chancery"));
    // A witness by the log's name says it: that is not the log's signature.
    let namesake = Notary::witness("log.example/chancery", 1);
    let mut by_namesake = unsigned();
    by_namesake.note_mut().cosign(&namesake.key, 1, namesake.signer()).await.unwrap();
    assert_eq!(by_namesake.verify(std::slice::from_ref(&namesake.key)), origin("log.example/chancery"));

    // The log changed its key: either is enough, and neither may be wrong.
    let newer = Notary::log("log.example/chancery", 4);
    let keys = [log.key.clone(), newer.key.clone()];
    assert_eq!(signed.verify(&keys).unwrap().size(), 300);
    assert_eq!(newer.checkpoint(300, root).await.verify(&keys).unwrap().size(), 300);
    let mut both = log.checkpoint(300, root).await;
    both.note_mut().sign(&newer.key, newer.signer()).await.unwrap();
    assert_eq!(both.note().verify(&keys).unwrap().len(), 2);
    let text = both.to_string();
    let last = text.rfind(' ').unwrap() + 10;
    let forged = format!("{}{}{}", &text[..last], if &text[last..=last] == "A" { "B" } else { "A" }, &text[last + 1..]);
    let forged = SignedCheckpoint::parse(forged.as_bytes()).unwrap();
    let bad = NoteError::BadSignature { name: newer.key.name().clone() };
    assert_eq!(forged.verify(&keys), Err(bad.into()));
    assert_eq!(forged.verify(&keys[..1]).unwrap().size(), 300, "to who has not the newer key, it is unknown");
}

#[tokio::test]
async fn a_signer_that_lies_or_fails_signs_nothing() {
    let (log, witness) = notaries();
    let root = tree_of_300().root();
    let mut checkpoint = SignedCheckpoint::unsigned(Checkpoint::new(log.key.name(), 300, root)).unwrap();
    let note = checkpoint.note_mut();
    let failed = note.sign(&log.key, |_| ready(Err(std::io::Error::other("no device")))).await;
    assert!(matches!(failed, Err(SignError::Signer(_))), "{failed:?}");
    let zeros = note.sign(&log.key, |_| ready(Ok::<_, Infallible>([0; 64]))).await;
    assert!(matches!(zeros, Err(SignError::Invalid(_))), "{zeros:?}");
    let another = note.sign(&log.key, witness.signer()).await;
    assert!(matches!(another, Err(SignError::Invalid(_))), "{another:?}");
    let kind = note.sign(&witness.key, witness.signer()).await;
    assert!(matches!(kind, Err(SignError::Kind(_))), "{kind:?}");
    let kind = note.cosign(&log.key, 1, log.signer()).await;
    assert!(matches!(kind, Err(SignError::Kind(_))), "{kind:?}");
    // Later than the specification lets a cosignature be.
    let late = note.cosign(&witness.key, 1 << 63, witness.signer()).await;
    assert!(matches!(late, Err(SignError::Invalid(_))), "{late:?}");
    assert!(note.signatures().is_empty());
    for _ in 0..MAX_SIGNATURES {
        note.sign(&log.key, log.signer()).await.unwrap();
    }
    assert!(matches!(note.sign(&log.key, log.signer()).await, Err(SignError::Full)));
    assert_eq!(note.verify(std::slice::from_ref(&log.key)).unwrap().len(), 1, "a key counts once");
}

#[tokio::test]
async fn what_a_witness_answers_is_verified_before_it_is_kept() {
    let (log, witness) = notaries();
    let root = tree_of_300().root();
    let cosigned = |time| {
        let (log, witness) = (&log, &witness);
        async move {
            let mut checkpoint = log.checkpoint(300, root).await;
            checkpoint.note_mut().cosign(&witness.key, time, witness.signer()).await.unwrap();
            checkpoint.note().signatures()[1].to_string() + "\n"
        }
    };
    let (first, second) = (cosigned(1_000).await, cosigned(2_000).await);
    let stranger = "— stranger.example AAAAAAAA\n";
    let witnesses = [witness.key.clone()];

    let mut checkpoint = log.checkpoint(300, root).await;
    let before = checkpoint.clone();
    let note = checkpoint.note_mut();
    assert_eq!(note.add_verified(stranger.as_bytes(), &witnesses), Err(NoteError::NotTrusted));
    for lines in ["", "\n", "— x", "— witness.example/w1 AAAA\n"] {
        assert!(note.add_verified(lines.as_bytes(), &witnesses).is_err(), "{lines:?}");
    }
    // A cosignature of a longer text, which begins with the checkpoint: the text would come with the answer.
    let longer = format!("{}\nx\n", checkpoint.note().text());
    let mut longer = SignedNote::unsigned(longer).unwrap();
    longer.cosign(&witness.key, 1_000, witness.signer()).await.unwrap();
    let answer = format!("x\n\n{}\n", longer.signatures()[0]);
    let read = SignedNote::parse(format!("{}\n{answer}", checkpoint.note().text()).as_bytes()).unwrap();
    assert!(read.verify(&witnesses).is_ok() && read.text() != checkpoint.note().text(), "it holds, of another text");
    let refused = checkpoint.note_mut().add_verified(answer.as_bytes(), &witnesses);
    assert!(matches!(refused, Err(NoteError::Form(_))), "{refused:?}");
    // For another checkpoint.
    let other = log.checkpoint(299, root).await.to_string();
    let mut other = SignedCheckpoint::parse(other.as_bytes()).unwrap();
    let bad = NoteError::BadSignature { name: witness.key.name().clone() };
    assert_eq!(other.note_mut().add_verified(first.as_bytes(), &witnesses), Err(bad));
    assert_eq!(checkpoint, before);

    let note = checkpoint.note_mut();
    let added = note.add_verified(format!("{stranger}{first}").as_bytes(), &witnesses).unwrap();
    assert_eq!(added[0].time, Some(1_000));
    note.add_verified(first.as_bytes(), &witnesses).unwrap();
    assert_eq!(note.signatures().len(), 2, "neither the stranger's nor the same one twice");
    note.add_verified(second.as_bytes(), &witnesses).unwrap();
    let kept = checkpoint.cosignatures(&witnesses).unwrap();
    assert_eq!((kept.len(), kept[0].time), (1, Some(2_000)), "the latest");
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let good = format!("log\n7\n{ROOT}\none\ntwo\n");
    let checkpoint = Checkpoint::parse(&good).unwrap();
    assert_eq!(
        (checkpoint.extensions(), checkpoint.to_string()),
        (["one".to_owned(), "two".to_owned()].as_slice(), good)
    );
    assert_eq!(Checkpoint::parse(&format!("log\n{}\n{ROOT}\n", i64::MAX)).unwrap().size(), i64::MAX.unsigned_abs());
    for text in [
        String::new(),
        "\n".to_owned(),
        "log\n".to_owned(),
        "log\n7\n".to_owned(),
        format!("log\n7\n{ROOT}"),
        format!("\n7\n{ROOT}\n"),
        format!("7\n{ROOT}\n"),
        format!("log\n\n{ROOT}\n"),
        format!("log\n07\n{ROOT}\n"),
        format!("log\n+7\n{ROOT}\n"),
        format!("log\n-7\n{ROOT}\n"),
        format!("log\n 7\n{ROOT}\n"),
        format!("log\n0x7\n{ROOT}\n"),
        format!("log\n9223372036854775808\n{ROOT}\n"),
        format!("log\n18446744073709551616\n{ROOT}\n"),
        "log\n7\n\n".to_owned(),
        format!("log\n7\n{}\n", &ROOT[1..]),
        format!("log\n7\n{ROOT}A\n"),
        format!("log\n7\n{}\n", ROOT.replace('=', "")),
        format!("log\n7\n{}\n", ROOT.replace("2I=", "2J=")),
        "log\n7\nAAAA\n".to_owned(),
        format!("log\n7\n{}\n", Base64::encode_string(&[0; 33])),
        format!("log\n7\n{ROOT}\n\n"),
        format!("log\n7\n{ROOT}\n\nmore\n"),
    ] {
        assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
    }
}
