//! The gRPC services, one file each: a handler parses, calls one core method, and maps the answer.

mod answers;
mod audit;
mod callers;
pub(crate) mod health;
mod keys;
mod policy;
mod signing;
mod stream_sign;
mod tokens;
mod watch_records;

pub(crate) use audit::Audit;
pub(crate) use callers::Callers;
pub(crate) use keys::Keys;
pub(crate) use policy::Policy;
pub(crate) use signing::Signing;
pub(crate) use tokens::Tokens;

use crate::config::Limits;
use crate::errors::{self, Refusal};
use crate::layers::{Room, Standing, StreamDeadline};
use crate::metrics::Metrics;
use chancery_api::v1::audit_service_server::AuditServiceServer;
use chancery_api::v1::caller_service_server::CallerServiceServer;
use chancery_api::v1::key_service_server::KeyServiceServer;
use chancery_api::v1::policy_service_server::PolicyServiceServer;
use chancery_api::v1::signing_service_server::SigningServiceServer;
use chancery_api::v1::token_service_server::TokenServiceServer;
use chancery_core::{Chancery, Error, Requester};
use health::HealthService;
use http::Extensions;
use std::future::Future;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::HealthServer;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What every service holds.
#[derive(Clone)]
pub(crate) struct Office {
    pub(crate) core: Chancery,
    pub(crate) metrics: Metrics,
}

/// A stream that is open: what its handler needs of the layers.
struct Opened {
    standing: Standing,
    deadline: StreamDeadline,
    room: Room,
}

impl Office {
    /// Takes from a stream's request what the layers left there for its handler.
    fn open(&self, extensions: &mut Extensions) -> Result<Opened, Status> {
        match (extensions.remove(), extensions.remove(), extensions.remove()) {
            (Some(standing), Some(deadline), Some(room)) => Ok(Opened { standing, deadline, room }),
            // The layers let nothing through without them.
            _ => Err(self.refuse(&errors::fault("a stream was reached past the layers"))),
        }
    }

    /// A refusal on its way to the caller: counted, and logged as far as it is ours to know.
    pub(crate) fn refuse(&self, error: &Error) -> Status {
        let refusal = self.tell(error);
        Span::current().set_attribute("chancery.reason", refusal.reason.clone());
        refusal.into_status()
    }

    /// The same, to be worded for an item.
    fn tell(&self, error: &Error) -> Refusal {
        errors::log(error);
        self.word(error)
    }

    /// The same for one item of a batch, of whose items the log is told all at once ([`errors::log_items`]).
    fn word(&self, error: &Error) -> Refusal {
        let refusal = errors::refusal(error);
        self.metrics.refused(&refusal);
        refusal
    }

    /// Runs a handler. Every refusal of every method passes here, once: counted, logged as far as it is ours to know,
    /// and worded for the caller.
    async fn handle<M, T, F>(
        &self,
        request: Request<M>,
        handler: impl FnOnce(Requester, M) -> F,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (_, mut extensions, message) = request.into_parts();
        let result = match extensions.remove::<Requester>() {
            Some(from) => handler(from, message).await,
            // The layers let nothing through without one.
            None => Err(errors::fault("a handler was reached without a caller")),
        };
        result.map(Response::new).map_err(|error| self.refuse(&error))
    }
}

/// Why the services cannot be put together.
#[derive(Debug, thiserror::Error)]
#[error("the descriptors for gRPC reflection cannot be read; this build is broken")]
pub struct ReflectionError(#[source] tonic_reflection::server::Error);

/// All services, each with its limits. Compression is off: signatures do not compress, and what decompresses can grow.
pub(crate) fn routes(
    office: &Office,
    health: HealthService,
    limits: &Limits,
    reflection: bool,
) -> Result<Routes, ReflectionError> {
    let (decode, encode) = (limits.max_request_bytes.get(), limits.max_response_bytes.get());
    // The services have no trait in common that sets their limits.
    macro_rules! limited {
        ($server:expr) => {
            $server.max_decoding_message_size(decode).max_encoding_message_size(encode)
        };
    }
    let mut routes = Routes::new(limited!(SigningServiceServer::new(Signing(office.clone()))))
        .add_service(limited!(KeyServiceServer::new(Keys(office.clone()))))
        .add_service(limited!(CallerServiceServer::new(Callers(office.clone()))))
        .add_service(limited!(PolicyServiceServer::new(Policy(office.clone()))))
        .add_service(limited!(AuditServiceServer::new(Audit(office.clone()))))
        .add_service(limited!(TokenServiceServer::new(Tokens(office.clone()))))
        .add_service(limited!(HealthServer::new(health)));
    if reflection {
        let service = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(chancery_api::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(ReflectionError)?;
        routes = routes.add_service(limited!(service));
    }
    Ok(routes.prepare())
}
