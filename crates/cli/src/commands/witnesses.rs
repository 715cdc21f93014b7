//! The witnesses that whoever verifies trusts: the same words, and the same rule, wherever cosignatures are checked.

use chancery_audit::note::VerifierKey;
use chancery_audit::witness::WitnessPolicy;
use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::exit::Failure;

/// Whose cosignatures the log must have.
#[derive(Debug, Args)]
pub struct WitnessArguments {
    /// A witness's key: the log must be cosigned; again for more witnesses
    #[arg(long, value_name = "VKEY", value_parser = VerifierKey::parse)]
    witness: Vec<VerifierKey>,
    /// How many of the witnesses must have cosigned; all of them where it is not given
    #[arg(long, value_name = "N", requires = "witness", value_parser = required())]
    required_witnesses: Option<usize>,
}

impl WitnessArguments {
    /// What they come to.
    pub fn policy(self) -> Result<WitnessPolicy, Failure> {
        policy(self.witness, self.required_witnesses)
    }
}

/// How many are required: one at least. Where none is, nobody vouches, and nothing should say that somebody does.
pub fn required() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// `required` of these witnesses, or all.
pub fn policy(witnesses: Vec<VerifierKey>, required: Option<usize>) -> Result<WitnessPolicy, Failure> {
    let required = required.unwrap_or(witnesses.len());
    WitnessPolicy::new(witnesses, required).map_err(|error| Failure::usage(error.to_string()))
}
