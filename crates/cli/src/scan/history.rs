//! The history of a git repository, as the git program tells it: every line that any commit of any branch added.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::finder::{Finding, Place, find};
use crate::exit::Failure;

/// Marks the line that names a commit: no line of a patch begins so.
const COMMIT: &[u8] = b"\0commit ";

pub(super) fn scan(path: &Path) -> Result<Vec<Finding>, Failure> {
    let mut git = Command::new("git")
        .arg("-C")
        .arg(path)
        // Nothing of the user's settings changes what is shown: no colours, no other programs, no renames.
        .args([
            "-c",
            "core.quotePath=false",
            "log",
            "--all",
            "--reverse",
            "--patch",
            "--unified=0",
            "--diff-merges=separate",
        ])
        .args(["--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--text", "--src-prefix=a/"])
        .args(["--dst-prefix=b/", "--format=%x00commit %H"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::local("cannot start git, which --history needs").because(error))?;
    let output = git.stdout.take().ok_or_else(|| Failure::local("git has no output"))?;
    let mut patch = Patch::default();
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::local("cannot read what git says").because(error))? == 0 {
            break;
        }
        patch.take(&line);
    }
    patch.end_of_hunk();
    let ended = git.wait_with_output().map_err(|error| Failure::local("cannot wait for git").because(error))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(Failure::local(format!("git cannot tell the history of {}: {}", path.display(), said.trim())));
    }
    Ok(patch.findings)
}

/// What is being read of a patch.
#[derive(Default)]
struct Patch {
    commit: String,
    file: String,
    /// The first line that the hunk adds, and what it adds.
    first_line: usize,
    added: Vec<u8>,
    in_hunk: bool,
    findings: Vec<Finding>,
    /// What was found in which file already: a merge shows it once more.
    known: BTreeSet<(String, String)>,
}

impl Patch {
    fn take(&mut self, line: &[u8]) {
        if let Some(commit) = line.strip_prefix(COMMIT) {
            self.end_of_hunk();
            self.in_hunk = false;
            self.commit = String::from_utf8_lossy(commit).trim_end().to_owned();
        } else if line.starts_with(b"diff --git ") {
            self.end_of_hunk();
            self.in_hunk = false;
        } else if let Some(header) = line.strip_prefix(b"@@ ") {
            self.end_of_hunk();
            self.in_hunk = true;
            self.first_line = first_added_line(header).unwrap_or(1);
        } else if self.in_hunk {
            if let Some(added) = line.strip_prefix(b"+") {
                self.added.extend_from_slice(added);
            }
        } else if let Some(name) = line.strip_prefix(b"+++ b/") {
            self.file = String::from_utf8_lossy(name).trim_end_matches(['\n', '\t']).to_owned();
        }
    }

    fn end_of_hunk(&mut self) {
        let added = std::mem::take(&mut self.added);
        for (line, kind, fingerprint) in find(&added, self.first_line) {
            if self.known.insert((fingerprint.clone(), self.file.clone())) {
                let place = Place { file: self.file.clone(), line, commit: Some(self.commit.clone()) };
                self.findings.push(Finding { place, kind, fingerprint });
            }
        }
    }
}

/// Of a hunk's header, `-1,2 +3,4 @@`: 3.
fn first_added_line(header: &[u8]) -> Option<usize> {
    let header = std::str::from_utf8(header.get(..header.len().min(64))?).ok()?;
    let added = header.split(' ').find_map(|part| part.strip_prefix('+'))?;
    added.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hunk_says_where_its_lines_begin() {
        assert_eq!(first_added_line(b"-1,2 +30,4 @@ fn x() {\n"), Some(30));
        assert_eq!(first_added_line(b"-0,0 +1 @@\n"), Some(1));
        assert_eq!(first_added_line(b"nonsense\n"), None);
    }
}
