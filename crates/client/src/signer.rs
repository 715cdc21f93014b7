//! The `signature` crate's asynchronous signer: a key in the device wherever generic code wants to sign.

use std::fmt;

use chancery_crypto::{PublicKey, SignedInput};
use chancery_model::{Algorithm, Curve, EcdsaEncoding, KeyVersionName};
use ecdsa::EcdsaCurve;
use ecdsa::elliptic_curve::bigint::Encoding as _;
use signature::{AsyncSigner, Error, KeypairRef, SignatureEncoding, Verifier};
use spki::der::asn1::{Any, BitString, Null, ObjectIdentifier};
use spki::der::{self, Document};
use spki::{AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey, SignatureBitStringEncoding};

use crate::{Client, ClientError, KeyRef};

/// Signs with one key version. Implements [`signature::AsyncSigner`] for
///
/// - [`Signature`]: the bytes as X.509 has them (DER for ECDSA), for every signing algorithm;
/// - `ecdsa::Signature<C>`, which `p256::ecdsa::Signature`, `p384::..`, `p521::..` and `k256::..` are, and
///   `ecdsa::der::Signature<C>`: for keys on the curve `C` and no others.
///
/// It names one version rather than the key, so that it has one public key for as long as it lives: make another after a
/// rotation. With [`signature::Keypair`] and `spki`'s traits it is what builders of certificates and certificate requests
/// ask for (`x509_cert::builder::AsyncBuilder`).
///
/// ```no_run
/// # async fn example(client: &chancery_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use signature::{AsyncSigner, Keypair as _, Verifier as _};
///
/// /// Knows nothing of Chancery.
/// async fn seal<S>(signer: &impl AsyncSigner<S>, document: &[u8]) -> Result<S, signature::Error> {
///     signer.sign_async(document).await
/// }
///
/// let signer = client.signer("keyRings/dev/keys/invoices").await?;
/// let sealed: chancery_client::Signature = seal(&signer, b"pay 5 to Ada").await?;
/// signer.verifying_key().verify(b"pay 5 to Ada", &sealed)?;
/// # Ok(())
/// # }
/// ```
///
/// A failure is a [`signature::Error`] whose source is the [`ClientError`].
#[derive(Debug, Clone)]
pub struct KeySigner {
    client: Client,
    version: KeyVersionName,
    verifying_key: VerifyingKey,
}

/// A signature as X.509 has it: DER for ECDSA, the bytes themselves for others.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(Vec<u8>);

/// The public key of a [`KeySigner`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey(PublicKey);

impl Client {
    /// A signer of the `signature` crate for the version, or for the version that is the key's primary one now.
    ///
    /// # Errors
    /// As [`Client::verifying_key`].
    pub async fn signer<N>(&self, name: N) -> Result<KeySigner, ClientError>
    where
        N: TryInto<KeyRef, Error: Into<ClientError>>,
    {
        let (version, key) = self.verifying_key(name).await?;
        Ok(KeySigner { client: self.clone(), version, verifying_key: VerifyingKey(key) })
    }
}

impl KeySigner {
    /// The version that signs.
    #[must_use]
    pub const fn version(&self) -> &KeyVersionName {
        &self.version
    }

    /// The key's algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.verifying_key.0.algorithm()
    }

    async fn sign(&self, message: &[u8], encoding: EcdsaEncoding) -> Result<Vec<u8>, Error> {
        let signed = self.client.sign(&self.version, message, encoding).await.map_err(Error::from_source)?;
        Ok(signed.signature)
    }

    /// Whether the key is on the curve `C`, told by its order.
    fn check_curve<C: EcdsaCurve>(&self) -> Result<(), Error> {
        if self.algorithm().curve().is_some_and(is_curve::<C>) {
            return Ok(());
        }
        let what = format!("{} is an {} key, which makes no signatures of this type", self.version, self.algorithm());
        Err(Error::from_source(ClientError::Request { what }))
    }
}

impl AsyncSigner<Signature> for KeySigner {
    async fn sign_async(&self, message: &[u8]) -> Result<Signature, Error> {
        self.sign(message, EcdsaEncoding::Der).await.map(Signature)
    }
}

impl<C: EcdsaCurve> AsyncSigner<ecdsa::Signature<C>> for KeySigner {
    async fn sign_async(&self, message: &[u8]) -> Result<ecdsa::Signature<C>, Error> {
        self.check_curve::<C>()?;
        ecdsa::Signature::from_slice(&self.sign(message, EcdsaEncoding::P1363).await?)
    }
}

impl<C> AsyncSigner<ecdsa::der::Signature<C>> for KeySigner
where
    C: EcdsaCurve,
    ecdsa::der::MaxSize<C>: ecdsa::elliptic_curve::array::ArraySize,
    ecdsa::SignatureSize<C>: std::ops::Add<ecdsa::der::MaxOverhead> + ecdsa::elliptic_curve::array::ArraySize,
{
    async fn sign_async(&self, message: &[u8]) -> Result<ecdsa::der::Signature<C>, Error> {
        self.check_curve::<C>()?;
        ecdsa::der::Signature::from_bytes(&self.sign(message, EcdsaEncoding::Der).await?)
    }
}

/// The orders of our curves, big-endian: FIPS 186-5 by way of NIST SP 800-186, section 3.2.1, and SEC 2, section 2.4.1.
fn is_curve<C: EcdsaCurve>(curve: Curve) -> bool {
    const P256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    const P384: &str =
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
    const P521: &str = "1fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d0\
                        3bb5c9b8899c47aebb6fb71e91386409";
    const SECP256K1: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let order = C::ORDER.get().to_be_bytes();
    let digits: String = order.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    digits.trim_start_matches('0')
        == match curve {
            Curve::P256 => P256,
            Curve::P384 => P384,
            Curve::P521 => P521,
            Curve::Secp256k1 => SECP256K1,
        }
}

impl AsRef<VerifyingKey> for KeySigner {
    fn as_ref(&self) -> &VerifyingKey {
        &self.verifying_key
    }
}

impl KeypairRef for KeySigner {
    type VerifyingKey = VerifyingKey;
}

impl VerifyingKey {
    /// The key, for what else can be done with it.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.0
    }
}

impl EncodePublicKey for VerifyingKey {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::try_from(self.0.spki_der())?)
    }
}

impl Verifier<Signature> for VerifyingKey {
    fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Error> {
        self.0
            .verify(SignedInput::Message(message), &signature.0, EcdsaEncoding::Der)
            // Why a signature is wrong is nobody's business, says the trait.
            .map_err(|_opaque| Error::new())
    }
}

impl DynSignatureAlgorithmIdentifier for KeySigner {
    /// RFC 5758 (ECDSA), RFC 8410 (Ed25519), RFC 4055 (RSA PKCS#1), RFC 9881 (ML-DSA).
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        // None has parameters but RSA PKCS#1, which has NULL.
        let (oid, parameters) = match self.algorithm() {
            Algorithm::RsaPkcs1_2048Sha256 | Algorithm::RsaPkcs1_3072Sha256 | Algorithm::RsaPkcs1_4096Sha256 => {
                ("1.2.840.113549.1.1.11", Some(Any::from(Null)))
            }
            Algorithm::RsaPkcs1_4096Sha512 => ("1.2.840.113549.1.1.13", Some(Any::from(Null))),
            Algorithm::EcdsaP256Sha256 | Algorithm::EcdsaSecp256k1Sha256 => ("1.2.840.10045.4.3.2", None),
            Algorithm::EcdsaP384Sha384 => ("1.2.840.10045.4.3.3", None),
            Algorithm::EcdsaP521Sha512 => ("1.2.840.10045.4.3.4", None),
            Algorithm::Ed25519 => ("1.3.101.112", None),
            Algorithm::MlDsa44 => ("2.16.840.1.101.3.4.3.17", None),
            Algorithm::MlDsa65 => ("2.16.840.1.101.3.4.3.18", None),
            Algorithm::MlDsa87 => ("2.16.840.1.101.3.4.3.19", None),
            // PSS has its hash and salt in parameters that `spki` has no type for; Keccak has no name in X.509; MAC keys
            // have no signer.
            Algorithm::RsaPss2048Sha256
            | Algorithm::RsaPss3072Sha256
            | Algorithm::RsaPss4096Sha256
            | Algorithm::RsaPss4096Sha512
            | Algorithm::EcdsaSecp256k1Keccak256
            | Algorithm::HmacSha256
            | Algorithm::HmacSha384
            | Algorithm::HmacSha512
            | Algorithm::AesCmac => return Err(spki::Error::AlgorithmParametersMissing),
        };
        Ok(AlgorithmIdentifierOwned { oid: ObjectIdentifier::new_unwrap(oid), parameters })
    }
}

impl Signature {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({} bytes)", self.0.len())
    }
}

impl TryFrom<&[u8]> for Signature {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.is_empty() { Err(Error::new()) } else { Ok(Self(bytes.to_vec())) }
    }
}

impl From<Signature> for Box<[u8]> {
    fn from(signature: Signature) -> Self {
        signature.0.into_boxed_slice()
    }
}

impl SignatureEncoding for Signature {
    type Repr = Box<[u8]>;
}

impl SignatureBitStringEncoding for Signature {
    fn to_bitstring(&self) -> der::Result<BitString> {
        BitString::from_bytes(&self.0)
    }
}
