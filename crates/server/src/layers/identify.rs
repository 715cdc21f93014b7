//! Nobody who is not registered reaches a handler.

use super::room::is_stream;
use super::{Deadline, Gate, TraceId};
use crate::errors;
use crate::identity::{Peer, PeerCertificate, Unidentified, take_api_key};
use crate::metrics::Metrics;
use crate::tls::Tls;
use crate::web::JWKS_PATH;
use chancery_core::{Chancery, Requester};
use chancery_model::{Action, Authentication, Caller, CertificateProof};
use http::{HeaderMap, Request};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tracing::{Span, debug_span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

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

/// Why a call has no caller: found out by the connection's certificate alone, or by who is registered.
enum Turned {
    ByTransport(Unidentified),
    ByCore(chancery_core::Unidentified),
}

impl Identify {
    pub(crate) fn new(core: Chancery, tls: Tls, metrics: Metrics) -> Self {
        Self { core, tls, metrics }
    }

    /// The caller of a call, whose API key, where it brings one, is gone from its headers afterwards.
    fn caller(&self, peer: &Peer, headers: &mut HeaderMap) -> Result<(Arc<Caller>, Authentication), Turned> {
        let api_key = take_api_key(headers).map_err(Turned::ByTransport)?;
        let certificate = self.certificate(peer).map_err(Turned::ByTransport)?;
        self.core.authenticate(certificate, api_key.as_ref(), Some(peer.source.ip())).map_err(Turned::ByCore)
    }

    /// What the connection's certificate proves now; `None` where it has none, which its listener allows then.
    fn certificate<'a>(&self, peer: &'a Peer) -> Result<Option<&'a CertificateProof>, Unidentified> {
        match peer.identify(&self.tls.current().authorities, SystemTime::now()) {
            Ok(PeerCertificate { proof, .. }) => Ok(Some(proof)),
            Err(Unidentified::NoCertificate) => Ok(None),
            Err(unidentified) => Err(unidentified),
        }
    }

    /// The caller of a stream, as it is now.
    fn still(&self, peer: &Peer, caller: &Arc<Caller>, proved: &Authentication) -> Result<Arc<Caller>, Turned> {
        if proved.certificate().is_some() {
            self.certificate(peer).map_err(Turned::ByTransport)?;
        }
        self.core.still_authenticated(caller, proved, Some(peer.source.ip())).map_err(Turned::ByCore)
    }

    /// Counts and records that nobody registered asked for something, and words it for whoever it was.
    fn refuse(&self, peer: &Peer, action: Option<Action>, turned: Turned) -> Status {
        let unidentified = match turned {
            Turned::ByTransport(unidentified) => {
                self.core.record_unauthenticated(Some(peer.source), action, unidentified.reason());
                unidentified
            }
            Turned::ByCore(by_core) => {
                let unidentified = Unidentified::from(by_core.clone());
                self.core.record_not_let_in(Some(peer.source), action, &by_core, unidentified.reason());
                unidentified
            }
        };
        let reason = unidentified.reason();
        Span::current().record("chancery.reason", reason);
        self.metrics.unauthenticated(reason);
        tracing::debug!(source = %peer.source, reason, "call refused: {unidentified}");
        errors::unauthenticated(&unidentified)
    }
}

/// Who opened a stream, to be looked at again for each of its messages; among the extensions of a stream's request.
///
/// A connection lives for days, and so may a stream: that its caller was known when it began means nothing later.
#[derive(Clone)]
pub(crate) struct Standing {
    identify: Identify,
    peer: Arc<Peer>,
    /// Who it was when the stream was opened, and how that was proved. The secret of an API key is not kept.
    caller: Arc<Caller>,
    authentication: Authentication,
    trace_id: Option<String>,
    action: Option<Action>,
}

impl Standing {
    /// Becomes true when the caller's connection is asked to go: the service stops, or the connection is old.
    pub(crate) fn leaving(&self) -> watch::Receiver<bool> {
        self.peer.leaving()
    }

    /// The caller, now, with a deadline.
    ///
    /// # Errors
    /// UNAUTHENTICATED, as another call on the same connection would be answered; counted and recorded.
    pub(crate) fn requester(&self, deadline: Instant) -> Result<Requester, Status> {
        let Self { identify, peer, caller, authentication, trace_id, action } = self;
        match identify.still(peer, caller, authentication) {
            Ok(caller) => Ok(Requester {
                caller,
                authentication: authentication.clone(),
                source: Some(peer.source),
                trace_id: trace_id.clone(),
                deadline,
            }),
            Err(turned) => Err(identify.refuse(peer, *action, turned)),
        }
    }
}

impl Gate for Identify {
    type Pass = ();

    fn admit(&self, request: &mut Request<Body>) -> Result<(), Status> {
        if request.uri().path().starts_with(HEALTH) {
            return Ok(());
        }
        let call = Span::current();
        let span = debug_span!("identity", chancery.caller = field::Empty, chancery.reason = field::Empty).entered();
        let action = action_of(request.uri().path());
        let stream = is_stream(request.uri().path());
        let extensions = request.extensions_mut();
        let Some(peer) = extensions.remove::<Arc<Peer>>() else {
            return Err(errors::status(&errors::fault("a request came without its connection's peer")));
        };
        let Some(Deadline(deadline)) = extensions.remove() else {
            return Err(errors::status(&errors::fault("a request came without its deadline")));
        };
        let identified = self.caller(&peer, request.headers_mut());
        let extensions = request.extensions_mut();
        match identified {
            Ok((caller, authentication)) => {
                if !span.is_disabled() {
                    span.record("chancery.caller", caller.id.as_str());
                    call.set_attribute("chancery.caller", caller.id.to_string());
                }
                let trace_id = extensions.remove::<TraceId>().map(|TraceId(id)| id);
                if stream {
                    let (identify, peer, trace_id) = (self.clone(), Arc::clone(&peer), trace_id.clone());
                    let (caller, authentication) = (Arc::clone(&caller), authentication.clone());
                    extensions.insert(Standing { identify, peer, caller, authentication, trace_id, action });
                }
                extensions.insert(Requester { caller, authentication, source: Some(peer.source), trace_id, deadline });
                Ok(())
            }
            Err(turned) => Err(self.refuse(&peer, action, turned)),
        }
    }
}

/// What a call would have done, from its path: `/chancery.v1.SigningService/Sign`. `None` for what is no method of ours.
fn action_of(path: &str) -> Option<Action> {
    if path == JWKS_PATH {
        return Some(Action::GetPublicKey);
    }
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
