//! What is asked of the module behind on our own account: names of tokens and objects, and other keys.

use super::behind::behind;
use super::gate::beside_others;
use crate::rules::Other;
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG,
    CK_UNAVAILABLE_INFORMATION, CKA_CLASS, CKA_EC_PARAMS, CKA_ID, CKA_KEY_TYPE, CKA_LABEL, CKF_SERIAL_SESSION, CKR_OK,
};
use std::ptr::null_mut;

/// What an object is called.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) label: Vec<u8>,
    pub(crate) id: Vec<u8>,
}

impl Name {
    /// That of an object. An attribute that cannot be read is empty.
    ///
    /// Asked each time and not remembered: handles are used again for other objects.
    pub(crate) fn of_object(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Self {
        let read = |attribute| attribute_of(session, object, attribute).unwrap_or_default();
        Self { label: read(CKA_LABEL), id: read(CKA_ID) }
    }

    /// That which a template gives.
    ///
    /// # Safety
    /// `template` points to `count` attributes, or is null.
    pub(crate) unsafe fn of_template(template: *const CK_ATTRIBUTE, count: CK_ULONG) -> Self {
        let mut name = Self::default();
        if template.is_null() {
            return name;
        }
        for place in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: the caller's promise; an attribute's value is as long as it says.
            unsafe {
                let attribute = &*template.add(place);
                let bytes = || {
                    let length = usize::try_from(attribute.ulValueLen).unwrap_or(0);
                    if attribute.pValue.is_null() {
                        return Vec::new();
                    }
                    std::slice::from_raw_parts(attribute.pValue.cast::<u8>(), length).to_vec()
                };
                match attribute.type_ {
                    CKA_LABEL => name.label = bytes(),
                    CKA_ID => name.id = bytes(),
                    _ => {}
                }
            }
        }
        name
    }
}

/// An attribute of an object.
pub(crate) fn attribute_of(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attribute: CK_ATTRIBUTE_TYPE,
) -> Option<Vec<u8>> {
    let get = behind().ok()?.own.C_GetAttributeValue?;
    let mut asked = CK_ATTRIBUTE { type_: attribute, pValue: null_mut(), ulValueLen: 0 };
    // SAFETY: one attribute, without a place for its value, and then with one of the length that was answered.
    beside_others(|| unsafe {
        if get(session, object, &raw mut asked, 1) != CKR_OK || asked.ulValueLen == CK_UNAVAILABLE_INFORMATION {
            return None;
        }
        let mut value = vec![0_u8; usize::try_from(asked.ulValueLen).ok()?];
        asked.pValue = value.as_mut_ptr().cast();
        if get(session, object, &raw mut asked, 1) != CKR_OK {
            return None;
        }
        value.truncate(usize::try_from(asked.ulValueLen).ok()?);
        Some(value)
    })
}

/// What a token is called, without the padding.
pub(crate) struct TokenName {
    pub(crate) label: Vec<u8>,
    pub(crate) serial: String,
}

/// The token in a slot.
pub(crate) fn token(slot: CK_SLOT_ID) -> Option<TokenName> {
    let get = behind().ok()?.own.C_GetTokenInfo?;
    let mut info = CK_TOKEN_INFO::default();
    // SAFETY: there is room for what is answered.
    let code = beside_others(|| unsafe { get(slot, &raw mut info) });
    (code == CKR_OK).then(|| TokenName {
        label: info.label.trim_ascii_end().to_vec(),
        serial: String::from_utf8_lossy(info.serialNumber.trim_ascii_end()).into_owned(),
    })
}

/// Every slot of the module behind, or only those with a token.
pub(crate) fn slots(with_token: bool) -> Option<Vec<CK_SLOT_ID>> {
    let list = behind().ok()?.own.C_GetSlotList?;
    let mut count = 0;
    // SAFETY: asked for the number first, and then for no more than there is room.
    beside_others(|| unsafe {
        if list(with_token.into(), null_mut(), &raw mut count) != CKR_OK {
            return None;
        }
        let mut slots = vec![0; usize::try_from(count).ok()?];
        if list(with_token.into(), slots.as_mut_ptr(), &raw mut count) != CKR_OK {
            return None;
        }
        slots.truncate(usize::try_from(count).ok()?);
        Some(slots)
    })
}

/// A key of the same class as `object`, and not the same.
///
/// # Errors
/// Why there is none.
pub(crate) fn other(
    slot: CK_SLOT_ID,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    which: &Other,
) -> Result<CK_OBJECT_HANDLE, String> {
    let class = attribute_of(session, object, CKA_CLASS).ok_or("its key has no class")?;
    let mut template = vec![(CKA_CLASS, class)];
    match which {
        Other::Any => {
            let kind = attribute_of(session, object, CKA_KEY_TYPE).ok_or("its key has no type")?;
            template.push((CKA_KEY_TYPE, kind));
            // Of the same curve: the lie is to be found out by what is signed, not by how long it is.
            template.extend(attribute_of(session, object, CKA_EC_PARAMS).map(|curve| (CKA_EC_PARAMS, curve)));
        }
        Other::Label(label) => template.push((CKA_LABEL, label.as_bytes().to_vec())),
        Other::Id(id) => template.push((CKA_ID, id.clone())),
    }
    // The program's own session may be in the middle of a search. The user is logged in here as well: that is of the
    // program, not of a session.
    let found = in_own_session(slot, |own| find(own, &mut template))??;
    found.into_iter().find(|found| *found != object).ok_or_else(|| "there is no such other key".to_owned())
}

/// `act` makes calls of its own, beside others as a whole.
fn in_own_session<T>(slot: CK_SLOT_ID, act: impl FnOnce(CK_SESSION_HANDLE) -> T) -> Result<T, String> {
    let own = &behind()?.own;
    let (Some(open), Some(close)) = (own.C_OpenSession, own.C_CloseSession) else {
        return Err("the module cannot open sessions".to_owned());
    };
    let mut session = 0;
    // SAFETY: no callback, and a place for the handle; the session is closed once.
    beside_others(|| unsafe {
        let code = open(slot, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session);
        if code != CKR_OK {
            return Err(format!("opening a session to look for another key: {code:#x}"));
        }
        let result = act(session);
        close(session);
        Ok(result)
    })
}

fn find(
    session: CK_SESSION_HANDLE,
    template: &mut [(CK_ATTRIBUTE_TYPE, Vec<u8>)],
) -> Result<Vec<CK_OBJECT_HANDLE>, String> {
    let own = &behind()?.own;
    let (Some(begin), Some(next), Some(end)) = (own.C_FindObjectsInit, own.C_FindObjects, own.C_FindObjectsFinal)
    else {
        return Err("the module cannot search".to_owned());
    };
    let mut wanted: Vec<_> = template
        .iter_mut()
        .map(|(attribute, value)| CK_ATTRIBUTE {
            type_: *attribute,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: value.len() as CK_ULONG,
        })
        .collect();
    let mut found = Vec::new();
    // SAFETY: the values live until the search is over; there is room for 64 handles at a time.
    unsafe {
        let code = begin(session, wanted.as_mut_ptr(), wanted.len() as CK_ULONG);
        if code != CKR_OK {
            return Err(format!("looking for another key: {code:#x}"));
        }
        loop {
            let mut handles = [0; 64];
            let mut count = 0;
            let code = next(session, handles.as_mut_ptr(), handles.len() as CK_ULONG, &raw mut count);
            if code != CKR_OK || count == 0 {
                break;
            }
            found.extend(handles.into_iter().take(usize::try_from(count).unwrap_or(0)));
        }
        end(session);
    }
    Ok(found)
}
