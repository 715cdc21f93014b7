//! `chancery completion`.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use crate::exit::{Exit, Failure};

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  source <(chancery completion bash)
  chancery completion zsh > \"${fpath[1]}/_chancery\"
  chancery completion fish > ~/.config/fish/completions/chancery.fish")]
pub struct CompletionCommand {
    /// Which shell
    shell: Shell,
}

impl CompletionCommand {
    /// Writes the completion script of `command`.
    pub fn run(&self, mut command: clap::Command, out: &mut dyn Write) -> Result<Exit, Failure> {
        // Into memory first: clap_complete panics where its writer fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "chancery", &mut script);
        out.write_all(&script).and_then(|()| out.flush()).map_err(Failure::output)?;
        Ok(Exit::Done)
    }
}
