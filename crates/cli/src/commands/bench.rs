//! `chancery bench`: Sign through the service against the bare device, in the same run.
//!
//! Speeds of one machine move by 30% within minutes, so rounds of both kinds alternate and the ratio is taken round by
//! round. A plain measuring tool: it knows no targets.

mod device;
mod load;
mod report;

use std::io::Write;
use std::time::Duration;

use chancery_api::v1;
use chancery_client::{Client, algorithm_to_proto};
use chancery_model::{Algorithm, Id, KeyName};
use clap::Args;
use tonic::Code;

use crate::connection::{ConnectionArguments, DevIdentity};
use crate::exit::{Exit, Failure};
use crate::names::RingArgument;
use crate::output::Output;
use device::Device;
use load::Load;
use report::{Report, Round};

/// How many calls share a connection, at most: services limit the streams of one.
const CALLS_PER_CONNECTION: usize = 64;

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Rounds alternate: first the device alone (a SoftHSM token made for it, as many threads as this machine has processors), then \
the service (mutual TLS, policy, durable record, checked signature). Each takes --duration seconds. The key bench-ALGORITHM \
is created in the ring where it is not there; every signature is on the record. Only ratios mean something elsewhere.

Examples:
  chancery bench --dev .chancery/dev
  chancery bench --dev .chancery/dev --algorithm ED25519 --in-flight 1
  chancery bench --dev .chancery/dev --in-flight 16 --batch 64 --output json")]
pub struct BenchCommand {
    /// What to sign with
    #[arg(long, short, value_name = "ALGORITHM", value_parser = super::algorithm(), ignore_case = true, default_value = "ECDSA_P256_SHA256")]
    algorithm: Algorithm,
    /// Calls that wait for their answer at any time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// Seconds that each round takes
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    duration: u16,
    /// Rounds of each kind
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Signatures in one call; more than 1 measures BatchSign
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    batch: u16,
    /// The ring of the benchmark's key
    #[arg(long, value_name = "RING", default_value = "dev")]
    ring: RingArgument,
}

impl BenchCommand {
    /// Measures. `note` is standard error, where the progress goes.
    pub async fn run(
        self,
        connection: &ConnectionArguments,
        out: &mut Output<'_>,
        note: &mut dyn Write,
    ) -> Result<Exit, Failure> {
        let device = Device::make(self.algorithm).await?;
        let key = self.ensure_key(&connection.connect(DevIdentity::Operator).await?).await?;
        let in_flight = usize::from(self.in_flight);
        let mut clients = Vec::new();
        for _ in 0..in_flight.div_ceil(CALLS_PER_CONNECTION) {
            clients.push(connection.connect(DevIdentity::Caller).await?);
        }
        let load = Load { clients, key, in_flight, batch: usize::from(self.batch) };
        let duration = Duration::from_secs(u64::from(self.duration));
        // Not counted: connections, caches and the clock of the processor get warm.
        load.run(Duration::from_millis(500)).await?;
        let mut rounds = Vec::new();
        for number in 1..=self.rounds {
            let raw_per_second = device.measure(duration).await?;
            let service = load.run(duration).await?;
            let round = Round::new(raw_per_second, service);
            // Progress for people; the measurement does not depend on it.
            let _ignored = writeln!(note, "round {number} of {}: {round}", self.rounds);
            rounds.push(round);
        }
        out.show(&Report::new(self.algorithm, in_flight, usize::from(self.batch), rounds))?;
        Ok(Exit::Done)
    }

    /// Creates the benchmark's key where it is not there.
    async fn ensure_key(&self, operator: &Client) -> Result<KeyName, Failure> {
        let id = format!("bench-{}", self.algorithm.as_str().to_ascii_lowercase().replace('_', "-"));
        let id = Id::parse("the key id", &id).map_err(|error| Failure::usage(error.to_string()))?;
        let request = v1::CreateKeyRequest {
            parent: self.ring.0.to_string(),
            key_id: id.to_string(),
            key: Some(v1::Key { algorithm: algorithm_to_proto(self.algorithm).into(), ..v1::Key::default() }),
            request_id: String::new(),
        };
        match operator.keys().create_key(request).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::AlreadyExists => {}
            Err(status) => return Err(operator.error(status).into()),
        }
        Ok(self.ring.0.key(id))
    }
}
