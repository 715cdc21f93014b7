//! What came of the cases, and which policies they exercised.

use std::collections::BTreeSet;
use std::io::{self, Write};

use chancery_policy::PolicySet;
use serde::Serialize;

use super::cases::{Case, Expectation};
use crate::output::View;

/// A case that was decided.
#[derive(Debug, Serialize)]
pub struct Decided {
    file: String,
    name: String,
    /// Whether it is as expected.
    pub passed: bool,
    expected: String,
    decided: String,
    /// The policies that decided, by `@id`.
    policies: BTreeSet<String>,
    /// Those that were expected to.
    expected_policies: Option<BTreeSet<String>>,
    reason: String,
}

/// What came of all cases.
#[derive(Debug, Serialize)]
pub struct Report {
    passed: usize,
    /// How many cases are not as expected.
    pub failed: usize,
    cases: Vec<Decided>,
    /// The policies that decided at least one case; without those that are always in force.
    exercised: Vec<String>,
    not_exercised: Vec<String>,
    policy_set_sha256: String,
}

impl Decided {
    /// Compares what was decided with what was expected.
    pub fn new(file: &str, case: &Case, decision: Expectation, policies: BTreeSet<String>, reason: String) -> Self {
        let as_named = case.policies.as_ref().is_none_or(|expected| *expected == policies);
        Self {
            file: file.to_owned(),
            name: case.name.clone(),
            passed: decision == case.expect && as_named,
            expected: case.expect.to_string(),
            decided: decision.to_string(),
            policies,
            expected_policies: case.policies.clone(),
            reason,
        }
    }
}

impl Report {
    /// Counts, and finds the policies of the set that decided nothing.
    pub fn new(set: &PolicySet, cases: Vec<Decided>) -> Self {
        let own: BTreeSet<String> = set.documents().iter().flat_map(|document| own_ids(set, &document.name)).collect();
        let decided: BTreeSet<&String> = cases.iter().flat_map(|case| &case.policies).collect();
        let (exercised, not_exercised) = own.into_iter().partition(|id| decided.contains(id));
        let passed = cases.iter().filter(|case| case.passed).count();
        let sha256 = crate::input::hex(&set.hash());
        Self { passed, failed: cases.len() - passed, exercised, not_exercised, policy_set_sha256: sha256, cases }
    }

    /// Whether each policy decided something.
    pub fn covers_all(&self) -> bool {
        self.not_exercised.is_empty()
    }
}

fn own_ids(set: &PolicySet, document: &str) -> Vec<String> {
    set.policies().into_iter().filter(|policy| policy.document == document).map(|policy| policy.id).collect()
}

impl View for Report {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        for Decided { file, name, passed, expected, decided, policies, expected_policies, reason } in &self.cases {
            if *passed {
                writeln!(out, "ok    {name}: {decided}")?;
                continue;
            }
            writeln!(out, "FAIL  {name}: expected {expected}, decided {decided}")?;
            writeln!(out, "      in {file}")?;
            writeln!(out, "      {reason}")?;
            if let Some(expected) = expected_policies
                && expected != policies
            {
                let list = |ids: &BTreeSet<String>| match ids.is_empty() {
                    true => "none".to_owned(),
                    false => ids.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
                };
                writeln!(out, "      expected to be decided by {}, decided by {}", list(expected), list(policies))?;
            }
        }
        let policies = self.exercised.len() + self.not_exercised.len();
        writeln!(
            out,
            "\n{} passed, {} failed; {} of {policies} policies exercised",
            self.passed,
            self.failed,
            self.exercised.len()
        )?;
        if !self.not_exercised.is_empty() {
            writeln!(out, "not exercised: {}", self.not_exercised.join(" "))?;
        }
        Ok(())
    }
}
