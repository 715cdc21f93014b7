//! Finding a key that others have put into the token. Reads, and changes nothing; what is found is not used yet.

use super::fault::Fault;
use super::held::{Held, search};
use super::keys::{self, check_secret, read_attributes, read_public};
use super::mechanism;
use crate::key::TokenObjectClass;
use crate::wire::{ControlReply, WireFound};
use crate::{HsmErrorKind, Unadoptable};
use chancery_model::{Algorithm, Curve, KeyType, TokenObjectId};
use cryptoki::object::{Attribute, AttributeType, CertificateType, KeyType as TokenKeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

/// Finds the one private or secret key with this CKA_ID, this label, or both, and its public half.
pub(super) fn find(
    held: &Held,
    session: &Session,
    id: Option<Vec<u8>>,
    label: Option<String>,
    algorithm: Algorithm,
) -> Result<ControlReply, Fault> {
    let since = held.logins();
    let found = look(session, id, label, algorithm)?;
    if matches!(found, Err(Unadoptable::NotFound)) {
        // An empty list is only evidence if the token shows private objects at all.
        held.require_whole(session, since)?;
    }
    Ok(found.map_or_else(ControlReply::Unadoptable, ControlReply::Found))
}

fn look(
    session: &Session,
    id: Option<Vec<u8>>,
    label: Option<String>,
    algorithm: Algorithm,
) -> Result<Result<WireFound, Unadoptable>, Fault> {
    let secret = mechanism::is_secret(algorithm.key_type());
    let (class, ours) = if secret {
        (ObjectClass::SECRET_KEY, TokenObjectClass::SecretKey)
    } else {
        (ObjectClass::PRIVATE_KEY, TokenObjectClass::PrivateKey)
    };
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    template.extend(id.map(Attribute::Id));
    template.extend(label.map(|label| Attribute::Label(label.into_bytes())));
    let key = match handles(session, &template)?.as_slice() {
        [] => return Ok(Err(Unadoptable::NotFound)),
        [key] => *key,
        several => return Ok(Err(Unadoptable::Several { count: count(several) })),
    };
    let described = describe(session, key)?;
    let id = match TokenObjectId::try_from(described.id.as_slice()) {
        Ok(id) => id,
        Err(_) if described.id.is_empty() => return Ok(Err(Unadoptable::NoId)),
        Err(_) => return Ok(Err(Unadoptable::LongId { bytes: count(&described.id) })),
    };
    let mut sharing = 0;
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
        sharing += count(&handles(session, &[Attribute::Class(class), Attribute::Id(described.id.clone())])?);
    }
    if sharing != 1 {
        return Ok(Err(Unadoptable::SharedId { count: sharing }));
    }
    if let Err(unfit) = described.check(algorithm) {
        return Ok(Err(unfit));
    }
    let attributes = read_attributes(session, key, ours)?;
    let unfit = [
        (!attributes.sign, Unadoptable::CannotSign),
        (secret && !attributes.verify, Unadoptable::CannotVerify),
        (!attributes.private, Unadoptable::NotPrivate),
    ];
    if let Some((_, unfit)) = unfit.into_iter().find(|(is_so, _)| *is_so) {
        return Ok(Err(unfit));
    }
    let spki_der = if secret {
        if let Err(fault) = check_secret(session, algorithm, key) {
            return Ok(Err(Unadoptable::OtherKey { what: unless_the_token_failed(fault)?.message }));
        }
        None
    } else {
        match public_half(session, algorithm, key, &described.id)? {
            Ok(spki_der) => Some(spki_der),
            Err(unfit) => return Ok(Err(unfit)),
        }
    };
    Ok(Ok(WireFound { id: id.as_bytes().to_vec(), label: described.label, spki_der, attributes }))
}

/// What an object says of itself beside how it is protected.
#[derive(Default)]
struct Described {
    id: Vec<u8>,
    label: String,
    key_type: Option<TokenKeyType>,
    curve: Vec<u8>,
    always_authenticate: bool,
}

fn describe(session: &Session, key: ObjectHandle) -> Result<Described, Fault> {
    let wanted = [
        AttributeType::Id,
        AttributeType::Label,
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::AlwaysAuthenticate,
    ];
    let read = session
        .get_attributes(key, &wanted)
        .map_err(|error| Fault::pkcs11("reading a key that is to be adopted", &error))?;
    let mut described = Described::default();
    for attribute in read {
        match attribute {
            Attribute::Id(id) => described.id = id,
            Attribute::Label(label) => described.label = String::from_utf8_lossy(&label).into_owned(),
            Attribute::KeyType(key_type) => described.key_type = Some(key_type),
            Attribute::EcParams(curve) => described.curve = curve,
            Attribute::AlwaysAuthenticate(value) => described.always_authenticate = value,
            _ => {}
        }
    }
    Ok(described)
}

impl Described {
    fn check(&self, algorithm: Algorithm) -> Result<(), Unadoptable> {
        if self.always_authenticate {
            return Err(Unadoptable::AlwaysAuthenticate);
        }
        let wanted: &[TokenKeyType] = match algorithm.key_type() {
            KeyType::Rsa { .. } => &[TokenKeyType::RSA],
            KeyType::Ec(_) => &[TokenKeyType::EC],
            KeyType::Ed25519 => &[TokenKeyType::EC_EDWARDS],
            KeyType::MlDsa(_) => &[TokenKeyType::ML_DSA],
            KeyType::GenericSecret { .. } => &[TokenKeyType::GENERIC_SECRET],
            KeyType::Aes { .. } => &[TokenKeyType::AES],
        };
        match self.key_type {
            Some(found) if wanted.contains(&found) => {}
            Some(found) => return Err(Unadoptable::OtherKey { what: format!("its type is {found}") }),
            None => return Err(Unadoptable::OtherKey { what: "the token does not say its type".to_owned() }),
        }
        // A token that names curves in another way is believed only after the proof, as every one is.
        match algorithm.key_type() {
            KeyType::Ec(curve) => self.check_curve(curve),
            KeyType::Rsa { .. }
            | KeyType::Ed25519
            | KeyType::MlDsa(_)
            | KeyType::GenericSecret { .. }
            | KeyType::Aes { .. } => Ok(()),
        }
    }

    fn check_curve(&self, wanted: Curve) -> Result<(), Unadoptable> {
        let known = [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1];
        match known.into_iter().find(|curve| mechanism::curve_oid(*curve) == self.curve) {
            Some(curve) if curve != wanted => Err(Unadoptable::OtherKey { what: format!("its curve is {curve:?}") }),
            Some(_) | None => Ok(()),
        }
    }
}

/// The public key: its own object, what the private key object says of it, or a certificate, in this order.
fn public_half(
    session: &Session,
    algorithm: Algorithm,
    private: ObjectHandle,
    id: &[u8],
) -> Result<Result<Vec<u8>, Unadoptable>, Fault> {
    let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Token(true), Attribute::Id(id.to_vec())];
    match handles(session, &template)?.as_slice() {
        [] => {}
        [public] => {
            return match read_public(session, algorithm, *public) {
                Ok(spki_der) => Ok(Ok(spki_der)),
                Err(fault) => Ok(Err(Unadoptable::OtherKey { what: unless_the_token_failed(fault)?.message })),
            };
        }
        several => return Ok(Err(Unadoptable::SeveralPublicHalves { count: count(several) })),
    }
    // RSA private keys have modulus and exponent; some tokens show the point of an EC key, too.
    match read_public(session, algorithm, private) {
        Ok(spki_der) => return Ok(Ok(spki_der)),
        Err(fault) => drop(unless_the_token_failed(fault)?),
    }
    let template = [
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Id(id.to_vec()),
    ];
    let certificate = match handles(session, &template)?.as_slice() {
        [] => return Ok(Err(Unadoptable::NoPublicHalf)),
        [certificate] => *certificate,
        several => return Ok(Err(Unadoptable::SeveralPublicHalves { count: count(several) })),
    };
    let read = session
        .get_attributes(certificate, &[AttributeType::Value])
        .map_err(|error| Fault::pkcs11("reading a certificate", &error))?;
    let der = read.into_iter().find_map(|attribute| match attribute {
        Attribute::Value(der) => Some(der),
        _ => None,
    });
    Ok(der.and_then(|der| chancery_crypto::certificate_spki(&der)).ok_or(Unadoptable::NoPublicHalf))
}

/// Refuses where the token holds another key under the CKA_ID of an adopted one than that which was adopted, or one beside it:
/// others gave the id, and may have given it to a key of theirs since.
pub(super) fn require_same(
    session: &Session,
    id: &TokenObjectId,
    algorithm: Algorithm,
    pinned: Option<&[u8]>,
) -> Result<(), Fault> {
    let refused = |what: String| Fault::new(HsmErrorKind::KeyAmbiguous, format!("{what}; nothing is destroyed"));
    let private = keys::find(session, id, ObjectClass::PRIVATE_KEY)?;
    let used = private.len() + keys::find(session, id, ObjectClass::SECRET_KEY)?.len();
    if used > 1 {
        return Err(refused(format!("{used} private or secret keys have CKA_ID {id}")));
    }
    // A secret shows nothing by which it could be told from another one.
    let Some(pinned) = pinned else { return Ok(()) };
    let another =
        || refused(format!("the key with CKA_ID {id} is not the one that was adopted: its public key is another"));
    // The public objects one by one: where the destruction was cut short, they are all that is left.
    let public = keys::find(session, id, ObjectClass::PUBLIC_KEY)?;
    for object in &public {
        match read_public(session, algorithm, *object) {
            Ok(spki_der) if spki_der == pinned => {}
            Ok(_) => return Err(another()),
            Err(fault) => return Err(unless_the_token_failed(fault).map(|_of_the_key| another())?),
        }
    }
    match private.as_slice() {
        [private] if public.is_empty() => match public_half(session, algorithm, *private, id.as_bytes())? {
            Ok(spki_der) if spki_der == pinned => Ok(()),
            Ok(_) => Err(another()),
            Err(_) => Err(refused(format!(
                "whether the key with CKA_ID {id} is the one that was adopted cannot be told: its public key is gone from the \
                 token (put the public key object or the certificate back)"
            ))),
        },
        [] | [_] | [_, _, ..] => Ok(()),
    }
}

/// A fault that speaks of the key comes back; one of the token is passed on.
fn unless_the_token_failed(fault: Fault) -> Result<Fault, Fault> {
    let of_the_key = fault.function.is_empty();
    if of_the_key { Ok(fault) } else { Err(fault) }
}

fn handles(session: &Session, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Fault> {
    search(session, template).map_err(|error| Fault::pkcs11("looking for a key that is to be adopted", &error))
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}
