//! Functions that stand before those of the module behind, made by the compiler from the types of the latter.

use super::behind::behind;
use super::{BehindTable, engine, gate};
use crate::function::Function;
use cryptoki_sys::{CK_BBOOL, CK_NOTIFY, CK_RV, CK_ULONG, CKR_FUNCTION_NOT_SUPPORTED};
use std::ffi::c_void;
use std::mem::transmute;
use std::ptr::{null_mut, without_provenance_mut};

/// The most arguments that a function has: C_UnwrapKeyAuthenticated.
const MOST_ARGUMENTS: usize = 10;

/// A call's arguments, pointers and numbers alike. Those that the function does not have are null.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words([*mut c_void; MOST_ARGUMENTS]);

impl Words {
    pub(crate) const NONE: Self = Self([null_mut(); MOST_ARGUMENTS]);

    /// An argument that is a number or a handle.
    pub(crate) fn number(&self, at: usize) -> CK_ULONG {
        self.pointer::<c_void>(at).addr() as CK_ULONG
    }

    /// An argument that is a pointer.
    pub(crate) fn pointer<T>(&self, at: usize) -> *mut T {
        self.0.get(at).map_or(null_mut(), |word| word.cast())
    }

    /// The same call with another number or handle.
    pub(crate) fn with_number(self, at: usize, number: CK_ULONG) -> Self {
        self.with_pointer(at, Word::into_word(number))
    }

    /// The same call with another pointer.
    pub(crate) fn with_pointer(mut self, at: usize, pointer: *mut c_void) -> Self {
        if let Some(word) = self.0.get_mut(at) {
            *word = pointer;
        }
        self
    }
}

/// What an argument can be: no wider than a pointer.
pub(crate) trait Word {
    fn into_word(self) -> *mut c_void;
    /// Undoes [`Self::into_word`].
    fn from_word(word: *mut c_void) -> Self;
}

impl<T> Word for *mut T {
    fn into_word(self) -> *mut c_void {
        self.cast()
    }
    fn from_word(word: *mut c_void) -> Self {
        word.cast()
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "CK_ULONG is as wide as a pointer where we build; see the assertion"
)]
impl Word for CK_ULONG {
    fn into_word(self) -> *mut c_void {
        without_provenance_mut(self as usize)
    }
    fn from_word(word: *mut c_void) -> Self {
        word.addr() as Self
    }
}
const _: () = assert!(size_of::<CK_ULONG>() == size_of::<usize>(), "a word holds every argument");

impl Word for CK_BBOOL {
    fn into_word(self) -> *mut c_void {
        without_provenance_mut(usize::from(self))
    }
    #[allow(clippy::cast_possible_truncation, reason = "it was widened above")]
    fn from_word(word: *mut c_void) -> Self {
        word.addr() as Self
    }
}

impl Word for CK_NOTIFY {
    fn into_word(self) -> *mut c_void {
        self.map_or(null_mut(), |notify| notify as *mut c_void)
    }
    fn from_word(word: *mut c_void) -> Self {
        // SAFETY: an Option of a function pointer is a pointer, null for none, and this one was made from such above.
        unsafe { transmute::<*mut c_void, Self>(word) }
    }
}

/// A function of the module behind whose type is left to who calls it.
pub(crate) type Erased = unsafe extern "C" fn();

/// The type of a function of PKCS#11.
pub(crate) trait Pointer: Copy {
    /// A function of this type that stands before the one at place `F` of the module behind.
    fn thunk<const F: usize>() -> Self;
    fn erase(self) -> Erased;
}

macro_rules! pointers {
    ($($name:ident $call:ident: $($type:ident $place:literal),+;)+) => { $(
        impl<$($type: Word),+> Pointer for unsafe extern "C" fn($($type),+) -> CK_RV {
            fn thunk<const F: usize>() -> Self {
                $name::<F, $($type),+>
            }
            fn erase(self) -> Erased {
                // SAFETY: only kept, and made what it was before it is called.
                unsafe { transmute::<Self, Erased>(self) }
            }
        }

        #[allow(non_snake_case, reason = "an argument has the name of its type")]
        #[allow(clippy::too_many_arguments, reason = "the standard's")]
        unsafe extern "C" fn $name<const F: usize, $($type: Word),+>($($type: $type),+) -> CK_RV {
            let mut words = Words::NONE;
            $(words = words.with_pointer($place, $type.into_word());)+
            engine::run(const { Function::at(F) }, &words, $call::<F, $($type),+>)
        }

        fn $call<const F: usize, $($type: Word),+>(words: &Words) -> CK_RV {
            let Some(function) = behind().ok().and_then(|behind| behind.function(F)) else {
                return CKR_FUNCTION_NOT_SUPPORTED;
            };
            // SAFETY: `kept` put it at place F from a field of the list; `forwarded` made this for a field of the same
            // name, and so of the same type, in the same table (function.rs). Its arguments are those that our caller
            // gave for it, or valid ones put in their place.
            gate::pass(const { Function::at(F) }, words, |words| unsafe {
                let function = transmute::<Erased, unsafe extern "C" fn($($type),+) -> CK_RV>(function);
                function($($type::from_word(words.pointer($place))),+)
            })
        }
    )+ };
}

pointers! {
    thunk_1 call_1: A 0;
    thunk_2 call_2: A 0, B 1;
    thunk_3 call_3: A 0, B 1, C 2;
    thunk_4 call_4: A 0, B 1, C 2, D 3;
    thunk_5 call_5: A 0, B 1, C 2, D 3, E 4;
    thunk_6 call_6: A 0, B 1, C 2, D 3, E 4, G 5;
    thunk_7 call_7: A 0, B 1, C 2, D 3, E 4, G 5, H 6;
    thunk_8 call_8: A 0, B 1, C 2, D 3, E 4, G 5, H 6, I 7;
    thunk_9 call_9: A 0, B 1, C 2, D 3, E 4, G 5, H 6, I 7, J 8;
    thunk_10 call_10: A 0, B 1, C 2, D 3, E 4, G 5, H 6, I 7, J 8, K 9;
}

/// Our function for a field of a list.
pub(crate) fn forwarded<const F: usize, P: Pointer>() -> P {
    P::thunk::<F>()
}

/// Keeps the function in a field of a list of the module behind. Some lists have holes.
pub(crate) fn kept<const F: usize, P: Pointer>(table: &mut BehindTable, function: Option<P>) {
    if let Some(place) = table.get_mut(F) {
        *place = function.map(Pointer::erase);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::list_3_2;
    use cryptoki_sys::CK_VERSION;

    unsafe extern "C" fn notify(_: CK_ULONG, _: CK_ULONG, _: *mut c_void) -> CK_RV {
        7
    }

    #[test]
    fn arguments_come_out_as_they_went_in() {
        for number in [0, 1, 0x8000_0001, CK_ULONG::MAX] {
            assert_eq!(CK_ULONG::from_word(number.into_word()), number);
            assert_eq!(Words::NONE.with_number(9, number).number(9), number);
        }
        assert_eq!(CK_BBOOL::from_word(1_u8.into_word()), 1);
        assert!(CK_NOTIFY::from_word(CK_NOTIFY::into_word(None)).is_none());
        let back = CK_NOTIFY::from_word(CK_NOTIFY::into_word(Some(notify))).unwrap();
        // SAFETY: it is the function above.
        assert_eq!(unsafe { back(0, 0, null_mut()) }, 7);
        let mut value = 5_u8;
        let pointer = Words::NONE.with_pointer(3, (&raw mut value).cast()).pointer::<u8>(3);
        // SAFETY: it is the variable above.
        unsafe { *pointer = 6 };
        assert_eq!(value, 6);
    }

    #[test]
    fn a_function_that_no_module_has_says_so() {
        // There is no module behind unit tests.
        let list = list_3_2(CK_VERSION { major: 3, minor: 2 });
        // SAFETY: nothing is done with the arguments.
        let codes = unsafe {
            [
                list.C_AsyncJoin.unwrap()(1, null_mut(), 0, null_mut(), 0),
                list.C_UnwrapKeyAuthenticated.unwrap()(
                    1,
                    null_mut(),
                    2,
                    null_mut(),
                    0,
                    null_mut(),
                    0,
                    null_mut(),
                    0,
                    null_mut(),
                ),
                list.C_Finalize.unwrap()(null_mut()),
            ]
        };
        assert_eq!(codes, [CKR_FUNCTION_NOT_SUPPORTED; 3]);
    }
}
