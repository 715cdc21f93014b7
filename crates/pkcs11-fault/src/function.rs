//! The functions of PKCS#11, and what is known of the arguments of each: the one table that all else is made from.

use crate::module::{BehindTable, exports, forwarded, kept};
use cryptoki_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2, CK_VERSION};

/// What a function's first argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Neither of the others: the call is about the module as a whole.
    Module,
    /// A slot.
    Slot,
    /// A session.
    Session,
}

/// What a session can be busy with. It has one of each at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Encrypt,
    Decrypt,
    Digest,
    Sign,
    SignRecover,
    Verify,
    VerifyRecover,
    SignMessage,
    VerifyMessage,
}

/// Where the object that a call is about is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The call is about none.
    None,
    /// Its handle is this argument.
    Handle(usize),
    /// The template at this argument, of as many attributes as the next says, describes it.
    Template(usize),
    /// As [`Self::Template`], of a key pair: there is a second one behind the first.
    Templates(usize),
    /// It is the key of the session's operation.
    Key(Operation),
}

/// Where a call leaves what it makes. Indexes of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Nothing that any rule is about.
    None,
    /// Bytes; the next argument points to their number.
    Bytes(usize),
    /// Bytes; the next argument is their number.
    Filled(usize),
}

/// What is known of a function's arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) scope: Scope,
    pub(crate) subject: Subject,
    pub(crate) output: Output,
    /// The operation that it begins; its mechanism is argument 1 and its key, if any, argument 2.
    pub(crate) begins: Option<Operation>,
    /// The operation that an error of it ends, with how.
    pub(crate) ends: Option<(Operation, Step)>,
}

/// Which part of an operation a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// All of it: C_Sign.
    Whole,
    /// One of many: C_SignUpdate.
    Update,
    /// The last: C_SignFinal.
    Final,
}

const fn of(scope: Scope) -> Shape {
    Shape { scope, subject: Subject::None, output: Output::None, begins: None, ends: None }
}
const MODULE: Shape = of(Scope::Module);
const SLOT: Shape = of(Scope::Slot);
const SESSION: Shape = of(Scope::Session);

impl Shape {
    const fn on(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }
    const fn giving(self, output: Output) -> Self {
        Self { output, ..self }
    }
    const fn beginning(self, operation: Operation) -> Self {
        Self { begins: Some(operation), ..self }
    }
    const fn ending(self, operation: Operation, step: Step) -> Self {
        Self { ends: Some((operation, step)), subject: Subject::Key(operation), ..self }
    }
}

use Operation::{Decrypt, Digest, Encrypt, Sign, SignMessage, SignRecover, Verify, VerifyMessage, VerifyRecover};
use Output::{Bytes, Filled};
use Step::{Final, Update, Whole};
use Subject::{Handle, Key, Template, Templates};

/// Makes of the table: the functions with their names and shapes, our lists of them, and the way to take those of the
/// module behind out of its list. The three groups are what each version of the standard added.
macro_rules! functions {
    (
        2.40 { $($v2:ident = $shape2:expr;)* }
        3.0 { $($v3:ident = $shape3:expr;)* }
        3.2 { $($v32:ident = $shape32:expr;)* }
    ) => {
        /// A function of PKCS#11, called as the standard calls it.
        #[allow(non_camel_case_types, reason = "the standard's names")]
        #[allow(missing_docs, reason = "the standard's functions")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Function {
            C_GetFunctionList, C_GetInterfaceList, C_GetInterface, $($v2,)* $($v3,)* $($v32,)*
        }

        impl Function {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[
                Self::C_GetFunctionList, Self::C_GetInterfaceList, Self::C_GetInterface,
                $(Self::$v2,)* $(Self::$v3,)* $(Self::$v32,)*
            ];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::C_GetFunctionList => "C_GetFunctionList",
                    Self::C_GetInterfaceList => "C_GetInterfaceList",
                    Self::C_GetInterface => "C_GetInterface",
                    $(Self::$v2 => stringify!($v2),)* $(Self::$v3 => stringify!($v3),)* $(Self::$v32 => stringify!($v32),)*
                }
            }

            pub(crate) const fn shape(self) -> Shape {
                match self {
                    Self::C_GetFunctionList | Self::C_GetInterfaceList | Self::C_GetInterface => MODULE,
                    $(Self::$v2 => $shape2,)* $(Self::$v3 => $shape3,)* $(Self::$v32 => $shape32,)*
                }
            }
        }

        /// Our functions, as version 2.40 lists them.
        pub(crate) fn list_2_40(version: CK_VERSION) -> CK_FUNCTION_LIST {
            CK_FUNCTION_LIST {
                version,
                C_GetFunctionList: Some(exports::C_GetFunctionList),
                $($v2: Some(forwarded::<{ Function::$v2 as usize }, _>()),)*
            }
        }

        /// Our functions, as version 3.0 lists them.
        pub(crate) fn list_3_0(version: CK_VERSION) -> CK_FUNCTION_LIST_3_0 {
            CK_FUNCTION_LIST_3_0 {
                version,
                C_GetFunctionList: Some(exports::C_GetFunctionList),
                C_GetInterfaceList: Some(exports::C_GetInterfaceList),
                C_GetInterface: Some(exports::C_GetInterface),
                $($v2: Some(forwarded::<{ Function::$v2 as usize }, _>()),)*
                $($v3: Some(forwarded::<{ Function::$v3 as usize }, _>()),)*
            }
        }

        /// Our functions, as version 3.2 lists them.
        pub(crate) fn list_3_2(version: CK_VERSION) -> CK_FUNCTION_LIST_3_2 {
            CK_FUNCTION_LIST_3_2 {
                version,
                C_GetFunctionList: Some(exports::C_GetFunctionList),
                C_GetInterfaceList: Some(exports::C_GetInterfaceList),
                C_GetInterface: Some(exports::C_GetInterface),
                $($v2: Some(forwarded::<{ Function::$v2 as usize }, _>()),)*
                $($v3: Some(forwarded::<{ Function::$v3 as usize }, _>()),)*
                $($v32: Some(forwarded::<{ Function::$v32 as usize }, _>()),)*
            }
        }

        /// Takes the functions of version 2.40 over from a list of the module behind.
        pub(crate) fn keep_2_40(table: &mut BehindTable, list: &CK_FUNCTION_LIST) {
            $(kept::<{ Function::$v2 as usize }, _>(table, list.$v2);)*
        }

        /// The same with version 3.0.
        pub(crate) fn keep_3_0(table: &mut BehindTable, list: &CK_FUNCTION_LIST_3_0) {
            $(kept::<{ Function::$v2 as usize }, _>(table, list.$v2);)*
            $(kept::<{ Function::$v3 as usize }, _>(table, list.$v3);)*
        }

        /// The same with version 3.2.
        pub(crate) fn keep_3_2(table: &mut BehindTable, list: &CK_FUNCTION_LIST_3_2) {
            $(kept::<{ Function::$v2 as usize }, _>(table, list.$v2);)*
            $(kept::<{ Function::$v3 as usize }, _>(table, list.$v3);)*
            $(kept::<{ Function::$v32 as usize }, _>(table, list.$v32);)*
        }
    };
}

functions! {
    2.40 {
        C_Initialize = MODULE;
        C_Finalize = MODULE;
        C_GetInfo = MODULE;
        C_GetSlotList = MODULE;
        C_GetSlotInfo = SLOT;
        C_GetTokenInfo = SLOT;
        C_GetMechanismList = SLOT;
        C_GetMechanismInfo = SLOT;
        C_InitToken = SLOT;
        C_InitPIN = SESSION;
        C_SetPIN = SESSION;
        C_OpenSession = SLOT;
        C_CloseSession = SESSION;
        C_CloseAllSessions = SLOT;
        C_GetSessionInfo = SESSION;
        C_GetOperationState = SESSION.giving(Bytes(1));
        C_SetOperationState = SESSION;
        C_Login = SESSION;
        C_Logout = SESSION;
        C_CreateObject = SESSION.on(Template(1));
        C_CopyObject = SESSION.on(Handle(1));
        C_DestroyObject = SESSION.on(Handle(1));
        C_GetObjectSize = SESSION.on(Handle(1));
        C_GetAttributeValue = SESSION.on(Handle(1));
        C_SetAttributeValue = SESSION.on(Handle(1));
        C_FindObjectsInit = SESSION.on(Template(1));
        C_FindObjects = SESSION;
        C_FindObjectsFinal = SESSION;
        C_EncryptInit = SESSION.on(Handle(2)).beginning(Encrypt);
        C_Encrypt = SESSION.ending(Encrypt, Whole).giving(Bytes(3));
        C_EncryptUpdate = SESSION.ending(Encrypt, Update).giving(Bytes(3));
        C_EncryptFinal = SESSION.ending(Encrypt, Final).giving(Bytes(1));
        C_DecryptInit = SESSION.on(Handle(2)).beginning(Decrypt);
        C_Decrypt = SESSION.ending(Decrypt, Whole).giving(Bytes(3));
        C_DecryptUpdate = SESSION.ending(Decrypt, Update).giving(Bytes(3));
        C_DecryptFinal = SESSION.ending(Decrypt, Final).giving(Bytes(1));
        C_DigestInit = SESSION.beginning(Digest);
        C_Digest = SESSION.ending(Digest, Whole).giving(Bytes(3));
        C_DigestUpdate = SESSION.ending(Digest, Update);
        C_DigestKey = SESSION.ending(Digest, Update).on(Handle(1));
        C_DigestFinal = SESSION.ending(Digest, Final).giving(Bytes(1));
        C_SignInit = SESSION.on(Handle(2)).beginning(Sign);
        C_Sign = SESSION.ending(Sign, Whole).giving(Bytes(3));
        C_SignUpdate = SESSION.ending(Sign, Update);
        C_SignFinal = SESSION.ending(Sign, Final).giving(Bytes(1));
        C_SignRecoverInit = SESSION.on(Handle(2)).beginning(SignRecover);
        C_SignRecover = SESSION.on(Key(SignRecover)).giving(Bytes(3));
        C_VerifyInit = SESSION.on(Handle(2)).beginning(Verify);
        C_Verify = SESSION.ending(Verify, Whole);
        C_VerifyUpdate = SESSION.ending(Verify, Update);
        C_VerifyFinal = SESSION.ending(Verify, Final);
        C_VerifyRecoverInit = SESSION.on(Handle(2)).beginning(VerifyRecover);
        C_VerifyRecover = SESSION.on(Key(VerifyRecover)).giving(Bytes(3));
        C_DigestEncryptUpdate = SESSION.on(Key(Encrypt)).giving(Bytes(3));
        C_DecryptDigestUpdate = SESSION.on(Key(Decrypt)).giving(Bytes(3));
        C_SignEncryptUpdate = SESSION.on(Key(Sign)).giving(Bytes(3));
        C_DecryptVerifyUpdate = SESSION.on(Key(Decrypt)).giving(Bytes(3));
        C_GenerateKey = SESSION.on(Template(2));
        C_GenerateKeyPair = SESSION.on(Templates(2));
        C_WrapKey = SESSION.on(Handle(3)).giving(Bytes(4));
        C_UnwrapKey = SESSION.on(Template(5));
        C_DeriveKey = SESSION.on(Handle(2));
        C_SeedRandom = SESSION;
        C_GenerateRandom = SESSION.giving(Filled(1));
        C_GetFunctionStatus = SESSION;
        C_CancelFunction = SESSION;
        C_WaitForSlotEvent = MODULE;
    }
    3.0 {
        C_LoginUser = SESSION;
        C_SessionCancel = SESSION;
        C_MessageEncryptInit = SESSION.on(Handle(2));
        C_EncryptMessage = SESSION.giving(Bytes(7));
        C_EncryptMessageBegin = SESSION;
        C_EncryptMessageNext = SESSION.giving(Bytes(5));
        C_MessageEncryptFinal = SESSION;
        C_MessageDecryptInit = SESSION.on(Handle(2));
        C_DecryptMessage = SESSION.giving(Bytes(7));
        C_DecryptMessageBegin = SESSION;
        C_DecryptMessageNext = SESSION.giving(Bytes(5));
        C_MessageDecryptFinal = SESSION;
        C_MessageSignInit = SESSION.on(Handle(2)).beginning(SignMessage);
        C_SignMessage = SESSION.on(Key(SignMessage)).giving(Bytes(5));
        C_SignMessageBegin = SESSION.on(Key(SignMessage));
        C_SignMessageNext = SESSION.on(Key(SignMessage)).giving(Bytes(5));
        C_MessageSignFinal = SESSION.on(Key(SignMessage));
        C_MessageVerifyInit = SESSION.on(Handle(2)).beginning(VerifyMessage);
        C_VerifyMessage = SESSION.on(Key(VerifyMessage));
        C_VerifyMessageBegin = SESSION.on(Key(VerifyMessage));
        C_VerifyMessageNext = SESSION.on(Key(VerifyMessage));
        C_MessageVerifyFinal = SESSION.on(Key(VerifyMessage));
    }
    3.2 {
        C_EncapsulateKey = SESSION.on(Handle(2)).giving(Bytes(5));
        C_DecapsulateKey = SESSION.on(Handle(2));
        C_VerifySignatureInit = SESSION.on(Handle(2));
        C_VerifySignature = SESSION;
        C_VerifySignatureUpdate = SESSION;
        C_VerifySignatureFinal = SESSION;
        C_GetSessionValidationFlags = SESSION;
        C_AsyncComplete = SESSION;
        C_AsyncGetID = SESSION;
        C_AsyncJoin = SESSION;
        C_WrapKeyAuthenticated = SESSION.on(Handle(3)).giving(Bytes(6));
        C_UnwrapKeyAuthenticated = SESSION.on(Template(5));
    }
}

/// How many functions there are.
pub(crate) const COUNT: usize = Function::ALL.len();

impl Function {
    /// The function of this number, at compile time.
    #[allow(clippy::indexing_slicing, reason = "a number that is none does not compile")]
    pub(crate) const fn at(number: usize) -> Self {
        Self::ALL[number]
    }

    /// The function of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|function| function.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_and_names_find_their_function() {
        for (place, function) in Function::ALL.iter().enumerate() {
            assert_eq!(*function as usize, place);
            assert_eq!(Function::by_name(function.name()), Some(*function));
        }
        assert_eq!(Function::by_name("C_Nothing"), None);
        // 68 of 2.40, 24 that 3.0 added, 12 that 3.2 added.
        assert_eq!(COUNT, 104);
    }
}
