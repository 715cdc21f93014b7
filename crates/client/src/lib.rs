//! The Rust client.
//!
//! In scope: connections to Chancery by mutual TLS, API key or OIDC token, kept, balanced and renewed; every call of SigningService,
//! the keys and the record with the words of `chancery_model`; checksums sent and compared with every payload; deadlines;
//! repetition of what is safe to repeat; verification of signatures on this side for those who want it; the `signature`
//! crate's asynchronous signer; errors that say what happened and what to do. Out of scope: the words themselves
//! (`chancery_model`), the mathematics (`chancery_crypto`), the generated messages (`chancery_api`), which
//! [`Client::callers`], [`Client::policy`] and their like offer as they are.
//!
//! # Sign and verify
//!
//! ```no_run
//! # async fn example() -> Result<(), chancery_client::ClientError> {
//! use chancery_client::{Client, ConnectOptions, EcdsaEncoding};
//!
//! let options = ConnectOptions::new("https://127.0.0.1:8443", "ca.pem", "caller.pem", "caller.key");
//! let client = Client::connect(options).await?;
//! let signed = client.sign("keyRings/dev/keys/invoices", "pay 5 to Ada", EcdsaEncoding::Der).await?;
//! // Keep the version with the signature: after a rotation the key's name means another one.
//! let verdict = client.verify(&signed.version, "pay 5 to Ada", signed.signature, EcdsaEncoding::Der).await?;
//! assert!(verdict.valid);
//! # Ok(())
//! # }
//! ```
//!
//! # Many at once
//!
//! [`Client::batch_sign`] takes any number of inputs and answers when all are signed; [`Client::stream_sign`] takes them as
//! they come:
//!
//! ```no_run
//! # async fn example(client: chancery_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use chancery_client::{KeyRef, SignItem};
//!
//! let key: KeyRef = "keyRings/dev/keys/invoices".parse()?;
//! let (sender, mut answers) = client.stream_sign().await?;
//! tokio::spawn(async move {
//!     for number in 0..10_000 {
//!         let item = SignItem::new(&key, format!("invoice {number}").into_bytes());
//!         sender.send(number.to_string(), item).await?; // waits while the service is behind
//!     }
//!     Ok::<(), chancery_client::ClientError>(()) // dropping the sender ends the stream
//! });
//! while let Some(answer) = answers.next().await {
//!     let answer = answer?; // the stream broke: `answers.unanswered()` says what to send again
//!     match answer.result {
//!         Ok(signed) => println!("{}: {} bytes", answer.correlation_id, signed.signature.len()),
//!         Err(error) => eprintln!("{}: {error}", answer.correlation_id),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Keys and the record
//!
//! ```no_run
//! # async fn example(client: chancery_client::Client) -> Result<(), chancery_client::ClientError> {
//! use chancery_client::{NewKey, RecordFilter, RecordKind, Rotation, WatchOptions};
//! use chancery_client::model::Algorithm;
//!
//! let name = "keyRings/dev/keys/invoices".parse()?;
//! client.create_key(NewKey::new(name, Algorithm::EcdsaP256Sha256).label("team", "billing")).await?;
//! let mut keys = client.list_keys(&"keyRings/dev".parse()?); // pages are fetched as they are wanted
//! while let Some(key) = keys.next().await {
//!     client.rotate_key(&key?.name, Rotation::default()).await?;
//! }
//!
//! let filter = RecordFilter { kind: Some(RecordKind::Denial), ..RecordFilter::default() };
//! let mut denials = client.watch_records(WatchOptions { filter, ..WatchOptions::default() }).await?;
//! while let Some(record) = denials.next().await {
//!     let record = record?; // restarts of the service are not seen from here
//!     println!("{}: {} was denied {} on {}", record.index, record.caller.is_some(), record.action, record.resource);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # When something goes wrong
//!
//! [`ClientError`] has a variant for each thing that a program can do something about. An error that the service answered is
//! [`ClientError::Refused`] with its [`Refusal`]: the [`RefusalKind`], the stable reason, the resource, the fields.
//!
//! ```no_run
//! # async fn example(client: chancery_client::Client) {
//! use chancery_client::{ClientError, EcdsaEncoding, RefusalKind};
//!
//! match client.sign("keyRings/dev/keys/invoices", "pay 5 to Ada", EcdsaEncoding::Der).await {
//!     Ok(signed) => println!("record {}", signed.record_index),
//!     Err(ClientError::Refused(refusal)) if refusal.kind() == RefusalKind::Denied => println!("not allowed: {refusal}"),
//!     Err(error) if error.is_transient() => println!("later: {error}"), // retries are over by then
//!     Err(error) => println!("{error}"),
//! }
//! # }
//! ```
//!
//! # Retries and deadlines
//!
//! A call may take [`ConnectOptions::request_timeout`] (30 seconds; [`Client::with_timeout`] for another), all attempts and
//! pauses included, and the service is told how much of it is left. What is repeated, when, and within which budget:
//! [`RetryPolicy`]. tonic's typed clients ([`Client::signing`] and its like) repeat nothing.
//!
//! # Signing requests, too
//!
//! With [`ConnectOptions::sign_requests`] the client signs each request for a signature, too, with the key of its client
//! certificate: evidence that stays with the record, and that keys may require.
//!
//! # Certificates that change
//!
//! The files of the TLS identity are looked at every [`ConnectOptions::reload_interval`]; when they changed, new calls use
//! a new connection, and calls under way end on the old one. Nothing needs to be restarted. The same holds of the file of an OIDC
//! token ([`ConnectOptions::with_oidc_token_file`]), whose next content new calls bring on the connection that there is.

mod answer;
mod api_key;
mod batch;
mod call;
mod caller_signature;
mod connect;
mod convert;
mod error;
mod input;
mod jwt;
mod keys;
mod local;
mod log_resource;
mod mac;
mod name;
mod oidc_token;
mod options;
mod pages;
mod pem;
mod public_key;
mod random;
mod receipt;
mod records;
mod reload;
mod retry;
mod sign;
mod signer;
mod stream;
mod transparency;
mod transport;
mod verify;
mod watch;

#[cfg(test)]
mod fault_tests;

/// The words of the product: names, algorithms, states.
pub use chancery_model as model;

pub use api_key::ApiKey;
pub use chancery_model::EcdsaEncoding;
pub use connect::Client;
pub use convert::{algorithm_from_proto, algorithm_to_proto, state_from_proto};
pub use error::{ClientError, ConnectProblem, FieldViolation, Refusal, RefusalKind};
pub use input::{Input, SignItem};
pub use jwt::{Jwt, JwtRequest};
pub use keys::{
    AlternativeName, CertificateRequest, FrozenRing, Key, KeyOrigin, KeyRing, KeySettings, KeyUpdate, KeyVersion,
    NewKey, Rotation, Stopped, TokenObject, new_request_id,
};
pub use local::LocalVerification;
pub use mac::{Mac, MacVerdict};
pub use name::KeyRef;
pub use options::{ConnectOptions, Credentials};
pub use pages::Pages;
pub use pem::TlsFile;
pub use public_key::{PublicKey, PublicKeyFormat};
pub use receipt::{NoReceipt, ReceiptAnswer};
pub use records::{Outcome, Record, RecordDecision, RecordFilter, RecordKind, RecordQuery};
pub use retry::RetryPolicy;
pub use sign::Signed;
pub use signer::{KeySigner, Signature, VerifyingKey};
pub use stream::{SignAnswer, SignAnswers, SignSender};
pub use transparency::{ConsistencyProof, InclusionProof, LogCheckpoint, LogKey};
pub use transport::Connection;
pub use verify::{Finding, Verdict, VerifyItem};
pub use watch::{RecordWatch, WatchOptions};
