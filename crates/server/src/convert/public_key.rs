//! SigningService: GetPublicKey, and the forms in which a public key is written down.

use super::enums::{algorithm_number, known, state_number};
use super::fields::{invalid, key_or_version};
use crate::errors;
use chancery_api::v1;
use chancery_core::{Error, KeyOrVersion, VersionEntry};
use chancery_crypto::PublicKey;

/// How a public key is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Pem,
    Der,
    Jwk,
    OpenSsh,
}

impl Format {
    const ALL: [Self; 4] = [Self::Pem, Self::Der, Self::Jwk, Self::OpenSsh];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Pem => "PEM",
            Self::Der => "DER",
            Self::Jwk => "JWK",
            Self::OpenSsh => "OPENSSH",
        }
    }

    /// `None` where there is no such form of this key; `comment` is for OpenSSH.
    fn write(self, key: &PublicKey, comment: &str) -> Option<Vec<u8>> {
        match self {
            Self::Pem => Some(key.to_pem().into_bytes()),
            Self::Der => Some(key.spki_der().to_vec()),
            Self::Jwk => key.to_jwk().map(|jwk| jwk.to_json().into_bytes()),
            Self::OpenSsh => key.to_openssh(comment).map(String::into_bytes),
        }
    }
}

impl From<Format> for v1::PublicKeyFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Pem => Self::Pem,
            Format::Der => Self::Der,
            Format::Jwk => Self::Jwk,
            Format::OpenSsh => Self::Openssh,
        }
    }
}

pub(crate) fn get_public_key_request(request: v1::GetPublicKeyRequest) -> Result<(KeyOrVersion, Format), Error> {
    let v1::GetPublicKeyRequest { name, format } = request;
    let name = key_or_version("name", &name)?;
    let format = match known("format", format)? {
        v1::PublicKeyFormat::Unspecified | v1::PublicKeyFormat::Pem => Format::Pem,
        v1::PublicKeyFormat::Der => Format::Der,
        v1::PublicKeyFormat::Jwk => Format::Jwk,
        v1::PublicKeyFormat::Openssh => Format::OpenSsh,
    };
    Ok((name, format))
}

/// The core answers versions that have a public key only.
pub(crate) fn public_key(version: &VersionEntry, format: Format) -> Result<v1::PublicKey, Error> {
    let public = version.public.as_ref().ok_or_else(|| errors::fault("a version without a public key was answered"))?;
    let name = version.name.to_string();
    let data = format.write(public, &name).ok_or_else(|| {
        let has = |format: &Format| format.write(public, "").is_some();
        let forms: Vec<_> = Format::ALL.into_iter().filter(has).map(Format::as_str).collect();
        let (algorithm, asked, forms) = (version.algorithm, format.as_str(), forms.join(", "));
        invalid("format", format!("a public key of {algorithm} cannot be written as {asked}; ask for one of {forms}"))
    })?;
    Ok(v1::PublicKey {
        name,
        algorithm: algorithm_number(version.algorithm),
        state: state_number(version.state),
        format: v1::PublicKeyFormat::from(format).into(),
        data_crc32c: ::crc32c::crc32c(&data),
        data,
        sha256: public.spki_sha256().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;

    #[test]
    fn each_format_has_its_number_and_an_unknown_one_is_refused() {
        let request = |format| v1::GetPublicKeyRequest { name: "keyRings/payments/keys/jwt".to_owned(), format };
        assert_eq!(get_public_key_request(request(0)).unwrap().1, Format::Pem);
        for format in Format::ALL {
            let number = v1::PublicKeyFormat::from(format);
            assert_eq!(get_public_key_request(request(number.into())).unwrap().1, format);
            assert_eq!(number.as_str_name(), format!("PUBLIC_KEY_FORMAT_{}", format.as_str()));
        }
        assert_eq!(violation(get_public_key_request(request(5)).unwrap_err()).0, "format");
    }
}
