//! The files of the TLS identity, and of who calls, read with errors that name them.

use std::fmt;
use std::path::Path;

use chancery_crypto::sha256;
use chancery_model::Sha256Hash;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::{ClientError, ConnectOptions, Credentials, oidc_token};

/// Which of the files that TLS needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// The certificate authorities of the server.
    Ca,
    /// The client's certificate.
    Certificate,
    /// The client's private key.
    PrivateKey,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "CA certificate",
            Self::Certificate => "client certificate",
            Self::PrivateKey => "private key",
        })
    }
}

/// What the files hold.
pub(crate) struct Material {
    pub(crate) ca: Vec<u8>,
    pub(crate) identity: Option<PemIdentity>,
    /// What each call brings, where that is not the connection's matter.
    pub(crate) authorization: Option<HeaderValue>,
}

/// The files of a client certificate.
pub(crate) struct PemIdentity {
    pub(crate) certificate: Vec<u8>,
    pub(crate) private_key: Zeroizing<Vec<u8>>,
}

impl Material {
    /// Tells one content of the files of the TLS identity from another, without keeping the private key for it.
    pub(crate) fn fingerprint(&self) -> Sha256Hash {
        let mut hashes = Zeroizing::new(sha256(&self.ca).to_vec());
        if let Some(PemIdentity { certificate, private_key }) = &self.identity {
            hashes.extend_from_slice(&sha256(certificate));
            hashes.extend_from_slice(&sha256(private_key));
        }
        sha256(&hashes)
    }
}

/// Reads the files of the options; what is in them is checked later, by rustls.
pub(crate) fn read(options: &ConnectOptions) -> Result<Material, ClientError> {
    let ca = read_certificates(TlsFile::Ca, &options.ca)?;
    let (identity, authorization) = match &options.credentials {
        Credentials::Certificate { certificate, private_key } => {
            let identity = PemIdentity {
                certificate: read_certificates(TlsFile::Certificate, certificate)?,
                private_key: Zeroizing::new(read_private_key(private_key)?),
            };
            (Some(identity), None)
        }
        Credentials::ApiKey(key) => (None, Some(key.authorization())),
        Credentials::OidcTokenFile(path) => (None, Some(oidc_token::read(path)?)),
    };
    Ok(Material { ca, identity, authorization })
}

fn read_certificates(file: TlsFile, path: &Path) -> Result<Vec<u8>, ClientError> {
    read_file(file, path, |label| label == "CERTIFICATE")
}

/// Of whichever of the three formats.
fn read_private_key(path: &Path) -> Result<Vec<u8>, ClientError> {
    read_file(TlsFile::PrivateKey, path, |label| matches!(label, "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY"))
}

fn read_file(file: TlsFile, path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<u8>, ClientError> {
    let content =
        std::fs::read(path).map_err(|source| ClientError::ReadFile { file, path: path.to_owned(), source })?;
    let found = String::from_utf8_lossy(&content)
        .lines()
        .filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .any(wanted);
    if found { Ok(content) } else { Err(ClientError::NotPem { file, path: path.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_and_a_swapped_file_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("client.key");
        let missing = read_private_key(&key).unwrap_err();
        assert!(matches!(&missing, ClientError::ReadFile { path, .. } if *path == key), "{missing}");

        std::fs::write(&key, "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n").unwrap();
        assert!(read_private_key(&key).is_ok());
        let swapped = read_certificates(TlsFile::Certificate, &key).unwrap_err().to_string();
        assert!(swapped.contains("client certificate") && swapped.contains("client.key"), "{swapped}");
    }
}
