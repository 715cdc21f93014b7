//! What is made of the answers of witnesses.

use crate::log::{Log, ORIGIN};
use crate::serving::{Serving, name};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::note::{NoteError, SignatureKind, VerifierKey};
use chancery_https::{RequestError, Url};
use chancery_witness::{Answer, AskError, CosignerKey, Tls, Witness};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

#[tokio::test]
async fn over_tls_the_authority_decides_and_the_key_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let make = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    };
    make("own");
    make("other");
    assert!(Tls::read(&path("own.pem"), &path("other.key")).is_err());
    let tls = Tls::read(&path("own.pem"), &path("own.key")).unwrap();
    let log = Log::new(ORIGIN, 1, 20);
    let serving = Serving::start(&path("w"), &[&log], Some(tls)).await;
    let request = log.request(0, 10).await;
    let refused = |error: Result<Answer, AskError>| matches!(error, Err(AskError::Request(RequestError::Connect(_))));
    assert!(refused(serving.witness(Some(path("other.pem"))).add_checkpoint(&request).await));
    assert!(refused(serving.witness(None).add_checkpoint(&request).await), "whom to trust was not said");
    let witness = serving.witness(Some(path("own.pem")));
    assert!(matches!(witness.add_checkpoint(&request).await.unwrap(), Answer::Cosigned(_)));

    // Cosigned by another key than the one that was said.
    let other = CosignerKey::make(&path("key.pk8"), name()).unwrap().verifier().clone();
    let mistaken = Witness::new(other, serving.url.parse().unwrap(), Some(path("own.pem")));
    let answer = mistaken.add_checkpoint(&log.request(10, 11).await).await;
    assert!(matches!(answer, Err(AskError::Cosignature(NoteError::NotTrusted))), "{answer:?}");
    // The connection is kept; the authorities are not read again for it.
    std::fs::remove_file(path("own.pem")).unwrap();
    assert!(matches!(witness.add_checkpoint(&log.request(11, 12).await).await.unwrap(), Answer::Cosigned(_)));
}

/// Answers each request on one connection after the other with these bytes.
async fn answering(answer: String) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"=\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            assert!(request.starts_with(b"POST /prefix/add-checkpoint HTTP/1.1\r\n"));
            let head = format!("HTTP/1.1 {}\r\ncontent-length:", answer.split_once('|').unwrap().0);
            let body = answer.split_once('|').unwrap().1;
            let whole = format!("{head} {}\r\nconnection: close\r\n\r\n{body}", body.len());
            stream.write_all(whole.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn what_a_witness_answers_is_not_believed_for_its_status() {
    let log = Log::new(ORIGIN, 1, 20);
    let request = log.request(0, 10).await;
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let key =
        VerifierKey::new(name(), SignatureKind::Cosignature, pair.public_key().as_ref().try_into().unwrap()).unwrap();
    let cosign = async |checkpoint: &SignedCheckpoint, time: u64| {
        let mut checkpoint = checkpoint.clone();
        let signer = async |text: Vec<u8>| Ok::<_, ()>(pair.sign(&text).as_ref().try_into().unwrap());
        checkpoint.note_mut().cosign(&key, time, signer).await.unwrap();
        format!("{}\n", checkpoint.note().signatures().last().unwrap())
    };
    let ask = async |answer: String| {
        let witness = Witness::new(key.clone(), answering(answer).await, None);
        witness.add_checkpoint(&request).await
    };
    let good = cosign(&request.checkpoint, 1_700_000_000).await;
    let latest = cosign(&request.checkpoint, 1_700_000_009).await;
    let other = cosign(&log.checkpoint(11).await, 1_700_000_000).await;

    // As many as a note has room for: the latest is taken, and leaves room for other witnesses'.
    let answer = ask(format!("200 OK|{latest}{}", good.repeat(60))).await.unwrap();
    let Answer::Cosigned(line) = answer else { panic!("a conflict") };
    assert_eq!(format!("{line}\n"), latest);
    for (answer, error) in [
        (format!("200 OK|{other}"), "NOT ITS OWN"),
        ("200 OK|".to_owned(), "NOT ITS OWN"),
        (format!("200 OK|{}", request.checkpoint.note().signatures()[0].clone()), "NOT ITS OWN"),
        ("200 OK|no signature\n".to_owned(), "NOT ITS OWN"),
        (format!("200 OK|{}", "x".repeat(65 * 1024)), "REQUEST"),
        (format!("201 Created|{good}"), "STATUS"),
        ("302 Found|".to_owned(), "STATUS"),
        ("503 Service Unavailable|later".to_owned(), "STATUS"),
        ("409 Conflict|12\n".to_owned(), "NO SIZE"),
        ("409 Conflict\r\ncontent-type: text/x.tlog.size|012\n".to_owned(), "NO SIZE"),
        ("409 Conflict\r\ncontent-type: text/x.tlog.size|12".to_owned(), "NO SIZE"),
    ] {
        let said = match ask(answer.clone()).await {
            Err(AskError::Cosignature(_)) => "NOT ITS OWN",
            Err(AskError::Request(_)) => "REQUEST",
            Err(AskError::Status { .. }) => "STATUS",
            Err(AskError::NoSize) => "NO SIZE",
            other => panic!("{answer}: {other:?}"),
        };
        assert_eq!(said, error, "{answer}");
    }
    let conflict = ask("409 Conflict\r\ncontent-type: text/x.tlog.size|12\n".to_owned()).await.unwrap();
    assert_eq!(conflict, Answer::Conflict { size: 12 });
    let Err(error) = ask(format!("500 Internal Server Error|{}", "x".repeat(1_000))).await else { panic!("cosigned") };
    assert!(error.to_string().len() < 300, "no more than its beginning is repeated: {error}");
}
