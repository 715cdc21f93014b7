//! A policy set: documents that were validated, with a hash that names exactly these rules.

use crate::document::PolicyDocument;
use crate::error::PolicyErrors;
use crate::reader::{BUILTIN_NAME, LoadedPolicy, Reader, Reading};
use crate::schema::SCHEMA_VERSION;
use aws_lc_rs::digest::{Context, SHA256};
use chancery_model::Sha256Hash;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

const ROLES: &str = include_str!("../policies/roles.cedar");
const BUILTIN: &str = include_str!("../policies/builtin.cedar");

/// The policies that were always in force under each earlier version of the schema. Those of 4 are today's; whoever changes
/// them keeps a copy of what they were.
const EARLIER_BUILTIN: [(u32, &str); 4] = [(1, BUILTIN_TO_2), (2, BUILTIN_TO_2), (3, BUILTIN_OF_3), (4, BUILTIN)];
const BUILTIN_TO_2: &str = include_str!("../policies/earlier/builtin-of-schemas-1-and-2.cedar");
const BUILTIN_OF_3: &str = include_str!("../policies/earlier/builtin-of-schema-3.cedar");

/// Separates these hashes from all others of ours.
const HASH_DOMAIN: &[u8] = b"chancery policy set v1\n";

/// A validated policy set. Cheap to clone; every clone is the same set.
#[derive(Clone)]
pub struct PolicySet(Arc<Contents>);

struct Contents {
    documents: Vec<PolicyDocument>,
    policies: Vec<LoadedPolicy>,
    cedar: cedar_policy::PolicySet,
    warnings: Vec<String>,
    hash: Sha256Hash,
}

/// What a policy does when it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Allows, unless a `forbid` applies.
    Permit,
    /// Denies, whatever else applies.
    Forbid,
}

impl Effect {
    /// The word used in policies: `permit` or `forbid`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Forbid => "forbid",
        }
    }
}

/// One policy of a set, for showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySummary {
    /// Its `@id`.
    pub id: String,
    /// What it does when it applies.
    pub effect: Effect,
    /// The document that holds it; `builtin.cedar` for those that are always in force.
    pub document: String,
    /// Its `@description`.
    pub description: Option<String>,
    /// All of its annotations, also `id` and `description`.
    pub annotations: BTreeMap<String, String>,
    /// Its source.
    pub text: String,
}

impl PolicySet {
    /// Validates documents strictly against the schema and takes them as one set, together with the policies that are
    /// always in force. Each policy needs an `@id` (`[a-z][a-z0-9-]{0,62}`), unique over all documents. The order of
    /// the documents does not matter.
    ///
    /// # Errors
    /// [`PolicyErrors`] with everything that is wrong, where anything is.
    pub fn parse(documents: Vec<PolicyDocument>) -> Result<Self, PolicyErrors> {
        Self::read(documents, false)
    }

    /// The same of a set that is in force already, under the schema of an earlier version perhaps: what is only wrong by
    /// the schema is among the [warnings](Self::warnings). A policy that asks `context.batchSize` of all of `signing` is
    /// such a one, once `signing` has an action without that attribute.
    ///
    /// This lets nobody do what he could not: a policy that fails while it is evaluated denies the call that it concerns.
    /// Refused instead, the set could be replaced by nobody, since the service would not start with it.
    ///
    /// # Errors
    /// [`PolicyErrors`] where the documents are not Cedar, or not a set.
    pub fn parse_in_force(documents: Vec<PolicyDocument>) -> Result<Self, PolicyErrors> {
        Self::read(documents, true)
    }

    fn read(mut documents: Vec<PolicyDocument>, lenient: bool) -> Result<Self, PolicyErrors> {
        documents.sort_by(|a, b| a.name.cmp(&b.name));
        let builtin = PolicyDocument { name: BUILTIN_NAME.to_owned(), text: BUILTIN.to_owned() };
        let mut reader = Reader::default();
        reader.read_builtin(&builtin);
        let mut previous = None;
        for document in &documents {
            if previous.replace(&document.name) == Some(&document.name) {
                reader.duplicate_document(document);
            } else {
                reader.read(document);
            }
        }
        let Reading { policies, cedar, warnings } = reader.finish(lenient).map_err(|errors| PolicyErrors { errors })?;
        let hash = hash(SCHEMA_VERSION, &builtin, &documents);
        Ok(Self(Arc::new(Contents { documents, policies, cedar, warnings, hash })))
    }

    /// The set that ships with Chancery: one document, `roles.cedar`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the text is part of this crate, and its tests parse it")]
    pub fn shipped() -> Self {
        static SHIPPED: LazyLock<PolicySet> = LazyLock::new(|| {
            let roles = PolicyDocument { name: "roles.cedar".to_owned(), text: ROLES.to_owned() };
            PolicySet::parse(vec![roles]).expect("the shipped policies are valid")
        });
        SHIPPED.clone()
    }

    /// SHA-256 of: the line `chancery policy set v1`; the schema's version (4 bytes); the document of the policies that
    /// are always in force; the number of documents (8 bytes); the documents in the order of their names. A document is
    /// its name and its text, each after its length in bytes (8 bytes). Numbers are big-endian. One hash, one meaning.
    #[must_use]
    pub fn hash(&self) -> Sha256Hash {
        self.0.hash
    }

    /// Whether these documents had this hash under an earlier version of the schema, beside the policies that were always in
    /// force then.
    #[must_use]
    pub fn had_hash(&self, earlier: &Sha256Hash) -> bool {
        EARLIER_BUILTIN.iter().any(|(version, text)| {
            let builtin = PolicyDocument { name: BUILTIN_NAME.to_owned(), text: (*text).to_owned() };
            hash(*version, &builtin, &self.0.documents) == *earlier
        })
    }

    /// The documents as they were given, sorted by name; without the policies that are always in force.
    #[must_use]
    pub fn documents(&self) -> &[PolicyDocument] {
        &self.0.documents
    }

    /// What the validator found odd but not wrong, each with its place; for example a policy that can never apply.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Every policy: first those that are always in force, then those of the documents.
    #[must_use]
    pub fn policies(&self) -> Vec<PolicySummary> {
        self.0.policies.iter().map(LoadedPolicy::summary).collect()
    }

    pub(crate) fn loaded(&self) -> &[LoadedPolicy] {
        &self.0.policies
    }

    pub(crate) fn cedar(&self) -> &cedar_policy::PolicySet {
        &self.0.cedar
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let documents: Vec<&str> = self.0.documents.iter().map(|document| document.name.as_str()).collect();
        f.debug_struct("PolicySet").field("documents", &documents).field("policies", &self.0.policies.len()).finish()
    }
}

impl LoadedPolicy {
    pub(crate) fn effect(&self) -> Effect {
        match self.cedar.effect() {
            cedar_policy::Effect::Permit => Effect::Permit,
            cedar_policy::Effect::Forbid => Effect::Forbid,
        }
    }

    pub(crate) fn summary(&self) -> PolicySummary {
        PolicySummary {
            id: self.id.to_string(),
            effect: self.effect(),
            document: self.document.to_string(),
            description: self.annotations.get("description").cloned(),
            annotations: self.annotations.clone(),
            text: self.text.clone(),
        }
    }
}

fn hash(schema_version: u32, builtin: &PolicyDocument, documents: &[PolicyDocument]) -> Sha256Hash {
    let mut context = Context::new(&SHA256);
    context.update(HASH_DOMAIN);
    context.update(&schema_version.to_be_bytes());
    update_with_document(&mut context, builtin);
    context.update(&(documents.len() as u64).to_be_bytes());
    documents.iter().for_each(|document| update_with_document(&mut context, document));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn update_with_document(context: &mut Context, document: &PolicyDocument) {
    for part in [&document.name, &document.text] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
}
