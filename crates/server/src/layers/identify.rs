//! Nobody who is not registered reaches a handler.

use super::health::is_health;
use super::room::is_stream;
use super::{Deadline, Gate, TraceId, refuse};
use crate::errors;
use crate::identity::{Bearer, Peer, PeerCertificate, Unidentified, take_bearer};
use crate::metrics::Metrics;
use crate::tls::Tls;
use crate::web::Page;
use chancery_core::{Chancery, ClientCertificate, Held, Requester};
use chancery_model::{Action, Authentication, Caller};
use chancery_oidc::{Issuers, Proof};
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
    issuers: Issuers,
    metrics: Metrics,
}

/// Who a call is of, and how that was proved.
#[derive(Clone)]
struct Identified {
    caller: Arc<Caller>,
    /// The secret of an API key, and an OIDC token, are not kept.
    authentication: Authentication,
    /// The certificate, where it was proved by one.
    certificate: Option<Arc<ClientCertificate>>,
    /// What an OIDC token proved: its issuer may take its key back.
    oidc: Option<Proof>,
}

/// Why a call has no caller: found out by the connection's certificate alone, or by who is registered.
enum Turned {
    ByTransport(Unidentified),
    ByCore(chancery_core::Unidentified),
}

impl Identify {
    pub(crate) fn new(core: Chancery, tls: Tls, issuers: Issuers, metrics: Metrics) -> Self {
        Self { core, tls, issuers, metrics }
    }

    /// The caller of a call, whose API key or OIDC token, where it brings one, is gone from its headers afterwards.
    fn caller(&self, peer: &Peer, headers: &mut HeaderMap) -> Result<Identified, Turned> {
        let bearer = take_bearer(headers).map_err(Turned::ByTransport)?;
        let peer_certificate = self.certificate(peer).map_err(Turned::ByTransport)?;
        let certificate = peer_certificate.map(|certificate| &certificate.proof);
        let oidc = match &bearer {
            Some(Bearer::OidcToken(token)) => Some(
                self.issuers.verify(token, SystemTime::now()).map_err(|refused| Turned::ByTransport(refused.into()))?,
            ),
            Some(Bearer::ApiKey(_)) | None => None,
        };
        let bearer = match (&bearer, &oidc) {
            (_, Some(proof)) => Some(chancery_core::Bearer::OidcToken(&proof.credential)),
            (Some(Bearer::ApiKey(key)), None) => Some(chancery_core::Bearer::ApiKey(key)),
            (Some(Bearer::OidcToken(_)) | None, None) => None,
        };
        let (caller, authentication) =
            self.core.authenticate(certificate, bearer, Some(peer.source.ip())).map_err(Turned::ByCore)?;
        let whole = peer_certificate.filter(|_| authentication.certificate().is_some());
        let certificate = whole.map(|certificate| Arc::clone(&certificate.whole));
        Ok(Identified { caller, authentication, certificate, oidc })
    }

    /// The connection's certificate, where it holds now; `None` where it has none, which its listener allows then.
    fn certificate<'a>(&self, peer: &'a Peer) -> Result<Option<&'a PeerCertificate>, Unidentified> {
        match peer.identify(&self.tls.current().authorities, SystemTime::now()) {
            Ok(certificate) => Ok(Some(certificate)),
            Err(Unidentified::NoCertificate) => Ok(None),
            Err(unidentified) => Err(unidentified),
        }
    }

    /// The caller of a stream, as it is now.
    fn still(&self, peer: &Peer, identified: &Identified) -> Result<Arc<Caller>, Turned> {
        let Identified { caller, authentication, certificate: _, oidc } = identified;
        if authentication.certificate().is_some() {
            self.certificate(peer).map_err(Turned::ByTransport)?;
        }
        if let Some(proof) = oidc {
            self.issuers.still(proof, SystemTime::now()).map_err(|refused| Turned::ByTransport(refused.into()))?;
        }
        self.core.still_authenticated(caller, authentication, Some(peer.source.ip())).map_err(Turned::ByCore)
    }

    /// Counts and records that somebody was not let in, and words it for whoever it was.
    fn refuse(&self, peer: &Peer, action: Option<Action>, turned: Turned) -> Status {
        // One that holds; what else is wrong with it has been found out before.
        let certificate = self.certificate(peer).ok().flatten().map(|certificate| &certificate.proof);
        let unidentified = match turned {
            Turned::ByTransport(unidentified) => {
                self.core.record_unauthenticated(Some(peer.source), action, certificate, unidentified.reason());
                unidentified
            }
            Turned::ByCore(by_core) => {
                let unidentified = Unidentified::from(by_core.clone());
                let (source, reason) = (Some(peer.source), unidentified.reason());
                self.core.record_not_let_in(source, action, certificate, &by_core, reason);
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
    /// Who it was when the stream was opened.
    identified: Identified,
    trace_id: Option<String>,
    action: Option<Action>,
}

impl Standing {
    /// Becomes true when the caller's connection is asked to go: the service stops, or the connection is old.
    pub(crate) fn leaving(&self) -> watch::Receiver<bool> {
        self.peer.leaving()
    }

    /// The caller, now, with a deadline, for something that is asked for.
    ///
    /// # Errors
    /// Those of [`Self::look`].
    pub(crate) fn requester(&self, deadline: Instant) -> Result<Requester, Status> {
        let caller = self.look()?;
        let Self { identify, peer, identified: Identified { authentication, .. }, trace_id, action: _ } = self;
        identify.core.note_use(authentication);
        Ok(Requester {
            caller,
            authentication: authentication.clone(),
            certificate: self.identified.certificate.clone(),
            source: Some(peer.source),
            trace_id: trace_id.clone(),
            deadline,
            held: Held::default(),
        })
    }

    /// The caller, now.
    ///
    /// # Errors
    /// UNAUTHENTICATED, as another call on the same connection would be answered; counted and recorded.
    pub(crate) fn look(&self) -> Result<Arc<Caller>, Status> {
        let Self { identify, peer, identified, trace_id: _, action } = self;
        identify.still(peer, identified).map_err(|turned| identify.refuse(peer, *action, turned))
    }
}

impl Gate for Identify {
    type Pass = ();

    fn admit(&self, request: &mut Request<Body>) -> Result<(), Status> {
        if is_health(request.uri().path()) {
            return Ok(());
        }
        let call = Span::current();
        let span = debug_span!("identity", chancery.caller = field::Empty, chancery.reason = field::Empty).entered();
        let action = action_of(request.uri().path());
        let stream = is_stream(request.uri().path());
        let extensions = request.extensions_mut();
        let Some(peer) = extensions.remove::<Arc<Peer>>() else {
            let fault = errors::fault("a request came without its connection's peer");
            return Err(refuse(&self.metrics, errors::refusal(&fault)));
        };
        let Some(Deadline(deadline)) = extensions.remove() else {
            let fault = errors::fault("a request came without its deadline");
            return Err(refuse(&self.metrics, errors::refusal(&fault)));
        };
        let identified = self.caller(&peer, request.headers_mut());
        let extensions = request.extensions_mut();
        match identified {
            Ok(identified) => {
                peer.has_caller();
                if !span.is_disabled() {
                    span.record("chancery.caller", identified.caller.id.as_str());
                    call.set_attribute("chancery.caller", identified.caller.id.to_string());
                }
                let trace_id = extensions.remove::<TraceId>().map(|TraceId(id)| id);
                if stream {
                    let (identify, peer, trace_id) = (self.clone(), Arc::clone(&peer), trace_id.clone());
                    let identified = identified.clone();
                    extensions.insert(Standing { identify, peer, identified, trace_id, action });
                }
                let Identified { caller, authentication, certificate, oidc: _ } = identified;
                let held = extensions.remove().unwrap_or_default();
                let source = Some(peer.source);
                let requester = Requester { caller, authentication, certificate, source, trace_id, deadline, held };
                extensions.insert(requester);
                Ok(())
            }
            Err(turned) => Err(self.refuse(&peer, action, turned)),
        }
    }
}

/// What a call would have done, from its path: `/chancery.v1.SigningService/Sign`. `None` for what is no method of ours.
fn action_of(path: &str) -> Option<Action> {
    if let Some(page) = Page::at(path) {
        return Some(page.action());
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
