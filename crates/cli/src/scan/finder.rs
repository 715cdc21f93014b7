//! What is a secret, and on which line. A text that only looks like one is none: an API key has a checksum, and a PEM private
//! key has a body.

use chancery_crypto::{API_KEY_PREFIX, ApiKeyText, sha256};

/// The longest API key: prefix, environment, underscore, and what follows it.
const LONGEST_API_KEY: usize = API_KEY_PREFIX.len() + 63 + 1 + 48;
/// The longest PEM private key that is looked at to its end, in bytes: RSA-16384 has some 13,000.
const LONGEST_PEM: usize = 32 * 1024;
/// Shorter bodies are examples and tests of parsers: the DER of the smallest key that is used (Ed25519) has 48 bytes.
const SHORTEST_PEM_BODY: usize = 60;

/// A secret, found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
    /// SHA-256 of it, the first 16 bytes in hexadecimal: the same wherever the same secret is, and of no other use.
    pub fingerprint: String,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was come upon.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// The commit that added it, where a history was looked at.
    pub commit: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An API key of Chancery, its checksum verified; with its environment and its id, which are no secrets.
    ApiKey {
        /// The environment.
        environment: String,
        /// The id: `callers/{caller}/apiKeys/{id}`.
        id: String,
    },
    /// A PEM private key: PKCS#8, PKCS#1, SEC 1, OpenSSH or PGP, as its label says.
    PrivateKey {
        /// The label, for example `EC PRIVATE KEY`.
        label: String,
    },
}

/// Finds the secrets in a text whose first line is `first_line`, as (line, kind, fingerprint).
pub(super) fn find(text: &[u8], first_line: usize) -> Vec<(usize, Kind, String)> {
    let mut found = api_keys(text);
    found.extend(private_keys(text));
    found.sort();
    let line_at = |offset: usize| first_line + text.iter().take(offset).filter(|byte| **byte == b'\n').count();
    found.into_iter().map(|(offset, kind, fingerprint)| (line_at(offset), kind, fingerprint)).collect()
}

fn fingerprint(secret: &[u8]) -> String {
    sha256(secret).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn api_keys(text: &[u8]) -> Vec<(usize, Kind, String)> {
    let mut found = Vec::new();
    for start in occurrences(text, API_KEY_PREFIX.as_bytes()) {
        // What goes on to the left is another word.
        if start.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|byte| is_of_a_key(*byte)) {
            continue;
        }
        let rest = text.get(start..).unwrap_or_default();
        let length = rest.iter().take(LONGEST_API_KEY + 1).take_while(|byte| is_of_a_key(**byte)).count();
        let word = rest.get(..length).and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default();
        if let Ok(key) = ApiKeyText::parse(word) {
            let kind = Kind::ApiKey { environment: key.environment().to_string(), id: key.id().to_string() };
            found.push((start, kind, fingerprint(word.as_bytes())));
        }
    }
    found
}

const fn is_of_a_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn private_keys(text: &[u8]) -> Vec<(usize, Kind, String)> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut found = Vec::new();
    for start in occurrences(text, BEGIN) {
        let window = text.get(start..).map(|rest| rest.get(..LONGEST_PEM).unwrap_or(rest)).unwrap_or_default();
        let Some(label) = label(window.get(BEGIN.len()..).unwrap_or_default()) else { continue };
        let end_line = format!("-----END {label}-----");
        let end = occurrences(window, end_line.as_bytes()).next().unwrap_or(window.len());
        let body = window.get(BEGIN.len() + label.len() + 5..end).unwrap_or_default();
        if body_length(body) >= SHORTEST_PEM_BODY {
            found.push((start, Kind::PrivateKey { label }, fingerprint(&essence(body))));
        }
    }
    found
}

/// The label of a private key, up to the five hyphens.
fn label(text: &[u8]) -> Option<String> {
    let length = text.iter().take(40).position(|byte| *byte == b'-')?;
    let label = std::str::from_utf8(text.get(..length)?).ok()?;
    let closed = text.get(length..length + 5) == Some(b"-----");
    let private = label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY") || label == "PGP PRIVATE KEY BLOCK";
    (closed && private && label.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b' ')).then(|| label.to_owned())
}

/// The characters of base64, whatever stands between them: line ends of either kind, quotes and `\n` of source code, the `+`
/// and spaces of a diff's lines were taken off before.
fn essence(body: &[u8]) -> Vec<u8> {
    let mut essence = Vec::with_capacity(body.len());
    let mut bytes = body.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            // An escape of a string is none of it.
            b'\\' => drop(bytes.next()),
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=') => essence.push(byte),
            _ => {}
        }
    }
    essence
}

/// How much base64 there is in lines, or quoted parts, that are nothing else.
fn body_length(body: &[u8]) -> usize {
    let words = body.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\\')));
    words.map(essence).filter(|word| word.len() >= 16).map(|word| word.len()).sum()
}

fn occurrences<'a>(text: &'a [u8], word: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    text.windows(word.len()).enumerate().filter(move |(_, window)| *window == word).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::Id;

    fn key() -> String {
        ApiKeyText::generate(&Id::parse("the environment", "eu-prod").unwrap()).unwrap().reveal().to_owned()
    }

    fn kinds(text: &str) -> Vec<(usize, Kind)> {
        find(text.as_bytes(), 1).into_iter().map(|(line, kind, _)| (line, kind)).collect()
    }

    #[test]
    fn an_api_key_is_found_wherever_it_stands_and_its_lookalike_is_not() {
        let key = key();
        let id = key["chy_eu-prod_".len()..][..12].to_owned();
        let kind = Kind::ApiKey { environment: "eu-prod".to_owned(), id };
        for around in ["{}", "\nKEY={}\n", "\n\"Bearer {}\",", "\n<a>{}</a>", "\nä{}ä"] {
            let text = around.replace("{}", &key);
            assert_eq!(kinds(&text), [(1 + usize::from(around.starts_with('\n')), kind.clone())], "{around}");
        }
        let mut damaged = key.clone();
        damaged.replace_range(20..=20, if &key[20..=20] == "x" { "y" } else { "x" });
        for text in [damaged, key[..key.len() - 1].to_owned(), format!("{key}x"), format!("x{key}"), "chy_".to_owned()]
        {
            assert_eq!(kinds(&text), [], "{text:?}");
        }
    }

    /// Written by the tools themselves, so that no private key stands in this file.
    #[test]
    fn a_private_key_is_found_in_a_file_and_in_a_string_and_an_example_without_a_body_is_not() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let label = Kind::PrivateKey { label: "PRIVATE KEY".to_owned() };
        assert_eq!(kinds(&format!("a\nb\n{key}")), [(3, label.clone())]);
        let escaped = format!("x = \"{}\"", key.replace('\n', "\\n"));
        assert_eq!(kinds(&escaped), [(1, label.clone())]);
        let crlf = key.replace('\n', "\r\n");
        let fingerprints: Vec<String> =
            [&key, &escaped, &crlf].iter().map(|text| find(text.as_bytes(), 1)[0].2.clone()).collect();
        assert!(fingerprints.iter().all(|fingerprint| *fingerprint == fingerprints[0]), "{fingerprints:?}");
        for text in [
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
            "text.starts_with(\"-----BEGIN PRIVATE KEY-----\")",
            "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQZ0000000000000000000000000000000000000000\n",
            &key.replace("PRIVATE KEY", "PUBLIC KEY"),
        ] {
            assert_eq!(kinds(text), [], "{text}");
        }
        // Cut off before its end, as a terminal or a log may show it.
        assert_eq!(kinds(&key[..key.len() - 40]).len(), 1);
    }

    #[test]
    fn two_secrets_are_two_findings_in_their_order() {
        let (one, two) = (key(), key());
        let found = find(format!("{one}\n\n{two} {one}").as_bytes(), 10);
        let lines: Vec<usize> = found.iter().map(|(line, ..)| *line).collect();
        assert_eq!(lines, [10, 12, 12]);
        assert_eq!(found[0].2, found[2].2);
        assert!(found.iter().all(|(_, kind, fingerprint)| {
            !format!("{kind:?}{fingerprint}").contains(&one["chy_eu-prod_".len() + 12..])
        }));
    }
}
