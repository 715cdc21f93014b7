//! `chancery serve` that does not come to serve: by its exit code a supervisor knows whether another start may do.

use chancery_testkit::Chancery;

use crate::run;

/// Of TEST-NET-1 (RFC 5737), which no machine has.
const ELSEWHERE: &str = "192.0.2.1:8443";

#[tokio::test]
async fn an_address_that_may_still_come_is_worth_another_start_and_a_wrong_configuration_is_none() {
    let chancery = Chancery::start().await.unwrap();
    let taken = chancery.endpoint().strip_prefix("https://").unwrap().to_owned();
    let anywhere = "127.0.0.1:0";
    // The service that runs holds the token and the database: where they were asked for first, those would be the reason.
    for (listener, admin, code, said) in [
        (taken.as_str(), anywhere, 4, ["listener.address", taken.as_str(), "stop what listens there"]),
        (ELSEWHERE, anywhere, 4, ["listener.address", ELSEWHERE, "or not yet"]),
        (anywhere, taken.as_str(), 4, ["admin.address", taken.as_str(), "stop what listens there"]),
        (anywhere, ELSEWHERE, 4, ["admin.address", ELSEWHERE, "or not yet"]),
        (taken.as_str(), taken.as_str(), 3, ["admin.address", "port of its own", "configuration"]),
        ("here", anywhere, 3, ["listener.address", "invalid socket address", "configuration"]),
    ] {
        chancery
            .configure(|config| {
                for (table, address) in [("listener", listener), ("admin", admin)] {
                    let table = config.entry(table).or_insert_with(|| toml::Table::new().into());
                    table.as_table_mut().unwrap().insert("address".to_owned(), address.into());
                }
            })
            .unwrap();
        let ended = run(chancery.cli(), &["serve", "--config", chancery.config().to_str().unwrap()]);
        assert_eq!(ended.code, code, "{listener}, {admin}: {}", ended.err);
        for said in said {
            assert!(ended.err.contains(said), "{said:?} in {}", ended.err);
        }
    }
    run(chancery.cli(), &["health"]).text();
}
