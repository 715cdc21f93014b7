//! JSON Web Tokens (RFC 7519) as compact JWS (RFC 7515): claims in, token out.
//!
//! The service sets what a verifier relies on: `alg` and `kid` by the key, `iat` and `exp` within the key's bounds. Policy
//! decides by issuer, subject, audiences and lifetime. From there on a token is signed as any other message is.

mod claims;
mod lifetime;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use bytes::Bytes;
use chancery_crypto::{CallerRequest, PublicKey, jose_algorithm};
use chancery_model::{Action, Algorithm, EcdsaEncoding, KeyPurpose, KeyVersionName, Timestamp};
use chancery_policy::OperationContext;
use std::sync::Arc;
use std::time::Duration;

use crate::keys::KeyOrVersion;
use crate::sign::{DeviceInput, Prepared};
use crate::state::{KeyEntry, Snapshot};
use crate::{CallerSignature, Chancery, Error, ReceiptAnswer, Requester};
use claims::{Claims, Validity};

pub use lifetime::{DEFAULT_MAX_JWT_LIFETIME, LONGEST_JWT_LIFETIME};
pub(crate) use lifetime::{in_force as lifetime_in_force, of_new_key as lifetime_of_new_key};

/// The header's `typ` where none is asked for (RFC 7519, section 5.1).
const DEFAULT_TYPE: &str = "JWT";
/// Length of the longest `typ`, in characters.
const MAX_TYPE_LENGTH: usize = 64;

/// What token to make, and with what.
#[derive(Clone)]
pub struct SignJwtRequest {
    /// With which key (its primary version) or version.
    pub name: KeyOrVersion,
    /// The claims: the text of one JSON object.
    pub claims: String,
    /// From `iat` to `exp`, whole seconds; where neither it nor `exp` is given, as long as the key allows.
    pub lifetime: Option<Duration>,
    /// The header's `typ`; `JWT` where empty.
    pub token_type: String,
    /// The caller's own signature of this request, where there is one.
    pub caller_signature: Option<Arc<CallerSignature>>,
    /// Whether to wait for a receipt.
    pub receipt: bool,
}

impl std::fmt::Debug for SignJwtRequest {
    // Claims are about people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, claims, lifetime, token_type, caller_signature, receipt } = self;
        let claims = format_args!("{} bytes", claims.len());
        f.debug_struct("SignJwtRequest")
            .field("name", name)
            .field("claims", &claims)
            .field("lifetime", lifetime)
            .field("token_type", token_type)
            .field("caller_signature", caller_signature)
            .field("receipt", receipt)
            .finish()
    }
}

/// A token, and what made it.
#[derive(Clone)]
pub struct SignJwtAnswer {
    /// The version that signed.
    pub version: KeyVersionName,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The token, in the compact serialisation (RFC 7515, section 7.1).
    pub token: String,
    /// The header's `kid`: the thumbprint (RFC 7638) of the version's public key.
    pub key_id: String,
    /// `iat`.
    pub issued: Timestamp,
    /// `exp`.
    pub expires: Timestamp,
    /// Index of the intent in the record.
    pub record_index: u64,
    /// The receipt, where one was asked for.
    pub receipt: Option<ReceiptAnswer>,
}

impl std::fmt::Debug for SignJwtAnswer {
    // Whoever holds a token is who it says.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, algorithm, token: _, key_id, issued, expires, record_index, receipt: _ } = self;
        f.debug_struct("SignJwtAnswer")
            .field("version", version)
            .field("algorithm", algorithm)
            .field("key_id", key_id)
            .field("issued", issued)
            .field("expires", expires)
            .field("record_index", record_index)
            .finish_non_exhaustive()
    }
}

/// A token but for its signature.
struct Draft {
    /// Header and claims: what is signed.
    signing_input: String,
    key_id: String,
    validity: Validity,
}

impl Chancery {
    /// Makes one token.
    ///
    /// # Errors
    /// [`Error::InvalidField`] for what no key would sign; then as [`Chancery::sign`]; [`Error::WrongPurpose`] for a MAC
    /// key and [`Error::NotInJose`] for an algorithm without a JOSE name.
    pub async fn sign_jwt(&self, from: &Requester, request: SignJwtRequest) -> Result<SignJwtAnswer, Error> {
        let SignJwtRequest { name, claims, lifetime, token_type, caller_signature, receipt: wanted } = request;
        let signed = caller_signature.map(|signature| (signature, chancery_crypto::sha256(claims.as_bytes())));
        let lifetime_seconds = lifetime.map(|lifetime| lifetime.as_secs());
        // Policy decides by the claims, so they are read first. Whoever sends claims that cannot be read is told so before
        // the key is looked for. He learns nothing by it: the answer depends on his own request and the time alone, and is
        // the same for a key that he may use, one that he may not, and none at all, as it is with a malformed name. What
        // depends on the key comes after policy has allowed its use, in `prepare_jwt`.
        let claims = Claims::read(claims, lifetime, Timestamp::now())?;
        let token_type = checked_type(token_type)?;
        let (this, from) = (self.clone(), from.clone());
        let deadline = from.deadline;
        let answer = self.to_the_end(async move {
            let mut draft = None;
            // Where the state changes meanwhile it is decided afresh, perhaps for another version: the last draft counts.
            let prepare = |snapshot: &Snapshot| {
                let signed = signed.as_ref().map(|(signature, claims_sha256)| {
                    let token_type = token_type.as_str();
                    (&**signature, CallerRequest::SignJwt { claims_sha256, lifetime_seconds, token_type })
                });
                let (prepared, made) = this.prepare_jwt(snapshot, &from, &name, &claims, &token_type, signed)?;
                draft = Some(made);
                Ok(prepared)
            };
            let answer = this.sign_one(&from, Action::SignJwt, prepare).await?;
            let Some(Draft { signing_input, key_id, validity }) = draft else {
                return Err(Error::internal("a token was signed that was never drafted"));
            };
            Ok(SignJwtAnswer {
                token: format!("{signing_input}.{}", Base64UrlUnpadded::encode_string(&answer.signature)),
                version: answer.version,
                algorithm: answer.algorithm,
                key_id,
                issued: validity.issued(),
                expires: validity.expires(),
                record_index: answer.record_index,
                receipt: None,
            })
        });
        let mut answer = answer.await?;
        if wanted {
            answer.receipt = Some(self.receipt(answer.record_index, deadline).await);
        }
        Ok(answer)
    }

    /// Authorises, finds the version and writes the token down, in this order: nobody learns of a key that he may not use.
    fn prepare_jwt(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        name: &KeyOrVersion,
        claims: &Claims,
        token_type: &str,
        signed: Option<(&CallerSignature, CallerRequest<'_>)>,
    ) -> Result<(Prepared, Draft), Error> {
        let action = Action::SignJwt;
        let context = |key: &KeyEntry| OperationContext::SignJwt {
            issuer: claims.issuer().map(str::to_owned),
            subject: claims.subject().map(str::to_owned),
            audiences: claims.audiences().to_vec(),
            lifetime_seconds: claims.lifetime_seconds(key.max_jwt_lifetime().unwrap_or_default()),
            token_type: token_type.to_owned(),
            version: key.version_named(name),
        };
        let allowed = self.authorize_key(snapshot, from, action, name, context)?;
        let key = &allowed.key;
        key.require(KeyPurpose::Signature, action)?;
        let (Some(alg), Some(maximum)) = (jose_algorithm(key.algorithm), key.max_jwt_lifetime()) else {
            return Err(Error::NotInJose { key: key.name.clone(), algorithm: key.algorithm });
        };
        let validity = claims.validity(&key.name, maximum)?;
        let version = self.resolve(key, name)?;
        let public = version.signs_with()?;
        let key_id = public.kid().ok_or_else(|| Error::internal("an algorithm of JOSE has no thumbprint"))?.to_owned();
        let header = format!(r#"{{"alg":"{alg}","kid":"{key_id}","typ":"{token_type}"}}"#);
        let base64 = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let signing_input = format!("{}.{}", base64(&header), base64(&claims.payload(validity)));
        let input = input_for(public, &signing_input);
        // JOSE knows the fixed width only (RFC 7518, section 3.4).
        let public = public.clone();
        let vouched = self.vouched(from, &allowed, action, name, signed)?;
        let encoding = EcdsaEncoding::P1363;
        let prepared = self.prepared(snapshot, from, allowed, &version, public, input, encoding, vouched)?;
        Ok((prepared, Draft { signing_input, key_id, validity }))
    }
}

/// What the token is handed of a signing input.
fn input_for(public: &PublicKey, signing_input: &str) -> DeviceInput {
    match public.algorithm().hash() {
        Some(hash) => DeviceInput::Digest(chancery_crypto::hash(hash, signing_input.as_bytes())),
        // 22 KiB at most, which a token takes.
        None => DeviceInput::Message(Bytes::copy_from_slice(signing_input.as_bytes())),
    }
}

/// A `typ` goes into the header as it is, so it has no character that JSON would escape.
fn checked_type(given: String) -> Result<String, Error> {
    if given.is_empty() {
        return Ok(DEFAULT_TYPE.to_owned());
    }
    let well_formed = given.len() <= MAX_TYPE_LENGTH
        && given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+/-".contains(&byte));
    if well_formed {
        Ok(given)
    } else {
        let rule = format!("has at most {MAX_TYPE_LENGTH} of the characters [A-Za-z0-9.+/-], for example at+jwt");
        Err(Error::invalid("type", rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_needs_no_escaping() {
        assert_eq!(checked_type(String::new()).unwrap(), "JWT");
        for good in ["at+jwt", "application/vnd.example-1+jwt", &"a".repeat(64)] {
            assert_eq!(checked_type(good.to_owned()).unwrap(), good);
        }
        for bad in ["\"", "a\\b", "at jwt", "jwt\n", "é", &"a".repeat(65)] {
            assert!(matches!(checked_type(bad.to_owned()), Err(Error::InvalidField { .. })), "{bad:?}");
        }
    }

    #[test]
    fn claims_and_token_are_not_shown() {
        let request = SignJwtRequest {
            name: KeyOrVersion::Key("keyRings/r/keys/k".parse().unwrap()),
            claims: r#"{"sub":"ada"}"#.to_owned(),
            lifetime: None,
            token_type: String::new(),
            caller_signature: None,
            receipt: false,
        };
        assert!(!format!("{request:?}").contains("ada"));
        let answer = SignJwtAnswer {
            version: "keyRings/r/keys/k/versions/1".parse().unwrap(),
            algorithm: Algorithm::Ed25519,
            token: "e30.e30.AA".to_owned(),
            key_id: "kid".to_owned(),
            issued: Timestamp::from_unix_micros(0),
            expires: Timestamp::from_unix_micros(1),
            record_index: 1,
            receipt: None,
        };
        assert!(!format!("{answer:?}").contains("e30"));
    }
}
