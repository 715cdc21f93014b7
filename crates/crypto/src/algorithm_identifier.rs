//! How X.509 names the algorithms that sign (RFC 4055, RFC 5758, RFC 8410, RFC 9881).

use aws_lc_rs::signature::{self, VerificationAlgorithm};
use chancery_model::{Algorithm, HashAlgorithm, KeyType, SignatureScheme};
use der::asn1::ObjectIdentifier;
use der::{Any, Sequence};
use spki::AlgorithmIdentifierOwned;

const RSA_PKCS1_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_PKCS1_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_PKCS1_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// `RSASSA-PSS-params` (RFC 4055, section 3.1), none of them the default.
#[derive(Sequence)]
struct PssParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    hash: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    mask: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    salt_length: u8,
}

/// The identifier of an algorithm's signatures; `None` where X.509 has none for it.
pub(crate) fn signature_algorithm(algorithm: Algorithm) -> Option<AlgorithmIdentifierOwned> {
    let bare = |oid| Some(AlgorithmIdentifierOwned { oid, parameters: None });
    match (algorithm.scheme(), algorithm.hash(), algorithm.key_type()) {
        (SignatureScheme::RsaPkcs1, Some(HashAlgorithm::Sha256), _) => Some(with_null(RSA_PKCS1_SHA256)),
        (SignatureScheme::RsaPkcs1, Some(HashAlgorithm::Sha384), _) => Some(with_null(RSA_PKCS1_SHA384)),
        (SignatureScheme::RsaPkcs1, Some(HashAlgorithm::Sha512), _) => Some(with_null(RSA_PKCS1_SHA512)),
        (SignatureScheme::RsaPss, Some(hash), _) => pss(hash),
        (SignatureScheme::Ecdsa, Some(HashAlgorithm::Sha256), _) => bare(ECDSA_SHA256),
        (SignatureScheme::Ecdsa, Some(HashAlgorithm::Sha384), _) => bare(ECDSA_SHA384),
        (SignatureScheme::Ecdsa, Some(HashAlgorithm::Sha512), _) => bare(ECDSA_SHA512),
        (SignatureScheme::Ed25519, ..) => bare(ED25519),
        (SignatureScheme::MlDsa, _, KeyType::MlDsa(set)) => bare(crate::spki::mldsa_oid(set)),
        (
            SignatureScheme::RsaPkcs1
            | SignatureScheme::RsaPss
            | SignatureScheme::Ecdsa
            | SignatureScheme::MlDsa
            | SignatureScheme::Hmac(_)
            | SignatureScheme::AesCmac,
            ..,
        ) => None,
    }
}

fn pss(hash: HashAlgorithm) -> Option<AlgorithmIdentifierOwned> {
    let oid = match hash {
        HashAlgorithm::Sha256 => SHA256,
        HashAlgorithm::Sha384 => SHA384,
        HashAlgorithm::Sha512 => SHA512,
        HashAlgorithm::Keccak256 => return None,
    };
    let salt_length = u8::try_from(hash.output_bytes()).ok()?;
    let mask = AlgorithmIdentifierOwned { oid: MGF1, parameters: Any::encode_from(&with_null(oid)).ok() };
    let parameters = PssParameters { hash: with_null(oid), mask, salt_length };
    Some(AlgorithmIdentifierOwned { oid: RSA_PSS, parameters: Any::encode_from(&parameters).ok() })
}

fn with_null(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) }
}

/// What checks signatures of this identifier by keys of this one; `None` where this version has nothing for it.
pub(crate) fn verifier(
    signature: &AlgorithmIdentifierOwned,
    key: &AlgorithmIdentifierOwned,
) -> Option<&'static dyn VerificationAlgorithm> {
    let curve = key.parameters.as_ref().and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
    let is_pss = |hash| pss(hash).is_some_and(|known| known.parameters == signature.parameters);
    Some(match (signature.oid, curve) {
        (RSA_PKCS1_SHA256, None) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (RSA_PKCS1_SHA384, None) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (RSA_PKCS1_SHA512, None) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (RSA_PSS, None) if is_pss(HashAlgorithm::Sha256) => &signature::RSA_PSS_2048_8192_SHA256,
        (RSA_PSS, None) if is_pss(HashAlgorithm::Sha384) => &signature::RSA_PSS_2048_8192_SHA384,
        (RSA_PSS, None) if is_pss(HashAlgorithm::Sha512) => &signature::RSA_PSS_2048_8192_SHA512,
        (ECDSA_SHA256, Some(P256)) => &signature::ECDSA_P256_SHA256_ASN1,
        (ECDSA_SHA384, Some(P256)) => &signature::ECDSA_P256_SHA384_ASN1,
        (ECDSA_SHA256, Some(P384)) => &signature::ECDSA_P384_SHA256_ASN1,
        (ECDSA_SHA384, Some(P384)) => &signature::ECDSA_P384_SHA384_ASN1,
        (ECDSA_SHA256, Some(P521)) => &signature::ECDSA_P521_SHA256_ASN1,
        (ECDSA_SHA384, Some(P521)) => &signature::ECDSA_P521_SHA384_ASN1,
        (ECDSA_SHA512, Some(P521)) => &signature::ECDSA_P521_SHA512_ASN1,
        (ED25519, None) => &signature::ED25519,
        _ => return None,
    })
}
