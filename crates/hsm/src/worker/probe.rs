//! What a token offers: its mechanisms, as it lists them, and its kinds of keys, as it shows them.

use super::fault::Fault;
use super::mechanism::{self, EdwardsName};
use crate::HsmErrorKind;
use crate::offer;
use crate::wire::{MechanismFact, MechanismFlag, TokenFacts};
use chancery_model::KeyType;
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::{Limit, Slot, TokenInfo};
use std::collections::HashSet;

/// What the token says about itself, without what a probe shows, and lanes.
pub(super) fn facts(pkcs11: &Pkcs11, slot: Slot, info: &TokenInfo) -> Result<TokenFacts, Fault> {
    let text = |text: &str| text.trim_end_matches([' ', '\0']).to_owned();
    Ok(TokenFacts {
        label: text(info.label()),
        serial: text(info.serial_number()),
        manufacturer: text(info.manufacturer_id()),
        model: text(info.model()),
        firmware_version: info.firmware_version().to_string(),
        hardware_version: info.hardware_version().to_string(),
        sessions_max: match info.max_session_count() {
            Limit::Max(0) | Limit::Infinite | Limit::Unavailable => None,
            Limit::Max(count) => Some(count),
        },
        mechanisms: mechanisms(pkcs11, slot)?,
        made: HashSet::new(),
        makes_no_keys: false,
        lanes: 0,
        lanes_with_session: 0,
    })
}

fn mechanisms(pkcs11: &Pkcs11, slot: Slot) -> Result<Vec<MechanismFact>, Fault> {
    let listed = pkcs11.get_mechanism_list(slot).map_err(|error| Fault::pkcs11("listing mechanisms", &error))?;
    let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
    let mut facts = Vec::new();
    for mechanism in listed {
        let describe = || {
            let described = pkcs11.get_mechanism_info(slot, mechanism);
            described.map_err(|error| Fault::pkcs11("describing a mechanism", &error))
        };
        // A mechanism that the token lists and cannot describe is one that it does not have.
        let Some(info) = as_the_token_says(describe)? else { continue };
        let flags = [
            (info.sign(), MechanismFlag::Sign),
            (info.verify(), MechanismFlag::Verify),
            (info.generate(), MechanismFlag::Generate),
            (info.generate_key_pair(), MechanismFlag::GenerateKeyPair),
        ];
        facts.push(MechanismFact {
            name: mechanism.to_string(),
            min_size: size(info.min_key_size()),
            max_size: size(info.max_key_size()),
            flags: flags.into_iter().filter_map(|(there, flag)| there.then_some(flag)).collect(),
        });
    }
    Ok(facts)
}

/// What the token can do; none where it says that it cannot. One that fails without saying either is asked once more, and
/// then cannot: some tell of a curve that they do not know by a general error.
///
/// # Errors
/// Failures that have nothing to do with what was asked, such as a lost session: taken for an answer, they would hide what
/// the token can do for as long as its worker lives.
fn as_the_token_says<T>(ask: impl Fn() -> Result<T, Fault>) -> Result<Option<T>, Fault> {
    let mut again = true;
    loop {
        match ask() {
            Ok(can) => return Ok(Some(can)),
            Err(fault) => match fault.kind {
                HsmErrorKind::Configuration | HsmErrorKind::Bug | HsmErrorKind::InputLength => return Ok(None),
                HsmErrorKind::OutcomeUnknown
                | HsmErrorKind::KeyNotFound
                | HsmErrorKind::KeyAmbiguous
                | HsmErrorKind::WrongSignature => {
                    if !again {
                        return Ok(None);
                    }
                    again = false;
                }
                HsmErrorKind::Session
                | HsmErrorKind::LoginLost
                | HsmErrorKind::PinLatched
                | HsmErrorKind::Capacity
                | HsmErrorKind::Overloaded
                | HsmErrorKind::TokenAbsent
                | HsmErrorKind::Module
                | HsmErrorKind::Memory
                | HsmErrorKind::Deadline
                | HsmErrorKind::WorkerLost
                | HsmErrorKind::Stopping => return Err(fault),
            },
        }
    }
}

/// Makes a session key of each probed type and throws it away: a few milliseconds in all. RSA needs no such probe,
/// since its mechanisms tell the sizes.
///
/// # Errors
/// As with mechanisms.
pub(super) fn keys(session: &Session, facts: &mut TokenFacts) -> Result<EdwardsName, Fault> {
    let mut edwards = EdwardsName::Oid;
    let mut listed = false;
    for key_type in offer::PROBED {
        let generating = offer::generating_mechanism(key_type);
        if !facts.mechanisms.iter().any(|mechanism| mechanism.name == generating) {
            continue;
        }
        listed = true;
        let names: &[EdwardsName] = match key_type {
            KeyType::Ed25519 => &[EdwardsName::Oid, EdwardsName::CurveName],
            KeyType::Rsa { .. }
            | KeyType::Ec(_)
            | KeyType::MlDsa(_)
            | KeyType::GenericSecret { .. }
            | KeyType::Aes { .. } => &[EdwardsName::Oid],
        };
        for name in names {
            if as_the_token_says(|| make_and_destroy(session, key_type, *name))?.is_some() {
                edwards = if key_type == KeyType::Ed25519 { *name } else { edwards };
                facts.made.insert(offer::key_name(key_type));
                break;
            }
        }
    }
    facts.makes_no_keys = listed && facts.made.is_empty();
    Ok(edwards)
}

fn make_and_destroy(session: &Session, key_type: KeyType, edwards: EdwardsName) -> Result<(), Fault> {
    let SessionKey { signs, public } = make_session_key(session, key_type, edwards)?;
    for handle in [Some(signs), public].into_iter().flatten() {
        // It was made, which is what was to be found out; what stays of it ends with the session.
        let _stays = session.destroy_object(handle);
    }
    Ok(())
}

/// A key that ends with its session.
pub(super) struct SessionKey {
    /// The private or secret key.
    pub(super) signs: ObjectHandle,
    /// The public half of a pair.
    pub(super) public: Option<ObjectHandle>,
}

/// Makes a key that ends with its session.
pub(super) fn make_session_key(
    session: &Session,
    key_type: KeyType,
    edwards: EdwardsName,
) -> Result<SessionKey, Fault> {
    let (mechanism, kind) = mechanism::generating(key_type, edwards)?;
    let signing = [
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    if mechanism::is_secret(key_type) {
        let template = [kind.as_slice(), &signing, &[Attribute::Verify(true)]].concat();
        let signs = session
            .generate_key(&mechanism, &template)
            .map_err(|error| Fault::pkcs11("generating a session secret", &error))?;
        return Ok(SessionKey { signs, public: None });
    }
    let public =
        [kind.as_slice(), &[Attribute::Token(false), Attribute::Private(false), Attribute::Verify(true)]].concat();
    let (public, signs) = session
        .generate_key_pair(&mechanism, &public, &signing)
        .map_err(|error| Fault::pkcs11("generating a session key pair", &error))?;
    Ok(SessionKey { signs, public: Some(public) })
}
