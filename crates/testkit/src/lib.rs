//! A real Chancery on a real SoftHSM in a temporary folder, for our tests and for our users' integration tests.
//!
//! In scope: starting the real binary (`chancery dev`) in a folder of its own, with more rings, callers and policies where
//! a test needs them; a key; clients as its callers; certificates, good and bad ones, of its authority; stopping, killing
//! and restarting it on the same folder; its log, shown where a test fails. Out of scope: mocks (nothing here pretends), and
//! what is tested.
//!
//! ```no_run
//! use chancery_testkit::Chancery;
//! use chancery_testkit::client::EcdsaEncoding;
//!
//! #[tokio::test]
//! # async fn hidden() {}
//! async fn invoices_are_signed() -> Result<(), chancery_testkit::Error> {
//!     let chancery = Chancery::start().await?;
//!     let key = chancery.key().await?;          // P-256, in the ring keyRings/dev
//!     let caller = chancery.caller().await?;    // a chancery_client::Client that may sign with it
//!     let signed = caller.sign(key, "pay 5 to Ada", EcdsaEncoding::Der).await?;
//!     assert_eq!(signed.version, key.version(1));
//!     Ok(())
//! }                                             // dropped: the service and its folder go
//! # fn main() {}
//! ```
//!
//! A service under test gets [`Chancery::endpoint`], [`Chancery::ca`] and [`Chancery::caller_identity`], or, where it reads
//! `CHANCERY_DEV` as the examples do, [`Chancery::dir`].
//!
//! # More than one caller
//!
//! [`Chancery::caller`] has the role `signer` and [`Chancery::operator`] the roles `key-administrator`,
//! `policy-administrator`, `caller-administrator` and `auditor`. [`Setup`] adds callers of other roles, rings, environments, groups and policies:
//!
//! ```no_run
//! # async fn example() -> Result<(), chancery_testkit::Error> {
//! use chancery_testkit::client::{ClientError, EcdsaEncoding, RefusalKind};
//! use chancery_testkit::{CallerSetup, Chancery};
//!
//! let chancery = Chancery::setup().with(CallerSetup::new("checker").role("verifier").ring("dev")).start().await?;
//! let checker = chancery.connect_as("checker").await?;
//! let denied = checker.sign(chancery.key().await?, "pay 5 to Eve", EcdsaEncoding::Der).await.unwrap_err();
//! assert!(matches!(denied, ClientError::Refused(refusal) if refusal.kind() == RefusalKind::Denied));
//! # Ok(())
//! # }
//! ```
//!
//! # What it needs
//!
//! Linux, SoftHSM 2, and the binary: that of the environment variable `CHANCERY_BIN`, or else `chancery` in the folder that
//! the test itself was built into, or else on the `PATH`. What is missing is said. The token is SoftHSM's, or Kryoptic's with
//! `CHANCERY_TEST_MODULE=kryoptic` (see [`Module`]). With `CHANCERY_TESTKIT_KEEP` set, folders stay for inspection.
//!
//! # Fast, and side by side
//!
//! From nothing to the first signature it takes about a third of a second on a quiet machine; `cargo run -p chancery-testkit --example
//! start_to_signature` says how long on your machine. Every instance has its own token, folder and free ports, so tests can
//! run at the same time, in threads or in processes. The service ends with the test, however that ends: it stops when its
//! standard input does.

mod authority;
mod error;
mod launch;
mod module;
mod process;
mod running;
mod setup;

/// The Rust client.
pub use chancery_client as client;

pub use authority::{Authority, Crl, IdentityFiles, KeyKind, Leaf};
pub use error::Error;
pub use module::Module;
pub use process::signal;
pub use running::Chancery;
pub use setup::{CallerSetup, Setup};
