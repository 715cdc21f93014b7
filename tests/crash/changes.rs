//! The operator, who changes keys and policy while others sign: one thing after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chancery_api::v1;
use chancery_client::{Client, ClientError};
use chancery_tests::contract::hex;

use crate::load::{EDWARDS, FIRST, MACS, TOGGLED};
use crate::plan::Chance;

/// A change that the operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Create {
        key: String,
        algorithm: v1::Algorithm,
    },
    Rotate {
        key: String,
    },
    Suspend {
        version: String,
    },
    Resume {
        version: String,
    },
    /// Another policy set; one that is closed allows no MacSign.
    Apply {
        number: u64,
        closed: bool,
    },
}

impl Wanted {
    /// The key that it changes.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Create { key, .. } | Self::Rotate { key } => Some(key),
            Self::Suspend { version } | Self::Resume { version } => {
                version.split_once("/versions/").map(|(key, _)| key)
            }
            Self::Apply { .. } => None,
        }
    }
}

/// What he asked for, and what he was answered: the version's name or the policy set's hash; none where the connection
/// broke.
#[derive(Debug, Clone)]
pub struct Change {
    pub wanted: Wanted,
    pub answer: Option<String>,
}

/// The name of the document that the operator changes.
const DOCUMENT: &str = "crash.cedar";

/// Changes things until the service is gone.
#[derive(Debug)]
pub struct Operator {
    pub client: Client,
    pub chance: Chance,
    /// Only makes keys.
    pub makes_keys: bool,
    /// Names no other operator gives to his keys.
    pub names: String,
    /// Whether the version that is suspended and resumed is suspended.
    pub suspended: bool,
}

impl Operator {
    /// Goes on until the connection breaks, or he is told to stop; answers what he did.
    ///
    /// # Errors
    /// A refusal: nothing that he asks for may be refused.
    pub async fn run(mut self, stop: Arc<AtomicBool>) -> Result<Vec<Change>, String> {
        let mut changes = Vec::new();
        let mut policy = match policy_set(&self.client).await {
            Ok(policy) => policy,
            Err(error) if error.refusal().is_none() => return Ok(changes),
            Err(error) => return Err(format!("GetPolicySet was refused: {error}")),
        };
        let mut number = 0;
        while !stop.load(Ordering::SeqCst) {
            tokio::time::sleep(self.chance.milliseconds(10)).await;
            number += 1;
            let wanted = self.next(number, is_closed(&policy));
            let answer = self.ask(&wanted, &mut policy).await;
            let answer = match answer {
                Ok(answer) => Some(answer),
                Err(error) if error.refusal().is_none() => None,
                Err(error) => return Err(format!("{wanted:?} was refused: {error}")),
            };
            let gone = answer.is_none();
            changes.push(Change { wanted, answer });
            if gone {
                break;
            }
        }
        Ok(changes)
    }

    fn next(&mut self, number: u64, closed: bool) -> Wanted {
        let kind = if self.makes_keys { 7 + self.chance.below(3) } else { self.chance.below(10) };
        match kind {
            0..4 => {
                let version = format!("{TOGGLED}/versions/1");
                if self.suspended { Wanted::Resume { version } } else { Wanted::Suspend { version } }
            }
            // MACs are to be made most of the time.
            4..7 => Wanted::Apply { number, closed: !closed && self.chance.below(2) == 0 },
            7 => {
                let algorithms = [v1::Algorithm::EcdsaP256Sha256, v1::Algorithm::HmacSha256];
                let algorithm = algorithms[usize::from(self.chance.below(3) == 0)];
                Wanted::Create { key: format!("keyRings/dev/keys/{}-{number}", self.names), algorithm }
            }
            _ => {
                let keys = [FIRST, EDWARDS, MACS];
                Wanted::Rotate { key: keys[usize::try_from(self.chance.below(3)).unwrap()].to_owned() }
            }
        }
    }

    async fn ask(&mut self, wanted: &Wanted, policy: &mut v1::PolicySet) -> Result<String, ClientError> {
        let (mut keys, error) = (self.client.keys(), |status| self.client.error(status));
        match wanted.clone() {
            Wanted::Create { key, algorithm } => {
                let (parent, id) = key.split_once("/keys/").unwrap();
                let request = v1::CreateKeyRequest {
                    parent: parent.to_owned(),
                    key_id: id.to_owned(),
                    key: Some(v1::Key { algorithm: algorithm.into(), ..v1::Key::default() }),
                    request_id: String::new(),
                };
                Ok(keys.create_key(request).await.map_err(error)?.into_inner().primary_version)
            }
            Wanted::Rotate { key } => {
                let request = v1::RotateKeyRequest { name: key, ..v1::RotateKeyRequest::default() };
                Ok(keys.rotate_key(request).await.map_err(error)?.into_inner().name)
            }
            Wanted::Suspend { version } => {
                let request = v1::SuspendKeyVersionRequest { name: version, reason: "a crash test".to_owned() };
                let suspended = keys.suspend_key_version(request).await.map_err(error)?.into_inner();
                self.suspended = true;
                Ok(suspended.key_version.unwrap_or_default().name)
            }
            Wanted::Resume { version } => {
                let request = v1::ResumeKeyVersionRequest { name: version, reason: "a crash test".to_owned() };
                let name = keys.resume_key_version(request).await.map_err(error)?.into_inner().name;
                self.suspended = false;
                Ok(name)
            }
            Wanted::Apply { number, closed } => {
                let mut documents = policy.documents.clone();
                documents.retain(|document| document.name != DOCUMENT);
                let names = &self.names;
                let mut text = format!("// {names}-{number}\n");
                if closed {
                    text += &format!(
                        r#"@id("no-macs-{names}-{number}") forbid (principal, action == Chancery::Action::"MacSign", resource);"#
                    );
                } else {
                    // Another hash than any other set has.
                    text += &format!(
                        r#"@id("no-one-{names}-{number}") forbid (principal, action == Chancery::Action::"RotateKey", resource) when {{ false }};"#
                    );
                }
                documents.push(v1::PolicyDocument { name: DOCUMENT.to_owned(), text });
                let request = v1::ApplyPolicySetRequest { documents, etag: policy.etag.clone() };
                let applied = self.client.policy().apply_policy_set(request).await.map_err(error)?.into_inner();
                *policy = applied;
                Ok(hash_of(policy))
            }
        }
    }
}

/// The policy set in force.
pub async fn policy_set(client: &Client) -> Result<v1::PolicySet, ClientError> {
    let answer = client.policy().get_policy_set(v1::GetPolicySetRequest {}).await;
    Ok(answer.map_err(|status| client.error(status))?.into_inner())
}

/// Whether a policy set allows no MacSign.
pub fn is_closed(policy: &v1::PolicySet) -> bool {
    policy.documents.iter().any(|document| document.name == DOCUMENT && document.text.contains("no-macs"))
}

/// Its hash as the record writes it.
pub fn hash_of(policy: &v1::PolicySet) -> String {
    hex(&policy.sha256)
}
