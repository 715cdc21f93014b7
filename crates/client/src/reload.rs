//! New certificates and tokens without a restart: the files are looked at now and then, and the channel is replaced, or what
//! calls on it bring.

use std::sync::{Arc, Weak};
use std::time::Duration;

use chancery_model::Sha256Hash;
use tokio::time::MissedTickBehavior;

use crate::transport::{CurrentChannel, open};
use crate::{ClientError, ConnectOptions, pem};

/// Looks at the files for as long as the client lives.
pub(crate) fn watch(options: ConnectOptions, interval: Duration, in_force: Sha256Hash, current: &Arc<CurrentChannel>) {
    let reloader = Reloader { options: Arc::new(options), in_force, refused: None, current: Arc::downgrade(current) };
    // Not awaited: it ends by itself once the client is dropped.
    tokio::spawn(reloader.run(interval));
}

struct Reloader {
    options: Arc<ConnectOptions>,
    in_force: Sha256Hash,
    /// The content that could not be used, so that it is complained about once.
    refused: Option<Sha256Hash>,
    current: Weak<CurrentChannel>,
}

impl Reloader {
    async fn run(mut self, interval: Duration) {
        // An interval of zero would be no interval.
        let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(current) = self.current.upgrade() else { return };
            if let Err(error) = self.reload(&current).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the files of the TLS identity changed and cannot be used; the old connection stays in use"
                );
            }
        }
    }

    async fn reload(&mut self, current: &CurrentChannel) -> Result<(), ClientError> {
        let options = Arc::clone(&self.options);
        let material = match tokio::task::spawn_blocking(move || pem::read(&options)).await {
            Ok(Ok(material)) => material,
            // A file that is being replaced may be away or half written for a moment: looked at again at the next tick.
            // Where the runtime stops, nothing is left to do.
            Ok(Err(_)) | Err(_) => return Ok(()),
        };
        // A token that is refused is told of by the calls that bring it.
        if current.authorize(material.authorization.clone()) {
            tracing::debug!("the file of the OIDC token changed; new calls bring the new one");
        }
        let fingerprint = material.fingerprint();
        if fingerprint == self.in_force || self.refused == Some(fingerprint) {
            return Ok(());
        }
        match open(&self.options, &material).await {
            Ok(opened) => {
                current.replace(opened);
                (self.in_force, self.refused) = (fingerprint, None);
                tracing::info!("the files of the TLS identity changed; new calls use them");
                Ok(())
            }
            // The service is not there: the next tick tries again.
            Err(ClientError::Connection { .. }) => Ok(()),
            Err(error) => {
                self.refused = Some(fingerprint);
                Err(error)
            }
        }
    }
}
