//! One file for each group of commands: its arguments, its help, and what it does.

pub mod api_keys;
pub mod audit;
mod audit_checkpoint;
mod audit_log;
mod audit_receipts;
mod audit_show;
pub mod backup;
pub mod bench;
pub mod bootstrap;
mod caller_limits;
pub mod callers;
pub mod completion;
pub mod config;
pub mod dev;
pub mod health;
pub mod init;
pub mod jwt;
pub mod key_certificates;
pub mod key_settings;
pub mod key_states;
pub mod keys;
mod log_signer;
pub mod mac;
mod output_file;
pub mod policy;
mod provision;
pub mod public_key;
pub mod random;
mod receipt_files;
pub mod rings;
pub mod scan;
pub mod serve;
mod several;
pub mod sign;
pub mod state;
pub mod token;
pub mod verify;
mod verify_receipt;
pub mod witness;
mod witnesses;

use chancery_client::EcdsaEncoding;
use chancery_model::{Action, Algorithm, UnknownAction};
use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// How many items a page of a list call asks for, at most.
const PAGE: i32 = 500;

/// How an ECDSA signature is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Encoding {
    /// DER SEQUENCE of r and s, as X.509 and TLS use it
    #[default]
    Der,
    /// r and s in fixed width one after the other, as JOSE uses it
    P1363,
}

impl From<Encoding> for EcdsaEncoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Der => Self::Der,
            Encoding::P1363 => Self::P1363,
        }
    }
}

/// Algorithms by the API's names, which `--help` and completion list; in any case.
fn algorithm() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::as_str)).try_map(|name| name.parse::<Algorithm>())
}

/// Actions by the API's names, which `--help` and completion list; in any case.
fn action() -> impl TypedValueParser<Value = Action> {
    PossibleValuesParser::new(Action::ALL.map(Action::as_str)).try_map(|name| {
        let known = Action::ALL.into_iter().find(|action| action.as_str().eq_ignore_ascii_case(&name));
        known.ok_or(UnknownAction(name))
    })
}
