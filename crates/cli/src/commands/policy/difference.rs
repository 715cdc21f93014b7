//! What a policy set would change of another: documents as text, policies by their `@id`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use chancery_api::v1;
use chancery_policy::{PolicyDocument, PolicySet, PolicySummary};
use serde::Serialize;
use similar::TextDiff;

use crate::output::View;

/// Lines around a change.
const CONTEXT: usize = 3;

/// The changes from one set to another; empty where there are none.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// Whether there is none.
    pub same: bool,
    documents: Vec<DocumentChange>,
    policies: Vec<PolicyChange>,
    /// Why policies could not be compared, where they could not.
    not_compared: Option<String>,
}

#[derive(Debug, Serialize)]
struct DocumentChange {
    name: String,
    change: Change,
    /// Unified, with three lines around.
    diff: String,
}

#[derive(Debug, Serialize)]
struct PolicyChange {
    id: String,
    change: Change,
    effect: &'static str,
    /// Where it is, or was where it is removed.
    document: String,
    description: String,
    /// Unified, with three lines around; empty where only the document is another.
    diff: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Change {
    Added,
    Removed,
    Changed,
    /// The same text in another document.
    Moved,
}

impl Change {
    const fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
            Self::Moved => '>',
        }
    }
}

impl Difference {
    /// What `after` changes of `before`. The order of documents is no difference.
    pub fn between(before: &[v1::PolicyDocument], after: &[v1::PolicyDocument]) -> Self {
        let texts = |set: &[v1::PolicyDocument]| -> BTreeMap<String, String> {
            set.iter().map(|document| (document.name.clone(), document.text.clone())).collect()
        };
        let documents = document_changes(&texts(before), &texts(after));
        let (policies, not_compared) = match (policies(before), policies(after)) {
            (Ok(before), Ok(after)) => (policy_changes(&before, &after), None),
            (_, Err(error)) => (Vec::new(), Some(format!("the documents given are not a policy set: {error}"))),
            (Err(error), _) => {
                (Vec::new(), Some(format!("this chancery cannot read the policy set in force: {error}")))
            }
        };
        Self { same: documents.is_empty(), documents, policies, not_compared }
    }
}

/// The policies of a set by id; of one that only the schema refuses, too: it may be in force.
fn policies(documents: &[v1::PolicyDocument]) -> Result<BTreeMap<String, PolicySummary>, String> {
    let set = PolicySet::parse_in_force(policy_documents(documents)).map_err(|errors| errors.to_string())?;
    Ok(set.policies().into_iter().map(|policy| (policy.id.clone(), policy)).collect())
}

/// The documents in policy's words.
pub fn policy_documents(documents: &[v1::PolicyDocument]) -> Vec<PolicyDocument> {
    let document = |v1::PolicyDocument { name, text }: &v1::PolicyDocument| PolicyDocument {
        name: name.clone(),
        text: text.clone(),
    };
    documents.iter().map(document).collect()
}

fn document_changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<DocumentChange> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let (change, old, new) = match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old == new => return None,
            (Some(old), Some(new)) => (Change::Changed, old.as_str(), new.as_str()),
            (Some(old), None) => (Change::Removed, old.as_str(), ""),
            (None, Some(new)) => (Change::Added, "", new.as_str()),
            (None, None) => return None,
        };
        let in_force = if change == Change::Added { "/dev/null".to_owned() } else { format!("in-force/{name}") };
        let given = if change == Change::Removed { "/dev/null".to_owned() } else { format!("given/{name}") };
        Some(DocumentChange { name: name.clone(), change, diff: unified(old, new, Some((&in_force, &given))) })
    };
    names.into_iter().filter_map(change).collect()
}

fn policy_changes(
    before: &BTreeMap<String, PolicySummary>,
    after: &BTreeMap<String, PolicySummary>,
) -> Vec<PolicyChange> {
    let ids: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |id: &String| {
        let (change, policy, old, new) = match (before.get(id), after.get(id)) {
            (Some(old), Some(new)) if old.text != new.text => {
                (Change::Changed, new, old.text.as_str(), new.text.as_str())
            }
            (Some(old), Some(new)) if old.document != new.document => (Change::Moved, new, "", ""),
            (Some(_), Some(_)) | (None, None) => return None,
            (Some(old), None) => (Change::Removed, old, old.text.as_str(), ""),
            (None, Some(new)) => (Change::Added, new, "", new.text.as_str()),
        };
        Some(PolicyChange {
            id: id.clone(),
            change,
            effect: policy.effect.as_str(),
            document: policy.document.clone(),
            description: policy.description.clone().unwrap_or_default(),
            diff: unified(old, new, None),
        })
    };
    ids.into_iter().filter_map(change).collect()
}

fn unified(old: &str, new: &str, header: Option<(&str, &str)>) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut unified = diff.unified_diff();
    unified.context_radius(CONTEXT);
    if let Some((old, new)) = header {
        unified.header(old, new);
    }
    unified.to_string()
}

impl View for Difference {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.same {
            return writeln!(out, "no difference: the set in force has exactly these documents");
        }
        for DocumentChange { name: _, change: _, diff } in &self.documents {
            write!(out, "{diff}")?;
        }
        writeln!(out, "\nDocuments:")?;
        for DocumentChange { name, change, diff: _ } in &self.documents {
            writeln!(out, "  {} {name}", change.sign())?;
        }
        if let Some(why) = &self.not_compared {
            return writeln!(out, "Policies are not compared: {why}");
        }
        writeln!(out, "Policies:")?;
        for PolicyChange { id, change, effect, document, description, diff: _ } in &self.policies {
            write!(out, "  {} {effect} {id} ({document})", change.sign())?;
            if !description.is_empty() {
                write!(out, ": {description}")?;
            }
            writeln!(out)?;
        }
        if self.policies.is_empty() {
            writeln!(out, "  none: only comments and layout change")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGN: &str = "@id(\"sign\")\n@description(\"Signs.\")\npermit (principal, action == Chancery::Action::\"Sign\", resource);\n";

    fn document(name: &str, text: &str) -> v1::PolicyDocument {
        v1::PolicyDocument { name: name.to_owned(), text: text.to_owned() }
    }

    fn changes(before: &[v1::PolicyDocument], after: &[v1::PolicyDocument]) -> Vec<(String, Change)> {
        let difference = Difference::between(before, after);
        assert_eq!(difference.not_compared, None);
        difference.policies.into_iter().map(|policy| (policy.id, policy.change)).collect()
    }

    #[test]
    fn policies_are_added_removed_changed_and_moved() {
        let forbid = "@id(\"stop\")\nforbid (principal, action, resource);\n";
        let before = [document("a.cedar", &format!("{SIGN}{forbid}"))];
        let id = |id: &str, change| (id.to_owned(), change);
        assert_eq!(changes(&before, &before), []);
        assert_eq!(changes(&before, &[document("a.cedar", SIGN)]), [id("stop", Change::Removed)]);
        let split = [document("a.cedar", forbid), document("b.cedar", SIGN)];
        assert_eq!(changes(&before, &split), [id("sign", Change::Moved)]);
        let changed = [document("a.cedar", &format!("{}{forbid}", SIGN.replace("\"Sign\"", "\"Verify\"")))];
        assert_eq!(changes(&before, &changed), [id("sign", Change::Changed)]);
        let more = [before[0].clone(), document("c.cedar", &SIGN.replace("\"sign\"", "\"again\""))];
        assert_eq!(changes(&before, &more), [id("again", Change::Added)]);
        let commented = [document("a.cedar", &format!("// why\n{SIGN}{forbid}"))];
        assert_eq!(changes(&before, &commented), []);
        assert!(!Difference::between(&before, &commented).same, "a comment changes the set's hash");
    }

    #[test]
    fn a_difference_reads_like_one_of_git() {
        let changed = SIGN.replace("\"Sign\"", "\"Verify\"");
        let difference = Difference::between(&[document("a.cedar", SIGN)], &[document("a.cedar", &changed)]);
        let mut out = Vec::new();
        difference.write_table(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "--- in-force/a.cedar\n+++ given/a.cedar\n@@ -1,3 +1,3 @@\n @id(\"sign\")\n @description(\"Signs.\")\n\
             -permit (principal, action == Chancery::Action::\"Sign\", resource);\n\
             +permit (principal, action == Chancery::Action::\"Verify\", resource);\n\n\
             Documents:\n  ~ a.cedar\nPolicies:\n  ~ permit sign (a.cedar): Signs.\n"
        );
    }

    #[test]
    fn what_is_no_policy_set_is_compared_as_text() {
        let difference = Difference::between(&[document("a.cedar", SIGN)], &[document("a.cedar", "permit")]);
        assert!(difference.not_compared.unwrap().contains("a.cedar:1:"));
        assert_eq!(difference.documents.len(), 1);
    }
}
