//! A witness that serves.

use crate::log::Log;
use bytes::Bytes;
use chancery_audit::note::{KeyName, VerifierKey};
use chancery_https::{Bounds, Client, Url};
use chancery_witness::{Desk, DeskError, Tls, Witness, serve};
use http::Request;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const NAME: &str = "witness.example/w1";

pub fn name() -> KeyName {
    KeyName::parse(NAME).unwrap()
}

/// A witness that serves.
pub struct Serving {
    pub url: String,
    pub key: VerifierKey,
    pub task: JoinHandle<()>,
}

impl Serving {
    pub async fn start(folder: &Path, logs: &[&Log], tls: Option<Tls>) -> Self {
        let keys = logs.iter().map(|log| log.key.clone()).collect();
        // The one before it may be letting go of the folder's lock.
        let desk = loop {
            match Desk::open(folder, name(), Vec::clone(&keys)) {
                Err(DeskError::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                opened => break opened.unwrap(),
            }
        };
        let key = desk.key().clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        Self { url, key, task: tokio::spawn(serve(Arc::new(desk), listener, tls)) }
    }

    pub fn witness(&self, authorities: Option<PathBuf>) -> Witness {
        Witness::new(self.key.clone(), self.url.parse().unwrap(), authorities)
    }

    /// Status, type and text of what is answered to these bytes.
    pub async fn ask(&self, method: &str, path: &str, body: impl Into<Bytes>) -> (u16, String, String) {
        let bounds = Bounds { patience: Duration::from_secs(60), max_bytes: 1 << 20 };
        let url: Url = self.url.parse().unwrap();
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        let answer = Client::new(url, None, bounds).send(request).await.unwrap();
        let kind = answer.headers["content-type"].to_str().unwrap().to_owned();
        (answer.status.as_u16(), kind, String::from_utf8(answer.body.to_vec()).unwrap())
    }

    pub async fn add(&self, body: &str) -> (u16, String) {
        let (status, kind, text) = self.ask("POST", "/add-checkpoint", body.to_owned()).await;
        assert_eq!(kind == "text/x.tlog.size", status == 409, "{status} {kind}");
        (status, text)
    }
}
