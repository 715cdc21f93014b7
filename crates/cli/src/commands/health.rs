//! `chancery health`: grpc.health.v1 at the public endpoint.

use std::io::{self, Write};

use chancery_client::Client;
use clap::Args;
use serde::Serialize;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::exit::{Exit, Failure};
use crate::output::{Output, View, rows};

/// Arguments of `health`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The exit code is 0 where everything that was asked for serves, and 1 where something does not.

Examples:
  chancery health
  chancery health chancery.v1.SigningService
  chancery token list                            # how each token is")]
pub struct HealthCommand {
    /// Names of services; nothing for the whole
    services: Vec<String>,
}

/// What the whole is made of: asked for where nothing is named.
const SERVICES: [&str; 6] = [
    "",
    "chancery.v1.SigningService",
    "chancery.v1.KeyService",
    "chancery.v1.PolicyService",
    "chancery.v1.AuditService",
    "chancery.v1.TokenService",
];

#[derive(Debug, Serialize)]
struct HealthView {
    healthy: bool,
    services: Vec<ServiceView>,
}

#[derive(Debug, Serialize)]
struct ServiceView {
    service: String,
    status: &'static str,
}

impl HealthCommand {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let named = if self.services.is_empty() { SERVICES.map(str::to_owned).to_vec() } else { self.services };
        let mut services = Vec::with_capacity(named.len());
        for service in named {
            let request = HealthCheckRequest { service: service.clone() };
            let answer = client.health().check(request).await.map_err(|status| client.error(status))?.into_inner();
            let status = ServingStatus::try_from(answer.status).unwrap_or(ServingStatus::Unknown);
            services.push(ServiceView { service, status: status.as_str_name() });
        }
        let healthy = services.iter().all(|service| service.status == ServingStatus::Serving.as_str_name());
        out.show(&HealthView { healthy, services })?;
        Ok(if healthy { Exit::Done } else { Exit::No })
    }
}

impl View for HealthView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |view: &ServiceView| {
            let service = if view.service.is_empty() { "(the whole)" } else { &view.service };
            [service.to_owned(), view.status.to_owned()]
        };
        rows(out, ["SERVICE", "STATUS"], self.services.iter().map(row))
    }
}
