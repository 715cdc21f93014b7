//! Findings that are known already: a file of fingerprints, one a line, with `#` before remarks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::Finding;
use crate::exit::Failure;

/// Fingerprints that are passed over.
#[derive(Debug, Default)]
pub struct Baseline {
    fingerprints: BTreeSet<String>,
}

impl Baseline {
    /// Reads one.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, error))?;
        let mut fingerprints = BTreeSet::new();
        for (number, line) in (1..).zip(text.lines()) {
            let word = line.split('#').next().unwrap_or_default().trim();
            if word.is_empty() {
                continue;
            }
            let well_formed = word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !well_formed {
                let shown = path.display();
                return Err(Failure::local(format!(
                    "{shown}:{number} is no fingerprint; one has 32 hexadecimal digits, as `chancery scan` prints them"
                )));
            }
            fingerprints.insert(word.to_ascii_lowercase());
        }
        Ok(Self { fingerprints })
    }

    /// Whether a finding is known.
    pub fn knows(&self, finding: &Finding) -> bool {
        self.fingerprints.contains(&finding.fingerprint)
    }

    /// The text of one that knows these findings.
    pub fn of(findings: &[Finding]) -> String {
        let mut text =
            "# Secrets that `chancery scan` passes over: known, and no longer of use. A line for each.\n".to_owned();
        let mut known = BTreeSet::new();
        for finding in findings.iter().filter(|finding| known.insert(&finding.fingerprint)) {
            let _infallible =
                writeln!(text, "{}  # {}:{}", finding.fingerprint, finding.place.file, finding.place.line);
        }
        text
    }
}
