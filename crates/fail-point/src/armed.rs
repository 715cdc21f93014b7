//! Dying at the step that a test has named.

use crate::{FAIL_POINT_VARIABLE, FailPoint};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The step at which this process dies, and how often it may come past it until then.
struct Armed {
    point: FailPoint,
    left: AtomicU32,
}

/// The process has one life, so this is its own and nobody's parameter.
static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
    let text = std::env::var(FAIL_POINT_VARIABLE).ok().filter(|text| !text.is_empty())?;
    let Some((point, pass)) = parse(&text) else {
        refuse(&text);
    };
    Some(Armed { point, left: AtomicU32::new(pass) })
});

pub(crate) fn pass(point: FailPoint) {
    let Some(armed) = &*ARMED else { return };
    if armed.point == point && armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        die();
    }
}

fn parse(text: &str) -> Option<(FailPoint, u32)> {
    let (name, pass) = text.split_once(':')?;
    let point = FailPoint::ALL.iter().find(|point| point.name() == name)?;
    Some((*point, pass.parse().ok().filter(|pass| *pass > 0)?))
}

/// As a kernel kills that is out of memory: the signal cannot be caught, and nothing is tidied up.
fn die() -> ! {
    // It cannot fail; and where it did, this thread would still go no further.
    let _unsaid = kill(Pid::this(), Signal::SIGKILL);
    loop {
        std::thread::park();
    }
}

/// A test that asks for what there is not would otherwise wait in vain.
#[allow(clippy::print_stderr, reason = "only in builds of tests, whose log is where this belongs")]
fn refuse(text: &str) -> ! {
    eprintln!("{FAIL_POINT_VARIABLE}={text} names no step and pass, for example intent-committed:3");
    std::process::exit(2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_and_its_pass_are_read() {
        assert_eq!(parse("intent-committed:3"), Some((FailPoint::IntentCommitted, 3)));
        for wrong in ["", "intent-committed", "intent-committed:0", "intent-committed:x", "intent:1", ":1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
