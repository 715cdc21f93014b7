//! Making, reading back, listing and destroying key pairs.

use super::fault::Fault;
use super::held::{Held, hex, search};
use super::mechanism::{self, EdwardsName};
use crate::HsmErrorKind;
use crate::key::{KeyAttributes, TokenObject, TokenObjectClass};
use crate::wire::{ControlReply, WireKey};
use chancery_model::{Algorithm, KeyType};
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

/// Makes a key pair and reads it back. A pair that is not as demanded is destroyed again.
pub(super) fn generate(
    held: &Held,
    session: &Session,
    uid: &[u8; 16],
    label: &str,
    algorithm: Algorithm,
    edwards: EdwardsName,
) -> Result<WireKey, Fault> {
    let taken =
        search(session, &[Attribute::Id(uid.to_vec())]).map_err(|error| Fault::pkcs11("looking for the id", &error))?;
    if !taken.is_empty() {
        let message =
            format!("the token already holds {} objects with CKA_ID {}; nothing was made", taken.len(), hex(uid));
        return Err(Fault::new(HsmErrorKind::KeyAmbiguous, message));
    }
    let (mechanism, kind) = mechanism::generating(algorithm.key_type(), edwards)?;
    let named = [Attribute::Token(true), Attribute::Id(uid.to_vec()), Attribute::Label(label.as_bytes().to_vec())];
    let public = [
        named.as_slice(),
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
    let private = [
        named.as_slice(),
        &[
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::SignRecover(false),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ],
    ]
    .concat();
    let (public, private) = session
        .generate_key_pair(&mechanism, &public, &private)
        // Never asked for twice: a failure may have left half a pair, which the sweep finds by its id.
        .map_err(|error| Fault {
            retry: false,
            ..Fault::pkcs11(format!("generating a key pair for {algorithm}"), &error)
        })?;
    match read_back(session, uid, algorithm, private, public) {
        Ok(key) => {
            held.remember(*uid, private);
            Ok(key)
        }
        Err(fault) => Err(match destroy(held, session, uid) {
            Ok(_) => Fault { message: format!("{}; the new pair was destroyed", fault.message), ..fault },
            Err(second) => {
                let message = format!("{}; destroying the new pair failed: {}", fault.message, second.message);
                // While the pair may still be there, no kind may say that nothing was left.
                Fault { kind: HsmErrorKind::OutcomeUnknown, message, ..fault }
            }
        }),
    }
}

/// What the token holds under a CKA_ID.
pub(super) fn inspect(
    held: &Held,
    session: &Session,
    uid: &[u8; 16],
    algorithm: Algorithm,
) -> Result<ControlReply, Fault> {
    let private = find(session, uid, ObjectClass::PRIVATE_KEY)?;
    let public = find(session, uid, ObjectClass::PUBLIC_KEY)?;
    match (private.as_slice(), public.as_slice()) {
        ([private], [public]) => read_back(session, uid, algorithm, *private, *public).map(ControlReply::Key),
        (private, public) => {
            if private.is_empty() {
                // An empty list is only evidence if the token shows private objects at all.
                held.require_whole(session)?;
            }
            let count = |handles: &[ObjectHandle]| u64::try_from(handles.len()).unwrap_or(u64::MAX);
            Ok(ControlReply::Incomplete { private: count(private), public: count(public) })
        }
    }
}

/// Destroys every key object with a CKA_ID, checks that none is left, and says how many there were.
pub(super) fn destroy(held: &Held, session: &Session, uid: &[u8; 16]) -> Result<u64, Fault> {
    let mut destroyed = 0;
    held.forget(uid);
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY, ObjectClass::SECRET_KEY] {
        for handle in find(session, uid, class)? {
            session.destroy_object(handle).map_err(|error| Fault::pkcs11("destroying a key object", &error))?;
            destroyed += 1;
        }
        let left = find(session, uid, class)?.len();
        if left > 0 {
            let message =
                format!("{left} key objects with CKA_ID {} are still there after their destruction", hex(uid));
            return Err(Fault::new(HsmErrorKind::OutcomeUnknown, message));
        }
    }
    held.require_whole(session)?;
    Ok(destroyed)
}

/// All key objects of the token.
pub(super) fn list(held: &Held, session: &Session) -> Result<Vec<TokenObject>, Fault> {
    let failed = |error: Error| Fault::pkcs11("listing key objects", &error);
    let mut objects = Vec::new();
    for (class, ours) in [
        (ObjectClass::PRIVATE_KEY, TokenObjectClass::PrivateKey),
        (ObjectClass::PUBLIC_KEY, TokenObjectClass::PublicKey),
    ] {
        for handle in search(session, &[Attribute::Class(class), Attribute::Token(true)]).map_err(failed)? {
            let mut object = TokenObject { id: Vec::new(), label: String::new(), class: ours };
            for attribute in
                session.get_attributes(handle, &[AttributeType::Id, AttributeType::Label]).map_err(failed)?
            {
                match attribute {
                    Attribute::Id(id) => object.id = id,
                    Attribute::Label(label) => object.label = String::from_utf8_lossy(&label).into_owned(),
                    _ => {}
                }
            }
            objects.push(object);
        }
    }
    held.require_whole(session)?;
    Ok(objects)
}

fn find(session: &Session, uid: &[u8; 16], class: ObjectClass) -> Result<Vec<ObjectHandle>, Fault> {
    search(session, &[Attribute::Class(class), Attribute::Id(uid.to_vec())])
        .map_err(|error| Fault::pkcs11("looking for a key", &error))
}

fn read_back(
    session: &Session,
    uid: &[u8; 16],
    algorithm: Algorithm,
    private: ObjectHandle,
    public: ObjectHandle,
) -> Result<WireKey, Fault> {
    let attributes = read_attributes(session, private)?;
    let violations = attributes.violations();
    if !violations.is_empty() {
        let message =
            format!("the private key {} is not as Chancery demands: wrong are {}", hex(uid), violations.join(", "));
        return Err(Fault::new(HsmErrorKind::Configuration, message));
    }
    let spki_der = read_public(session, algorithm, public)?;
    Ok(WireKey { uid: *uid, spki_der, attributes })
}

fn read_attributes(session: &Session, private: ObjectHandle) -> Result<KeyAttributes, Fault> {
    let wanted = [
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
        AttributeType::SignRecover,
    ];
    let read = session
        .get_attributes(private, &wanted)
        .map_err(|error| Fault::pkcs11("reading the private key's attributes", &error))?;
    // What protects the key counts only if the token says so. A use that the token does not know is not allowed.
    let mut attributes = KeyAttributes {
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
            _ => {}
        }
    }
    Ok(attributes)
}

fn read_public(session: &Session, algorithm: Algorithm, public: ObjectHandle) -> Result<Vec<u8>, Fault> {
    let wanted: &[AttributeType] = match algorithm.key_type() {
        KeyType::Rsa { .. } => &[AttributeType::Modulus, AttributeType::PublicExponent],
        KeyType::Ec(_) | KeyType::Ed25519 => &[AttributeType::EcPoint],
    };
    let read =
        session.get_attributes(public, wanted).map_err(|error| Fault::pkcs11("reading the public key", &error))?;
    let (mut modulus, mut exponent, mut point) = (Vec::new(), Vec::new(), Vec::new());
    for attribute in read {
        match attribute {
            Attribute::Modulus(value) => modulus = value,
            Attribute::PublicExponent(value) => exponent = value,
            Attribute::EcPoint(value) => point = value,
            _ => {}
        }
    }
    let spki = match algorithm.key_type() {
        KeyType::Rsa { .. } => chancery_crypto::rsa_spki(&modulus, &exponent),
        // Bare or in a DER OCTET STRING: modules differ, and both are taken.
        KeyType::Ec(curve) => chancery_crypto::ec_spki(curve, &point),
        KeyType::Ed25519 => chancery_crypto::ed25519_spki(&point),
    };
    spki.map_err(|error| {
        Fault::new(HsmErrorKind::Bug, format!("the token shows a public key that is none for {algorithm}: {error}"))
    })
}
