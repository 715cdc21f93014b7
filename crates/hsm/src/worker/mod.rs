//! The worker: the only process that loads a PKCS#11 module. The program's hidden command calls [`run`].
//!
//! It is a process of its own because vendor libraries crash, hang and lose their state: then one token is away for
//! some milliseconds, and the service is not. It is told what to do, PIN included, over the inherited control socket.

mod adopt;
mod change_pin;
mod doctor;
mod fault;
mod held;
mod initialise;
mod keys;
mod lane;
mod latch;
mod lock;
mod measure;
mod mechanism;
mod module;
mod operations;
mod probe;
mod process;
mod reinitialise;
mod serve;
mod slots;

use crate::wire::{Started, Task, read_control, write_control};
use std::io;

/// The hidden command: does what the service asks for over the inherited control socket, then ends the process
/// without running exit handlers.
///
/// Must be called before the program opens files or starts threads. Ends with status 0 after an orderly stop, 1 where
/// talking to the service failed, 64 where it was not started by a service, and 70 after a panic.
pub fn run() -> ! {
    let ordinary = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        ordinary(panic);
        // A worker that panics no longer knows its token. A new one does.
        process::leave(70);
    }));
    let control = match process::control_socket() {
        Ok(control) => control,
        Err(error) => {
            explain(&format!(
                "this command is for Chancery itself, which calls it with sockets to talk over ({error})"
            ));
            process::leave(64)
        }
    };
    let result = process::harden().and_then(|()| match read_control(&control)? {
        None => Ok(()),
        Some(Task::Serve(task)) => serve::run(&control, task),
        Some(Task::Initialise(task)) => answer(&control, initialise::run(task)),
        Some(Task::Reinitialise(task)) => answer(&control, reinitialise::run(task)),
        Some(Task::ChangePin(task)) => write_control(&control, &change_pin::run(task)),
        Some(Task::ListSlots(task)) => answer(&control, slots::run(&task)),
        Some(Task::Examine(task)) => doctor::run(&control, task),
        Some(Task::Measure(task)) => answer(&control, measure::run(task)),
    });
    match result {
        Ok(()) => process::leave(0),
        // The service is gone in the middle of an answer: nothing is left to be told.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            process::leave(0)
        }
        Err(error) => {
            explain(&error.to_string());
            process::leave(1)
        }
    }
}

fn answer(control: &std::os::unix::net::UnixStream, result: Result<Started, fault::Fault>) -> io::Result<()> {
    write_control(control, &result.unwrap_or_else(|fault| Started::Failed(fault.into())))
}

fn explain(message: &str) {
    use std::io::Write;
    // Standard error is all there is; if it is closed, so be it.
    let _unsaid = writeln!(io::stderr(), "chancery worker {}: {message}", std::process::id());
}
