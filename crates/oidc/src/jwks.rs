//! An issuer's key set: JWKS (RFC 7517, section 5).

use crate::JwsAlgorithm;
use base64ct::{Base64UrlUnpadded, Encoding};
use chancery_crypto::{InvalidJson, Json, JsonObject, PublicKey, SignedInput, ec_spki, ed25519_spki, rsa_spki};
use chancery_model::{Algorithm, Curve, EcdsaEncoding, Sha256Hash};

/// More keys than any issuer has at once.
const MAX_KEYS: usize = 64;

/// Why bytes are no key set that is of use.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// Not JSON, or JSON that is read in more than one way.
    #[error("the key set is no JSON object in which each name occurs once")]
    Json(#[source] InvalidJson),
    /// Not a key set.
    #[error("the key set has no array \"keys\" of objects")]
    NoKeys,
    /// Too many.
    #[error("the key set has more than {MAX_KEYS} keys")]
    TooMany,
    /// Keys for other algorithms, or for other uses, or malformed ones.
    #[error(
        "the key set has no key that verifies by RS256, PS256, ES256, ES384 or EdDSA (RSA keys of 2048, 3072 or 4096 bits)"
    )]
    NoneUsable,
}

/// The keys that are of use.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    algorithm: JwsAlgorithm,
    key: PublicKey,
}

impl KeySet {
    /// Reads a key set. Keys of other kinds and for other uses are left out, as RFC 7517 wants it; there may be none left.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, JwksError> {
        let set = JsonObject::read(bytes).map_err(JwksError::Json)?;
        let Some(Json::Array(members)) = set.get("keys") else { return Err(JwksError::NoKeys) };
        if members.len() > MAX_KEYS {
            return Err(JwksError::TooMany);
        }
        let mut keys = Vec::new();
        for member in members {
            let Json::Object(jwk) = member else { return Err(JwksError::NoKeys) };
            keys.extend(read_key(jwk).unwrap_or_default());
        }
        Ok(Self { keys })
    }

    /// The same, where there is none to be used.
    pub(crate) fn read_usable(bytes: &[u8]) -> Result<Self, JwksError> {
        let set = Self::read(bytes)?;
        if set.keys.is_empty() { Err(JwksError::NoneUsable) } else { Ok(set) }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that a token may be signed by: those with its `kid`. A token without one is signed by the only key for its
    /// algorithm.
    fn candidates<'a>(&'a self, id: Option<&'a str>, algorithm: JwsAlgorithm) -> impl Iterator<Item = &'a Key> {
        let for_it = move |key: &&Key| key.algorithm == algorithm;
        let alone = id.is_some() || self.keys.iter().filter(for_it).count() == 1;
        self.keys.iter().filter(for_it).filter(move |key| alone && (id.is_none() || key.id.as_deref() == id))
    }

    /// Whether there is a key that a token may be signed by.
    pub(crate) fn knows(&self, id: Option<&str>, algorithm: JwsAlgorithm) -> bool {
        self.candidates(id, algorithm).next().is_some()
    }

    /// Whether it still has a key for an algorithm, by SHA-256 of its SubjectPublicKeyInfo: ids are given again.
    pub(crate) fn holds(&self, key: &Sha256Hash, algorithm: JwsAlgorithm) -> bool {
        self.keys.iter().any(|held| held.algorithm == algorithm && held.key.spki_sha256() == *key)
    }

    /// Which of them signed it, by SHA-256 of its SubjectPublicKeyInfo.
    pub(crate) fn signer(
        &self,
        id: Option<&str>,
        algorithm: JwsAlgorithm,
        signed: &str,
        signature: &[u8],
    ) -> Option<Sha256Hash> {
        let input = SignedInput::Message(signed.as_bytes());
        // Of ECDSA, JWS has r and s one after the other (RFC 7518, section 3.4).
        let signed_it = |key: &&Key| key.key.verify(input, signature, EcdsaEncoding::P1363).is_ok();
        self.candidates(id, algorithm).find(signed_it).map(|key| key.key.spki_sha256())
    }
}

/// The key for each of its algorithms; nothing where it is of no use to us.
fn read_key(jwk: &JsonObject) -> Option<Vec<Key>> {
    let is_for_verifying = match jwk.get("key_ops") {
        None => true,
        Some(Json::Array(operations)) => operations.contains(&Json::Text("verify".to_owned())),
        Some(_) => false,
    };
    // A key set with a private key in it is known to more than its issuer.
    if !is_for_verifying || !matches!(jwk.text("use"), Ok(None | Some("sig"))) || jwk.get("d").is_some() {
        return None;
    }
    let id = jwk.text("kid").ok()?;
    let only = jwk.text("alg").ok()?;
    let octets = |name: &str| Base64UrlUnpadded::decode_vec(jwk.text(name).ok()??).ok();
    let (spki, algorithms) = match jwk.text("kty").ok()?? {
        "RSA" => {
            let modulus = octets("n")?;
            let (pkcs1, pss) = match modulus.iter().skip_while(|byte| **byte == 0).count() {
                256 => (Algorithm::RsaPkcs1_2048Sha256, Algorithm::RsaPss2048Sha256),
                384 => (Algorithm::RsaPkcs1_3072Sha256, Algorithm::RsaPss3072Sha256),
                512 => (Algorithm::RsaPkcs1_4096Sha256, Algorithm::RsaPss4096Sha256),
                _ => return None,
            };
            let spki = rsa_spki(&modulus, &octets("e")?).ok()?;
            (spki, vec![(JwsAlgorithm::Rs256, pkcs1), (JwsAlgorithm::Ps256, pss)])
        }
        "EC" => {
            let (curve, jws, algorithm) = match jwk.text("crv").ok()?? {
                "P-256" => (Curve::P256, JwsAlgorithm::Es256, Algorithm::EcdsaP256Sha256),
                "P-384" => (Curve::P384, JwsAlgorithm::Es384, Algorithm::EcdsaP384Sha384),
                _ => return None,
            };
            let (x, y) = (octets("x")?, octets("y")?);
            if [&x, &y].iter().any(|coordinate| coordinate.len() != curve.coordinate_bytes()) {
                return None;
            }
            (ec_spki(curve, &[&[4], x.as_slice(), &y].concat()).ok()?, vec![(jws, algorithm)])
        }
        "OKP" if jwk.text("crv") == Ok(Some("Ed25519")) => {
            let point = octets("x").filter(|point| point.len() == 32)?;
            (ed25519_spki(&point).ok()?, vec![(JwsAlgorithm::EdDsa, Algorithm::Ed25519)])
        }
        _ => return None,
    };
    let key = |(jws, algorithm): (JwsAlgorithm, Algorithm)| {
        let wanted = only.is_none_or(|only| only == jws.as_str());
        let key = PublicKey::from_spki_der_any_exponent(algorithm, &spki).ok().filter(|_| wanted)?;
        Some(Key { id: id.map(str::to_owned), algorithm: jws, key })
    };
    Some(algorithms.into_iter().filter_map(key).collect())
}
