//! Hashing, and the DigestInfo that RSASSA-PKCS1-v1_5 signs.

use aws_lc_rs::digest;
use chancery_model::{Digest, HashAlgorithm, Sha256Hash};
use sha3::Digest as _;
use std::io::{self, Read};

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

/// The same of all that a reader has, in pieces.
///
/// # Errors
/// Those of the reader.
pub fn sha256_of(mut data: impl Read) -> io::Result<Sha256Hash> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = data.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        context.update(piece);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Ok(bytes)
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

    const SHA2: [HashAlgorithm; 3] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];

    #[test]
    fn the_examples_of_fips_180_4_hold() {
        // The one-block message "abc", from NIST's example values.
        let expected = [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ];
        for (algorithm, expected) in SHA2.into_iter().zip(expected) {
            let digest = hash(algorithm, b"abc");
            assert_eq!(hex::encode(digest.as_bytes()), expected);
            assert_eq!(digest.as_bytes().len(), algorithm.output_bytes());
        }
        assert_eq!(sha256(b"abc").as_slice(), hash(HashAlgorithm::Sha256, b"abc").as_bytes());
    }

    #[test]
    fn the_known_answers_of_the_keccak_team_hold() {
        // ShortMsgKAT_256 and LongMsgKAT_256 of the submission to the SHA-3 contest (version 3): messages of 0, 1, 94,
        // 115, 244 and 256 bytes, which is one and two blocks of 136 bytes.
        let answers = [
            ("", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
            ("cc", "eead6dbfc7340a56caedc044696a168870549a6a7f6f56961e84a54bd9970b8a"),
            (
                "7adc0b6693e61c269f278e6944a5a2d8300981e40022f839ac644387bfac9086650085c2cdc585fea47b9d2e52d65a2b29a7dc37\
                 0401ef5d60dd0d21f9e2b90fae919319b14b8c5565b0423cefb827d5f1203302a9d01523498a4db10374",
                "4cc2aff141987f4c2e683fa2de30042bacdcd06087d7a7b014996e9cfeaa58ce",
            ),
            (
                "b55c10eae0ec684c16d13463f29291bf26c82e2fa0422a99c71db4af14dd9c7f33eda52fd73d017cc0f2dbe734d831f0d820d06d\
                 5f89dacc485739144f8cfd4799223b1aff9031a105cb6a029ba71e6e5867d85a554991c38df3c9ef8c1e1e9a7630be61caabca69\
                 280c399c1fb7a12d12aefc",
                "0347901965d3635005e75a1095695cca050bc9ed2d440c0372a31b348514a889",
            ),
            (
                "2edc282ffb90b97118dd03aaa03b145f363905e3cbd2d50ecd692b37bf000185c651d3e9726c690d3773ec1e48510e42b17742b0\
                 b0377e7de6b8f55e00a8a4db4740cee6db0830529dd19617501dc1e9359aa3bcf147e0a76b3ab70c4984c13e339e6806bb35e683\
                 af8527093670859f3d8a0fc7d493bcba6bb12b5f65e71e705ca5d6c948d66ed3d730b26db395b3447737c26fad089aa0ad0e306c\
                 b28bf0acf106f89af3745f0ec72d534968cca543cd2ca50c94b1456743254e358c1317c07a07bf2b0eca438a709367fafc89a572\
                 39028fc5fecfd53b8ef958ef10ee0608b7f5cb9923ad97058ec067700cc746c127a61ee3",
                "dd1d2a92b3f3f3902f064365838e1f5f3468730c343e2974e7a9ecfcd84aa6db",
            ),
            (
                "724627916c50338643e6996f07877eafd96bdf01da7e991d4155b9be1295ea7d21c9391f4c4a41c75f77e5d27389253393725f14\
                 27f57914b273ab862b9e31dabce506e558720520d33352d119f699e784f9e548ff91bc35ca147042128709820d69a8287ea32578\
                 57615eb0321270e94b84f446942765ce882b191faee7e1c87e0f0bd4e0cd8a927703524b559b769ca4ece1f6dbf313fdcf67c572\
                 ec4185c1a88e86ec11b6454b371980020f19633b6b95bd280e4fbcb0161e1a82470320cec6ecfa25ac73d09f1536f286d3f9daca\
                 fb2cd1d0ce72d64d197f5c7520b3ccb2fd74eb72664ba93853ef41eabf52f015dd591500d018dd162815cc993595b195",
                "ea0e416c0f7b4f11e3f00479fddf954f2539e5e557753bd546f69ee375a5de29",
            ),
        ];
        for (message, expected) in answers {
            let digest = hash(HashAlgorithm::Keccak256, &hex::decode(message));
            assert_eq!(hex::encode(digest.as_bytes()), expected, "{message}");
            assert_eq!(digest.as_bytes().len(), HashAlgorithm::Keccak256.output_bytes());
        }
        // Ethereum's contract ABI, the topic of an ERC-20 transfer.
        let topic = hash(HashAlgorithm::Keccak256, b"Transfer(address,address,uint256)");
        let expected = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
        assert_eq!(hex::encode(topic.as_bytes()), expected);
        // What FIPS 202 made of it is another function: SHA3-256 of nothing.
        let sha3 = digest::digest(&digest::SHA3_256, b"");
        assert_ne!(sha3.as_ref(), hash(HashAlgorithm::Keccak256, b"").as_bytes());
    }

    #[test]
    fn keccak_has_no_digest_info() {
        assert_eq!(digest_info(&hash(HashAlgorithm::Keccak256, b"message")), None);
    }

    #[derive(Sequence)]
    struct DigestInfo<'a> {
        algorithm: AlgorithmIdentifierRef<'a>,
        digest: &'a OctetStringRef,
    }

    #[test]
    fn digest_info_names_its_hash_function() {
        let oids = ["2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.3"];
        for (algorithm, oid) in SHA2.into_iter().zip(oids) {
            let digest = hash(algorithm, b"message");
            let encoded = digest_info(&digest).unwrap();
            let info = DigestInfo::from_der(&encoded).unwrap();
            assert_eq!(info.algorithm.oid, ObjectIdentifier::new_unwrap(oid));
            assert_eq!(info.algorithm.parameters, Some(AnyRef::NULL));
            assert_eq!(info.digest.as_bytes(), digest.as_bytes());
        }
    }
}
