//! Public keys as JSON Web Keys (RFC 7517), and the names that JOSE has for our algorithms.

use crate::spki::KeyMaterial;
use crate::{PublicKey, sha256};
use base64ct::{Base64UrlUnpadded, Encoding};
use chancery_model::{Algorithm, Curve, Sha256Hash};
use std::fmt::Write;

/// JOSE's name for an algorithm, the `alg` of a JWS header and of a JWK: RFC 7518, section 3.1; RFC 8037 for Ed25519
/// (`EdDSA`, which libraries know, rather than the `Ed25519` of RFC 9864, which many do not); RFC 8812 for secp256k1;
/// RFC 9964 for ML-DSA.
///
/// `None` where JOSE has no name, as for secp256k1 with Keccak-256, and for MAC algorithms, whose keys are nobody's to
/// publish.
#[must_use]
pub const fn jose_algorithm(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::RsaPkcs1_2048Sha256 | Algorithm::RsaPkcs1_3072Sha256 | Algorithm::RsaPkcs1_4096Sha256 => {
            Some("RS256")
        }
        Algorithm::RsaPkcs1_4096Sha512 => Some("RS512"),
        Algorithm::RsaPss2048Sha256 | Algorithm::RsaPss3072Sha256 | Algorithm::RsaPss4096Sha256 => Some("PS256"),
        Algorithm::RsaPss4096Sha512 => Some("PS512"),
        Algorithm::EcdsaP256Sha256 => Some("ES256"),
        Algorithm::EcdsaP384Sha384 => Some("ES384"),
        Algorithm::EcdsaP521Sha512 => Some("ES512"),
        Algorithm::EcdsaSecp256k1Sha256 => Some("ES256K"),
        Algorithm::Ed25519 => Some("EdDSA"),
        Algorithm::MlDsa44 => Some("ML-DSA-44"),
        Algorithm::MlDsa65 => Some("ML-DSA-65"),
        Algorithm::MlDsa87 => Some("ML-DSA-87"),
        Algorithm::EcdsaSecp256k1Keccak256
        | Algorithm::HmacSha256
        | Algorithm::HmacSha384
        | Algorithm::HmacSha512
        | Algorithm::AesCmac => None,
    }
}

/// A public key as JWK, for verifying signatures (`"use":"sig"`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    /// The algorithm's JOSE name, see [`jose_algorithm`].
    pub alg: &'static str,
    /// The key's name: its SHA-256 thumbprint (RFC 7638) in base64url, 43 characters.
    pub kid: String,
    /// The key itself.
    pub key: JwkKey,
}

/// The key itself in a [`Jwk`]; numbers and octets in base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwkKey {
    /// `"kty":"RSA"` (RFC 7518, section 6.3.1).
    Rsa {
        /// The modulus, big-endian, without leading zeros.
        n: String,
        /// The public exponent, likewise.
        e: String,
    },
    /// `"kty":"EC"` (RFC 7518, section 6.2.1).
    Ec {
        /// The curve's JOSE name.
        crv: &'static str,
        /// The x coordinate, as long as the curve says.
        x: String,
        /// The y coordinate, likewise.
        y: String,
    },
    /// `"kty":"OKP"` (RFC 8037, section 2).
    Okp {
        /// `Ed25519`.
        crv: &'static str,
        /// The public key, 32 bytes.
        x: String,
    },
    /// `"kty":"AKP"` (RFC 9964): the algorithm is part of the key.
    Akp {
        /// The public key as the algorithm encodes it, JSON member `pub`.
        public: String,
    },
}

impl Jwk {
    /// The key's type: `RSA`, `EC`, `OKP` or `AKP`.
    #[must_use]
    pub const fn kty(&self) -> &'static str {
        self.key.kty()
    }

    /// The JSON text: no white space, members in the order of their names. The same key always gives the same text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut members = self.key.members(self.alg);
        // It is among the members of an AKP already.
        members.retain(|(name, _)| *name != "alg");
        members.extend([("alg", self.alg), ("kid", &self.kid), ("use", "sig")]);
        json(members)
    }
}

impl JwkKey {
    /// From what an SPKI holds.
    fn new(material: &KeyMaterial<'_>) -> Self {
        let base64 = Base64UrlUnpadded::encode_string;
        match material {
            KeyMaterial::Rsa { modulus, public_exponent } => {
                Self::Rsa { n: base64(modulus), e: base64(public_exponent) }
            }
            KeyMaterial::Ec { curve, point } => {
                // 04, x and y: the SPKI was read, so both are there.
                let coordinates = point.get(1..).unwrap_or_default();
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                Self::Ec { crv: crv(*curve), x: base64(x), y: base64(y) }
            }
            KeyMaterial::Ed25519 { point } => Self::Okp { crv: "Ed25519", x: base64(point) },
            KeyMaterial::MlDsa { public_key, .. } => Self::Akp { public: base64(public_key) },
        }
    }

    const fn kty(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RSA",
            Self::Ec { .. } => "EC",
            Self::Okp { .. } => "OKP",
            Self::Akp { .. } => "AKP",
        }
    }

    /// The members that a key of its type must have: those that the thumbprint is over (RFC 7638, section 3.2;
    /// RFC 8037, section 2; RFC 9964).
    fn members<'a>(&'a self, alg: &'static str) -> Vec<(&'static str, &'a str)> {
        let kty = ("kty", self.kty());
        match self {
            Self::Rsa { n, e } => vec![kty, ("n", n), ("e", e)],
            Self::Ec { crv, x, y } => vec![kty, ("crv", crv), ("x", x), ("y", y)],
            Self::Okp { crv, x } => vec![kty, ("crv", crv), ("x", x)],
            Self::Akp { public } => vec![kty, ("alg", alg), ("pub", public)],
        }
    }
}

/// The curve's JOSE name: RFC 7518, section 6.2.1.1; RFC 8812, section 3.1.
const fn crv(curve: Curve) -> &'static str {
    match curve {
        Curve::P256 => "P-256",
        Curve::P384 => "P-384",
        Curve::P521 => "P-521",
        Curve::Secp256k1 => "secp256k1",
    }
}

/// An object of strings, sorted by name. All of them are JOSE's names or base64url, with nothing to escape.
fn json(mut members: Vec<(&'static str, &str)>) -> String {
    members.sort_unstable();
    let mut text = String::from("{");
    for (name, value) in members {
        let comma = if text.len() > 1 { "," } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}\"{name}\":\"{value}\"");
    }
    text.push('}');
    text
}

/// What a key is called in JOSE.
pub(crate) struct JoseName {
    thumbprint: Sha256Hash,
    kid: String,
}

impl JoseName {
    /// `None` where JOSE does not know the key's algorithm.
    pub(crate) fn of(key: &PublicKey) -> Option<Self> {
        let alg = jose_algorithm(key.algorithm())?;
        let thumbprint = sha256(json(JwkKey::new(&key.material()).members(alg)).as_bytes());
        Some(Self { thumbprint, kid: Base64UrlUnpadded::encode_string(&thumbprint) })
    }
}

impl PublicKey {
    /// The key as JWK; `None` where JOSE has no name for its algorithm (secp256k1 with Keccak-256).
    #[must_use]
    pub fn to_jwk(&self) -> Option<Jwk> {
        let alg = jose_algorithm(self.algorithm())?;
        Some(Jwk { alg, kid: self.kid()?.to_owned(), key: JwkKey::new(&self.material()) })
    }

    /// The key's SHA-256 thumbprint (RFC 7638): 32 bytes that depend on the key alone, for ML-DSA also on the
    /// algorithm. `None` as [`PublicKey::to_jwk`].
    #[must_use]
    pub fn jwk_thumbprint(&self) -> Option<Sha256Hash> {
        self.jose_name().map(|name| name.thumbprint)
    }

    /// The thumbprint in base64url without padding, 43 characters: what JWK and JWS name the key by. `None` as
    /// [`PublicKey::to_jwk`].
    ///
    /// Worked out once for a key and all its clones: a service that signs tokens asks for it every time.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.jose_name().map(|name| name.kid.as_str())
    }
}
