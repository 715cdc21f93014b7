//! What a SoftHSM token holds, told from its files: an eye that neither the service nor its worker lends us.
//!
//! SoftHSM 2 writes an object as a file: a generation count, then for each attribute its type, its kind and its value, all
//! numbers of 8 bytes, big-endian, the types ascending. CKA_CLASS (0) comes first. Of public objects CKA_ID (0x102) is
//! readable; of private and secret ones it is encrypted, and they can only be counted. A file that was begun and not written
//! is no object: SoftHSM passes it over, and so do we, but count it.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use chancery_tests::contract::hex;

const PUBLIC_KEY: u64 = 2;
const PRIVATE_KEY: u64 = 3;
const SECRET_KEY: u64 = 4;

/// The keys of a token. Files are read once: what is in them does not change.
#[derive(Debug, Default)]
pub struct TokenFiles(HashMap<PathBuf, Object>);

#[derive(Debug, Clone)]
struct Object {
    /// None of a file without an object.
    class: Option<u64>,
    id: Option<String>,
}

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Keys {
    /// Of the public halves.
    pub uids: BTreeSet<String>,
    pub public: usize,
    pub private: usize,
    pub secret: usize,
    /// Files without an object in them.
    pub torn: usize,
}

impl TokenFiles {
    /// Looks into the token in a folder of `chancery dev`.
    pub fn read(&mut self, dev: &Path) -> Keys {
        let tokens = dev.join("softhsm/tokens");
        let mut now = HashMap::new();
        for token in std::fs::read_dir(tokens).unwrap() {
            for file in std::fs::read_dir(token.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let is_object = path.extension().is_some_and(|extension| extension == "object");
                if !is_object || path.file_name().is_some_and(|name| name == "token.object") {
                    continue;
                }
                let object = self.0.get(&path).cloned().unwrap_or_else(|| object(&std::fs::read(&path).unwrap()));
                now.insert(path, object);
            }
        }
        self.0 = now;
        let count = |class| self.0.values().filter(|object| object.class == Some(class)).count();
        Keys {
            uids: self
                .0
                .values()
                .filter(|object| object.class == Some(PUBLIC_KEY))
                .filter_map(|key| key.id.clone())
                .collect(),
            public: count(PUBLIC_KEY),
            private: count(PRIVATE_KEY),
            secret: count(SECRET_KEY),
            torn: self.0.values().filter(|object| object.class.is_none()).count(),
        }
    }
}

fn object(bytes: &[u8]) -> Object {
    if bytes.is_empty() {
        return Object { class: None, id: None };
    }
    let number = |place: usize| {
        let bytes = bytes.get(place..place + 8).expect("an object's file has its class");
        u64::from_be_bytes(bytes.try_into().unwrap())
    };
    assert_eq!((number(8), number(16)), (0, 2), "CKA_CLASS, a number, comes first");
    // Type CKA_ID, kind bytes, of length 16.
    let id = [0x102_u64, 3, 16].map(u64::to_be_bytes).concat();
    let at = bytes.windows(id.len()).position(|window| window == id);
    let id = at.and_then(|at| bytes.get(at + id.len()..at + id.len() + 16)).map(hex);
    Object { class: Some(number(24)), id }
}
