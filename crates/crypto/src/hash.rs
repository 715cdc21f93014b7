//! Hashing, and the DigestInfo that RSASSA-PKCS1-v1_5 signs.

use aws_lc_rs::digest;
use chancery_model::{Digest, HashAlgorithm, Sha256Hash};
use sha3::Digest as _;

/// The digest of `data`.
#[must_use]
pub fn hash(algorithm: HashAlgorithm, data: &[u8]) -> Digest {
    let bytes = match backend(algorithm) {
        Some(backend) => digest::digest(backend, data).as_ref().to_vec(),
        None => sha3::Keccak256::digest(data).to_vec(),
    };
    #[expect(clippy::expect_used, reason = "the function fixes the length; a test holds both tables together")]
    Digest::new(algorithm, bytes).expect("a hash function's output has the length that the standard says")
}

/// The SHA-256 hash of `data`: 32 bytes.
#[must_use]
pub fn sha256(data: &[u8]) -> Sha256Hash {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    bytes
}

/// The DER `DigestInfo` of a digest (RFC 8017, section 9.2, note 1): 19 bytes that name the hash function,
/// then the digest. PKCS#11's `CKM_RSA_PKCS` pads and signs what it is given, so naming the hash is up to us.
///
/// `None` for Keccak-256: it has no OID that PKCS#1 could name, and no algorithm of ours signs it with RSA.
#[must_use]
pub fn digest_info(digest: &Digest) -> Option<Vec<u8>> {
    let prefix = match digest.algorithm() {
        HashAlgorithm::Sha256 => SHA256_PREFIX,
        HashAlgorithm::Sha384 => SHA384_PREFIX,
        HashAlgorithm::Sha512 => SHA512_PREFIX,
        HashAlgorithm::Keccak256 => return None,
    };
    Some([prefix.as_slice(), digest.as_bytes()].concat())
}

// SEQUENCE { SEQUENCE { id-shaNNN, NULL }, OCTET STRING (the digest follows) }
const SHA256_PREFIX: [u8; 19] = digest_info_prefix(1, 32);
const SHA384_PREFIX: [u8; 19] = digest_info_prefix(2, 48);
const SHA512_PREFIX: [u8; 19] = digest_info_prefix(3, 64);

/// `arc` is the last arc of the hash function's OID under 2.16.840.1.101.3.4.2.
const fn digest_info_prefix(arc: u8, length: u8) -> [u8; 19] {
    let oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    let [o0, o1, o2, o3, o4, o5, o6, o7] = oid;
    [0x30, 17 + length, 0x30, 13, 0x06, 9, o0, o1, o2, o3, o4, o5, o6, o7, arc, 0x05, 0, 0x04, length]
}

/// The same hash function in aws-lc-rs, which has no Keccak-256.
pub(crate) const fn backend(algorithm: HashAlgorithm) -> Option<&'static digest::Algorithm> {
    match algorithm {
        HashAlgorithm::Sha256 => Some(&digest::SHA256),
        HashAlgorithm::Sha384 => Some(&digest::SHA384),
        HashAlgorithm::Sha512 => Some(&digest::SHA512),
        HashAlgorithm::Keccak256 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
    use der::{Decode, Sequence};
    use spki::AlgorithmIdentifierRef;

    const ALL: [HashAlgorithm; 3] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];

    #[test]
    fn the_examples_of_fips_180_4_hold() {
        // The one-block message "abc", from NIST's example values.
        let expected = [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ];
        for (algorithm, expected) in ALL.into_iter().zip(expected) {
            let digest = hash(algorithm, b"abc");
            assert_eq!(hex::encode(digest.as_bytes()), expected);
            assert_eq!(digest.as_bytes().len(), algorithm.output_bytes());
        }
        assert_eq!(sha256(b"abc").as_slice(), hash(HashAlgorithm::Sha256, b"abc").as_bytes());
    }

    #[derive(Sequence)]
    struct DigestInfo<'a> {
        algorithm: AlgorithmIdentifierRef<'a>,
        digest: &'a OctetStringRef,
    }

    #[test]
    fn digest_info_names_its_hash_function() {
        let oids = ["2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.3"];
        for (algorithm, oid) in ALL.into_iter().zip(oids) {
            let digest = hash(algorithm, b"message");
            let encoded = digest_info(&digest);
            let info = DigestInfo::from_der(&encoded).unwrap();
            assert_eq!(info.algorithm.oid, ObjectIdentifier::new_unwrap(oid));
            assert_eq!(info.algorithm.parameters, Some(AnyRef::NULL));
            assert_eq!(info.digest.as_bytes(), digest.as_bytes());
        }
    }
}
