//! Making, reading back, listing and destroying keys: pairs, and secrets for MACs.

use super::fault::Fault;
use super::held::{Held, search};
use super::mechanism::{self, EdwardsName};
use crate::HsmErrorKind;
use crate::key::{KeyAttributes, TokenObject, TokenObjectClass};
use crate::wire::{ControlReply, WireKey};
use chancery_model::{Algorithm, KeyPurpose, KeyType, TokenObjectId, Uid};
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

/// Makes a key and reads it back. One that is not as demanded is destroyed again.
pub(super) fn generate(
    held: &Held,
    session: &Session,
    uid: &[u8; 16],
    label: &str,
    algorithm: Algorithm,
    edwards: EdwardsName,
) -> Result<WireKey, Fault> {
    let id = TokenObjectId::from(Uid::from_bytes(*uid));
    let taken =
        search(session, &[Attribute::Id(uid.to_vec())]).map_err(|error| Fault::pkcs11("looking for the id", &error))?;
    if !taken.is_empty() {
        let message = format!("the token already holds {} objects with CKA_ID {id}; nothing was made", taken.len());
        return Err(Fault::new(HsmErrorKind::KeyAmbiguous, message));
    }
    let made = if mechanism::is_secret(algorithm.key_type()) {
        make_secret(session, uid, label, algorithm, edwards)?
    } else {
        make_pair(session, uid, label, algorithm, edwards)?
    };
    match read_back(session, &id, algorithm, made) {
        Ok(key) => {
            held.remember(id, made.used(), algorithm.purpose());
            Ok(key)
        }
        Err(fault) => Err(match destroy(held, session, &id) {
            Ok(_) => Fault { message: format!("{}; the new key was destroyed", fault.message), ..fault },
            Err(second) => {
                let message = format!("{}; destroying the new key failed: {}", fault.message, second.message);
                // While the key may still be there, no kind may say that nothing was left.
                Fault { kind: HsmErrorKind::OutcomeUnknown, message, ..fault }
            }
        }),
    }
}

/// The objects of a whole key.
#[derive(Debug, Clone, Copy)]
enum Objects {
    Pair { private: ObjectHandle, public: ObjectHandle },
    Secret(ObjectHandle),
}

impl Objects {
    /// The one that signs or makes MACs.
    const fn used(self) -> ObjectHandle {
        match self {
            Self::Pair { private, .. } => private,
            Self::Secret(secret) => secret,
        }
    }
}

fn make_pair(
    session: &Session,
    uid: &[u8; 16],
    label: &str,
    algorithm: Algorithm,
    edwards: EdwardsName,
) -> Result<Objects, Fault> {
    let (mechanism, kind) = mechanism::generating(algorithm.key_type(), edwards)?;
    let public = [
        named(uid, label).as_slice(),
        &kind,
        &[
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::VerifyRecover(false),
            Attribute::Encrypt(false),
            Attribute::Wrap(false),
        ],
    ]
    .concat();
    let private = [named(uid, label).as_slice(), &PROTECTED, &[Attribute::SignRecover(false)]].concat();
    let (public, private) =
        session.generate_key_pair(&mechanism, &public, &private).map_err(|error| never_again(algorithm, &error))?;
    Ok(Objects::Pair { private, public })
}

fn make_secret(
    session: &Session,
    uid: &[u8; 16],
    label: &str,
    algorithm: Algorithm,
    edwards: EdwardsName,
) -> Result<Objects, Fault> {
    let (mechanism, kind) = mechanism::generating(algorithm.key_type(), edwards)?;
    let template = [
        named(uid, label).as_slice(),
        &kind,
        &PROTECTED,
        &[Attribute::Verify(true), Attribute::Encrypt(false), Attribute::Wrap(false)],
    ]
    .concat();
    let secret = session.generate_key(&mechanism, &template).map_err(|error| never_again(algorithm, &error))?;
    Ok(Objects::Secret(secret))
}

fn named(uid: &[u8; 16], label: &str) -> [Attribute; 3] {
    [Attribute::Token(true), Attribute::Id(uid.to_vec()), Attribute::Label(label.as_bytes().to_vec())]
}

/// What the template of every private and secret key says.
const PROTECTED: [Attribute; 7] = [
    Attribute::Private(true),
    Attribute::Sensitive(true),
    Attribute::Extractable(false),
    Attribute::Sign(true),
    Attribute::Decrypt(false),
    Attribute::Unwrap(false),
    Attribute::Derive(false),
];

/// Never asked for twice: a failure may have left half a pair, which the sweep finds by its id.
fn never_again(algorithm: Algorithm, error: &Error) -> Fault {
    Fault { retry: false, ..Fault::pkcs11(format!("generating a key for {algorithm}"), error) }
}

/// What the token holds under a CKA_ID.
pub(super) fn inspect(
    held: &Held,
    session: &Session,
    id: &TokenObjectId,
    algorithm: Algorithm,
) -> Result<ControlReply, Fault> {
    let since = held.logins();
    let private = find(session, id, ObjectClass::PRIVATE_KEY)?;
    let public = find(session, id, ObjectClass::PUBLIC_KEY)?;
    let secret = find(session, id, ObjectClass::SECRET_KEY)?;
    let whole = match (private.as_slice(), public.as_slice(), secret.as_slice()) {
        ([private], [public], []) if algorithm.purpose() == KeyPurpose::Signature => {
            Objects::Pair { private: *private, public: *public }
        }
        ([], [], [secret]) if algorithm.purpose() == KeyPurpose::Mac => Objects::Secret(*secret),
        (private, public, secret) => {
            if private.is_empty() && secret.is_empty() {
                // An empty list is only evidence if the token shows private objects at all.
                held.require_whole(session, since)?;
            }
            let count = |handles: &[ObjectHandle]| u64::try_from(handles.len()).unwrap_or(u64::MAX);
            let (private, public, secret) = (count(private), count(public), count(secret));
            return Ok(ControlReply::Incomplete { private, public, secret });
        }
    };
    read_back(session, id, algorithm, whole).map(ControlReply::Key)
}

/// Destroys every key object with a CKA_ID, checks that none is left, and says how many there were. Where others gave the id,
/// [`super::adopt::require_same`] comes before.
pub(super) fn destroy(held: &Held, session: &Session, id: &TokenObjectId) -> Result<u64, Fault> {
    let mut destroyed = 0;
    let since = held.logins();
    held.forget(id);
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY, ObjectClass::SECRET_KEY] {
        for handle in find(session, id, class)? {
            session.destroy_object(handle).map_err(|error| Fault::pkcs11("destroying a key object", &error))?;
            destroyed += 1;
        }
        let left = find(session, id, class)?.len();
        if left > 0 {
            let message = format!("{left} key objects with CKA_ID {id} are still there after their destruction");
            return Err(Fault::new(HsmErrorKind::OutcomeUnknown, message));
        }
    }
    held.require_whole(session, since)?;
    Ok(destroyed)
}

/// All key objects of the token.
pub(super) fn list(held: &Held, session: &Session) -> Result<Vec<TokenObject>, Fault> {
    let mut objects = Vec::new();
    let since = held.logins();
    for (class, ours) in [
        (ObjectClass::PRIVATE_KEY, TokenObjectClass::PrivateKey),
        (ObjectClass::PUBLIC_KEY, TokenObjectClass::PublicKey),
        (ObjectClass::SECRET_KEY, TokenObjectClass::SecretKey),
    ] {
        objects.extend(shown(session, &[Attribute::Class(class), Attribute::Token(true)], ours)?);
    }
    held.require_whole(session, since)?;
    Ok(objects)
}

/// The secret key objects of the token: those of a CKA_ID, or all.
pub(super) fn list_secrets(held: &Held, session: &Session, id: Option<Vec<u8>>) -> Result<Vec<TokenObject>, Fault> {
    let since = held.logins();
    let mut template = vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Token(true)];
    template.extend(id.map(Attribute::Id));
    let objects = shown(session, &template, TokenObjectClass::SecretKey)?;
    held.require_whole(session, since)?;
    Ok(objects)
}

/// The objects that are found, each with its CKA_ID and its label.
fn shown(session: &Session, template: &[Attribute], class: TokenObjectClass) -> Result<Vec<TokenObject>, Fault> {
    let failed = |error: Error| Fault::pkcs11("listing key objects", &error);
    let mut objects = Vec::new();
    for handle in search(session, template).map_err(failed)? {
        let mut object = TokenObject { id: Vec::new(), label: String::new(), class };
        for attribute in session.get_attributes(handle, &[AttributeType::Id, AttributeType::Label]).map_err(failed)? {
            match attribute {
                Attribute::Id(id) => object.id = id,
                Attribute::Label(label) => object.label = String::from_utf8_lossy(&label).into_owned(),
                _ => {}
            }
        }
        objects.push(object);
    }
    Ok(objects)
}

pub(super) fn find(session: &Session, id: &TokenObjectId, class: ObjectClass) -> Result<Vec<ObjectHandle>, Fault> {
    search(session, &[Attribute::Class(class), Attribute::Id(id.as_bytes().to_vec())])
        .map_err(|error| Fault::pkcs11("looking for a key", &error))
}

fn read_back(session: &Session, id: &TokenObjectId, algorithm: Algorithm, whole: Objects) -> Result<WireKey, Fault> {
    let class = match whole {
        Objects::Pair { .. } => TokenObjectClass::PrivateKey,
        Objects::Secret(_) => TokenObjectClass::SecretKey,
    };
    let attributes = read_attributes(session, whole.used(), class)?;
    let violations = attributes.violations();
    if !violations.is_empty() {
        let message = format!("the key {id} is not as Chancery demands: wrong are {}", violations.join(", "));
        return Err(Fault::new(HsmErrorKind::Configuration, message));
    }
    let spki_der = match whole {
        Objects::Pair { public, .. } => Some(read_public(session, algorithm, public)?),
        Objects::Secret(secret) => {
            check_secret(session, algorithm, secret)?;
            None
        }
    };
    Ok(WireKey { id: id.as_bytes().to_vec(), spki_der, attributes })
}

/// A secret has no public half that would show its kind and size: the token says both.
pub(super) fn check_secret(session: &Session, algorithm: Algorithm, secret: ObjectHandle) -> Result<(), Fault> {
    // The same that the template of a new one says: key type and length.
    let (_, demanded) = mechanism::generating(algorithm.key_type(), EdwardsName::Oid)?;
    let wanted = demanded.iter().map(Attribute::attribute_type).collect::<Vec<_>>();
    let read = session
        .get_attributes(secret, &wanted)
        .map_err(|error| Fault::pkcs11("reading the secret key's type and length", &error))?;
    match demanded.iter().find(|attribute| !read.contains(attribute)) {
        None => Ok(()),
        Some(attribute) => {
            let name = attribute.attribute_type();
            let message = format!("the token shows a secret key that is none for {algorithm}: {name} is another");
            Err(Fault::new(HsmErrorKind::Configuration, message))
        }
    }
}

/// The attributes of a private or secret key that say how it is protected and what it may be used for.
const PROTECTING: [AttributeType; 11] = [
    AttributeType::Token,
    AttributeType::Private,
    AttributeType::Sensitive,
    AttributeType::AlwaysSensitive,
    AttributeType::Extractable,
    AttributeType::NeverExtractable,
    AttributeType::Local,
    AttributeType::Sign,
    AttributeType::Decrypt,
    AttributeType::Unwrap,
    AttributeType::Derive,
];

/// Uses that only a private key knows, and those that only a secret key knows.
const OF_PRIVATE_KEYS: &[AttributeType] = &[AttributeType::SignRecover];
const OF_SECRETS: &[AttributeType] = &[AttributeType::Verify, AttributeType::Encrypt, AttributeType::Wrap];

pub(super) fn read_attributes(
    session: &Session,
    key: ObjectHandle,
    class: TokenObjectClass,
) -> Result<KeyAttributes, Fault> {
    let of_its_class = if class == TokenObjectClass::SecretKey { OF_SECRETS } else { OF_PRIVATE_KEYS };
    let wanted = [&PROTECTING, of_its_class].concat();
    let read =
        session.get_attributes(key, &wanted).map_err(|error| Fault::pkcs11("reading the key's attributes", &error))?;
    // What protects the key counts only if the token says so. A use that the token does not know is not allowed.
    let mut attributes = KeyAttributes {
        class,
        token: false,
        private: false,
        sensitive: false,
        always_sensitive: false,
        extractable: true,
        never_extractable: false,
        local: false,
        sign: false,
        decrypt: false,
        unwrap: false,
        derive: false,
        sign_recover: false,
        verify: false,
        encrypt: false,
        wrap: false,
    };
    for attribute in read {
        match attribute {
            Attribute::Token(value) => attributes.token = value,
            Attribute::Private(value) => attributes.private = value,
            Attribute::Sensitive(value) => attributes.sensitive = value,
            Attribute::AlwaysSensitive(value) => attributes.always_sensitive = value,
            Attribute::Extractable(value) => attributes.extractable = value,
            Attribute::NeverExtractable(value) => attributes.never_extractable = value,
            Attribute::Local(value) => attributes.local = value,
            Attribute::Sign(value) => attributes.sign = value,
            Attribute::Decrypt(value) => attributes.decrypt = value,
            Attribute::Unwrap(value) => attributes.unwrap = value,
            Attribute::Derive(value) => attributes.derive = value,
            Attribute::SignRecover(value) => attributes.sign_recover = value,
            Attribute::Verify(value) => attributes.verify = value,
            Attribute::Encrypt(value) => attributes.encrypt = value,
            Attribute::Wrap(value) => attributes.wrap = value,
            _ => {}
        }
    }
    Ok(attributes)
}

pub(super) fn read_public(session: &Session, algorithm: Algorithm, public: ObjectHandle) -> Result<Vec<u8>, Fault> {
    let wanted: &[AttributeType] = match algorithm.key_type() {
        KeyType::Rsa { .. } => &[AttributeType::Modulus, AttributeType::PublicExponent],
        KeyType::Ec(_) | KeyType::Ed25519 => &[AttributeType::EcPoint],
        KeyType::MlDsa(_) => &[AttributeType::Value],
        KeyType::GenericSecret { .. } | KeyType::Aes { .. } => return Err(no_public_half(algorithm)),
    };
    let read =
        session.get_attributes(public, wanted).map_err(|error| Fault::pkcs11("reading the public key", &error))?;
    let (mut modulus, mut exponent, mut point, mut value) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for attribute in read {
        match attribute {
            Attribute::Modulus(bytes) => modulus = bytes,
            Attribute::PublicExponent(bytes) => exponent = bytes,
            Attribute::EcPoint(bytes) => point = bytes,
            Attribute::Value(bytes) => value = bytes,
            _ => {}
        }
    }
    let spki = match algorithm.key_type() {
        KeyType::Rsa { .. } => chancery_crypto::rsa_spki(&modulus, &exponent),
        // Bare or in a DER OCTET STRING: modules differ, and both are taken.
        KeyType::Ec(curve) => chancery_crypto::ec_spki(curve, &point),
        KeyType::Ed25519 => chancery_crypto::ed25519_spki(&point),
        KeyType::MlDsa(set) => chancery_crypto::mldsa_spki(set, &value),
        KeyType::GenericSecret { .. } | KeyType::Aes { .. } => return Err(no_public_half(algorithm)),
    };
    spki.map_err(|error| {
        Fault::new(HsmErrorKind::Bug, format!("the token shows a public key that is none for {algorithm}: {error}"))
    })
}

fn no_public_half(algorithm: Algorithm) -> Fault {
    Fault::new(HsmErrorKind::Bug, format!("the keys of {algorithm} have no public half"))
}
