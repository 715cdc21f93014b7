//! Transport and assembly: how calls arrive, who sends them, and how the parts are put together.
//!
//! In scope: the configuration file, TLS and its reload, connections and their limits, identity from client
//! certificates, the layers around every call, the gRPC services, the one map from errors to statuses, health, logs,
//! traces and metrics, the admin address, start and stop. Out of scope: business rules (`core`): a handler parses, calls
//! one core method, and maps the answer.
//!
//! The route of a call: `connections` accepts it, `identity` has read the certificate, `layers` let it in, `grpc` handles
//! it with `convert`, and `errors` words what went wrong. `serve` puts everything together, from `config`.

mod admin;
mod assembly;
pub mod backup;
mod bootstrap;
pub mod config;
mod connections;
mod convert;
mod errors;
mod grpc;
mod identity;
mod kept_log;
mod layers;
mod metrics;
mod route_spans;
mod serve;
mod state;
mod systemd;
mod telemetry;
#[cfg(test)]
mod test_authority;
mod tls;
mod trace_context;
mod web;

pub use assembly::AssemblyError;
pub use bootstrap::{BootstrapError, bootstrap};
/// What the commands about the state speak of.
pub use chancery_audit::Hex;
pub use chancery_core::{ErasedOfCaller, Expected as ExpectedState, StateRefusal, StateReport};
pub use grpc::ReflectionError;
pub use kept_log::KeptLog;
pub use serve::{Bound, ServeError, exit_on_signal, serve};
pub use state::{StateActError, StateActs, StateShown, erase_details, show_state};
pub use telemetry::TelemetryError;
pub use tls::{CallerAuthorities, CallerCertificateError, TlsError};
