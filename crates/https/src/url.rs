//! Addresses that may be asked.

use http::Uri;
use rustls::pki_types::ServerName;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address: `https://host[:port]/path`; or `http://` with a loopback address in the place of the host, for what runs on
/// the same machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// An address of HTTPS: `https://host[:port]/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl(Url);

/// A text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Where only HTTPS is taken.
    #[error("{0:?} is not of the form https://host[:port]/path")]
    Https(String),
    /// Where plain HTTP is taken from this machine, too.
    #[error(
        "{0:?} is not of the form https://host[:port]/path, or http://127.0.0.1:port/path for what runs on this machine"
    )]
    Either(String),
}

impl Url {
    /// Whether it is an address of HTTPS.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.secure
    }

    /// Whether it leads to a loopback address of the machine itself, by its number or as `localhost`.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || is_loopback(&self.host)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The path, and what follows it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || text.contains('#') {
            return None;
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        ServerName::try_from(host.as_str()).ok()?;
        let (secure, port) = match uri.scheme_str()? {
            "https" => (true, 443),
            // A name may lead anywhere.
            "http" if is_loopback(&host) => (false, 80),
            _ => return None,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = authority.port_u16().unwrap_or(port);
        Some(Self { secure, host, port, authority: authority.to_string(), path })
    }
}

fn is_loopback(host: &str) -> bool {
    host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        Self::parse(text).ok_or_else(|| InvalidUrl::Either(text.to_owned()))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl FromStr for HttpsUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        Url::parse(text).filter(Url::is_https).map(Self).ok_or_else(|| InvalidUrl::Https(text.to_owned()))
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<HttpsUrl> for Url {
    fn from(HttpsUrl(url): HttpsUrl) -> Self {
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_https() {
        let HttpsUrl(url) = "https://issuer.example:8443/keys?x=1".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.path()), ("issuer.example", 8443, "/keys?x=1"));
        assert_eq!(url.to_string(), "https://issuer.example:8443/keys?x=1");
        assert!(!url.is_of_this_machine());
        let HttpsUrl(url) = "https://[::1]/".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.is_of_this_machine()), ("::1", 443, true));
        assert!("https://localhost/".parse::<Url>().unwrap().is_of_this_machine());
        for text in ["", "http://a/", "http://127.0.0.1/", "https://", "/keys", "https://user@a/", "https://a/#b"] {
            assert_eq!(text.parse::<HttpsUrl>(), Err(InvalidUrl::Https(text.to_owned())));
        }
        assert!("https://a b/".parse::<HttpsUrl>().is_err() && "file:///a".parse::<HttpsUrl>().is_err());
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for (text, port) in [("http://127.0.0.1:8080/w", 8080), ("http://[::1]/w", 80), ("https://a/w", 443)] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.port(), url.path(), url.to_string().as_str()), (port, "/w", text));
        }
        for text in
            ["http://localhost/", "http://10.0.0.1/", "http://a.example/", "http://user@127.0.0.1/", "127.0.0.1"]
        {
            assert_eq!(text.parse::<Url>(), Err(InvalidUrl::Either(text.to_owned())));
        }
    }
}
