//! How records ended, as the database notes it beside the log: no hash says so, and the leaves do.

use crate::database::Hand;
use crate::made::Made;
use chancery_audit::verify::{Check, Fault, Place, Trusted, verify_database};

/// Those of `Made::small` that ended, by which record, and the one that is open.
const ENDED: [(u64, u64); 4] = [(1, 3), (2, 3), (5, 7), (6, 7)];
const OPEN: u64 = 8;

#[tokio::test]
async fn an_end_that_is_noted_otherwise_than_the_leaves_say_is_named() {
    let made = Made::small().await;
    let hand = Hand::at(&made);
    hand.run(
        "CREATE TEMP TABLE kept AS SELECT * FROM outcomes; CREATE TEMP TABLE kept_open AS SELECT * FROM open_intents",
    );
    assert_eq!((hand.rows("outcomes").len(), hand.rows("open_intents").len()), (4, 1));
    let mut found = 0;
    let mut named = |change: &str, record: u64, says: &str, notes: &str| {
        hand.run(change);
        let fault = made.fault();
        let Fault { at: Place::Record(at), check: Check::NotedEnd { said, noted } } = &fault else {
            panic!("{change}: {fault}")
        };
        assert_eq!((*at, said.as_str(), noted.as_str()), (record, says, notes), "{change}");
        assert!(fault.check.next_step().contains("evidence"));
        hand.run(
            "DELETE FROM outcomes; INSERT INTO outcomes SELECT * FROM kept;
             DELETE FROM open_intents; INSERT INTO open_intents SELECT * FROM kept_open",
        );
        found += 1;
    };
    const NOTHING: &str = "has no end to wait for";
    const WAITS: &str = "waits for its outcome";
    for (intent, outcome) in ENDED {
        let says = format!("ended with record {outcome}, DONE");
        named(&format!("DELETE FROM outcomes WHERE intent = {intent}"), intent, &says, NOTHING);
        for other in [-1, 0, 3, 7, 8, 9, 1_000_000] {
            if other != outcome as i64 {
                let change = format!("UPDATE outcomes SET idx = {other} WHERE intent = {intent}");
                named(&change, intent, &says, &format!("ended with record {other}, DONE"));
            }
        }
        for (code, result) in [(2, "FAILED"), (0, "result 0"), (300, "result 300"), (-1, "result -1")] {
            let change = format!("UPDATE outcomes SET result = {code} WHERE intent = {intent}");
            named(&change, intent, &says, &format!("ended with record {outcome}, {result}"));
        }
        let change = format!("INSERT INTO open_intents VALUES ({intent}, 'one', 0)");
        named(&change, intent, &says, &format!("waits for its outcome, and ended with record {outcome}, DONE"));
    }
    // The service would end it once more.
    let reopened = "DELETE FROM outcomes WHERE intent = 5; INSERT INTO open_intents VALUES (5, 'one', 0)";
    named(reopened, 5, "ended with record 7, DONE", WAITS);
    // What is open is not ended by a record of another, nor forgotten, nor another's.
    for outcome in [-1, 0, 3, 7, 8, 9] {
        let ended = format!("INSERT INTO outcomes VALUES ({OPEN}, {outcome}, 1)");
        let noted = format!("ended with record {outcome}, DONE");
        named(&ended, OPEN, WAITS, &format!("waits for its outcome, and {noted}"));
        named(&format!("DELETE FROM open_intents; {ended}"), OPEN, WAITS, &noted);
    }
    named("DELETE FROM open_intents", OPEN, WAITS, NOTHING);
    let waiting =
        |what: &str, instance: &str| format!("is an {what} of the instance {instance}, which waits for its outcome");
    let says = waiting("intent", "one");
    named("UPDATE open_intents SET instance = 'two'", OPEN, &says, &waiting("intent", "two"));
    named("UPDATE open_intents SET act = 1", OPEN, &says, &waiting("act", "one"));
    // What waits for nothing has no end.
    for record in [0, 3, 4, 7] {
        let noted = "ended with record 7, DONE";
        named(&format!("INSERT INTO outcomes VALUES ({record}, 7, 1)"), record, NOTHING, noted);
        named(&format!("INSERT INTO open_intents VALUES ({record}, 'one', 1)"), record, NOTHING, WAITS);
    }
    assert_eq!(found, 4 * (1 + 6 + 4 + 1) + 1 + 6 * 2 + 3 + 4 * 2);
    made.verify(&[]).unwrap();
}

#[tokio::test]
async fn what_a_service_ends_while_its_log_is_verified_is_no_fault() {
    let made = Made::of_intents(1_100).await;
    let reader = chancery_store::look_into(&made.database()).unwrap();
    let trusted = Trusted { log_keys: made.keys(), ..Trusted::default() };
    let mut ended = false;
    // Called when the first rows were read, and the last were not.
    let report = verify_database(&reader, None, trusted, |_, _| {
        if !std::mem::replace(&mut ended, true) {
            // A runtime of its own: this one is busy here.
            let end = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(made.end(&[3, 1_090]));
            };
            std::thread::scope(|scope| scope.spawn(end).join().unwrap());
        }
    });
    let report = report.unwrap();
    assert!(ended);
    assert_eq!((report.size, report.open.len()), (1_100, 1_100), "the outcome is behind what was verified");
    let report = made.verify(&[]).unwrap();
    assert_eq!((report.size, report.open.len()), (1_101, 1_098));
}
