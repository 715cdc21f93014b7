//! Nobody who is not registered reaches a handler.

use super::{Deadline, Gate, TraceId};
use crate::errors;
use crate::identity::{Peer, PeerCertificate, Unidentified};
use crate::metrics::Metrics;
use crate::tls::Tls;
use chancery_core::{Chancery, Requester};
use chancery_model::{Action, Authentication, Caller};
use http::Request;
use std::sync::Arc;
use std::time::SystemTime;
use tonic::Status;
use tonic::body::Body;

/// Finds the registered caller of a request and puts the [`Requester`] among its extensions. Calls of the health service
/// pass without one: a probe has nothing to do with keys.
#[derive(Clone)]
pub(crate) struct Identify {
    core: Chancery,
    tls: Tls,
    metrics: Metrics,
}

/// What needs no registered caller.
const HEALTH: &str = "/grpc.health.v1.Health/";

impl Identify {
    pub(crate) fn new(core: Chancery, tls: Tls, metrics: Metrics) -> Self {
        Self { core, tls, metrics }
    }

    fn caller(&self, peer: &Peer) -> Result<(Arc<Caller>, Authentication), Unidentified> {
        let PeerCertificate { authentication, .. } =
            peer.identify(&self.tls.current().authorities, SystemTime::now())?;
        let Authentication::Certificate { identity, .. } = authentication;
        match self.core.identify(identity) {
            Some(caller) => Ok((caller, authentication.clone())),
            None => Err(Unidentified::Unregistered(identity.clone())),
        }
    }
}

impl Gate for Identify {
    type Pass = ();

    fn admit(&self, request: &mut Request<Body>) -> Result<(), Status> {
        if request.uri().path().starts_with(HEALTH) {
            return Ok(());
        }
        let action = action_of(request.uri().path());
        let extensions = request.extensions_mut();
        let Some(peer) = extensions.remove::<Arc<Peer>>() else {
            return Err(errors::status(&errors::fault("a request came without its connection's peer")));
        };
        let Some(Deadline(deadline)) = extensions.remove() else {
            return Err(errors::status(&errors::fault("a request came without its deadline")));
        };
        match self.caller(&peer) {
            Ok((caller, authentication)) => {
                let trace_id = extensions.remove::<TraceId>().map(|TraceId(id)| id);
                extensions.insert(Requester { caller, authentication, source: Some(peer.source), trace_id, deadline });
                Ok(())
            }
            Err(unidentified) => {
                let reason = unidentified.reason();
                self.core.record_unauthenticated(Some(peer.source), action, reason);
                self.metrics.unauthenticated(reason);
                tracing::debug!(source = %peer.source, reason, "call refused: {unidentified}");
                Err(errors::unauthenticated(&unidentified))
            }
        }
    }
}

/// What a call would have done, from its path: `/chancery.v1.SigningService/Sign`. `None` for what is no method of ours.
fn action_of(path: &str) -> Option<Action> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    if !service.starts_with("chancery.v1.") {
        return None;
    }
    match method {
        "BatchSign" | "StreamSign" => Some(Action::Sign),
        "BatchVerify" => Some(Action::Verify),
        method => method.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn every_method_of_the_contract_is_an_action() {
        let descriptors = prost_types::FileDescriptorSet::decode(chancery_api::FILE_DESCRIPTOR_SET).unwrap();
        let mut methods = 0;
        for file in &descriptors.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert!(action_of(&path).is_some(), "{path}");
                    methods += 1;
                }
            }
        }
        assert_eq!(methods, Action::ALL.len() + 3, "one for each action, and BatchSign, StreamSign, BatchVerify");
        for path in
            ["", "/", "/x/Sign", "/chancery.v1.SigningService/sign", "/grpc.reflection.v1.ServerReflection/Sign"]
        {
            assert_eq!(action_of(path), None, "{path}");
        }
    }
}
