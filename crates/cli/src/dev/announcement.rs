//! `dev.json`: there while the service serves, and says how to reach it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Folder;
use crate::exit::Failure;
use crate::files::{self, Readers};

const FILE: &str = "dev.json";

/// What `dev.json` holds. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Of the public API: `https://127.0.0.1:PORT`.
    pub endpoint: String,
    /// The authority of the server's certificate.
    pub ca: PathBuf,
    /// Administers keys and policy, and reads the record.
    pub operator: IdentityFiles,
    /// Signs and verifies.
    pub caller: IdentityFiles,
    /// The development ring: `keyRings/dev`.
    pub key_ring: String,
    /// The service's configuration.
    pub config: PathBuf,
    /// Of metrics and probes: `http://127.0.0.1:PORT`; absent where the configuration has no such address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_endpoint: Option<String>,
}

/// A client's certificate and private key, PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityFiles {
    /// The certificate.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Announcement {
    /// Of a service that listens at these addresses.
    pub fn new(folder: &Folder, address: SocketAddr, admin: Option<SocketAddr>) -> Self {
        let identity = |name: &str| IdentityFiles {
            cert: folder.path(&format!("tls/{name}.pem")),
            key: folder.path(&format!("tls/{name}.key")),
        };
        Self {
            endpoint: format!("https://{}", reachable(address)),
            ca: folder.path("tls/ca.pem"),
            operator: identity("operator"),
            caller: identity("caller"),
            key_ring: "keyRings/dev".to_owned(),
            config: folder.path("chancery.toml"),
            admin_endpoint: admin.map(|admin| format!("http://{}", reachable(admin))),
        }
    }

    /// Reads the announcement of a service that serves.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::unavailable(format!("no service runs in {} ({FILE} is not there)", folder.display()))
                    .hint(format!("start it: chancery dev --dir {}", folder.display()))
            }
            _ => Failure::file("read", &path, error),
        })?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::local(format!("{} is not what `chancery dev` writes", path.display()))
                .because(error)
                .hint("restart the service, which writes it anew")
        })
    }

    /// Writes `dev.json`, whole.
    pub fn write(&self, folder: &Folder) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::local(format!("cannot write {FILE}")).because(error))?;
        files::write(&folder.path(FILE), format!("{text}\n").as_bytes(), Readers::Everybody)
    }

    /// Removes `dev.json`: at the stop, and at a start after a crash left one.
    pub fn remove(folder: &Folder) -> Result<(), Failure> {
        let path = folder.path(FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::file("remove", &path, error)),
            _ => Ok(()),
        }
    }
}

/// Who listens everywhere is reached at the loopback address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_exactly_what_is_promised() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        let addresses = ("0.0.0.0:7443".parse().unwrap(), "[::1]:9443".parse().unwrap());
        let announcement = Announcement::new(&folder, addresses.0, Some(addresses.1));
        announcement.write(&folder).unwrap();
        let text = std::fs::read_to_string(folder.path("dev.json")).unwrap();
        let path = |relative: &str| folder.path(relative).to_str().unwrap().to_owned();
        let identity = |name: &str| serde_json::json!({"cert": path(&format!("tls/{name}.pem")), "key": path(&format!("tls/{name}.key"))});
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            serde_json::json!({
                "endpoint": "https://127.0.0.1:7443",
                "ca": path("tls/ca.pem"),
                "operator": identity("operator"),
                "caller": identity("caller"),
                "key_ring": "keyRings/dev",
                "config": path("chancery.toml"),
                "admin_endpoint": "http://[::1]:9443",
            })
        );
        assert_eq!(Announcement::read(folder.root()).unwrap(), announcement);
        Announcement::remove(&folder).unwrap();
        Announcement::remove(&folder).unwrap();
        assert!(Announcement::read(folder.root()).is_err());
    }
}
