//! Secrets that are made to be searched for, in all the ways in which they may have been written down.

#![allow(clippy::unwrap_used, reason = "these functions run inside tests, which stop at the first surprise")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding as _};

use crate::contract::hex;

/// A secret that occurs nowhere by chance.
#[derive(Debug, Clone)]
pub struct Canary {
    name: String,
    /// How it may be written, and what it looks like then.
    forms: Vec<(&'static str, String)>,
}

impl Canary {
    /// To know it by when it is found, and its bytes: at least 16.
    #[must_use]
    pub fn new(name: &str, secret: &[u8]) -> Self {
        assert!(secret.len() >= 16, "{name} is too short to be found by it alone");
        let small = hex(secret);
        let list: Vec<String> = secret.iter().map(ToString::to_string).collect();
        let mut forms = vec![
            ("raw", searchable(secret)),
            ("hex", small.clone()),
            ("upper-case hex", small.to_uppercase()),
            ("a list of bytes", list.join(", ")),
            ("a list of bytes in JSON", list.join(",")),
        ];
        // What stands before it in a text moves it by up to two bytes, and with it every character.
        for before in 0..3 {
            let mut text = vec![0; before];
            text.extend_from_slice(secret);
            // Only the characters that no neighbour has bits in.
            let own = (before * 8).div_ceil(6)..text.len() * 8 / 6;
            let own = |text: String| text.chars().skip(own.start).take(own.len()).collect();
            forms.push(("base64", own(Base64Unpadded::encode_string(&text))));
            forms.push(("base64url", own(Base64UrlUnpadded::encode_string(&text))));
        }
        Self { name: name.to_owned(), forms }
    }

    /// One of random characters that a PIN can have.
    #[must_use]
    pub fn random(name: &str) -> (Self, String) {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        let text = hex(&bytes);
        (Self::new(name, text.as_bytes()), text)
    }
}

/// What of the canaries is in there.
#[must_use]
pub fn found(canaries: &[Canary], place: &[u8]) -> BTreeSet<String> {
    let place = searchable(place);
    let mut found = BTreeSet::new();
    for canary in canaries {
        for (form, text) in &canary.forms {
            if place.contains(text.as_str()) {
                found.insert(format!("{} as {form}", canary.name));
            }
        }
    }
    found
}

/// Looks into every file of a folder, by its path and its content. Those that go while it looks are passed over.
#[must_use]
pub fn found_in_folder(canaries: &[Canary], folder: &Path) -> Vec<(PathBuf, BTreeSet<String>)> {
    let mut hits = Vec::new();
    for entry in still_there(std::fs::read_dir(folder)).into_iter().flatten() {
        let entry = entry.unwrap();
        let path = entry.path();
        let Some(kind) = still_there(entry.file_type()) else { continue };
        let mut found = found(canaries, path.as_os_str().as_encoded_bytes());
        if kind.is_dir() {
            hits.append(&mut found_in_folder(canaries, &path));
        } else if kind.is_file() {
            let content = still_there(std::fs::read(&path)).unwrap_or_default();
            found.append(&mut self::found(canaries, &content));
        }
        if !found.is_empty() {
            hits.push((path, found));
        }
    }
    hits
}

/// `None` where it has gone.
fn still_there<T>(read: std::io::Result<T>) -> Option<T> {
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        read => Some(read.unwrap()),
    }
}

/// Bytes as ASCII, in which the standard library searches fast: what is none is put in the place of bytes that are none.
fn searchable(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '\x7f' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_however_it_is_written() {
        let (canary, secret) = Canary::random("it");
        let canaries = [canary];
        let bytes = secret.as_bytes();
        for before in ["", "a", "ab", "abc", "abcd"] {
            let text = format!("{before}{secret}, and more");
            let written = [
                ("raw", format!("{:?}", text.as_str())),
                ("hex", hex(text.as_bytes())),
                ("upper-case hex", hex(text.as_bytes()).to_uppercase()),
                ("a list of bytes", format!("{:?}", text.as_bytes())),
                ("a list of bytes in JSON", serde_json::to_string(text.as_bytes()).unwrap()),
                ("base64", Base64Unpadded::encode_string(text.as_bytes())),
                ("base64url", Base64UrlUnpadded::encode_string(text.as_bytes())),
            ];
            for (form, written) in written {
                let found = found(&canaries, [b"\xff\0", written.as_bytes(), b"\xfe"].concat().as_slice());
                assert!(found.contains(&format!("it as {form}")), "{form} after {before:?}: {found:?}");
            }
        }
        assert!(found(&canaries, &bytes[1..]).is_empty() && found(&canaries, b"").is_empty());
    }

    #[test]
    fn files_are_found_by_path_and_content() {
        let (canary, secret) = Canary::random("it");
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("deep");
        std::fs::create_dir(&deep).unwrap();
        std::fs::write(deep.join("content"), format!("x{secret}")).unwrap();
        std::fs::write(deep.join(&secret), "").unwrap();
        std::fs::write(deep.join("nothing"), "").unwrap();
        let mut hits: Vec<PathBuf> =
            found_in_folder(&[canary], folder.path()).into_iter().map(|(path, _)| path).collect();
        hits.sort();
        let mut expected = [deep.join("content"), deep.join(&secret)];
        expected.sort();
        assert_eq!(hits, expected);
    }
}
