//! `docs/reliability.md` says what tests found, and names them: each of its tables is made of what a run has written
//! (`make reliability`), each test that it names is there, and each test of a fault is named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chancery_tests::program::source_tree;
use chancery_tests::reliability::folder;
use serde_json::Value;

const PAGE: &str = "docs/reliability.md";
/// Whose tests the page has to name, all of them.
const TARGETS: [&str; 5] = ["faults", "secrets", "crash", "disk_faults", "revocations"];
const ASYNCHRONOUS: &str = "#[tokio::test";
const ORDINARY: &str = "#[test]";
const TOKENS: [&str; 2] = ["SoftHSM", "Kryoptic"];

#[test]
fn the_page_names_each_test_of_a_fault_and_no_other() {
    let page = std::fs::read_to_string(source_tree().join(PAGE)).unwrap();
    let of = |attributes: &[&str]| -> BTreeSet<String> {
        TARGETS.iter().flat_map(|target| tests_of(target, attributes)).collect()
    };
    let named = named(&page);
    let there = of(&[ASYNCHRONOUS, ORDINARY]);
    let gone: Vec<_> = named.difference(&there).collect();
    assert!(gone.is_empty(), "{PAGE} names tests that are not there: {gone:?}");
    // Whatever meets a service is asynchronous; the others are about the tests' own parts.
    let faults = of(&[ASYNCHRONOUS]);
    let unnamed: Vec<_> = faults.difference(&named).collect();
    assert!(unnamed.is_empty(), "{PAGE} does not name {unnamed:?}");
}

/// Where the tables are is for people to say, what is in them for a run.
#[test]
fn the_page_has_a_place_for_each_table() {
    let path = source_tree().join(PAGE);
    let mut page = std::fs::read_to_string(&path).unwrap();
    let of_tokens = TOKENS.into_iter().flat_map(|token| [codes_of(token), places_of(token), others_of(token)]);
    for name in of_tokens.chain(["kills", "disk faults", "revocations"].map(str::to_owned)) {
        assert!(page.contains(&begin(&name)) && page.contains(&end(&name)), "{PAGE} has no table {name:?}");
    }
    if std::env::var_os("CHANCERY_WRITE_RELIABILITY").is_none() {
        return;
    }
    let folder = folder().expect("CHANCERY_RELIABILITY_DIR names the folder that a run has written to");
    for (name, table) in tables(&folder) {
        page = replaced(&page, &name, &table);
    }
    std::fs::write(path, page).unwrap();
}

fn codes_of(token: &str) -> String {
    format!("return codes on {token}")
}

fn places_of(token: &str) -> String {
    format!("functions on {token}")
}

fn others_of(token: &str) -> String {
    format!("other faults on {token}")
}

fn begin(name: &str) -> String {
    format!("<!-- {name}: written by make reliability -->\n")
}

fn end(name: &str) -> String {
    format!("<!-- end of {name} -->\n")
}

fn replaced(page: &str, name: &str, table: &str) -> String {
    let (before, rest) = page.split_once(&begin(name)).unwrap_or_else(|| panic!("{PAGE} has no table {name:?}"));
    let (_, after) = rest.split_once(&end(name)).unwrap_or_else(|| panic!("{PAGE}: the table {name:?} has no end"));
    [before, &begin(name), table, &end(name), after].concat()
}

/// All that is named as `target::test`.
fn named(page: &str) -> BTreeSet<String> {
    let quoted = page.split('`').skip(1).step_by(2);
    let is_test = |text: &&str| {
        text.split_once("::").is_some_and(|(target, test)| {
            TARGETS.contains(&target)
                && test.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
        })
    };
    quoted.filter(is_test).map(ToOwned::to_owned).collect()
}

/// The test functions of a file or folder of tests.
fn tests_of(target: &str, attributes: &[&str]) -> BTreeSet<String> {
    let tests = source_tree().join("tests");
    let mut files = vec![tests.join(format!("{target}.rs"))];
    if let Ok(folder) = std::fs::read_dir(tests.join(target)) {
        files.extend(folder.map(|file| file.unwrap().path()));
    }
    let mut found = BTreeSet::new();
    for text in files.iter().filter_map(|file| std::fs::read_to_string(file).ok()) {
        // Between the attribute and the function there are others, and nothing else.
        for after in attributes.iter().flat_map(|attribute| text.split(attribute).skip(1)) {
            let (_, function) = after.split_once("fn ").expect("a function follows the attribute");
            let (name, _) = function.split_once('(').unwrap();
            found.insert(format!("{target}::{name}"));
        }
    }
    found
}

/// The order in which it is said how often.
const OFTEN: [&str; 5] = ["once", "in one start", "10 %", "until ended", "always"];

/// Faults of one kind, as several tests have met them.
#[derive(Default)]
struct Group {
    faults: u64,
    calls: u64,
    answered: u64,
    recoveries: Vec<u64>,
    often: BTreeMap<String, u64>,
    tests: BTreeSet<String>,
}

impl Group {
    fn add(&mut self, test: &str, finding: &Value) {
        let number = |name: &str| finding[name].as_u64().unwrap();
        self.faults += number("faults");
        self.calls += number("calls");
        self.answered += number("answered");
        self.recoveries.extend(finding["recovery_micros"].as_u64());
        *self.often.entry(finding["often"].as_str().unwrap().to_owned()).or_default() += 1;
        self.tests.insert(format!("`faults::{test}`"));
    }

    fn line(&self, name: &str) -> String {
        let mut often: Vec<_> = self.often.iter().collect();
        often.sort_by_key(|(often, _)| OFTEN.iter().position(|known| known == often));
        let often: Vec<String> = often.iter().map(|(often, cases)| format!("{cases} × {often}")).collect();
        let mut recoveries = self.recoveries.clone();
        recoveries.sort_unstable();
        let (median, worst) = match recoveries.as_slice() {
            [] => ("-".to_owned(), "-".to_owned()),
            sorted => (millis(sorted[sorted.len() / 2]), millis(sorted[sorted.len() - 1])),
        };
        let tests: Vec<&str> = self.tests.iter().map(String::as_str).collect();
        format!(
            "| {name} | {} | {} | {} | {} | {median} | {worst} | {} |\n",
            often.join(", "),
            self.faults,
            self.calls,
            self.answered,
            tests.join("<br>")
        )
    }
}

fn millis(micros: u64) -> String {
    if micros < 10_000 {
        format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
    } else {
        format!("{} ms", micros / 1000)
    }
}

fn head(first: &str) -> String {
    format!(
        "| {first} | cases | faults that happened | calls meanwhile | answered all the same | recovery, median | worst | tests |\n\
         |---|---|---|---|---|---|---|---|\n"
    )
}

/// Every table for which a run has left something, by name.
fn tables(folder: &Path) -> BTreeMap<String, String> {
    let read = |path: PathBuf| -> Option<Value> {
        let text = std::fs::read_to_string(path).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    };
    let mut tables = BTreeMap::new();
    for token in TOKENS {
        let (mut codes, mut places, mut others) =
            (BTreeMap::<String, Group>::new(), BTreeMap::<String, Group>::new(), BTreeMap::<String, Group>::new());
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let of_token =
            |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("faults-{token}-"));
        for run in files.filter(of_token).filter_map(read) {
            let test = run["test"].as_str().unwrap();
            for finding in run["findings"].as_array().unwrap() {
                let (fault, function) = (finding["fault"].as_str().unwrap(), finding["function"].as_str().unwrap());
                // The rows of the table are called by their codes.
                if fault.starts_with('`') {
                    codes.entry(fault.to_owned()).or_default().add(test, finding);
                    places.entry(function.to_owned()).or_default().add(test, finding);
                } else {
                    others.entry(format!("{fault} {function}").trim_end().to_owned()).or_default().add(test, finding);
                }
            }
        }
        for (name, first, groups) in [
            (codes_of(token), "return codes", codes),
            (places_of(token), "function", places),
            (others_of(token), "fault", others),
        ] {
            if !groups.is_empty() {
                let lines: String = groups.iter().map(|(name, group)| group.line(name)).collect();
                tables.insert(name, head(first) + &lines);
            }
        }
    }
    tables.extend(read(folder.join("crash.json")).map(|run| ("kills".to_owned(), kills(&run))));
    tables.extend(read(folder.join("disk.json")).map(|run| ("disk faults".to_owned(), disk(&run))));
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let of_revocation = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("revocation-");
    let contests: Vec<Value> = files.filter(of_revocation).filter_map(read).collect();
    if !contests.is_empty() {
        tables.insert("revocations".to_owned(), revocations(contests));
    }
    tables
}

/// What the contests wrote: a line for each kind of change.
fn revocations(mut contests: Vec<Value>) -> String {
    contests.sort_by_key(|contest| text(&contest["change"]));
    let mut table = "| change | signed by calls | signed on streams | refused | the last signature was asked for before the answer | and handed out after it |\n\
                     |---|---|---|---|---|---|\n"
        .to_owned();
    for contest in contests {
        let counts = ["change", "signed_by_calls", "signed_on_streams", "refused"].map(|name| text(&contest[name]));
        let times =
            ["last_began_before_micros", "last_ended_after_micros"].map(|name| millis(contest[name].as_u64().unwrap()));
        writeln!(table, "| {} | {} |", counts.join(" | "), times.join(" | ")).unwrap();
    }
    table
}

/// A number, a text, or what there is of neither.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// What the crash harness wrote: a line for each number, and one for each way in which it killed.
fn kills(run: &Value) -> String {
    let mut table = "| | |\n|---|---|\n".to_owned();
    for (name, value) in run.as_object().unwrap() {
        match value {
            Value::Object(kills) => {
                for (point, count) in kills {
                    writeln!(table, "| {} at {point} | {} |", name.replace('_', " "), text(count)).unwrap();
                }
            }
            value if name != "test" => writeln!(table, "| {} | {} |", name.replace('_', " "), text(value)).unwrap(),
            _ => {}
        }
    }
    table
}

/// What the tests of disk faults wrote: a line for each fault, with the columns that they have.
fn disk(run: &Value) -> String {
    let rows: Vec<_> = run["rows"].as_array().unwrap().iter().map(|row| row.as_object().unwrap()).collect();
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.keys()).collect();
    const ORDER: [&str; 9] =
        ["call", "errno", "where", "often", "refused", "fsyncs_after", "signatures_compared", "restart_ms", "test"];
    let known = ORDER.iter().copied().filter(|name| names.iter().any(|there| there == name));
    let columns: Vec<&str> =
        known.chain(names.iter().map(|name| name.as_str()).filter(|name| !ORDER.contains(name))).collect();
    let titles: Vec<String> = columns.iter().map(|name| name.replace('_', " ")).collect();
    let mut table = format!("| {} |\n|{}\n", titles.join(" | "), "---|".repeat(columns.len()));
    for row in rows {
        let cells: Vec<String> = columns
            .iter()
            .map(|name| {
                let cell = row.get(*name).map_or_else(|| "-".to_owned(), text);
                if *name == "test" { format!("`{cell}`") } else { cell }
            })
            .collect();
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    table
}

#[test]
fn tables_are_made_of_what_runs_have_written() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let finding = |fault: &str, often: &str, recovery: u64| {
        format!(
            r#"{{"fault":"{fault}","function":"C_Sign","often":"{often}","faults":3,"calls":10,"answered":7,"recovery_micros":{recovery}}}"#
        )
    };
    let findings =
        [finding("`A`, `B`", "once", 900), finding("`A`, `B`", "always", 25_000), finding("a lie", "once", 7)];
    write("faults-SoftHSM-t.json", &format!(r#"{{"test":"t","token":"SoftHSM","findings":[{}]}}"#, findings.join(",")));
    write("crash.json", r#"{"test":"crash","rounds":200,"kills":{"x":3}}"#);
    write(
        "revocation-x.json",
        r#"{"change":"x","signed_by_calls":1,"signed_on_streams":2,"refused":3,"last_began_before_micros":900,"last_ended_after_micros":0}"#,
    );
    write("disk.json", r#"{"rows":[{"call":"fsync","errno":"EIO","test":"disk_faults::t"}]}"#);
    let tables = tables(folder.path());
    let codes = &tables["return codes on SoftHSM"];
    assert!(
        codes.contains("| `A`, `B` | 1 × once, 1 × always | 6 | 20 | 14 | 25 ms | 25 ms | `faults::t` |"),
        "{codes}"
    );
    assert!(tables["other faults on SoftHSM"].contains("| a lie C_Sign | 1 × once | 3 | 10 | 7 | 0.0 ms |"));
    assert!(tables["functions on SoftHSM"].contains("| C_Sign | 1 × once, 1 × always |"));
    assert!(!tables.contains_key("return codes on Kryoptic"));
    assert!(tables["kills"].contains("| rounds | 200 |\n") && tables["kills"].contains("| kills at x | 3 |"));
    assert!(tables["revocations"].ends_with("| x | 1 | 2 | 3 | 0.9 ms | 0.0 ms |\n"), "{}", tables["revocations"]);
    assert_eq!(tables["disk faults"], "| call | errno | test |\n|---|---|---|\n| fsync | EIO | `disk_faults::t` |\n");
    let page = format!("a\n{}old\n{}b\n", begin("kills"), end("kills"));
    assert_eq!(replaced(&page, "kills", "new\n"), format!("a\n{}new\n{}b\n", begin("kills"), end("kills")));
}
