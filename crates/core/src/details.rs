//! What the record says of each case: the use cases hand in what they know, here it gets its place.
//!
//! Here is what a caller asked for and policy allowed; how it ended is in `outcomes`, and what the service does of itself in
//! `own_acts`.

mod outcomes;
mod own_acts;

use chancery_audit::{Act, AuthenticationDetails, Decision, Details, Hex, Intent, SignedDetails};
use chancery_model::{
    Action, Algorithm, Authentication, CertificateProof, HashAlgorithm, KeyVersionName, OidcProof, Sha256Hash,
    Timestamp, Uid,
};
use chancery_policy::Permit;

use crate::Requester;
use crate::mac::PreparedMac;
use crate::sign::{DeviceInput, Prepared};

pub(crate) use outcomes::{
    MacEnd, clearing_end, destruction_end, ends, generation_end, items, mac_end, result_of, secret_unfinished,
    state_sealed, unknown_end,
};
pub(crate) use own_acts::{
    by_rule, by_rule_on, details_erased, details_erased_of, first_policy_set, key_by_rule, leaves_archived,
    own_derivation, own_secret, own_state_key, registration_of_callers, same_policy_set, state_accepted, state_refused,
    state_secret, tree_remade, witness_conflict,
};

/// Who asked, as far as a record says it.
pub(crate) fn requester(from: &Requester) -> Details {
    let authentication = match from.authentication.clone() {
        Authentication::Certificate(CertificateProof { identity, fingerprint, serial }) => {
            AuthenticationDetails::Certificate {
                identity: identity.to_string(),
                certificate_sha256: Hex::from(fingerprint),
                certificate_serial: serial,
            }
        }
        Authentication::ApiKey(key) => AuthenticationDetails::ApiKey { api_key: key.id.to_string() },
        Authentication::CertificateAndApiKey(certificate, key) => {
            let CertificateProof { identity, fingerprint, serial } = certificate;
            AuthenticationDetails::CertificateAndApiKey {
                identity: identity.to_string(),
                certificate_sha256: Hex::from(fingerprint),
                certificate_serial: serial,
                api_key: key.id.to_string(),
            }
        }
        Authentication::OidcToken(OidcProof { identity, expires: _, token_id, key_id }) => {
            AuthenticationDetails::OidcToken {
                oidc_identity: identity.to_string(),
                token_id_sha256: token_id.map(Hex::from),
                key_id_sha256: key_id.map(Hex::from),
            }
        }
        Authentication::CertificateAndOidcToken(certificate, token) => {
            let CertificateProof { identity, fingerprint, serial } = certificate;
            let OidcProof { identity: oidc_identity, expires: _, token_id, key_id } = token;
            AuthenticationDetails::CertificateAndOidcToken {
                identity: identity.to_string(),
                certificate_sha256: Hex::from(fingerprint),
                certificate_serial: serial,
                oidc_identity: oidc_identity.to_string(),
                token_id_sha256: token_id.map(Hex::from),
                key_id_sha256: key_id.map(Hex::from),
            }
        }
    };
    Details {
        caller: Some(from.caller.id.to_string()),
        authentication: Some(authentication),
        source_address: from.source.map(|address| address.to_string()),
        trace_id: from.trace_id.clone(),
        ..Details::default()
    }
}

/// An allowed call, in the record's words.
pub(crate) struct Described {
    time: Timestamp,
    caller: Uid,
    action: Action,
    policy_set: Sha256Hash,
    details: Details,
}

impl Described {
    pub fn new(from: &Requester, permit: &Permit, resource: String) -> Self {
        let details = Details {
            action: Some(permit.action().to_string()),
            resource: Some(resource),
            decision: Some(Decision::Allow),
            policies: permit.policies().iter().map(ToString::to_string).collect(),
            policy_set: Some(Hex::from(permit.policy_set())),
            attributes: Some(permit.attributes()),
            ..requester(from)
        };
        Self {
            time: Timestamp::now(),
            caller: from.caller.uid,
            action: permit.action(),
            policy_set: permit.policy_set(),
            details,
        }
    }

    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.details.algorithm = Some(algorithm.to_string());
        self
    }

    /// Keeps the reason that a person gave.
    pub fn because(mut self, reason: &str) -> Self {
        self.details.message = (!reason.is_empty()).then(|| reason.to_owned());
        self
    }

    pub fn new_policy_set(mut self, hash: &Sha256Hash) -> Self {
        self.details.message = Some(format!("policy set {} is applied", Hex::from(*hash)));
        self
    }

    /// Says which fields of the resource change.
    pub fn changed(mut self, fields: &[&str]) -> Self {
        self.details.message = Some(format!("changed: {}", fields.join(", ")));
        self
    }

    /// As the record of a change of `resource`.
    pub fn act(self, resource: Uid, opens: bool) -> Act {
        let Self { time, caller, action, policy_set, details } = self;
        Act { time, caller, resource, action: Some(action), policy_set, details, opens }
    }
}

/// The intent to make one signature.
pub(crate) fn sign_intent(from: &Requester, item: &Prepared) -> Intent {
    let public = &item.key.public;
    let described = Described::new(from, &item.permit, item.version.to_string()).algorithm(public.algorithm());
    let Described { time, caller, action, policy_set, mut details } = described;
    details.signed = Some(signed(&item.input));
    details.spki_sha256 = Some(Hex::from(public.spki_sha256()));
    details.caller_signature = item.vouched.details();
    let counts = item.counted.iter().map(|counted| counted.claim).collect();
    Intent { time, caller, resource: item.uid, action, policy_set, counts, details }
}

/// The digest of what is signed. Of a message that the token reads itself (Ed25519, ML-DSA), SHA-256.
fn signed(input: &DeviceInput) -> SignedDetails {
    match input {
        DeviceInput::Digest(digest) => {
            SignedDetails { hash: digest.algorithm().to_string(), digest: Hex::from(digest.as_bytes()) }
        }
        DeviceInput::Message(message) => sha256_of(message),
    }
}

fn sha256_of(message: &[u8]) -> SignedDetails {
    SignedDetails { hash: HashAlgorithm::Sha256.to_string(), digest: Hex::from(chancery_crypto::sha256(message)) }
}

/// The intent to use a MAC key's secret once.
pub(crate) fn mac_intent(from: &Requester, item: &PreparedMac) -> Intent {
    let described = Described::new(from, &item.permit, item.version.to_string()).algorithm(item.key.algorithm);
    let Described { time, caller, action, policy_set, mut details } = described;
    details.signed = Some(sha256_of(&item.message));
    let counts = item.counted.iter().map(|counted| counted.claim).collect();
    Intent { time, caller, resource: item.uid, action, policy_set, counts, details }
}

/// The reservation of a key pair that is to be made. It stays open until the outcome.
pub(crate) fn generation(
    from: &Requester,
    permit: &Permit,
    version: &KeyVersionName,
    uid: Uid,
    algorithm: Algorithm,
) -> Act {
    Described::new(from, permit, version.to_string()).algorithm(algorithm).act(uid, true)
}
