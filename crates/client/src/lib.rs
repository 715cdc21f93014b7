//! The Rust client.
//!
//! In scope: one mutual-TLS connection to Chancery, the typed clients of its services over it, the calls that carry
//! checksums ([`Client::sign`], [`Client::verify`], [`Client::public_key`]) with their answers checked, and errors that
//! say what happened and what to do. Out of scope: retries, streams and local verification (nothing here repeats a call
//! or trusts its own mathematics), the words themselves (`chancery_model`), the generated messages (`chancery_api`).
//!
//! ```no_run
//! # async fn example() -> Result<(), chancery_client::ClientError> {
//! use chancery_client::{Client, ConnectOptions, Input, EcdsaEncoding};
//!
//! let options = ConnectOptions::new("https://127.0.0.1:8443", "ca.pem", "caller.pem", "caller.key");
//! let client = Client::connect(options).await?;
//! let input = Input::Message(b"pay 5 to Ada".to_vec());
//! let signed = client.sign("keyRings/dev/keys/invoices", input.clone(), EcdsaEncoding::Der).await?;
//! // Keep the version with the signature: after a rotation the key's name means another one.
//! let verdict = client.verify(&signed.version.to_string(), input, signed.signature, EcdsaEncoding::Der).await?;
//! assert!(verdict.valid);
//! # Ok(())
//! # }
//! ```

mod connect;
mod convert;
mod error;
mod pem;
mod signing;

pub use chancery_model::EcdsaEncoding;
pub use connect::{Client, ConnectOptions, Connection, Deadline};
pub use convert::{algorithm_from_proto, algorithm_to_proto, state_from_proto};
pub use error::{ClientError, ConnectProblem, FieldViolation, Refusal};
pub use pem::TlsFile;
pub use signing::{Input, PublicKey, PublicKeyFormat, Signed, Verdict};
