//! Reads documents into policies with ids, and gathers everything that is wrong with them.

use crate::depth;
use crate::document::{PolicyDocument, position, statement_starts};
use crate::error::PolicyError;
use crate::schema;
use crate::scope::Scope;
use cedar_policy::ffi::DetailedError;
use cedar_policy::{Policy, PolicyId, PolicySet, ValidationMode, Validator};
use chancery_model::Id;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

/// Ids that begin so belong to the policies that are always in force.
pub(crate) const RESERVED_PREFIX: &str = "builtin-";

/// The document that is always in force.
pub(crate) const BUILTIN_NAME: &str = "builtin.cedar";

/// How far a policy may follow entities: `resource.ring.environment` is two steps. Attributes further away, and those
/// of entities written literally, are not supplied and would be errors at each decision; so they are refused at once.
const MAX_STEPS: u32 = 2;

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| Validator::new(schema::PARSED.clone()));

/// A policy with its id and where it comes from.
#[derive(Debug)]
pub(crate) struct LoadedPolicy {
    pub(crate) id: Arc<str>,
    pub(crate) document: Arc<str>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// The source, from the first annotation to the semicolon.
    pub(crate) text: String,
    pub(crate) scope: Scope,
    /// Whether it is right by the schema; what is in force already need not be.
    pub(crate) valid: bool,
    pub(crate) cedar: Policy,
}

/// What was read so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    policies: Vec<LoadedPolicy>,
    errors: Vec<PolicyError>,
    /// id -> the document and the offset where its policy begins.
    places: HashMap<Arc<str>, (PolicyDocument, usize)>,
}

/// Documents that are sound.
pub(crate) struct Reading {
    pub(crate) policies: Vec<LoadedPolicy>,
    pub(crate) cedar: PolicySet,
    pub(crate) warnings: Vec<String>,
}

impl Reader {
    /// Reads the document that is always in force.
    pub(crate) fn read_builtin(&mut self, document: &PolicyDocument) {
        self.read_policies(document, true);
    }

    /// Reads a document that a user wrote.
    pub(crate) fn read(&mut self, document: &PolicyDocument) {
        let refusal = if document.name == BUILTIN_NAME {
            Some(format!("the name {BUILTIN_NAME} is reserved for the policies that are always in force"))
        } else if !document.has_valid_name() {
            Some(format!("{:?} is no name for a document", document.name))
        } else {
            None
        };
        if let Some(message) = refusal {
            let help = "a document is named [A-Za-z0-9][A-Za-z0-9._-]{0,63}, for example shop.cedar";
            self.error(document, None, None, message, Some(help.to_owned()));
            return;
        }
        self.read_policies(document, false);
    }

    /// Says that a set holds two documents of this name.
    pub(crate) fn duplicate_document(&mut self, document: &PolicyDocument) {
        let help = "give each document of a set its own name";
        self.error(document, None, None, "two documents have this name".to_owned(), Some(help.to_owned()));
    }

    fn read_policies(&mut self, document: &PolicyDocument, builtin: bool) {
        if let Err(depth::TooDeep { offset, message, help }) = depth::check(&document.text) {
            self.error(document, None, Some(offset), message, Some(help.to_owned()));
            return;
        }
        let parsed: PolicySet = match document.text.parse() {
            Ok(parsed) => parsed,
            Err(errors) => {
                for error in cedar_policy::ParseErrors::iter(&errors) {
                    let detail = DetailedError::from(error);
                    let message = format!("not Cedar: {}", with_labels(&detail));
                    self.error(
                        document,
                        None,
                        detail.source_locations.first().map(|l| l.loc.start),
                        message,
                        detail.help,
                    );
                }
                return;
            }
        };
        let starts = statement_starts(&document.text);
        // Cedar numbers the statements of a text: policy0, policy1, ...
        let number = |id: &PolicyId| id.to_string().strip_prefix("policy").and_then(|n| n.parse::<usize>().ok());
        let start = |id: &PolicyId| number(id).and_then(|n| starts.get(n).copied());
        for template in parsed.templates() {
            let id = template.annotation("id").map(str::to_owned);
            let help = "write the group, role, ring or key in the place of ?principal and ?resource";
            let message = "templates are not used here".to_owned();
            self.error(document, id, start(template.id()), message, Some(help.to_owned()));
        }
        let mut policies: Vec<&Policy> = parsed.policies().collect();
        policies.sort_by_key(|policy| number(policy.id()));
        for policy in policies {
            self.keep(document, policy, start(policy.id()), builtin);
        }
    }

    /// Takes a parsed policy under its own `@id`.
    fn keep(&mut self, document: &PolicyDocument, policy: &Policy, start: Option<usize>, builtin: bool) {
        let Some(id) = policy.annotation("id") else {
            let help = "write @id(\"some-name\") before permit or forbid";
            self.error(document, None, start, "the policy has no @id".to_owned(), Some(help.to_owned()));
            return;
        };
        if let Err(error) = Id::parse("a policy's @id", id) {
            self.error(document, Some(id.to_owned()), start, error.to_string(), None);
            return;
        }
        if id.starts_with(RESERVED_PREFIX) && !builtin {
            let message =
                format!("ids that begin with {RESERVED_PREFIX} belong to the policies that are always in force");
            self.error(document, Some(id.to_owned()), start, message, Some("choose another @id".to_owned()));
            return;
        }
        let name: Arc<str> = Arc::from(id);
        if let Some((other, offset)) = self.places.get(&name) {
            let (line, _) = position(&other.text, *offset);
            let message = format!("the @id is that of another policy, at {}:{line}", other.name);
            self.error(document, Some(id.to_owned()), start, message, Some("give each policy its own @id".to_owned()));
            return;
        }
        self.places.insert(Arc::clone(&name), (document.clone(), start.unwrap_or_default()));
        let cedar = policy.new_id(PolicyId::new(id));
        self.policies.push(LoadedPolicy {
            id: name,
            document: Arc::from(document.name.as_str()),
            annotations: policy.annotations().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            text: policy.to_string(),
            scope: Scope::of(&cedar),
            valid: true,
            cedar,
        });
    }

    /// Validates what was read against the schema. What the validator finds wrong refuses the set, or, where it is only
    /// `lenient`, is a warning.
    pub(crate) fn finish(mut self, lenient: bool) -> Result<Reading, Vec<PolicyError>> {
        let mut cedar = PolicySet::new();
        for policy in &self.policies {
            if let Err(error) = cedar.add(policy.cedar.clone()) {
                // Ids are unique by now, so this cannot happen; if it does, the set is refused.
                let (document, id) = (policy.document.to_string(), Some(policy.id.to_string()));
                self.errors.push(PolicyError {
                    document,
                    policy_id: id,
                    line: None,
                    column: None,
                    message: error.to_string(),
                    help: None,
                });
            }
        }
        let result = VALIDATOR.validate_with_level(&cedar, ValidationMode::Strict, MAX_STEPS);
        let mut found: Vec<PolicyError> =
            result.validation_errors().map(|e| self.locate(e.policy_id(), &DetailedError::from(e))).collect();
        let tolerated = if lenient { std::mem::take(&mut found) } else { Vec::new() };
        for policy in &mut self.policies {
            policy.valid = !tolerated.iter().any(|error| error.policy_id.as_deref() == Some(&*policy.id));
        }
        self.errors.extend(found);
        if !self.errors.is_empty() {
            let place = |e: &PolicyError| (e.document.clone(), e.line, e.column);
            self.errors.sort_by_key(place);
            self.errors.dedup(); // one mistake shows in each kind of request that the policy can meet
            return Err(self.errors);
        }
        let odd = result.validation_warnings().map(|w| self.locate(w.policy_id(), &DetailedError::from(w)));
        let mut warnings: Vec<String> = tolerated.into_iter().chain(odd).map(|w| w.to_string()).collect();
        warnings.dedup();
        Ok(Reading { policies: self.policies, cedar, warnings })
    }

    /// What the validator says about a policy, with its place.
    fn locate(&self, id: &PolicyId, detail: &DetailedError) -> PolicyError {
        let id = id.to_string();
        let place = self.places.get(id.as_str());
        let offset = detail.source_locations.first().map(|label| label.loc.start);
        let at = place.map(|(document, start)| position(&document.text, offset.unwrap_or(*start)));
        let text = with_labels(detail);
        let message = text.strip_prefix(&format!("for policy `{id}`, ")).unwrap_or(&text).to_owned();
        PolicyError {
            document: place.map(|(document, _)| document.name.clone()).unwrap_or_default(),
            policy_id: Some(id),
            line: at.map(|(line, _)| line),
            column: at.map(|(_, column)| column),
            message,
            help: detail.help.clone(),
        }
    }

    fn error(
        &mut self,
        document: &PolicyDocument,
        policy_id: Option<String>,
        offset: Option<usize>,
        message: String,
        help: Option<String>,
    ) {
        let at = position(&document.text, offset.unwrap_or_default());
        self.errors.push(PolicyError {
            document: document.name.clone(),
            policy_id,
            line: Some(at.0),
            column: Some(at.1),
            message,
            help,
        });
    }
}

/// The message with what the parser expected at the place, which Cedar keeps in the place's label.
fn with_labels(detail: &DetailedError) -> String {
    let labels: Vec<&str> = detail.source_locations.iter().filter_map(|l| l.label.as_deref()).collect();
    if labels.is_empty() { detail.message.clone() } else { format!("{}: {}", detail.message, labels.join("; ")) }
}
