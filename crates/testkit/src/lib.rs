//! A real Chancery on a real SoftHSM in a temporary folder, for our tests and for our users' integration tests.
//!
//! In scope: starting the real binary (`chancery dev`) in a folder of its own, with more rings, callers and policies where
//! a test needs them; clients as its callers; certificates, good and bad ones, of its authority; stopping, killing and
//! restarting it on the same folder; its log, shown where a test fails. Out of scope: mocks (nothing here pretends), and
//! what is tested.
//!
//! ```no_run
//! # async fn example() -> Result<(), chancery_testkit::Error> {
//! use chancery_testkit::Chancery;
//!
//! let chancery = Chancery::start().await?;
//! let operator = chancery.operator().await?; // administers keys
//! let caller = chancery.caller().await?;     // signs
//! # let _ = (operator, caller);
//! chancery.stop().await?;                    // or drop it
//! # Ok(())
//! # }
//! ```
//!
//! The binary is that of the environment variable `CHANCERY_BIN`, or else `chancery` in the folder that the test itself was
//! built into. The token is SoftHSM's, or Kryoptic's with `CHANCERY_TEST_MODULE=kryoptic` (see [`Module`]). With
//! `CHANCERY_TESTKIT_KEEP` set, folders stay for inspection.

mod authority;
mod error;
mod module;
mod process;
mod running;
mod setup;

pub use authority::{Authority, IdentityFiles, Leaf};
pub use error::Error;
pub use module::Module;
pub use process::signal;
pub use running::Chancery;
pub use setup::{CallerSetup, Setup};
