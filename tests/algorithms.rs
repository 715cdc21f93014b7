//! Every algorithm with every method that could take it, on the token under test: each call is done or refused as README's
//! table of algorithms says. The table is what the tokens really did: `CHANCERY_WRITE_README=1 cargo test --test algorithms`
//! writes the column of the token that it runs on (and `make test-kryoptic` the other one).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::fmt::Debug;
use std::path::PathBuf;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use chancery_api::v1::{self, Algorithm, PublicKeyFormat, SignatureEncoding};
use chancery_client::Client;
use chancery_testkit::{Chancery, Module};
use chancery_tests::contract::{create, message, new_key, refusal, sign};
use chancery_tests::token_under_test::token_under_test;
use tonic::Status;

const RING: &str = "keyRings/dev";
const MESSAGE: &[u8] = b"pay 5 to Ada";

/// What one algorithm's key did.
#[derive(Debug)]
struct Row {
    algorithm: String,
    /// The methods that made or checked something.
    uses: String,
    digests: String,
    jwt: String,
    openssh: String,
}

/// Done or refused; a refusal must be one that says what the key is for, and no failure.
#[track_caller]
fn done<T: Debug>(answer: Result<T, Status>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(status) => {
            let refusal = refusal(status);
            let reason = refusal.reason.as_deref();
            let known = ["KEY_PURPOSE_MISMATCH", "DIGEST_NOT_ALLOWED", "INVALID_FIELD", "ALGORITHM_NOT_IN_JOSE"];
            assert!(reason.is_some_and(|reason| known.contains(&reason)), "{refusal}");
            None
        }
    }
}

async fn try_everything(operator: &Client, caller: &Client, algorithm: Algorithm) -> Row {
    let name = algorithm.as_str_name().strip_prefix("ALGORITHM_").unwrap().to_owned();
    let id = format!("all-{}", name.to_ascii_lowercase().replace('_', "-"));
    let key = create(operator, new_key(RING, &id, algorithm)).await.name;
    let mut uses = Vec::new();
    let mut used = |method: &'static str, was: bool| {
        if was {
            uses.push(method)
        }
    };

    let signed = done(caller.signing().sign(sign(&key, MESSAGE)).await).map(tonic::Response::into_inner);
    used("Sign", signed.is_some());
    let batch = v1::BatchSignRequest { requests: vec![sign(&key, MESSAGE), sign(&key, b"pay 6 to Ada")] };
    let batch = caller.signing().batch_sign(batch).await.unwrap().into_inner();
    let in_batch =
        batch.results.iter().filter(|result| matches!(result.result, Some(v1::batch_sign_result::Result::Response(_))));
    used("BatchSign", in_batch.count() == 2);
    let streamed = v1::StreamSignRequest { correlation_id: "one".to_owned(), request: Some(sign(&key, MESSAGE)) };
    let mut answers = caller.signing().stream_sign(tokio_stream::iter([streamed])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().expect("an answer to the one message");
    assert_eq!(answer.correlation_id, "one");
    assert!(answers.message().await.unwrap().is_none());
    used("StreamSign", matches!(answer.result, Some(v1::stream_sign_response::Result::Response(_))));

    let verify = v1::VerifyRequest {
        name: key.clone(),
        input: message(MESSAGE),
        signature: signed.as_ref().map_or_else(|| vec![1; 64], |signed| signed.signature.clone()),
        ..v1::VerifyRequest::default()
    };
    let verdict = done(caller.signing().verify(verify.clone()).await);
    used("Verify", verdict.is_some_and(|verdict| verdict.get_ref().valid));
    let wrong = v1::VerifyRequest { input: message(b"pay 6 to Ada"), ..verify.clone() };
    let request = v1::BatchVerifyRequest { requests: vec![verify, wrong] };
    let verdicts = caller.signing().batch_verify(request).await.unwrap().into_inner().results;
    let verdicts: Vec<_> = verdicts
        .iter()
        .filter_map(|result| match &result.result {
            Some(v1::batch_verify_result::Result::Response(response)) => Some(response.valid),
            _ => None,
        })
        .collect();
    used("BatchVerify", verdicts == [true, false]);

    let request = v1::MacSignRequest { name: key.clone(), message: MESSAGE.into(), message_crc32c: None };
    let mac = done(caller.signing().mac_sign(request).await).map(tonic::Response::into_inner);
    used("MacSign", mac.is_some());
    let mac = mac.map_or_else(|| vec![1; 32], |mac| mac.mac);
    let check = |message: &'static [u8]| v1::MacVerifyRequest {
        name: key.clone(),
        message: message.into(),
        mac: mac.clone().into(),
        ..v1::MacVerifyRequest::default()
    };
    let right = done(caller.signing().mac_verify(check(MESSAGE)).await).map(|verdict| verdict.get_ref().valid);
    let wrong = done(caller.signing().mac_verify(check(b"pay 6 to Ada")).await).map(|verdict| verdict.get_ref().valid);
    assert!(matches!((right, wrong), (None, None) | (Some(true), Some(false))), "{name}: {right:?}, {wrong:?}");
    used("MacVerify", right.is_some());

    Row {
        digests: yes(takes_digests(operator, caller, algorithm, &id).await),
        jwt: jwt_algorithm(caller, &key).await.unwrap_or_else(|| "-".to_owned()),
        openssh: yes(public_key(caller, &key, PublicKeyFormat::Openssh).await.is_some()),
        uses: uses.join(", "),
        algorithm: name,
    }
}

fn yes(was: bool) -> String {
    if was { "yes" } else { "-" }.to_owned()
}

/// Whether a key can be made that signs digests, and does.
async fn takes_digests(operator: &Client, caller: &Client, algorithm: Algorithm, id: &str) -> bool {
    let key = v1::Key { algorithm: algorithm.into(), allow_digest: true, ..v1::Key::default() };
    let request = v1::CreateKeyRequest { key: Some(key), ..new_key(RING, &format!("{id}-digests"), algorithm) };
    let Some(key) = done(operator.keys().create_key(request).await) else { return false };
    let name = key.into_inner().name;
    let mut lengths = Vec::new();
    for length in [32, 48, 64] {
        let request = chancery_tests::contract::sign_digest(&name, &vec![7; length]);
        if done(caller.signing().sign(request).await).is_some() {
            lengths.push(length);
        }
    }
    assert_eq!(lengths.len(), 1, "a digest of exactly one length is taken: {lengths:?}");
    true
}

async fn public_key(caller: &Client, name: &str, format: PublicKeyFormat) -> Option<v1::PublicKey> {
    let request = v1::GetPublicKeyRequest { name: name.to_owned(), format: format.into() };
    done(caller.signing().get_public_key(request).await).map(tonic::Response::into_inner)
}

/// The `alg` of the key's JWTs, which is that of its JWK.
async fn jwt_algorithm(caller: &Client, name: &str) -> Option<String> {
    let jwk = public_key(caller, name, PublicKeyFormat::Jwk).await;
    let request =
        v1::SignJwtRequest { name: name.to_owned(), claims: "{}".to_owned(), ..v1::SignJwtRequest::default() };
    let token = done(caller.signing().sign_jwt(request).await).map(|token| token.into_inner().token);
    assert_eq!(jwk.is_some(), token.is_some(), "{name}: what signs JWTs has a JWK");
    let header = Base64UrlUnpadded::decode_vec(token?.split('.').next()?).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    let jwk: serde_json::Value = serde_json::from_slice(&jwk?.data).unwrap();
    assert_eq!((&header["alg"], &header["kid"]), (&jwk["alg"], &jwk["kid"]));
    Some(header["alg"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn each_algorithm_does_what_readme_says_and_nothing_else() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let mut rows = Vec::new();
    for algorithm in (1..64).filter_map(|number| Algorithm::try_from(number).ok()) {
        if token_under_test().offers(algorithm) {
            rows.push(try_everything(&operator, &caller, algorithm).await);
        }
    }
    let readme = std::fs::read_to_string(readme_path()).unwrap();
    let table = Table::parse(&readme);
    let updated = table.with(&rows);
    if std::env::var_os("CHANCERY_WRITE_README").is_some() {
        std::fs::write(readme_path(), table.replaced_by(&updated)).unwrap();
        return;
    }
    assert_eq!(
        table.text, updated,
        "README's table of algorithms is not what this token did; look at the change, and write it with \
         CHANCERY_WRITE_README=1"
    );
}

/// Not every method has an encoding to choose, and none answers another than was asked for.
#[tokio::test]
async fn an_encoding_is_for_ecdsa_and_ignored_by_the_others() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    for (algorithm, length) in [(Algorithm::EcdsaP256Sha256, 64), (Algorithm::Ed25519, 64)] {
        let id = format!("encoded-{}", length + algorithm as usize);
        let key = create(&operator, new_key(RING, &id, algorithm)).await.name;
        let request = v1::SignRequest { encoding: SignatureEncoding::P1363.into(), ..sign(&key, MESSAGE) };
        assert_eq!(caller.signing().sign(request).await.unwrap().into_inner().signature.len(), length);
    }
}

fn readme_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

const BEGIN: &str = "<!-- algorithms: written by tests/algorithms.rs -->\n";
const END: &str = "<!-- end of algorithms -->\n";
const HEAD: &str = "| algorithm | methods | digests | JWT `alg` | OpenSSH | SoftHSM 2.6 | Kryoptic 1.5 |\n|---|---|---|---|---|---|---|\n";

/// README's table, with one line for each algorithm of the contract.
struct Table {
    text: String,
    before: String,
    after: String,
}

impl Table {
    fn parse(readme: &str) -> Self {
        let (before, rest) = readme.split_once(BEGIN).expect("README has the beginning of the table");
        let (text, after) = rest.split_once(END).expect("README has the end of the table");
        Self { text: text.to_owned(), before: before.to_owned(), after: after.to_owned() }
    }

    /// README with another table in the place of this one.
    fn replaced_by(&self, text: &str) -> String {
        [&self.before, BEGIN, text, END, &self.after].concat()
    }

    fn cells(&self, algorithm: &str) -> Option<Vec<&str>> {
        let line = self
            .text
            .lines()
            .find(|line| line.split('|').nth(1).is_some_and(|cell| cell.trim() == format!("`{algorithm}`")))?;
        Some(line.trim_matches('|').split('|').map(str::trim).collect())
    }

    /// The table with what this token did: its own column, and the rows of what it has.
    fn with(&self, rows: &[Row]) -> String {
        let mut text = HEAD.to_owned();
        for algorithm in (1..64).filter_map(|number| Algorithm::try_from(number).ok()) {
            let name = algorithm.as_str_name().strip_prefix("ALGORITHM_").unwrap();
            let old = self.cells(name).unwrap_or_else(|| vec!["-"; 7]);
            let cell = |place: usize| (*old.get(place).unwrap_or(&"-")).to_owned();
            let here = rows.iter().find(|row| row.algorithm == name);
            let [uses, digests, jwt, openssh] = match here {
                Some(row) => [&row.uses, &row.digests, &row.jwt, &row.openssh].map(Clone::clone),
                None => [1, 2, 3, 4].map(cell),
            };
            let mark = yes(here.is_some());
            let (softhsm, kryoptic) = match Module::from_environment().unwrap() {
                Module::SoftHsm => (mark, cell(6)),
                Module::Kryoptic => (cell(5), mark),
            };
            text += &format!("| `{name}` | {uses} | {digests} | {jwt} | {openssh} | {softhsm} | {kryoptic} |\n");
        }
        text
    }
}
