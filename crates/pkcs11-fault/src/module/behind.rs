//! The module behind: loaded once, and kept until the process ends.

use super::thunk::Erased;
use crate::function::{self, COUNT};
use crate::paths::{MODULE_VARIABLE, settings};
use cryptoki_sys::{
    CK_FLAGS, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2, CK_INTERFACE, CK_VERSION, CKR_OK, Pkcs11,
};
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

/// The functions of the module behind, by number.
pub(crate) type BehindTable = [Option<Erased>; COUNT];

/// The name of the interfaces that the standard defines.
pub(crate) const STANDARD: &CStr = c"PKCS 11";

/// A module that was loaded.
pub(crate) struct Behind {
    table: BehindTable,
    /// Its functions of version 2.40, for what is asked on our own account.
    pub(crate) own: CK_FUNCTION_LIST,
    /// The standard interfaces that it offers, each with its flags; the default first.
    pub(crate) offers: Vec<(CK_VERSION, CK_FLAGS)>,
}

impl Behind {
    pub(crate) fn function(&self, place: usize) -> Option<Erased> {
        self.table.get(place).copied().flatten()
    }
}

/// The module behind.
///
/// # Errors
/// Why there is none.
pub(crate) fn behind() -> Result<&'static Behind, &'static str> {
    static BEHIND: OnceLock<Result<Behind, String>> = OnceLock::new();
    BEHIND.get_or_init(load).as_ref().map_err(String::as_str)
}

fn load() -> Result<Behind, String> {
    let Some(path) = &settings().module else {
        return Err(format!("error: {MODULE_VARIABLE} does not say which module stands behind"));
    };
    let failed = |why: String| format!("error: the module {} ({MODULE_VARIABLE}): {why}", path.display());
    // SAFETY: whoever sets the variable trusts the library as much as one that he loads himself.
    let library = unsafe { Pkcs11::new(path) }.map_err(|error| failed(error.to_string()))?;
    // Never unloaded: our lists lead into it, and unloading a PKCS#11 module with threads of its own is a crash.
    let library: &'static Pkcs11 = Box::leak(Box::new(library));
    if library.C_GetFunctionList.is_err() {
        return Err(failed("it has no C_GetFunctionList".to_owned()));
    }
    let mut list: *mut CK_FUNCTION_LIST = null_mut();
    // SAFETY: the standard's first function, with a place for what it answers.
    let code = unsafe { library.C_GetFunctionList(&raw mut list) };
    if code != CKR_OK || list.is_null() {
        return Err(failed(format!("C_GetFunctionList answered {code:#x}")));
    }
    // SAFETY: it answered that the list is there; a module keeps it for as long as it is loaded.
    let own = unsafe { *list };
    let mut table: BehindTable = [None; COUNT];
    function::keep_2_40(&mut table, &own);
    let mut offers = interfaces(library).map_err(failed)?;
    // Each has all that earlier versions have: the fullest is kept last.
    offers.sort_by_key(|(version, ..)| (version.major, version.minor));
    for (version, _, list) in &offers {
        // SAFETY: the list of a standard interface is of the size that goes with its version.
        unsafe {
            match (version.major, version.minor) {
                (3, 0 | 1) => function::keep_3_0(&mut table, &*list.cast::<CK_FUNCTION_LIST_3_0>()),
                (3.., _) => function::keep_3_2(&mut table, &*list.cast::<CK_FUNCTION_LIST_3_2>()),
                _ => {}
            }
        }
    }
    let mut offers: Vec<_> = offers.into_iter().map(|(version, flags, _)| (version, flags)).collect();
    if offers.is_empty() {
        offers.push((own.version, 0));
    }
    if let Some(default) = default_version(library)
        && let Some(place) = offers.iter().position(|(version, _)| is_same(*version, default))
    {
        offers.swap(0, place);
    }
    Ok(Behind { table, own, offers })
}

fn is_same(one: CK_VERSION, other: CK_VERSION) -> bool {
    (one.major, one.minor) == (other.major, other.minor)
}

/// The version of the interface that a module gives to who does not say which.
fn default_version(library: &Pkcs11) -> Option<CK_VERSION> {
    library.C_GetInterface.as_ref().ok()?;
    let mut interface: *mut CK_INTERFACE = null_mut();
    // SAFETY: the standard's way to ask for the default; what it answers begins with its version.
    unsafe {
        let code = library.C_GetInterface(null_mut(), null_mut(), &raw mut interface, 0);
        let list = if code == CKR_OK { interface.as_ref()?.pFunctionList } else { return None };
        list.cast::<CK_VERSION>().as_ref().copied()
    }
}

/// The standard interfaces that a module offers: none for one older than version 3.0.
fn interfaces(library: &Pkcs11) -> Result<Vec<(CK_VERSION, CK_FLAGS, *mut c_void)>, String> {
    let mut found = Vec::new();
    if library.C_GetInterfaceList.is_err() {
        return Ok(found);
    }
    let mut count = 0;
    // SAFETY: asked for the number first, and then for no more than there is room.
    let all = unsafe {
        let mut code = library.C_GetInterfaceList(null_mut(), &raw mut count);
        let empty = CK_INTERFACE { pInterfaceName: null_mut(), pFunctionList: null_mut(), flags: 0 };
        let mut all = vec![empty; usize::try_from(count).unwrap_or(0)];
        if code == CKR_OK {
            code = library.C_GetInterfaceList(all.as_mut_ptr(), &raw mut count);
        }
        if code != CKR_OK {
            return Err(format!("C_GetInterfaceList answered {code:#x}"));
        }
        all.truncate(usize::try_from(count).unwrap_or(0));
        all
    };
    for interface in all {
        let is_standard = !interface.pInterfaceName.is_null()
            && !interface.pFunctionList.is_null()
            // SAFETY: the standard ends the name with a zero byte.
            && unsafe { CStr::from_ptr(interface.pInterfaceName.cast()) } == STANDARD;
        if is_standard {
            // SAFETY: the functions of a standard interface are a list that begins with its version.
            let version = unsafe { *interface.pFunctionList.cast::<CK_VERSION>() };
            found.push((version, interface.flags, interface.pFunctionList));
        }
    }
    Ok(found)
}
