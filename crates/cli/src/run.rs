//! From arguments to exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory as _;
use tokio::runtime::{Builder, Runtime};

use crate::arguments::{Arguments, Call, Calling, CallingGroup, Command};
use crate::connection::DevIdentity;
use crate::exit::{Exit, Failure};

/// How long threads may take that are at work when all is done.
const LEAVING: Duration = Duration::from_secs(10);

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
    // Whatever the command is, it comes to hold a PIN, a private key or what is to be signed. No thread runs yet.
    chancery_hsm::keep_memory_private().map_err(|error| {
        Failure::local("cannot keep this process's memory from being dumped or read").because(error)
    })?;
    let mut stdout = io::stdout();
    match arguments.command {
        Command::Completion(command) => command.run(Arguments::command(), &mut stdout),
        Command::Config(command) => command.run(&mut stdout),
        Command::Backup(command) => command.run(&mut stdout),
        Command::State(command) => to_the_end(command.run(&mut stdout)),
        Command::Scan(command) => command.run(&mut stdout),
        Command::Init(command) => command.run(&mut stdout),
        Command::Witness(command) => to_the_end(command.run(&mut stdout)),
        // The service and the load on it spread over threads; a call has one answer to wait for.
        Command::Bootstrap(command) => runtime(Builder::new_current_thread())?.block_on(command.run(&mut stdout)),
        Command::Serve(command) => to_the_end(command.run()),
        Command::Dev(command) => to_the_end(command.run(&mut stdout)),
        Command::Bench(Calling { command, output, connection }) => {
            let out = &mut output.to(&mut stdout);
            runtime(Builder::new_multi_thread())?.block_on(command.run(&connection, out, &mut io::stderr()))
        }
        Command::Call(call) => runtime(Builder::new_current_thread())?.block_on(make(*call)),
    }
}

/// Connects as whoever the call is for, makes it, and answers.
async fn make(call: Call) -> Result<Exit, Failure> {
    use DevIdentity::{Caller, Operator};
    let mut stdout = io::stdout();
    match call {
        Call::Keys(CallingGroup { command, output, connection }) => {
            command.run(&connection.connect(Operator).await?, &mut output.to(&mut stdout)).await
        }
        Call::Rings(CallingGroup { command, output, connection }) => {
            command.run(&connection.connect(Operator).await?, &mut output.to(&mut stdout)).await
        }
        Call::Callers(CallingGroup { command, output, connection }) => {
            command.run(&connection.connect(Operator).await?, &mut output.to(&mut stdout)).await
        }
        Call::ApiKeys(CallingGroup { command, output, connection }) => {
            command.run(&connection.connect(Operator).await?, &mut output.to(&mut stdout), &mut io::stderr()).await
        }
        Call::Sign(Calling { command, output, connection }) => {
            command.run(&connection.connect(Caller).await?, &mut output.to(&mut stdout), &mut io::stderr()).await
        }
        // A receipt is verified without any service.
        Call::Verify(Calling { command, output, .. }) if command.is_of_receipt() => {
            command.verify_receipt(&mut output.to(&mut stdout))
        }
        Call::Verify(Calling { command, output, connection }) => {
            command.run(&connection.connect(Caller).await?, &mut output.to(&mut stdout), &mut io::stderr()).await
        }
        Call::Mac(CallingGroup { command, output, connection }) => {
            connection.refuse_caller_signature(
                "a MAC has no signature of its caller; those go with sign, jwt sign and keys csr",
            )?;
            command.run(&connection.connect(Caller).await?, &mut output.to(&mut stdout), &mut io::stderr()).await
        }
        Call::Random(Calling { command, output, connection }) => {
            command.run(&connection.connect(Caller).await?, &mut output.to(&mut stdout)).await
        }
        Call::Jwt(CallingGroup { command, output, connection }) => {
            command.run(&connection.connect(Caller).await?, &mut output.to(&mut stdout), &mut io::stderr()).await
        }
        Call::PublicKey(Calling { command, output, connection }) => {
            command.run(&connection.connect(Caller).await?, &mut output.to(&mut stdout)).await
        }
        Call::Policy(CallingGroup { command, output, connection }) => {
            command.run(&connection, &mut output.to(&mut stdout), &mut io::stderr()).await
        }
        Call::Audit(CallingGroup { command, output, connection }) => {
            command.run(&connection, &mut output.to(&mut stdout), &mut io::stderr()).await
        }
        Call::Token(CallingGroup { command, output, connection }) => {
            command.run(&connection, &mut output.to(&mut stdout)).await
        }
        Call::Health(Calling { command, output, connection }) => {
            command.run(&connection.connect(Operator).await?, &mut output.to(&mut stdout)).await
        }
    }
}

/// Runs what reads the database and the archive. A thread that hangs, because the disk under it does not answer, is not waited
/// for when all else is done.
fn to_the_end(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = runtime(Builder::new_multi_thread())?;
    let end = runtime.block_on(command);
    runtime.shutdown_timeout(LEAVING);
    end
}

fn runtime(mut builder: Builder) -> Result<Runtime, Failure> {
    builder.enable_all().build().map_err(|error| Failure::local("cannot start the asynchronous runtime").because(error))
}
