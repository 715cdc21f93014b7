//! bench: that it measures, not how fast anything is.

use chancery_testkit::Chancery;

use crate::run;

#[tokio::test]
async fn both_sides_are_measured_in_the_same_run() {
    let chancery = Chancery::start().await.unwrap();
    for batch in ["1", "8"] {
        let words = ["bench", "--duration", "1", "--rounds", "1", "--in-flight", "4", "--batch", batch, "-o", "json"];
        let ended = run(chancery.cli(), &words);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.err.contains("round 1 of 1"), "{}", ended.err);
        let report = ended.json();
        let round = &report["rounds"][0];
        let number = |name: &str| round[name].as_f64().unwrap();
        assert!(number("raw_per_second") > 0.0 && number("service_per_second") > 0.0, "{report}");
        let ratio = number("service_per_second") / number("raw_per_second");
        assert!((number("ratio") - ratio).abs() < 1e-9, "{report}");
        assert!(number("p50_microseconds") <= number("p99_microseconds"), "{report}");
    }
    let keys = run(chancery.cli(), &["keys", "list"]).text();
    assert_eq!(keys.matches("bench-ecdsa-p256-sha256").count(), 1, "{keys}");
}
