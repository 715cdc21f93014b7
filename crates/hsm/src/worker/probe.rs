//! What a token offers: its mechanisms, as it lists them, and its curves, as it shows them.

use super::fault::Fault;
use super::mechanism::{self, EdwardsName};
use crate::offer;
use crate::wire::{MechanismFact, TokenFacts};
use chancery_model::KeyType;
use cryptoki::context::Pkcs11;
use cryptoki::object::Attribute;
use cryptoki::session::Session;
use cryptoki::slot::{Limit, Slot, TokenInfo};
use std::collections::HashSet;

/// What the token says about itself, without its curves and lanes.
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
        curves: HashSet::new(),
        lanes: 0,
    })
}

fn mechanisms(pkcs11: &Pkcs11, slot: Slot) -> Result<Vec<MechanismFact>, Fault> {
    let listed = pkcs11.get_mechanism_list(slot).map_err(|error| Fault::pkcs11("listing mechanisms", &error))?;
    let bits = |bits: usize| u64::try_from(bits).unwrap_or(u64::MAX);
    let facts = listed.into_iter().filter_map(|mechanism| {
        // A mechanism that the token lists and cannot describe is one that it does not have.
        let info = pkcs11.get_mechanism_info(slot, mechanism).ok()?;
        Some(MechanismFact {
            name: mechanism.to_string(),
            min_bits: bits(info.min_key_size()),
            max_bits: bits(info.max_key_size()),
            signs: info.sign(),
            generates_pairs: info.generate_key_pair(),
        })
    });
    Ok(facts.collect())
}

/// Makes a session key pair on each curve and throws it away: a few milliseconds in all. RSA needs no such probe,
/// since its mechanisms tell the sizes.
pub(super) fn curves(session: &Session, facts: &mut TokenFacts) -> EdwardsName {
    let mut edwards = EdwardsName::Oid;
    for key_type in offer::CURVES {
        let generating = offer::generating_mechanism(key_type);
        if !facts.mechanisms.iter().any(|mechanism| mechanism.name == generating) {
            continue;
        }
        let names: &[EdwardsName] = match key_type {
            KeyType::Ed25519 => &[EdwardsName::Oid, EdwardsName::CurveName],
            KeyType::Rsa { .. } | KeyType::Ec(_) => &[EdwardsName::Oid],
        };
        for name in names {
            if session_pair(session, key_type, *name).is_ok() {
                edwards = if key_type == KeyType::Ed25519 { *name } else { edwards };
                facts.curves.extend(offer::curve_name(key_type).map(str::to_owned));
                break;
            }
        }
    }
    edwards
}

fn session_pair(session: &Session, key_type: KeyType, edwards: EdwardsName) -> Result<(), Fault> {
    let (public, private) = make_session_pair(session, key_type, edwards)?;
    for handle in [private, public] {
        session.destroy_object(handle).map_err(|error| Fault::pkcs11("destroying a probe", &error))?;
    }
    Ok(())
}

/// A key pair that ends with its session: public half first.
pub(super) fn make_session_pair(
    session: &Session,
    key_type: KeyType,
    edwards: EdwardsName,
) -> Result<(cryptoki::object::ObjectHandle, cryptoki::object::ObjectHandle), Fault> {
    let (mechanism, kind) = mechanism::generating(key_type, edwards)?;
    let public =
        [kind.as_slice(), &[Attribute::Token(false), Attribute::Private(false), Attribute::Verify(true)]].concat();
    let private = [
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    session
        .generate_key_pair(&mechanism, &public, &private)
        .map_err(|error| Fault::pkcs11("generating a session key pair", &error))
}
