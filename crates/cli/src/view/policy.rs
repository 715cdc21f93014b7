//! Policy sets, findings and explanations.

use std::fmt;
use std::io::{self, Write};

use chancery_api::v1;
use chancery_policy::{PolicyError, PolicyErrors, PolicySet};
use serde::Serialize;

use super::{time, word};
use crate::input::hex;
use crate::output::{View, fields, line};

/// The policy set in force.
#[derive(Debug, Serialize)]
pub struct PolicySetView {
    version: u64,
    sha256: String,
    apply_time: String,
    applied_by: String,
    etag: String,
    documents: Vec<DocumentView>,
}

#[derive(Debug, Serialize)]
struct DocumentView {
    name: String,
    text: String,
}

impl From<v1::PolicySet> for PolicySetView {
    fn from(set: v1::PolicySet) -> Self {
        let v1::PolicySet { documents, version, sha256, apply_time, applied_by, etag } = set;
        let document = |v1::PolicyDocument { name, text }| DocumentView { name, text };
        Self {
            version,
            sha256: hex(&sha256),
            apply_time: time(apply_time),
            applied_by,
            etag,
            documents: documents.into_iter().map(document).collect(),
        }
    }
}

impl PolicySetView {
    /// Which it is, within a sentence.
    pub fn in_words(&self) -> String {
        format!("version {}, applied at {} by {}", self.version, self.apply_time, self.applied_by)
    }

    /// The summary alone, for people.
    pub fn write_summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<_> = self.documents.iter().map(|document| document.name.as_str()).collect();
        fields(
            out,
            [
                ("version", self.version.to_string()),
                ("sha256", self.sha256.clone()),
                ("applied", self.apply_time.clone()),
                ("applied by", self.applied_by.clone()),
                ("etag", self.etag.clone()),
                ("documents", names.join(" ")),
            ],
        )
    }
}

impl View for PolicySetView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_summary(out)?;
        for DocumentView { name, text } in &self.documents {
            writeln!(out, "\n// ---- {name}\n{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// What a check found.
#[derive(Debug, Serialize)]
pub struct ValidationView {
    /// Whether the set would be accepted.
    pub valid: bool,
    sha256: String,
    findings: Vec<FindingView>,
    /// What was not looked at; empty where all was.
    #[serde(skip_serializing_if = "String::is_empty")]
    not_checked: String,
}

#[derive(Debug, Serialize)]
struct FindingView {
    severity: String,
    document: String,
    policy_id: String,
    line: u32,
    column: u32,
    message: String,
}

impl From<v1::ValidatePolicySetResponse> for ValidationView {
    fn from(response: v1::ValidatePolicySetResponse) -> Self {
        let v1::ValidatePolicySetResponse { valid, findings, sha256 } = response;
        let finding = |finding: v1::PolicyFinding| {
            use v1::policy_finding::Severity;
            let v1::PolicyFinding { severity, document, policy_id, line, column, message } = finding;
            let name = Severity::try_from(severity).ok().map(|known| known.as_str_name());
            FindingView { severity: word(name, "SEVERITY_", severity), document, policy_id, line, column, message }
        };
        let findings = findings.into_iter().map(finding).collect();
        Self { valid, sha256: hex(&sha256), findings, not_checked: String::new() }
    }
}

impl ValidationView {
    /// What is found without a service.
    pub fn offline(parsed: Result<PolicySet, PolicyErrors>) -> Self {
        let not_checked = "whether a registered caller could apply another set: only the service knows them".to_owned();
        match parsed {
            Ok(set) => {
                let warning = |message: &String| FindingView {
                    severity: "WARNING".to_owned(),
                    document: String::new(),
                    policy_id: String::new(),
                    line: 0,
                    column: 0,
                    message: message.clone(),
                };
                let findings = set.warnings().iter().map(warning).collect();
                Self { valid: true, sha256: hex(&set.hash()), findings, not_checked }
            }
            Err(errors) => {
                let findings = errors.errors.into_iter().map(FindingView::from).collect();
                Self { valid: false, sha256: String::new(), findings, not_checked }
            }
        }
    }

    /// What refuses the set, a line each.
    pub fn errors(&self) -> impl Iterator<Item = String> {
        self.lines("ERROR")
    }

    /// What is accepted, and probably not meant, a line each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.lines("WARNING")
    }

    fn lines(&self, severity: &str) -> impl Iterator<Item = String> {
        self.findings.iter().filter(move |finding| finding.severity == severity).map(ToString::to_string)
    }
}

impl From<PolicyError> for FindingView {
    fn from(error: PolicyError) -> Self {
        let PolicyError { document, policy_id, line, column, message, help } = error;
        Self {
            severity: "ERROR".to_owned(),
            document,
            policy_id: policy_id.unwrap_or_default(),
            line: line.unwrap_or_default(),
            column: column.unwrap_or_default(),
            message: match help {
                Some(help) => format!("{message} ({help})"),
                None => message,
            },
        }
    }
}

/// As compilers write it.
impl fmt::Display for FindingView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, document, policy_id, line, column, message } = self;
        f.write_str(if document.is_empty() { "policy set" } else { document })?;
        if *line > 0 {
            write!(f, ":{line}:{}", (*column).max(1))?;
        }
        write!(f, ": {}", severity.to_lowercase())?;
        if !policy_id.is_empty() {
            write!(f, " in {policy_id}")?;
        }
        write!(f, ": {message}")
    }
}

impl View for ValidationView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.findings.iter().try_for_each(|finding| line(out, &finding.to_string()))?;
        if !self.not_checked.is_empty() {
            line(out, &format!("not checked: {}", self.not_checked))?;
        }
        match self.valid {
            true => writeln!(out, "valid: sha256 {}", self.sha256),
            false => writeln!(out, "not valid: the service would refuse this policy set"),
        }
    }
}

/// What would be decided, and why.
#[derive(Debug, Serialize)]
pub struct ExplanationView {
    /// Whether the call would be allowed.
    pub allowed: bool,
    reason: String,
    determining_policies: Vec<PolicyPartView>,
    unmet_policies: Vec<PolicyPartView>,
    errors: Vec<String>,
    policy_set_sha256: String,
}

#[derive(Debug, Serialize)]
struct PolicyPartView {
    policy_id: String,
    effect: String,
    description: String,
    document: String,
    text: String,
    unmet: String,
}

impl From<v1::ExplainAuthorizationResponse> for ExplanationView {
    fn from(response: v1::ExplainAuthorizationResponse) -> Self {
        let v1::ExplainAuthorizationResponse {
            allowed,
            reason,
            determining_policies,
            unmet_policies,
            errors,
            policy_set_sha256,
        } = response;
        let part = |part: v1::PolicyExplanation| {
            let v1::PolicyExplanation { policy_id, effect, description, document, text, unmet } = part;
            PolicyPartView { policy_id, effect, description, document, text, unmet }
        };
        Self {
            allowed,
            reason,
            determining_policies: determining_policies.into_iter().map(part).collect(),
            unmet_policies: unmet_policies.into_iter().map(part).collect(),
            errors,
            policy_set_sha256: hex(&policy_set_sha256),
        }
    }
}

impl View for ExplanationView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        line(out, &format!("{}: {}", if self.allowed { "allowed" } else { "denied" }, self.reason))?;
        write_parts(out, "Decided by:", &self.determining_policies)?;
        write_parts(out, "Could have applied, but did not:", &self.unmet_policies)?;
        if !self.errors.is_empty() {
            writeln!(out, "\nErrors (each denies):")?;
            self.errors.iter().try_for_each(|error| line(out, &format!("  {error}")))?;
        }
        writeln!(out, "\npolicy set sha256 {}", self.policy_set_sha256)
    }
}

fn write_parts(out: &mut dyn Write, title: &str, parts: &[PolicyPartView]) -> io::Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    for PolicyPartView { policy_id, effect, description, document, text: _, unmet } in parts {
        let said = if description.is_empty() { String::new() } else { format!(": {description}") };
        line(out, &format!("  {effect} {policy_id} ({document}){said}"))?;
        if !unmet.is_empty() {
            line(out, &format!("    not met: {unmet}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(view: &impl View) -> String {
        let mut out = Vec::new();
        view.write_table(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn findings_read_like_a_compilers() {
        let finding = v1::PolicyFinding {
            severity: 1,
            document: "roles.cedar".to_owned(),
            policy_id: "signer".to_owned(),
            line: 12,
            column: 3,
            message: "unknown attribute".to_owned(),
        };
        let whole = v1::PolicyFinding { severity: 2, message: "nothing permits Sign".to_owned(), ..Default::default() };
        let response =
            v1::ValidatePolicySetResponse { valid: false, findings: vec![finding, whole], sha256: Vec::new() };
        assert_eq!(
            text(&ValidationView::from(response)),
            "roles.cedar:12:3: error in signer: unknown attribute\npolicy set: warning: nothing permits Sign\n\
             not valid: the service would refuse this policy set\n"
        );
    }

    #[test]
    fn a_denial_names_what_was_not_met() {
        let part = v1::PolicyExplanation {
            policy_id: "signer".to_owned(),
            effect: "permit".to_owned(),
            document: "roles.cedar".to_owned(),
            unmet: "resource in principal.rings".to_owned(),
            ..Default::default()
        };
        let response = v1::ExplainAuthorizationResponse {
            allowed: false,
            reason: "no policy permits it".to_owned(),
            unmet_policies: vec![part],
            policy_set_sha256: vec![0x11],
            ..Default::default()
        };
        assert_eq!(
            text(&ExplanationView::from(response)),
            "denied: no policy permits it\n\nCould have applied, but did not:\n  permit signer (roles.cedar)\n    \
             not met: resource in principal.rings\n\npolicy set sha256 11\n"
        );
    }
}
