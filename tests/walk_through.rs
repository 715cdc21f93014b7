//! `docs/walk-through.md`, as it stands: every command of the page is run, in order, by one shell in an empty folder.
//!
//! In the page, a block of `sh` is run whole and must go well. In a block of `console`, lines that begin with `$ ` are
//! commands, which end with 0 or as their comment says (`# exit code 5`); the lines below are what a command says, in this
//! order (and those with `# ` are remarks), where `...` stands for anything, spaces count as one, and lines that are not shown may stand between.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;

use chancery_tests::contract::PATIENCE;
use chancery_tests::program::{chancery, command, source_tree};
use chancery_tests::softhsm::softhsm;

const PAGE: &str = "docs/walk-through.md";

/// What a reader types, and what he is to see then.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// The line of the page that it begins at.
    line: usize,
    commands: String,
    exit_code: i32,
    shown: Vec<String>,
}

/// The steps of a page.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut block = None;
    for (text, line) in page.lines().zip(1..) {
        match (block, text) {
            (None, text) if text.starts_with("```") => {
                let language = text.trim_start_matches('`');
                if language == "sh" {
                    steps.push(Step {
                        line: line + 1,
                        commands: "set -e\n".to_owned(),
                        exit_code: 0,
                        shown: Vec::new(),
                    });
                }
                block = Some(language);
            }
            (Some(language), "```") => {
                if language == "sh" {
                    steps.last_mut().unwrap().commands.push_str("set +e\n");
                }
                block = None;
            }
            (Some("sh"), text) => {
                let commands = &mut steps.last_mut().unwrap().commands;
                commands.push_str(text);
                commands.push('\n');
            }
            (Some("console"), text) => match text.strip_prefix("$ ") {
                Some(commands) => {
                    let code = commands.split_once("# exit code ").map_or("0", |(_, code)| code);
                    let digits: String = code.chars().take_while(char::is_ascii_digit).collect();
                    let exit_code = digits.parse().unwrap();
                    steps.push(Step { line, commands: format!("{commands}\n"), exit_code, shown: Vec::new() });
                }
                None if text.starts_with("# ") => {}
                None => steps.last_mut().unwrap().shown.push(text.to_owned()),
            },
            (Some(language), _) => panic!("{PAGE}:{line}: nothing runs a block of {language:?}"),
            (None, _) => {}
        }
    }
    assert!(block.is_none(), "{PAGE}: a block does not end");
    steps
}

/// The first of the shown lines that is not where it should be.
fn missing<'a>(shown: &'a [String], said: &str) -> Option<&'a str> {
    let mut said = said.lines();
    shown.iter().map(String::as_str).find(|shown| !said.any(|line| is(shown, line)))
}

/// Whether a line is the one that is shown.
fn is(shown: &str, line: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = words(line);
    let parts: Vec<String> = shown.split("...").map(words).collect();
    let [first, between @ .., last] = parts.as_slice() else { return words(shown) == line };
    let Some(mut rest) = line.strip_prefix(first.as_str()) else { return false };
    for part in between {
        let Some((_, after)) = rest.split_once(part.as_str()) else { return false };
        rest = after;
    }
    rest.ends_with(last.as_str())
}

/// One shell that lives from the first command to the last.
struct Shell {
    child: Child,
    input: ChildStdin,
    codes: mpsc::Receiver<String>,
    folder: PathBuf,
}

impl Shell {
    fn start(folder: &Path, environment: &[(&str, &str)]) -> Self {
        // The page says `chancery`; which one is for the test to say.
        let programs = folder.join("programs");
        fs::create_dir(&programs).unwrap();
        std::os::unix::fs::symlink(chancery(), programs.join("chancery")).unwrap();
        let work = folder.join("work");
        fs::create_dir(&work).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut bash = command("bash");
        bash.args(["--noprofile", "--norc"]).current_dir(work).env("PATH", path).envs(environment.iter().copied());
        let mut child = bash
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (sender, codes) = mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|code| sender.send(code)));
        Self { child, input, codes, folder: folder.to_owned() }
    }

    /// What the commands said, on both streams, and how they ended; `None`: the shell ended over them, or they did not end.
    fn run(&mut self, name: &str, commands: &str) -> (String, Option<i32>) {
        let (file, said) = (self.folder.join(name), self.folder.join(format!("{name}.said")));
        fs::write(&file, commands).unwrap();
        let (file, output) = (file.display(), said.display());
        // Nothing reads the shell's own input but the shell.
        writeln!(self.input, "source '{file}' < /dev/null > '{output}' 2>&1; echo $?").unwrap();
        let code = self.codes.recv_timeout(5 * PATIENCE).ok();
        (fs::read_to_string(&said).unwrap_or_default(), code.and_then(|code| code.parse().ok()))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The service goes with the shell that started it, also where a step failed.
        let group = format!("-{}", self.child.id());
        let _gone = Command::new("kill").args(["-TERM", "--", &group]).status();
        let _gone = self.child.wait();
    }
}

#[test]
fn the_walk_through_can_be_walked() {
    let page = fs::read_to_string(source_tree().join(PAGE)).unwrap();
    let steps = steps(&page);
    assert!(steps.len() > 50, "{} steps", steps.len());
    let folder = tempfile::tempdir().unwrap();
    let module = softhsm();
    // An address of this test's own, so that the port of the page is free on it.
    let [.., one, two, three] = std::process::id().to_be_bytes();
    let address = format!("127.{}.{two}.{three}", one | 0x80);
    let environment = [("MODULE", module.to_str().unwrap()), ("ADDRESS", address.as_str())];
    let mut shell = Shell::start(folder.path(), &environment);
    for Step { line, commands, exit_code, shown } in &steps {
        let (said, code) = shell.run(&format!("line-{line}"), commands);
        let log = || fs::read_to_string(folder.path().join("work/serve.log")).unwrap_or_default();
        assert_eq!(code, Some(*exit_code), "{PAGE}:{line}: {commands}said:\n{said}\nthe service:\n{}", log());
        if let Some(shown) = missing(shown, &said) {
            panic!("{PAGE}:{line}: {commands}did not say, or not there: {shown}\nbut:\n{said}");
        }
    }
}

#[test]
fn a_page_is_read_as_it_is_meant() {
    let page =
        "Text.\n```sh\na\nb\n```\n$ no command\n```console\n$ c    # exit code 5: no\n# remark\nx ... z\n\n$ d\n```\n";
    let [whole, refused, plain] = &steps(page)[..] else { panic!("{:?}", steps(page)) };
    assert_eq!((whole.line, whole.commands.as_str(), whole.exit_code), (3, "set -e\na\nb\nset +e\n", 0));
    assert_eq!((refused.exit_code, refused.shown.len(), plain.line, plain.exit_code), (5, 2, 12, 0));

    for (shown, line, same) in [
        ("a b", "a    b", true),
        ("a b", "a b c", false),
        ("a ...", "a b c", true),
        ("... c", "a b c", true),
        ("a ... c ... e", "a b c d e", true),
        ("a ... x ... e", "a b c d e", false),
        ("b ...", "a b", false),
        ("... b", "a b c", false),
    ] {
        assert_eq!(is(shown, line), same, "{shown:?} and {line:?}");
    }
    let shown = ["a".to_owned(), "b".to_owned()];
    assert_eq!(missing(&shown, "a\nx\nb\n"), None);
    assert_eq!(missing(&shown, "b\na\n"), Some("b"), "in the order of the page");
}
