//! What can be typed.

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::api_keys::ApiKeysCommand;
use crate::commands::audit::AuditCommand;
use crate::commands::backup::BackupCommand;
use crate::commands::bench::BenchCommand;
use crate::commands::bootstrap::BootstrapCommand;
use crate::commands::callers::CallersCommand;
use crate::commands::completion::CompletionCommand;
use crate::commands::config::ConfigCommand;
use crate::commands::dev::DevCommand;
use crate::commands::health::HealthCommand;
use crate::commands::init::InitCommand;
use crate::commands::jwt::JwtCommand;
use crate::commands::keys::KeysCommand;
use crate::commands::mac::MacCommand;
use crate::commands::policy::PolicyCommand;
use crate::commands::public_key::PublicKeyCommand;
use crate::commands::random::RandomCommand;
use crate::commands::rings::RingsCommand;
use crate::commands::scan::ScanCommand;
use crate::commands::serve::ServeCommand;
use crate::commands::sign::SignCommand;
use crate::commands::state::StateCommand;
use crate::commands::token::TokenCommand;
use crate::commands::verify::VerifyCommand;
use crate::commands::witness::WitnessCommand;
use crate::connection::{CONNECTION, ConnectionArguments};
use crate::exit::Exit;
use crate::output::OutputArguments;

/// Signs with keys that never leave their hardware security module, under policy, and never off the record
#[derive(Debug, Parser)]
#[command(name = "chancery", version, max_term_width = 120, after_long_help = format!("\
Names are typed short or whole: dev/invoices/2 is keyRings/dev/keys/invoices/versions/2.

Examples:
  chancery dev --dir ~/.chancery      # a service for development, with everything it needs
  export CHANCERY_DEV=~/.chancery     # in another terminal
  chancery keys create dev/invoices --algorithm ECDSA_P256_SHA256
  chancery sign dev/invoices --in invoice.pdf --signature invoice.sig
  chancery verify dev/invoices --in invoice.pdf --signature invoice.sig

{}", Exit::HELP))]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of groups that call the service, which call nobody themselves.
const WITHOUT_A_SERVICE: [[&str; 2]; 3] = [["token", "init"], ["token", "change-pin"], ["token", "doctor"]];

impl Arguments {
    /// What was typed.
    pub fn typed() -> Self {
        let matches = command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// The command line. A command that calls nobody does not show the options of its group for how the service is called.
fn command() -> clap::Command {
    let mut command = Arguments::command();
    // Hands the options of groups down to their commands.
    command.build();
    let is_for_calls = |argument: &clap::Arg| argument.get_help_heading() == Some(CONNECTION);
    WITHOUT_A_SERVICE.into_iter().fold(command, |command, [group, name]| {
        command.mut_subcommand(group, |group| {
            group.mut_subcommand(name, |command| {
                command.mut_args(|argument| {
                    let hide = is_for_calls(&argument);
                    argument.hide(hide)
                })
            })
        })
    })
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service by a configuration file
    Serve(ServeCommand),
    /// Run a service for development, with everything it needs made in a folder
    Dev(DevCommand),
    /// Write the configuration of a service in production: asks, or takes options
    Init(Box<InitCommand>),
    /// Register the first caller, before the service is started for the first time
    Bootstrap(BootstrapCommand),
    /// Look at a configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check the state in the database against its seal; accept another one
    #[command(subcommand)]
    State(StateCommand),
    /// Back the database up, check a backup, restore it
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Look for API keys and private keys that are where they do not belong
    Scan(ScanCommand),
    /// Run a small witness of transparency logs, for tests and demonstrations
    Witness(WitnessCommand),
    /// What calls a running service.
    #[command(flatten)]
    Call(Box<Call>),
    /// Measure signing through the service against the token alone
    Bench(Calling<BenchCommand>),
    /// Print a completion script for a shell
    Completion(CompletionCommand),
}

/// What calls a running service and has one answer.
#[derive(Debug, Subcommand)]
pub enum Call {
    /// Create, adopt, list, change, rotate, retire and destroy keys
    Keys(CallingGroup<KeysCommand>),
    /// List and show key rings, freeze and unfreeze them
    Rings(CallingGroup<RingsCommand>),
    /// Register, list, change and suspend callers
    Callers(CallingGroup<CallersCommand>),
    /// Issue, list, rotate and revoke the API keys of callers
    ApiKeys(CallingGroup<ApiKeysCommand>),
    /// Sign a message, a digest, or several files
    Sign(Calling<SignCommand>),
    /// Check signatures; exit code 0 where all are valid, 1 where one is not
    Verify(Calling<VerifyCommand>),
    /// Make and check message authentication codes
    Mac(CallingGroup<MacCommand>),
    /// Make JSON Web Tokens
    Jwt(CallingGroup<JwtCommand>),
    /// Print a public key
    PublicKey(Calling<PublicKeyCommand>),
    /// Print random bytes from a token
    Random(Calling<RandomCommand>),
    /// Keep policy in a folder, check, test, compare, apply and explain it; review who can do what
    Policy(CallingGroup<PolicyCommand>),
    /// Read the record; export and verify the whole log
    Audit(CallingGroup<AuditCommand>),
    /// Make and examine PKCS#11 tokens, read how the service's are, and clear a PIN latch
    Token(CallingGroup<TokenCommand>),
    /// Ask whether the service serves
    Health(Calling<HealthCommand>),
}

/// A command that calls the service: its own arguments, and those that all such commands have.
#[derive(Debug, Args)]
pub struct Calling<C: Args> {
    #[command(flatten)]
    pub command: C,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// The same for a group of commands.
#[derive(Debug, Args)]
pub struct CallingGroup<C: Subcommand> {
    #[command(subcommand)]
    pub command: C,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn each_command_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command.get_subcommands().for_each(|sub| check(sub, &path));
            } else {
                let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{path} has no examples");
                let wide = help.lines().find(|line| line.starts_with("  ") && line.len() > 100);
                assert_eq!(wide, None, "{path}: an example is wrapped where no terminal says how wide it is");
                assert!(command.get_about().is_some(), "{path} does not say what it does");
            }
        }
        Arguments::command().get_subcommands().for_each(|command| check(command, "chancery"));
    }

    /// Clap knows arguments by id: one that has the id of an option of its group would shadow it, and that would be found
    /// only when it is used.
    #[test]
    fn no_argument_shadows_an_option_of_its_group() {
        fn check(command: &clap::Command, above: &[String]) {
            let ids = || command.get_arguments().map(|argument| argument.get_id().to_string());
            for id in ids() {
                assert!(!above.contains(&id), "{} {id}", command.get_name());
            }
            let above: Vec<String> = above.iter().cloned().chain(ids()).collect();
            command.get_subcommands().for_each(|sub| check(sub, &above));
        }
        check(&Arguments::command(), &[]);
    }

    #[test]
    fn options_may_stand_before_and_after_the_command_of_a_group() {
        for line in ["chancery keys --dev d list --output json", "chancery keys list -o json --dev d"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            let Command::Call(call) = arguments.command else { panic!("parsed as something else") };
            let Call::Keys(keys) = *call else { panic!("parsed as something else") };
            assert_eq!(keys.output.output, Format::Json);
            assert_eq!(keys.connection.dev.as_deref(), Some(std::path::Path::new("d")));
        }
    }

    #[test]
    fn what_calls_nobody_shows_no_options_for_it() {
        for [group, name] in WITHOUT_A_SERVICE {
            let mut help = command();
            let help = help.find_subcommand_mut(group).unwrap().find_subcommand_mut(name).unwrap();
            let help = help.render_long_help().to_string();
            assert!(help.contains("--output") && !help.contains("--endpoint") && !help.contains(CONNECTION), "{help}");
        }
        let mut all = command();
        let list = all.find_subcommand_mut("token").unwrap().find_subcommand_mut("list").unwrap();
        assert!(list.render_long_help().to_string().contains("--endpoint"));
    }

    #[test]
    fn what_calls_nobody_has_no_options_for_it() {
        for line in ["chancery serve --config c --endpoint https://x:1", "chancery dev --dir d --as caller"] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "chancery keys list --dev d --endpoint https://x:1",
            "chancery sign dev/k --in m --digest 00",
            "chancery sign dev",
            "chancery sign dev/k a b --in m",
            "chancery sign dev/k a --digest 00",
            "chancery sign dev/k a --receipt r",
            "chancery verify dev/k",
            "chancery verify dev/k a --signature s",
            "chancery verify --receipt r",
            "chancery verify --receipt r --log-key nonsense",
            "chancery verify --signature s",
            "chancery verify dev/k --signature s --public-key p",
            "chancery mac verify dev/k",
            "chancery random dev --bytes 0",
            "chancery keys create dev/k",
            "chancery keys create dev/k --algorithm MD5",
            "chancery keys suspend dev/k",
            "chancery keys update dev/k",
            "chancery keys adopt dev/k --algorithm ED25519",
            "chancery keys adopt dev/k --algorithm ED25519 --object-id 0g",
            "chancery rings freeze",
            "chancery keys update dev/k --label a=b --no-labels",
            "chancery keys update dev/k --deletion-protection maybe",
            "chancery keys create dev/k -a ED25519 --publish-ahead 1d",
            "chancery policy validate",
            "chancery",
        ] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn algorithms_and_actions_are_taken_in_any_case() {
        let line = "chancery keys create dev/k --algorithm ecdsa_p256_sha256";
        assert!(Arguments::try_parse_from(line.split(' ')).is_ok());
        assert!(Arguments::try_parse_from("chancery policy explain --action sign".split(' ')).is_ok());
    }

    #[test]
    fn each_shell_completes_the_commands() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let arguments = Arguments::try_parse_from(["chancery", "completion", shell]).unwrap();
            let Command::Completion(completion) = arguments.command else { panic!("parsed as something else") };
            let mut script = Vec::new();
            completion.run(Arguments::command(), &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("public-key") && script.contains("suspend"), "{shell}");
            assert!(!script.contains(crate::WORKER_COMMAND), "{shell}: the worker's command is hidden");
        }
    }
}
