//! No record, no signature: what happens when the database can no longer be written.
//!
//! The fault is real: the kernel refuses the service's writes beyond a file size (RLIMIT_FSIZE, set on the running
//! process by `prlimit` of util-linux), as it would on a full disk. No privilege is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::Command;
use std::time::Instant;

use chancery_api::v1::SuspendKeyVersionRequest;
use chancery_client::Client;
use chancery_testkit::Chancery;
use chancery_tests::load::{Load, Record, admin_page, create_key, failures, sign, until};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

/// Above the service's log, far below the write-ahead log at work.
const FILE_SIZE: u64 = 128 * 1024;

/// Lets no file of the process grow beyond `bytes`.
fn limit_file_size(pid: u32, bytes: u64) {
    // The soft limit alone: the hard one cannot be raised again.
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--fsize={bytes}:")]).status();
    assert!(status.expect("prlimit of util-linux is installed").success());
}

async fn serving(client: &Client, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    client.health().check(request).await.unwrap().into_inner().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unwritable_database_ends_signing_until_a_restart() {
    let mut chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let clients = [chancery.caller().await.unwrap(), chancery.caller().await.unwrap()];
    let load = Load::start(&clients, 8, &key);
    load.wait_for_signatures(200).await;
    let written = std::fs::metadata(chancery.dir().join("chancery.db-wal")).unwrap().len();
    assert!(written > FILE_SIZE, "the write-ahead log has {written} bytes; the limit would not be felt");
    assert!((chancery.log().len() as u64) < FILE_SIZE / 2);
    assert_eq!(serving(&operator, "").await, ServingStatus::Serving);
    assert_eq!(admin_page(chancery.admin_endpoint().unwrap(), "/readyz").0, 200);

    limit_file_size(chancery.pid(), FILE_SIZE);
    load.wait_for(1, "were refused", |call| call.end.is_err()).await;
    // Calls that begin from here on begin after the record was closed.
    let closed = Instant::now();
    load.wait_for(100, "were refused", |call| call.began > closed && call.end.is_err()).await;
    let calls = load.stop().await;
    assert!(chancery.ended().unwrap().is_none(), "the service lives and says what is wrong");
    for failure in failures(&calls) {
        assert_eq!(
            (failure.code(), failure.reason()),
            (Some(Code::Unavailable), Some("RECORD_UNAVAILABLE")),
            "{failure:?}"
        );
    }
    assert_eq!(calls.iter().filter(|call| call.began > closed && call.end.is_ok()).count(), 0);

    // Health turns, and everything that needs the record refuses.
    let health = async |service| serving(&operator, service).await;
    until("health turns", async || (health("").await == ServingStatus::NotServing).then_some(())).await;
    for service in [
        "chancery.v1.SigningService",
        "chancery.v1.KeyService",
        "chancery.v1.CallerService",
        "chancery.v1.PolicyService",
    ] {
        assert_eq!(health(service).await, ServingStatus::NotServing, "{service}");
    }
    let (status, text) = admin_page(chancery.admin_endpoint().unwrap(), "/readyz");
    assert_eq!(status, 503);
    assert!(text.contains("record: closed"), "{text}");
    assert_eq!(admin_page(chancery.admin_endpoint().unwrap(), "/livez").0, 200);
    let mut keys = operator.keys();
    let suspension = SuspendKeyVersionRequest { name: format!("{key}/versions/1"), reason: String::new() };
    let refused = operator.error(keys.suspend_key_version(suspension).await.unwrap_err());
    assert_eq!(refused.reason(), Some("RECORD_UNAVAILABLE"));

    // Room again does not open the record: nobody knows what is on the disk until it is read anew.
    limit_file_size(chancery.pid(), u64::MAX);
    let still = sign(&clients[0], &key, "there is room again").await.unwrap_err();
    assert_eq!(still.reason(), Some("RECORD_UNAVAILABLE"));

    chancery.restart().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let record = Record::read(&operator).await;
    record.assert_holds(&calls);
    assert!(record.intents().all(|intent| record.end(intent.index).is_some()), "what was open is closed");
    let caller = chancery.caller().await.unwrap();
    sign(&caller, &key, "after the restart").await.unwrap();
    assert_eq!(serving(&caller, "").await, ServingStatus::Serving);
    assert_eq!(admin_page(chancery.admin_endpoint().unwrap(), "/readyz").0, 200);
}
