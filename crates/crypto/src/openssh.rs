//! Public keys as OpenSSH writes them: one line of `authorized_keys`, `known_hosts` or a `.pub` file.

use crate::PublicKey;
use crate::spki::KeyMaterial;
use base64ct::{Base64, Encoding};
use chancery_model::Curve;

impl PublicKey {
    /// The key as one line: type, key in base64 and, where `comment` is not empty, a space and the comment; ends in LF.
    ///
    /// RSA (RFC 4253, section 6.6), NIST curves (RFC 5656, section 3.1) and Ed25519 (RFC 8709, section 4). `None` for
    /// all others: OpenSSH has no secp256k1, and no name for ML-DSA yet. The line says nothing of the padding; what SSH
    /// itself signs with an `ssh-rsa` key is PKCS#1 v1.5 (RFC 8332).
    ///
    /// Control characters in the comment become spaces: a line break would begin another key.
    #[must_use]
    pub fn to_openssh(&self, comment: &str) -> Option<String> {
        let (key_type, blob) = match self.material() {
            KeyMaterial::Rsa { modulus, public_exponent } => {
                let blob = Blob::of("ssh-rsa")?.mpint(public_exponent)?.mpint(modulus)?;
                ("ssh-rsa", blob)
            }
            KeyMaterial::Ec { curve, point } => {
                let (key_type, curve) = ecdsa_names(curve)?;
                (key_type, Blob::of(key_type)?.string(curve.as_bytes())?.string(point)?)
            }
            KeyMaterial::Ed25519 { point } => ("ssh-ed25519", Blob::of("ssh-ed25519")?.string(point)?),
            KeyMaterial::MlDsa { .. } => return None,
        };
        let comment = comment.replace(char::is_control, " ");
        let line = format!("{key_type} {} {}", Base64::encode_string(&blob.0), comment.trim());
        Some(format!("{}\n", line.trim_end()))
    }
}

/// The key type and the name of the curve within it (RFC 5656, sections 6.2 and 10.1).
const fn ecdsa_names(curve: Curve) -> Option<(&'static str, &'static str)> {
    match curve {
        Curve::P256 => Some(("ecdsa-sha2-nistp256", "nistp256")),
        Curve::P384 => Some(("ecdsa-sha2-nistp384", "nistp384")),
        Curve::P521 => Some(("ecdsa-sha2-nistp521", "nistp521")),
        Curve::Secp256k1 => None,
    }
}

/// A public key blob, in the data types of RFC 4251, section 5. `None` beyond 4 GiB.
struct Blob(Vec<u8>);

impl Blob {
    fn of(key_type: &str) -> Option<Self> {
        Self(Vec::new()).string(key_type.as_bytes())
    }

    fn string(mut self, bytes: &[u8]) -> Option<Self> {
        self.0.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
        self.0.extend_from_slice(bytes);
        Some(self)
    }

    /// `number` is big-endian, positive, and without leading zeros; a zero before a set top bit keeps it positive.
    fn mpint(self, number: &[u8]) -> Option<Self> {
        match number.first() {
            Some(0x80..) => self.string(&[&[0], number].concat()),
            _ => self.string(number),
        }
    }
}
