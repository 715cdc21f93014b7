//! Whether a key that is not to leave the token cannot: made as Chancery makes keys, then asked for in every way that
//! PKCS#11 has.

use super::samples::{favourite, offered};
use super::{Left, Patient, Teller, object_id};
use crate::doctor::{OBJECT_ID, OBJECT_LABEL};
use crate::worker::fault::Fault;
use crate::worker::keys;
use chancery_model::{Algorithm, KeyPurpose};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;

const ADVICE: &str = "do not keep keys here that matter: what Chancery promises of them this token does not keep";

pub(super) fn examine(told: &Teller<'_>, patient: &Patient) -> Result<(), Left> {
    for algorithm in favourite(patient).into_iter().chain(offered(patient, KeyPurpose::Mac).first().copied()) {
        let kind = match algorithm.purpose() {
            KeyPurpose::Signature => "a private key",
            KeyPurpose::Mac => "a secret",
        };
        told.delicate_step(format!("making {kind} for {algorithm} in the token"))?;
        let made =
            keys::generate(&patient.held, &patient.writing, &OBJECT_ID, OBJECT_LABEL, algorithm, patient.edwards);
        match made {
            Ok(_) => told.ok(format!(
                "{kind} is made as asked: sensitive, never extractable, made in the token, for its purpose alone"
            ))?,
            Err(fault) => {
                told.stops(format!("{kind} cannot be made as Chancery makes keys: {}", fault.message), ADVICE)?;
                continue;
            }
        }
        attempts(told, patient, algorithm, kind)?;
        told.delicate_step(format!("destroying {kind}"))?;
        keys::destroy(&patient.held, &patient.writing, &object_id())?;
    }
    Ok(())
}

/// Tries to get at the key. Ends with the first way that works.
fn attempts(told: &Teller<'_>, patient: &Patient, algorithm: Algorithm, kind: &str) -> Result<(), Left> {
    let session = &patient.writing;
    let key = patient.held.key(session, &object_id(), algorithm.purpose())?;
    told.step(format!("reading the value of {kind} (C_GetAttributeValue)"))?;
    if shows_value(session, key) {
        told.stops(format!("the value of {kind} can be read out, though it is called sensitive"), ADVICE)?;
        return Ok(());
    }
    told.step(format!("making {kind} extractable (C_SetAttributeValue)"))?;
    for attribute in [Attribute::Extractable(true), Attribute::Sensitive(false)] {
        let name = attribute.attribute_type();
        let taken = session.update_attributes(key, std::slice::from_ref(&attribute)).is_ok();
        if taken && read(session, key, name).is_none_or(|now| now == attribute) {
            told.stops(format!("{name} of {kind} can be changed afterwards"), ADVICE)?;
            return Ok(());
        }
        if taken {
            told.note(format!("the token says that it changes {name} of {kind}, and does not"), "")?;
        }
    }
    told.step(format!("copying {kind} as an extractable one (C_CopyObject)"))?;
    for attribute in [Attribute::Extractable(true), Attribute::Sensitive(false)] {
        let name = attribute.attribute_type();
        if let Ok(copy) = session.copy_object(key, &[Attribute::Token(false), attribute.clone()]) {
            let weaker = read(session, copy, name).is_none_or(|now| now == attribute) || shows_value(session, copy);
            session.destroy_object(copy).map_err(|error| Fault::pkcs11("destroying a copy", &error))?;
            if weaker {
                told.stops(format!("{kind} can be copied with another {name}"), ADVICE)?;
                return Ok(());
            }
            told.note(format!("the token copies {kind} and passes over the {name} that is asked for"), "")?;
        }
    }
    told.step(format!("wrapping {kind} (C_WrapKey)"))?;
    let tried = match wrapped(session, key) {
        Wrapping::Succeeded(mechanism) => {
            told.stops(
                format!("{kind} can be wrapped with {mechanism}, and so taken out, though it is not extractable"),
                ADVICE,
            )?;
            return Ok(());
        }
        Wrapping::Refused => "read, changed, copied or wrapped",
        Wrapping::NotTried => "read, changed or copied (no key to wrap it with could be made)",
    };
    told.ok(format!("{kind} cannot be {tried}"))?;
    Ok(())
}

/// Whether any attribute that holds the secret part is answered with something.
fn shows_value(session: &Session, key: ObjectHandle) -> bool {
    // One at a time: a token that refuses one of several refuses the others along with it.
    [AttributeType::Value, AttributeType::PrivateExponent, AttributeType::Prime1].into_iter().any(|secret| {
        session.get_attributes(key, &[secret]).is_ok_and(|read| {
            read.iter().any(|attribute| match attribute {
                Attribute::Value(bytes) | Attribute::PrivateExponent(bytes) | Attribute::Prime1(bytes) => {
                    bytes.iter().any(|byte| *byte != 0)
                }
                _ => false,
            })
        })
    })
}

fn read(session: &Session, key: ObjectHandle, name: AttributeType) -> Option<Attribute> {
    session.get_attributes(key, &[name]).ok()?.into_iter().next()
}

enum Wrapping {
    Succeeded(&'static str),
    Refused,
    NotTried,
}

fn wrapped(session: &Session, key: ObjectHandle) -> Wrapping {
    let length = match Ulong::try_from(32_usize) {
        Ok(length) => length,
        Err(_) => return Wrapping::NotTried,
    };
    let template = [
        Attribute::Token(false),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(length),
        Attribute::Wrap(true),
        Attribute::Encrypt(true),
    ];
    let Ok(wrapping) = session.generate_key(&Mechanism::AesKeyGen, &template) else { return Wrapping::NotTried };
    let succeeded = [
        ("CKM_AES_KEY_WRAP", Mechanism::AesKeyWrap),
        ("CKM_AES_KEY_WRAP_PAD", Mechanism::AesKeyWrapPad),
        ("CKM_AES_CBC_PAD", Mechanism::AesCbcPad([0; 16])),
    ]
    .into_iter()
    .find(|(_, mechanism)| session.wrap_key(mechanism, wrapping, key).is_ok_and(|bytes| !bytes.is_empty()));
    // It ends with the session in any case.
    let _gone = session.destroy_object(wrapping);
    match succeeded {
        Some((name, _)) => Wrapping::Succeeded(name),
        None => Wrapping::Refused,
    }
}
