//! How many sessions there are.

use super::{Left, Limits, Patient, Teller};
use crate::HsmErrorKind;
use crate::doctor::Examined;

/// The anchor, the control session, and one lane.
const LEAST: usize = 3;

pub(super) fn examine(told: &Teller<'_>, patient: &Patient, limits: Limits) -> Result<(), Left> {
    let held = &patient.held;
    // The anchor and our own count, too.
    let open = 2;
    let mut sessions = Vec::new();
    let mut refused = None;
    while sessions.len() + open < limits.most_sessions {
        told.step(format!("opening session {}", sessions.len() + open + 1))?;
        match held.open_session() {
            Ok(session) => sessions.push(session),
            Err(fault) => {
                refused = Some(fault);
                break;
            }
        }
    }
    let found = sessions.len() + open;
    sessions.into_iter().for_each(|session| held.close(session));
    told.tell(&Examined::SessionsFound(u64::try_from(found).unwrap_or(u64::MAX)))?;
    let says = match patient.facts.sessions_max {
        Some(max) => format!("it says that it allows {max}"),
        None => "it tells no limit".to_owned(),
    };
    match refused {
        None => told.ok(format!("{found} sessions can be open at once; {says}, and more were not tried"))?,
        Some(fault) if found < LEAST => told.stops(
            format!("no more than {found} sessions can be open at once ({}); {says}", fault.message),
            "Chancery needs three at least: close those of other programs, or raise the limit",
        )?,
        Some(fault) => {
            let found_out = format!("no more than {found} sessions can be open at once ({}); {says}", fault.message);
            let advice = format!("set signing_threads to {} at most: two sessions are for other work", found - 2);
            let told_more =
                patient.facts.sessions_max.is_none_or(|max| u64::try_from(found).is_ok_and(|found| found < max));
            // A token that refuses as it says it does is no surprise.
            if told_more || fault.kind != HsmErrorKind::Capacity {
                told.warning(found_out, advice)?;
            } else {
                told.note(found_out, advice)?;
            }
        }
    }
    Ok(())
}
