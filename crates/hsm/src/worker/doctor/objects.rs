//! Whether objects are found again, exactly one under an id, by handles that last; and are gone when they are destroyed.

use super::samples::{favourite, is_right, public_key, sample, sign};
use super::{Left, Patient, Teller, object_id};
use crate::doctor::{OBJECT_ID, OBJECT_LABEL};
use crate::worker::fault::Fault;
use crate::worker::held::search;
use crate::worker::keys;
use cryptoki::object::{Attribute, ObjectClass};

pub(super) fn examine(told: &Teller<'_>, patient: &Patient) -> Result<(), Left> {
    let Some(algorithm) = favourite(patient) else { return Ok(()) };
    let Patient { held, writing, edwards, .. } = patient;
    told.delicate_step(format!("making a key pair for {algorithm} in the token"))?;
    let made = keys::generate(held, writing, &OBJECT_ID, OBJECT_LABEL, algorithm, *edwards)?;
    told.step("looking for it by its CKA_ID")?;
    let other = held.open_session()?;
    let mut unique = true;
    for (class, half) in [(ObjectClass::PRIVATE_KEY, "private"), (ObjectClass::PUBLIC_KEY, "public")] {
        let template = [Attribute::Class(class), Attribute::Id(OBJECT_ID.to_vec())];
        let found = search(&other, &template).map_err(|error| Fault::pkcs11("looking for a key", &error))?.len();
        if found != 1 {
            unique = false;
            told.stops(
                format!("a search by CKA_ID in another session finds {found} {half} keys where there is one"),
                "Chancery finds keys by their CKA_ID and signs with none where it is not exactly one",
            )?;
        }
    }
    if unique {
        told.ok("a search by CKA_ID finds exactly one private and one public key, in another session, too")?;
    }
    told.step("signing with its handle in another session")?;
    let key = held.key(writing, &object_id(), algorithm.purpose())?;
    let public = public_key(algorithm, made.spki_der.as_deref().unwrap_or_default())?;
    let sample = sample(algorithm, 0)?;
    match sign(&other, algorithm, key, &sample) {
        Ok(signature) if is_right(&public, &sample, &signature) => {
            told.ok("a handle that one session found is good in another")?;
        }
        Ok(_) => told.stops(
            "a handle that one session found means another key in another session",
            "do not use this token: Chancery would fail on each signature",
        )?,
        Err(fault) => told.warning(
            format!("a handle that one session found is not good in another: {}", fault.message),
            "Chancery would look for the key again for each session: slow where the token holds many objects",
        )?,
    }
    held.close(other);
    match sign(writing, algorithm, key, &sample) {
        Ok(signature) if is_right(&public, &sample, &signature) => {
            told.ok("a handle stays good when a session that used it has ended")?;
        }
        Ok(_) => told.stops("a handle means another key after a session has ended", "do not use this token")?,
        Err(fault) => told.warning(
            format!("a handle is no longer good when a session that used it has ended: {}", fault.message),
            "Chancery would look for the key again each time",
        )?,
    }
    told.delicate_step("destroying the key pair")?;
    keys::destroy(held, writing, &object_id())?;
    told.ok("what is destroyed is gone")?;
    Ok(())
}
