//! Leaving nothing behind.

use super::{Left, Patient, Teller, object_id};
use crate::doctor::{OBJECT_ID, OBJECT_LABEL};
use crate::worker::fault::Fault;
use crate::worker::held::{Held, search};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;

/// Destroys every object of an examination, and says how many there were.
pub(super) fn run(held: &Held, session: &Session) -> Result<usize, Fault> {
    let found = objects(session)?;
    for object in &found {
        session
            .destroy_object(*object)
            .map_err(|error| Fault::pkcs11("removing an object of the examination", &error))?;
    }
    held.forget(&object_id());
    Ok(found.len())
}

/// Objects that bear our id or our label: of a pair that was cut short one half may have only one of them.
fn objects(session: &Session) -> Result<Vec<ObjectHandle>, Fault> {
    let mut found = Vec::new();
    for template in [Attribute::Id(OBJECT_ID.to_vec()), Attribute::Label(OBJECT_LABEL.as_bytes().to_vec())] {
        let handles = search(session, &[Attribute::Token(true), template])
            .map_err(|error| Fault::pkcs11("looking for objects of the examination", &error))?;
        for handle in handles {
            if !found.contains(&handle) {
                found.push(handle);
            }
        }
    }
    Ok(found)
}

pub(super) fn examine(told: &Teller<'_>, patient: &Patient) -> Result<(), Left> {
    told.delicate_step("removing what the examination made")?;
    let removed = run(&patient.held, &patient.writing)?;
    let left = objects(&patient.writing)?.len();
    match (removed, left) {
        (_, 1..) => told.stops(
            format!("{left} objects of this examination cannot be removed from the token"),
            format!("remove the objects with the label {OBJECT_LABEL:?} by other means"),
        )?,
        (0, 0) => told.ok("the examination has left nothing in the token")?,
        (_, 0) => {
            told.note(format!("{removed} objects were removed at the end, and nothing is left in the token"), "")?
        }
    }
    Ok(())
}
