//! Which of our algorithms the token offers.

use super::{Left, Patient, Teller};
use crate::doctor::{AlgorithmOffer, Examined};
use crate::offer;
use crate::worker::fault::Fault;
use crate::worker::mechanism::EdwardsName;
use crate::worker::probe;
use chancery_model::Algorithm;
use cryptoki::context::Pkcs11;
use cryptoki::slot::{Slot, TokenInfo};

pub(super) fn examine(
    told: &Teller<'_>,
    pkcs11: &Pkcs11,
    slot: Slot,
    info: &TokenInfo,
    patient: Option<&Patient>,
) -> Result<(), Left> {
    told.step("listing mechanisms")?;
    let (facts, tried) = match patient {
        Some(patient) => (patient.facts.clone(), true),
        None => {
            let mut facts = probe::facts(pkcs11, slot, info)?;
            // Nobody has tried: what the token lists is taken at its word.
            facts.made = offer::PROBED.map(offer::key_name).into();
            (facts, false)
        }
    };
    let offers: Vec<AlgorithmOffer> = Algorithm::ALL
        .into_iter()
        .map(|algorithm| AlgorithmOffer { algorithm: algorithm.to_string(), missing: facts.missing(algorithm), tried })
        .collect();
    let (offered, all) = (offers.iter().filter(|offer| offer.missing.is_none()).count(), offers.len());
    told.tell(&Examined::Algorithms(offers))?;
    let how = if tried { "" } else { ", by what it lists; with a PIN it is tried" };
    match offered {
        0 => told.stops(
            format!("the token offers none of Chancery's algorithms{how}"),
            "the table says what each lacks: a mechanism may have to be allowed by the device's administrator",
        )?,
        _ => told.ok(format!("the token offers {offered} of Chancery's {all} algorithms{how}"))?,
    }
    if facts.missing(Algorithm::Ed25519).is_none()
        && patient.is_some_and(|patient| patient.edwards == EdwardsName::CurveName)
    {
        told.note("the token knows Ed25519 by a name in place of its object identifier (PKCS#11 v3.0)", "")?;
    }
    let in_software = listed_in_software(pkcs11, slot)?;
    if !in_software.is_empty() {
        told.note(
            format!("by its own account the token does these in software (no CKF_HW): {}", in_software.join(", ")),
            "on a device that is to be hardware, ask its maker why",
        )?;
    }
    Ok(())
}

/// Our signing mechanisms that the token lists without CKF_HW.
fn listed_in_software(pkcs11: &Pkcs11, slot: Slot) -> Result<Vec<&'static str>, Left> {
    let listed = pkcs11.get_mechanism_list(slot).map_err(|error| Fault::pkcs11("listing mechanisms", &error))?;
    let mut names: Vec<_> = Algorithm::ALL.into_iter().map(offer::signing_mechanism).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| {
        listed.iter().any(|mechanism| {
            mechanism.to_string() == *name
                && pkcs11.get_mechanism_info(slot, *mechanism).is_ok_and(|info| !info.hardware())
        })
    });
    Ok(names)
}
