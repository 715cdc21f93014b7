//! A last question before something is done that cannot be taken back by itself.

use std::io::{self, BufRead, IsTerminal as _, Write};

use crate::exit::Failure;

/// Asks at the terminal. Where there is none, says which option answers instead.
pub fn confirmed(question: &str, note: &mut dyn Write) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage("nobody is at a terminal to confirm").hint("look at the difference, then give --yes")
        );
    }
    ask(question, &mut io::stdin().lock(), note)
}

/// Anything but a clear yes is a no.
fn ask(question: &str, input: &mut dyn BufRead, note: &mut dyn Write) -> Result<bool, Failure> {
    let unable = |error| Failure::local("cannot ask at the terminal").because(error);
    write!(note, "{question} [y/N] ").and_then(|()| note.flush()).map_err(unable)?;
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(unable)?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for (answer, expected) in [
            ("y\n", true),
            ("YES\n", true),
            (" yes ", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
            ("yess\n", false),
        ] {
            let mut note = Vec::new();
            assert_eq!(ask("Apply?", &mut answer.as_bytes(), &mut note).unwrap(), expected, "{answer:?}");
            assert_eq!(note, b"Apply? [y/N] ");
        }
    }
}
