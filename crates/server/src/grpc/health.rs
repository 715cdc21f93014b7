//! `grpc.health.v1`: overall (""), each service by its full name, and each token as `tokens/{id}`.
//!
//! Driven by what the core says of record and tokens. When the service stops, everything is NOT_SERVING first, and the
//! streams of watchers end, since they would keep their connections open for ever.

use crate::connections::stopped;
use crate::layers::WatchPlace;
use chancery_core::{Chancery, Health};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as HealthRpc;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What is asked for, and how it is.
type Statuses = BTreeMap<String, ServingStatus>;

/// The services that need a token and the record, and those that do without.
const NEED_TOKEN: [&str; 2] = ["chancery.v1.SigningService", "chancery.v1.KeyService"];
const NEED_RECORD: [&str; 2] = ["chancery.v1.CallerService", "chancery.v1.PolicyService"];
/// What only reads, and is decided by the state; and what must answer in order to bring it back.
const NEED_STATE: [&str; 1] = ["chancery.v1.AuditService"];
const NEED_NOTHING: [&str; 1] = ["chancery.v1.TokenService"];

/// The health service.
#[derive(Clone)]
pub(crate) struct HealthService {
    statuses: watch::Receiver<Arc<Statuses>>,
}

/// Follows the core's health until `stop` says true. The service answers as long as it lives, the future is to be spawned.
pub(crate) fn follow(
    core: Chancery,
    mut stop: watch::Receiver<bool>,
) -> (HealthService, impl Future<Output = ()> + Send + 'static) {
    let mut changes = core.health_changes();
    let (sender, receiver) = watch::channel(Arc::new(statuses(&core.health(), false)));
    let follower = async move {
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => {
                    sender.send_replace(Arc::new(statuses(&core.health(), true)));
                    // The sender is dropped here, which ends the streams after this last news.
                    return;
                }
                () = changes.changed() => {
                    sender.send_replace(Arc::new(statuses(&core.health(), false)));
                }
            }
        }
    };
    (HealthService { statuses: receiver }, follower)
}

/// How everything is that can be asked for.
fn statuses(health: &Health, stopping: bool) -> Statuses {
    let serving = |serves: bool| if serves && !stopping { ServingStatus::Serving } else { ServingStatus::NotServing };
    let ready = health.ready();
    let (decides, state) = (health.decides(), health.state.decides());
    let services = NEED_TOKEN
        .iter()
        .map(|name| (*name, ready))
        .chain(NEED_RECORD.iter().map(|name| (*name, decides)))
        .chain(NEED_STATE.iter().map(|name| (*name, state)))
        .chain(NEED_NOTHING.iter().map(|name| (*name, true)))
        .chain([("", ready)])
        .map(|(name, serves)| (name.to_owned(), serving(serves)));
    let tokens = health.tokens.iter().map(|(id, token)| (format!("tokens/{id}"), serving(token.state.serves())));
    services.chain(tokens).collect()
}

#[async_trait]
impl HealthRpc for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        let status = self.statuses.borrow().get(&service).copied();
        let status = status.ok_or_else(|| {
            Status::not_found("there is no such service; ask for \"\", a full service name, or tokens/{token}")
        })?;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (_, mut extensions, HealthCheckRequest { service }) = request.into_parts();
        // Given back when the stream ends.
        let place = extensions.remove::<WatchPlace>();
        let mut told = None;
        let changes = WatchStream::new(self.statuses.clone()).filter_map(move |statuses| {
            let _held = &place;
            // The protocol wants an unknown service to be watched, not refused: it may come.
            let status = statuses.get(&service).copied().unwrap_or(ServingStatus::ServiceUnknown);
            let news = told.replace(status) != Some(status);
            news.then(|| Ok(HealthCheckResponse { status: status.into() }))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_audit::LogHealth;
    use chancery_core::StateStanding;
    use chancery_hsm::{HealthCause, TokenHealth, TokenState};
    use chancery_model::{Id, Timestamp};

    fn health(record: LogHealth, token: TokenHealth) -> Health {
        let tokens = BTreeMap::from([(Id::parse("the token id", "main").unwrap(), token)]);
        Health { record, tokens, state: StateStanding::Checked, anchor: None, archive: None, checkpoints: None }
    }

    fn in_state(state: TokenState) -> TokenHealth {
        TokenHealth::now(state, Some(HealthCause::TokenAbsent), "gone")
    }

    fn up() -> TokenHealth {
        TokenHealth::now(TokenState::Up, None, "")
    }

    fn closed() -> LogHealth {
        LogHealth::Closed { since: Timestamp::from_unix_micros(0), reason: "disk full".to_owned() }
    }

    fn serving(statuses: &Statuses) -> Vec<&str> {
        let serving = statuses.iter().filter(|(_, status)| **status == ServingStatus::Serving);
        serving.map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn everything_serves_while_record_and_token_are_up() {
        let all = statuses(&health(LogHealth::Open, up()), false);
        assert_eq!(serving(&all).len(), all.len());
        assert!(all.contains_key("") && all.contains_key("tokens/main"));
    }

    #[test]
    fn every_service_of_the_contract_can_be_asked_for() {
        let all = statuses(&health(LogHealth::Open, up()), false);
        let descriptors: prost_types::FileDescriptorSet =
            prost::Message::decode(chancery_api::FILE_DESCRIPTOR_SET).unwrap();
        let services: Vec<String> = descriptors
            .file
            .iter()
            .flat_map(|file| file.service.iter().map(move |service| format!("{}.{}", file.package(), service.name())))
            .collect();
        assert_eq!(services.len(), 6);
        for service in services {
            assert!(all.contains_key(&service), "{service}");
        }
    }

    #[test]
    fn without_the_record_nothing_that_needs_it_serves() {
        let all = statuses(&health(closed(), up()), false);
        assert_eq!(serving(&all), ["chancery.v1.AuditService", "chancery.v1.TokenService", "tokens/main"]);
    }

    #[test]
    fn by_a_state_that_nobody_has_checked_only_tokens_are_looked_at() {
        let state = StateStanding::Unchecked { why: "gone".to_owned() };
        let all = statuses(&Health { state, ..health(LogHealth::Open, up()) }, false);
        assert_eq!(serving(&all), ["chancery.v1.TokenService", "tokens/main"]);
    }

    #[test]
    fn without_a_token_nobody_signs() {
        let without = ["Audit", "Caller", "Policy", "Token"].map(|name| format!("chancery.v1.{name}Service"));
        for state in TokenState::ALL {
            let all = statuses(&health(LogHealth::Open, in_state(state)), false);
            let degraded_or_up = matches!(state, TokenState::Up | TokenState::Degraded);
            assert_eq!(serving(&all).contains(&"tokens/main"), degraded_or_up, "{state}");
            if !degraded_or_up {
                assert_eq!(serving(&all), without, "{state}");
            }
        }
    }

    #[test]
    fn nothing_serves_while_the_service_stops() {
        assert!(serving(&statuses(&health(LogHealth::Open, up()), true)).is_empty());
    }

    #[tokio::test]
    async fn a_watcher_hears_each_change_once_and_the_end() {
        let serves = Arc::new(statuses(&health(LogHealth::Open, up()), false));
        let stopping = Arc::new(statuses(&health(LogHealth::Open, up()), true));
        let (sender, receiver) = watch::channel(Arc::clone(&serves));
        let service = HealthService { statuses: receiver };
        let request = Request::new(HealthCheckRequest { service: "tokens/main".to_owned() });
        let mut news = service.watch(request).await.unwrap().into_inner();
        assert_eq!(news.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
        sender.send_replace(serves);
        sender.send_replace(stopping);
        drop(sender);
        assert_eq!(news.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        assert!(news.next().await.is_none(), "the stream ends with the service");
        let check = Request::new(HealthCheckRequest { service: "nobody".to_owned() });
        assert_eq!(service.check(check).await.unwrap_err().code(), tonic::Code::NotFound);
    }
}
