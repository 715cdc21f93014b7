//! Load on the service: a fixed number of calls that wait for their answers at any time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_api::v1;
use chancery_client::{Client, ClientError, EcdsaEncoding, Input, Signed};
use chancery_model::KeyName;
use tokio::task::JoinSet;

use crate::exit::Failure;

/// What is signed: the length of a typical digest or token header.
const MESSAGE: &[u8; 32] = b"chancery bench, thirty-two bytes";

/// The load.
pub struct Load {
    /// Connections, over which the calls are spread.
    pub clients: Vec<Client>,
    /// The key.
    pub key: KeyName,
    /// Calls at any time.
    pub in_flight: usize,
    /// Signatures in a call.
    pub batch: usize,
}

/// What a round of load came to.
pub struct Measured {
    /// Signatures that were made.
    pub signatures: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// How long each call took, shortest first.
    pub latencies: Vec<Duration>,
}

impl Load {
    /// Signs for `duration`. The first error ends it: a rate among errors means nothing.
    pub async fn run(&self, duration: Duration) -> Result<Measured, Failure> {
        let name: Arc<str> = Arc::from(self.key.to_string());
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for client in self.clients.iter().cycle().take(self.in_flight) {
            let (client, name, batch) = (client.clone(), Arc::clone(&name), self.batch);
            callers.spawn(async move {
                let mut latencies = Vec::new();
                while began.elapsed() < duration {
                    let asked = Instant::now();
                    sign(&client, &name, batch).await?;
                    latencies.push(asked.elapsed());
                }
                Ok::<_, ClientError>(latencies)
            });
        }
        let mut latencies = Vec::new();
        while let Some(caller) = callers.join_next().await {
            let caller = caller.map_err(|error| Failure::failed("a caller's task ended").because(error))?;
            latencies.append(&mut caller?);
        }
        let elapsed = began.elapsed();
        latencies.sort_unstable();
        Ok(Measured { signatures: latencies.len() * self.batch, elapsed, latencies })
    }
}

async fn sign(client: &Client, name: &str, batch: usize) -> Result<(), ClientError> {
    if batch == 1 {
        // A call that was repeated would hide what it cost.
        client.without_retries().sign(name, Input::Message(MESSAGE.to_vec()), EcdsaEncoding::Der).await?;
        return Ok(());
    }
    let item = v1::SignRequest {
        name: name.to_owned(),
        input: Some(v1::SignInput {
            input: Some(v1::sign_input::Input::Message(MESSAGE.to_vec().into())),
            crc32c: Some(crc32c::crc32c(MESSAGE)),
        }),
        encoding: v1::SignatureEncoding::Der.into(),
        caller_signature: None,
        receipt: false,
    };
    let request = v1::BatchSignRequest { requests: vec![item; batch] };
    let answer = client.signing().batch_sign(request).await.map_err(|status| client.error(status))?;
    for result in answer.into_inner().results {
        match result.result {
            Some(v1::batch_sign_result::Result::Response(response)) => {
                Signed::checked(response)?;
            }
            Some(v1::batch_sign_result::Result::Error(error)) => {
                return Err(client.error(tonic::Status::new(tonic::Code::from(error.code), error.message)));
            }
            None => return Err(ClientError::Answer { what: "an item of a batch has no result".to_owned() }),
        }
    }
    Ok(())
}
