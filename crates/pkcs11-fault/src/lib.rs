//! A PKCS#11 module that stands before another one and lets it fail, as told by rules in a file.
//!
//! As a shared library it is what a program loads in the place of its HSM's module. As a Rust library it is what a test
//! writes rules with ([`Rule`], [`FaultRules`]) and reads what really happened ([`Injected`]). `README.md` is its manual.
//!
//! In scope: return codes, lateness, crashes, lost sessions, absent tokens, lies; a log of each.
//! Out of scope: being a token. Whatever no rule is about is done by the module behind, unchanged.

mod control;
mod function;
mod harness;
mod log;
mod module;
mod names;
mod paths;
mod rules;
mod state;

pub use function::Function;
pub use harness::{FaultRules, HarnessError, library};
pub use log::Injected;
pub use names::return_codes;
pub use paths::{LOG_VARIABLE, MODULE_VARIABLE, RULES_VARIABLE};
pub use rules::{
    At, AttributeLie, AttributeValue, Choice, Crash, Find, Functions, Hang, Rule, Rules, Then, Verdict, When,
};
