//! Programs at a terminal, as a person runs them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "the helpers of tests fail like tests")]

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::contract::PATIENCE;

/// A program at a terminal of its own.
#[derive(Debug)]
pub struct AtTerminal {
    child: Child,
    said: mpsc::Receiver<String>,
    heard: String,
}

impl AtTerminal {
    /// Starts it.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn run(command: &Command) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let quoted: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let mut script = crate::program::command("script");
        // Without `exec`, a shell that stays beside the program (dash) meets its Ctrl-C, too, and ends with 130 whatever
        // the program answers.
        let line = format!("exec {}", quoted.join(" "));
        script.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                // The test may have failed meanwhile.
                let _gone = sender.send(String::from_utf8_lossy(&piece[..length]).into_owned());
            }
        });
        Self { child, said, heard: String::new() }
    }

    /// Waits for a question that has not been answered yet, and answers it.
    ///
    /// # Panics
    /// Where it is not asked.
    pub fn answer(&mut self, question: &str, answer: &str) {
        while !self.heard.contains(question) {
            match self.said.recv_timeout(PATIENCE) {
                Ok(piece) => self.heard.push_str(&piece),
                Err(_) => panic!("no {question:?} in: {}", self.heard),
            }
        }
        let (before, after) = self.heard.split_once(question).unwrap();
        self.heard = format!("{before}(asked){after}");
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(answer.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Waits for its end: what it said, and its exit code.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn end(mut self) -> (String, Option<i32>) {
        while let Ok(piece) = self.said.recv_timeout(PATIENCE) {
            self.heard.push_str(&piece);
        }
        let status = self.child.wait().unwrap();
        (self.heard, status.code())
    }
}
