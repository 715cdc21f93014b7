//! The details of a record: what may be erased one day. Specified in docs/audit-record.md, "Details".

use crate::caller_evidence::CallerSignatureDetails;
use crate::codes::{Decision, DenialReason, OutcomeResult};
use crate::hex::Hex;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The details of a record, each member only where it is known. Their JSON is committed to by the leaf, and
/// stored as it was committed to.
///
/// Messages, keys, PINs and signatures have no place here, but for a caller's own over its request.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Details {
    /// The caller's id, without `callers/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// How the caller proved who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationDetails>,
    /// Where the request came from: address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// The action's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The resource's full name, with the version where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The key's algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// What is to be signed, by its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedDetails>,
    /// SHA-256 of the DER SubjectPublicKeyInfo of the key version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki_sha256: Option<Hex>,
    /// The caller's own signature over the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_signature: Option<Box<CallerSignatureDetails>>,
    /// What policy said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DenialReason>,
    /// The ids of the policies that decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// The hash of the policy set that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_set: Option<Hex>,
    /// The attributes that policy saw.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "sorted_option")]
    pub attributes: Option<Value>,
    /// The W3C trace id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// How each item ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<ItemDetails>,
    /// What else a reader should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a caller proved who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "method", rename_all = "snake_case")]
pub enum AuthenticationDetails {
    /// By a client certificate in the TLS handshake.
    Certificate {
        /// The identity that was taken from it: `spiffe://...` or `dns:...`.
        identity: String,
        /// SHA-256 of the certificate's DER.
        certificate_sha256: Hex,
        /// The certificate's serial number, lower-case hexadecimal.
        certificate_serial: String,
    },
    /// By an API key.
    ApiKey {
        /// The key's id, which opens nothing.
        api_key: String,
    },
    /// By both.
    CertificateAndApiKey {
        /// As for a certificate.
        identity: String,
        /// As for a certificate.
        certificate_sha256: Hex,
        /// As for a certificate.
        certificate_serial: String,
        /// As for an API key.
        api_key: String,
    },
    /// By a token of an OpenID Connect issuer.
    OidcToken {
        /// Whom it names, and who says so: `oidc:https://issuer#subject`.
        oidc_identity: String,
        /// SHA-256 of the token's `jti`, where it has one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        token_id_sha256: Option<Hex>,
        /// SHA-256 of the `kid` of the key that signed it, where it names one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        key_id_sha256: Option<Hex>,
    },
    /// By a certificate and such a token.
    CertificateAndOidcToken {
        /// As for a certificate.
        identity: String,
        /// As for a certificate.
        certificate_sha256: Hex,
        /// As for a certificate.
        certificate_serial: String,
        /// As for an OIDC token.
        oidc_identity: String,
        /// As for an OIDC token.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        token_id_sha256: Option<Hex>,
        /// As for an OIDC token.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        key_id_sha256: Option<Hex>,
    },
}

/// What is to be signed: never the message itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedDetails {
    /// The hash function's name, for example `SHA-256`.
    pub hash: String,
    /// The digest.
    pub digest: Hex,
}

/// How one item of an outcome ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemDetails {
    /// The index of the intent or act.
    pub intent: u64,
    /// The result, as in the leaf.
    pub result: OutcomeResult,
    /// The PKCS#11 function that refused, for example `C_Sign`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pkcs11_function: Option<String>,
    /// The name of its return code, for example `CKR_DEVICE_ERROR`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pkcs11_return_code: Option<String>,
    /// How often the token was asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempts: Option<u32>,
    /// What went wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

impl Details {
    /// The bytes that are committed to and stored: JSON without white space, members in the order of this
    /// struct, those of attributes in ascending order of their names.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        #[expect(clippy::expect_used, reason = "text, numbers and maps with text keys always have a JSON form")]
        serde_json::to_writer(&mut bytes, self).expect("details have a JSON form");
        bytes
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// The bytes are no details of this version.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl std::fmt::Debug for Details {
    // Names, addresses and digests go into the record, not into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Details(..)")
    }
}

impl std::fmt::Debug for SignedDetails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedDetails({})", self.hash)
    }
}

fn sorted_option<S: Serializer>(value: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(Sorted).serialize(serializer)
}

/// A JSON value whose objects are written in ascending order of their names. By itself `serde_json` keeps them in
/// order of insertion or sorts them, as some other crate of the build has chosen for all.
struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| name.as_str());
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, &Sorted(value))?;
                }
                map.end()
            }
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_attributes_are_sorted_at_each_depth() {
        let attributes = serde_json::from_str(r#"{"b":1,"a":[{"z":null,"y":{"d":true,"c":"x"}}]}"#).unwrap();
        let details = Details { attributes: Some(attributes), ..Details::default() };
        let json = String::from_utf8(details.to_json()).unwrap();
        assert_eq!(json, r#"{"attributes":{"a":[{"y":{"c":"x","d":true},"z":null}],"b":1}}"#);
        assert_eq!(Details::from_json(json.as_bytes()).unwrap(), details);
    }

    #[test]
    fn what_is_not_known_is_not_written_and_what_is_unknown_is_not_read() {
        assert_eq!(Details::default().to_json(), b"{}");
        assert!(Details::from_json(br#"{"colour":"red"}"#).is_err());
    }
}
