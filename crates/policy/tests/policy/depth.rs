//! Texts so deep that Cedar's recursion would end the process are refused, on a stack as small as a worker's.

use crate::cases::document;
use chancery_policy::{PolicyErrors, PolicySet};

/// Reads a policy with this condition, which begins at 2:8, on a thread with a stack of 2 MiB.
fn parse(condition: &str) -> Result<(), PolicyErrors> {
    let head = "@id(\"a\") permit (principal, action == Chancery::Action::\"Sign\", resource)";
    parse_text(format!("{head}\nwhen {{ {condition} }};"))
}

fn parse_text(text: String) -> Result<(), PolicyErrors> {
    let read = move || PolicySet::parse(vec![document("own.cedar", &text)]).map(drop);
    std::thread::Builder::new().stack_size(2 << 20).spawn(read).unwrap().join().unwrap()
}

/// Refused for exactly this, at this column of the condition's line.
#[track_caller]
fn refused(condition: &str, column: u32, words: &str) {
    let errors = parse(condition).unwrap_err().errors;
    let [error] = errors.as_slice() else { panic!("not one error: {errors:#?}") };
    assert_eq!((error.document.as_str(), error.line, error.column), ("own.cedar", Some(2), Some(column)), "{error}");
    assert!(error.message.contains(words), "{error}");
    assert!(error.help.is_some(), "{error}");
}

fn nested(open: &str, inner: &str, close: &str, count: usize) -> String {
    format!("{}{inner}{}", open.repeat(count), close.repeat(count))
}

#[test]
fn brackets_of_each_kind() {
    for count in [32, 300, 20_000] {
        // The brace of the condition is the first, so the 32nd bracket within is one too many.
        refused(&nested("(", "true", ")", count), 8 + 31, "deeper than 32");
        refused(&nested("[", "1", "]", count), 8 + 31, "deeper than 32");
        refused(&nested("{a:", "1", "}", count), 8 + 31 * 3, "deeper than 32");
        refused(&"(".repeat(count), 8 + 31, "deeper than 32");
    }
    let hidden = format!("// \"{}\r{}", "(".repeat(300), nested("(", "true", ")", 300));
    assert!(parse(&hidden).unwrap_err().to_string().contains("deeper than 32"));
}

#[test]
fn brackets_as_deep_as_is_allowed() {
    parse(&nested("(", "true", ")", 31)).unwrap();
    parse(&nested("!(", "true", ")", 31)).unwrap();
    let ifs = nested("if true then (", "true", ") else true", 12);
    parse(&nested("(", &ifs, ")", 19)).unwrap();
    parse(&format!("{} == principal", nested("{a:", "principal", "}.a", 31))).unwrap();
    for condition in [
        nested("[", "1", "]", 31),
        nested("{a:", "1", "}", 31),
        nested("{a:", &nested("if true then {a:", "1", "} else 1", 12), "}", 19),
    ] {
        let errors = parse(&condition).unwrap_err().to_string();
        assert!(errors.contains("type"), "read, and refused by the validator only: {errors}");
    }
    parse(&format!("principal.id != \"{}\" // {}\n", "(".repeat(300), "[".repeat(300))).unwrap();
}

#[test]
fn signs_in_a_row() {
    parse("!!!!true").unwrap();
    refused("!!!!!true", 8 + 4, "more than 4 !");
    refused(&format!("{}true", "! ".repeat(20_000)), 8 + 8, "more than 4 !");
    refused(&format!("{}1 == 1", "-".repeat(20_000)), 8 + 4, "more than 4 -");
    refused(&nested("!!!!(", "true", ")", 31), 8 + 31 * 5 + 4 + 19, "more than 96 operators");
}

#[test]
fn conditional_expressions() {
    let chain = |count: usize| format!("{}true", "if true then true else ".repeat(count));
    parse(&chain(12)).unwrap();
    refused(&chain(13), 8 + 12 * 23, "more than 12 if");
    refused(&chain(20_000), 8 + 12 * 23, "more than 12 if");
    refused(&"if ".repeat(20_000), 8 + 12 * 3, "more than 12 if");
}

#[test]
fn long_chains() {
    let chain = |term: &str, by: &str, count: usize| vec![term; count].join(by);
    for count in [200, 2_000, 20_000] {
        for by in [" || ", " && "] {
            refused(&chain("true", by, count), 8 + 96 * 8 + 5, "more than 96 operators");
        }
        refused(&format!("{} == 1", chain("1", "+", count)), 8 + 96 * 2 + 1, "more than 96 operators");
        refused(&format!("principal{}", ".a".repeat(count)), 8 + 9 + 96 * 2, "more than 96 operators");
        for postfix in ["[\"a\"]", "()", ".a(true)"] {
            let errors = parse(&format!("principal{}", postfix.repeat(count))).unwrap_err().to_string();
            assert!(errors.contains("more than 96 operators"), "{errors}");
        }
        let errors = parse(&chain("true", " } when { ", count)).unwrap_err().to_string();
        assert!(errors.contains("more than 96 operators"), "{errors}");
    }
    // What does not build upon each other may be long.
    let list = chain("principal.id + \"\"", ", ", 1_000).replace(" + \"\"", "");
    parse(&format!("[{list}].contains(\"x\")")).unwrap();
}

/// Cedar's validator says nothing where its stack ends; so all that we let it read must be read.
#[test]
fn what_is_accepted_is_validated_to_its_deepest_place() {
    let wrong = "principal.nothing";
    for by in [" || ", " && "] {
        let terms = vec!["resource.allowDigest"; 90].join(by);
        for condition in [format!("{wrong}{by}{terms}"), format!("{terms}{by}{wrong}")] {
            let errors = parse(&condition).unwrap_err().to_string();
            assert!(errors.contains("nothing") && !errors.contains("operators"), "{errors}");
        }
    }
    let deep = [
        format!("{wrong}{}", ".a".repeat(90)),
        nested("!!(", wrong, ")", 30),
        nested("!!(", &nested("if resource.allowDigest then !(", wrong, ") else true", 12), ")", 18),
    ];
    for condition in deep {
        let errors = parse(&condition).unwrap_err().to_string();
        assert!(errors.contains("nothing") && !errors.contains("operators"), "{errors}");
    }
}
