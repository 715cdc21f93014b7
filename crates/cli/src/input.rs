//! What commands read: files, standard input (`-`), hexadecimal digits, signatures.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64ct::{Base64, Encoding as _};
use chancery_model::misleads;

use crate::exit::Failure;

/// The largest message that the service signs, in bytes.
const MAX_MESSAGE_BYTES: u64 = 1024 * 1024;
/// The largest message that the service makes a MAC of, in bytes.
const MAX_MAC_MESSAGE_BYTES: u64 = 64 * 1024;
/// Larger than any signature, in either form.
const MAX_SIGNATURE_BYTES: u64 = 16 * 1024;
/// The longest claims of a JWT, in bytes.
const MAX_CLAIMS_BYTES: u64 = 16 * 1024;
/// The largest file whose digest is looked for on the record, in bytes.
const MAX_DIGESTED_BYTES: u64 = 1 << 30;
/// The longest receipt, in bytes, and more.
const MAX_RECEIPT_BYTES: u64 = 2 << 20;
/// The longest checkpoint, in bytes.
const MAX_CHECKPOINT_BYTES: u64 = 512 * 1024;
/// Larger than any public key, in either form.
const MAX_PUBLIC_KEY_BYTES: u64 = 16 * 1024;
/// The longest JWT, in bytes.
const MAX_JWT_BYTES: u64 = 64 * 1024;
/// The largest policy document that the service takes, in bytes.
const MAX_POLICY_BYTES: u64 = 512 * 1024;

/// Why something is done, for the record: as the service takes it of its callers.
pub fn reason(text: &str) -> Result<String, &'static str> {
    if text.chars().any(misleads) {
        return Err("is one line of text, without control characters and those that turn the direction of writing");
    }
    Ok(text.to_owned())
}

/// Where to read from: a file, or `-` for standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Standard,
    /// A file.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" { Self::Standard } else { Self::File(PathBuf::from(text)) })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Source {
    /// The file, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Standard => None,
            Self::File(path) => Some(path),
        }
    }

    /// The message to sign or to verify.
    pub fn read_message(&self) -> Result<Vec<u8>, Failure> {
        let message = self.read_up_to(MAX_MESSAGE_BYTES)?.ok_or_else(|| {
            self.too_long(MAX_MESSAGE_BYTES, "a message")
                .hint("of what is longer, give the digest (--digest), to a key made with --allow-digest")
        })?;
        if message.is_empty() {
            return Err(Failure::local(format!("{self} is empty; a message has at least one byte")));
        }
        Ok(message)
    }

    /// The message of a MAC.
    pub fn read_mac_message(&self) -> Result<Vec<u8>, Failure> {
        let message = self.read(MAX_MAC_MESSAGE_BYTES, "the message of a MAC")?;
        if message.is_empty() {
            return Err(Failure::local(format!("{self} is empty; a message has at least one byte")));
        }
        Ok(message)
    }

    /// A signature: its raw bytes, or the base64 text that `chancery sign` prints.
    pub fn read_signature(&self) -> Result<Vec<u8>, Failure> {
        let signature = decode_signature(self.read(MAX_SIGNATURE_BYTES, "a signature")?);
        if signature.is_empty() {
            return Err(Failure::local(format!("{self} is empty; a signature is expected there")));
        }
        Ok(signature)
    }

    /// What may have been signed, to look for its digest.
    pub fn read_digested(&self) -> Result<Vec<u8>, Failure> {
        self.read(MAX_DIGESTED_BYTES, "what a digest is made of")
    }

    /// What was signed, to be held against a receipt.
    pub fn read_signed(&self) -> Result<Vec<u8>, Failure> {
        self.read(MAX_DIGESTED_BYTES, "what was signed")
    }

    /// A receipt.
    pub fn read_receipt(&self) -> Result<Vec<u8>, Failure> {
        self.read(MAX_RECEIPT_BYTES, "a receipt")
    }

    /// A checkpoint of a log.
    pub fn read_checkpoint(&self) -> Result<Vec<u8>, Failure> {
        self.read(MAX_CHECKPOINT_BYTES, "a checkpoint")
    }

    /// A public key, PEM or DER, as DER SubjectPublicKeyInfo.
    pub fn read_public_key(&self) -> Result<Vec<u8>, Failure> {
        let bytes = self.read(MAX_PUBLIC_KEY_BYTES, "a public key")?;
        if !bytes.trim_ascii_start().starts_with(b"-----BEGIN ") {
            return Ok(bytes);
        }
        match x509_cert::der::pem::decode_vec(bytes.trim_ascii()) {
            Ok(("PUBLIC KEY", der)) => Ok(der),
            Ok((other, _)) => {
                Err(Failure::local(format!("{self} holds a {other}, and a PUBLIC KEY is expected there")))
            }
            Err(error) => Err(Failure::local(format!("{self} is no PEM: {error}"))),
        }
    }

    /// What was signed of a JWT: header and claims, as they stand before its last dot.
    pub fn read_jwt_signing_input(&self) -> Result<Vec<u8>, Failure> {
        let text = self.read_text(MAX_JWT_BYTES, "a JWT")?;
        match text.trim().rsplit_once('.') {
            Some((input, _signature)) if input.contains('.') => Ok(input.as_bytes().to_vec()),
            _ => Err(Failure::local(format!("{self} is no JWT: three parts with dots between them are expected"))),
        }
    }

    /// A policy document's text.
    pub fn read_policy(&self) -> Result<String, Failure> {
        self.read_text(MAX_POLICY_BYTES, "a policy document")
    }

    /// The claims of a JWT.
    pub fn read_claims(&self) -> Result<String, Failure> {
        self.read_text(MAX_CLAIMS_BYTES, "what a JWT claims")
    }

    fn read_text(&self, limit: u64, what: &str) -> Result<String, Failure> {
        String::from_utf8(self.read(limit, what)?)
            .map_err(|error| Failure::local(format!("{self} is not UTF-8 text")).because(error.utf8_error()))
    }

    fn read(&self, limit: u64, what: &str) -> Result<Vec<u8>, Failure> {
        self.read_up_to(limit)?.ok_or_else(|| self.too_long(limit, what))
    }

    fn too_long(&self, limit: u64, what: &str) -> Failure {
        Failure::local(format!("{self} is too long: {what} has at most {limit} bytes"))
    }

    /// All of it; nothing where it is longer than `limit`, in bytes.
    fn read_up_to(&self, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
        let mut bytes = Vec::new();
        let read = match self {
            Self::Standard => io::stdin().lock().take(limit + 1).read_to_end(&mut bytes),
            Self::File(path) => std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)),
        };
        read.map_err(|error| match self {
            Self::Standard => Failure::local("cannot read standard input").because(error),
            Self::File(path) => Failure::file("read", path, error),
        })?;
        Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= limit))
    }
}

/// Base64 text is decoded, anything else is taken as it is. No signature is taken for text by accident: that all of its
/// 64 or more bytes happen to be base64 letters has a probability below 2^-128.
fn decode_signature(bytes: Vec<u8>) -> Vec<u8> {
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    match std::str::from_utf8(&text).map(Base64::decode_vec) {
        Ok(Ok(decoded)) => decoded,
        _ => bytes,
    }
}

/// Bytes given as hexadecimal digits of either case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl FromStr for Hex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
        match digits {
            Some(digits) if !digits.is_empty() && digits.len() % 2 == 0 => Ok(Self(
                digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect(),
            )),
            _ => Err("expected hexadecimal digits, two for each byte".to_owned()),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes as base64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// The document's name for a policy file: its own, or `stdin.cedar`.
pub fn document_name(source: &Source) -> Result<String, Failure> {
    match source {
        Source::Standard => Ok("stdin.cedar".to_owned()),
        Source::File(path) => path.file_name().and_then(|name| name.to_str()).map(str::to_owned).ok_or_else(|| {
            Failure::local(format!("{} has no file name that can name a policy document", Path::new(path).display()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back() {
        assert_eq!("00fFa1".parse::<Hex>().unwrap(), Hex(vec![0, 0xff, 0xa1]));
        assert_eq!(hex(&[0, 0xff, 0xa1]), "00ffa1");
        for text in ["", "0", "0g", "0x00", " 00", "ää"] {
            assert!(text.parse::<Hex>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_signature_is_read_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        let raw: Vec<u8> = (0..=255).cycle().skip(0x30).take(70).collect();
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            Source::File(path)
        };
        assert_eq!(file("raw", &raw).read_signature().unwrap(), raw);
        let wrapped = format!("{}\n", base64(&raw)).replace('/', "\n/");
        assert_eq!(file("text", wrapped.as_bytes()).read_signature().unwrap(), raw);
        assert!(file("empty", b"").read_signature().is_err());
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        std::fs::write(&path, vec![0; 1024 * 1024 + 1]).unwrap();
        let (text, _) = Source::File(path.clone()).read_message().unwrap_err().report();
        assert!(text.contains("at most 1048576 bytes") && text.contains("--digest"), "{text}");
        std::fs::write(&path, vec![0; 1024 * 1024]).unwrap();
        assert_eq!(Source::File(path).read_message().unwrap().len(), 1024 * 1024);
    }

    #[test]
    fn what_was_signed_of_a_jwt_is_all_but_its_signature() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "aa.bb.cc\n").unwrap();
        assert_eq!(Source::File(path.clone()).read_jwt_signing_input().unwrap(), b"aa.bb");
        std::fs::write(&path, "aa.bb").unwrap();
        assert!(Source::File(path).read_jwt_signing_input().unwrap_err().report().0.contains("is no JWT"));
    }

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!("-".parse(), Ok(Source::Standard));
        assert_eq!("./-".parse(), Ok(Source::File(PathBuf::from("./-"))));
        assert_eq!(document_name(&Source::Standard).unwrap(), "stdin.cedar");
    }
}
