//! From arguments to exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory as _;
use tokio::runtime::{Builder, Runtime};

use crate::arguments::{Arguments, Call, Command};
use crate::connection::{ConnectionArguments, DevIdentity};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Runs a command; writes what went wrong to standard error.
pub fn run(arguments: Arguments) -> ExitCode {
    let exit = dispatch(arguments).unwrap_or_else(|failure| {
        let (text, exit) = failure.report();
        // Where standard error is closed, the exit code is all that can be said.
        let _ignored = io::stderr().write_all(text.as_bytes());
        exit
    });
    exit.into()
}

fn dispatch(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { output, connection, command } = arguments;
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    match command {
        Command::Completion(command) => command.run(Arguments::command(), &mut stdout),
        Command::Config(command) => command.run(&mut Output::new(output, &mut stdout)),
        // The service and the load on it spread over threads; a call has one answer to wait for.
        Command::Serve(command) => runtime(Builder::new_multi_thread())?.block_on(command.run()),
        Command::Dev(command) => runtime(Builder::new_multi_thread())?.block_on(command.run(&mut stdout)),
        Command::Bench(command) => {
            let out = &mut Output::new(output, &mut stdout);
            runtime(Builder::new_multi_thread())?.block_on(command.run(&connection, out, &mut stderr))
        }
        Command::Call(call) => {
            let out = &mut Output::new(output, &mut stdout);
            runtime(Builder::new_current_thread())?.block_on(make(call, &connection, out, &mut stderr))
        }
    }
}

async fn make(
    call: Call,
    connection: &ConnectionArguments,
    out: &mut Output<'_>,
    note: &mut dyn Write,
) -> Result<Exit, Failure> {
    let who = match call {
        Call::Sign(_) | Call::Verify(_) | Call::PublicKey(_) => DevIdentity::Caller,
        Call::Keys(_) | Call::Policy(_) | Call::Audit(_) | Call::Token(_) | Call::Health(_) => DevIdentity::Operator,
    };
    let client = &connection.connect(who).await?;
    match call {
        Call::Keys(command) => command.run(client, out).await,
        Call::Sign(command) => command.run(client, out, note).await,
        Call::Verify(command) => command.run(client, out).await,
        Call::PublicKey(command) => command.run(client, out).await,
        Call::Policy(command) => command.run(client, out).await,
        Call::Audit(command) => command.run(client, out).await,
        Call::Token(command) => command.run(client, out).await,
        Call::Health(command) => command.run(client, out).await,
    }
}

fn runtime(mut builder: Builder) -> Result<Runtime, Failure> {
    builder.enable_all().build().map_err(|error| Failure::local("cannot start the asynchronous runtime").because(error))
}
