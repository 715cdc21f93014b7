use super::*;

fn set(text: &str) -> Result<RuleSet, String> {
    RuleSet::parse(text, &RuleSet::none())
}

#[test]
fn every_effect_can_be_written() {
    for then in [
        "{ return = \"CKR_DEVICE_ERROR\" }",
        "{ return = \"0x80000001\" }",
        "{ delay_ms = 5 }",
        "{ hang = \"until_removed\" }",
        "{ hang = \"for_ever\" }",
        "{ crash = \"segv\" }",
        "{ crash = \"abort\" }",
        "\"close_sessions\"",
        "\"logout\"",
        "{ flip_bit = 9 }",
        "\"repeat_nonce\"",
    ] {
        let read = set(&format!("[[rule]]\nfunction = \"C_Sign\"\nthen = {then}\n")).unwrap();
        assert_eq!(read.events(Function::C_Sign).len(), 1, "{then}");
        assert!(read.events(Function::C_Verify).is_empty() && read.conditions().is_empty());
    }
    for (then, function) in [
        ("{ other_key = \"any\" }", Function::C_SignInit),
        ("{ other_key = { label = \"b\" } }", Function::C_SignInit),
        ("{ other_public_key = { id = \"0aff\" } }", Function::C_GetAttributeValue),
        ("{ attribute = { name = \"CKA_EXTRACTABLE\", value = true } }", Function::C_GetAttributeValue),
        ("{ attribute = { name = \"0x80000001\", value = 5 } }", Function::C_GetAttributeValue),
        ("{ find = \"duplicate\" }", Function::C_FindObjects),
        ("{ find = \"missing\" }", Function::C_FindObjects),
        ("\"zeros\"", Function::C_GenerateRandom),
        ("{ verify = \"yes\" }", Function::C_VerifyFinal),
    ] {
        assert_eq!(set(&format!("[[rule]]\nthen = {then}\n")).unwrap().events(function).len(), 1, "{then}");
    }
    for then in [
        "{ session_cap = 2 }",
        "{ idle_expiry_ms = 5 }",
        "\"absent\"",
        "{ slot_number = 7 }",
        "{ pin_locks_after = 3 }",
    ] {
        let read = set(&format!("[[rule]]\nwhen.token = \"t\"\nthen = {then}\n")).unwrap();
        assert_eq!(read.conditions().len(), 1, "{then}");
    }
}

#[test]
fn all_functions_are_those_in_which_it_can_happen() {
    let events = |then: &str| {
        let read = set(&format!("[[rule]]\nfunction = \"*\"\nthen = {then}\n")).unwrap();
        let hit = Function::ALL.iter().filter(|function| !read.events(**function).is_empty());
        hit.copied().collect::<Vec<_>>()
    };
    assert_eq!(events("{ return = \"CKR_HOST_MEMORY\" }"), Function::ALL);
    assert_eq!(events("\"zeros\""), [Function::C_GenerateRandom]);
    let cut = events("\"close_sessions\"");
    assert!(cut.contains(&Function::C_Sign) && !cut.contains(&Function::C_Initialize));
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_reason() {
    for (text, reason) in [
        ("[[rules]]", "unknown field"),
        ("[[rule]]\nthen = \"explode\"", "unknown variant"),
        ("[[rule]]\nthen = { return = \"CKR_OKAY\" }\nfunction = \"C_Sign\"", "no return code"),
        ("[[rule]]\nthen = { return = \"CKR_OK\" }\nfunction = \"C_Sign\"", "after"),
        ("[[rule]]\nthen = { return = \"CKR_DEVICE_ERROR\" }", "on which `function`"),
        ("[[rule]]\nfunction = \"C_Sing\"\nthen = { delay_ms = 1 }", "no function \"C_Sing\""),
        ("[[rule]]\nfunction = []\nthen = { delay_ms = 1 }", "names none"),
        ("[[rule]]\nfunction = \"C_Login\"\nthen = { flip_bit = 1 }", "cannot happen in C_Login"),
        ("[[rule]]\nfunction = \"C_Initialize\"\nthen = \"logout\"", "cannot happen in C_Initialize"),
        ("[[rule]]\nat = \"after\"\nthen = \"zeros\"", "goes with"),
        ("[[rule]]\nwhen = { nth = 0 }\nthen = \"zeros\"", "from 1"),
        ("[[rule]]\nwhen = { nht = 1 }\nthen = \"zeros\"", "unknown field"),
        ("[[rule]]\nwhen = { probability = 1.5 }\nthen = \"zeros\"", "0 to 1"),
        ("[[rule]]\nwhen = { seed = 1 }\nthen = \"zeros\"", "goes with `probability`"),
        ("[[rule]]\nwhen = { id = \"0g\" }\nthen = \"zeros\"", "no CKA_ID"),
        ("[[rule]]\nwhen = { nth = 1 }\nthen = \"absent\"", "for as long as the rule stands"),
        ("[[rule]]\nthen = { slot_number = 1 }", "say of which"),
        ("[[rule]]\nthen = { pin_locks_after = 0 }", "at the least"),
        ("[[rule]]\nthen = { attribute = { name = \"CKA_NO\", value = 1 } }", "no attribute"),
        ("[[rule]]\nid = \"a b\"\nthen = \"zeros\"", "letters"),
        ("[[rule]]\nid = \"a\"\nthen = \"zeros\"\n[[rule]]\nid = \"a\"\nthen = \"zeros\"", "another rule"),
    ] {
        let error = set(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_rule_that_stays_as_it_is_goes_on_counting() {
    let first = "[[rule]]\nid = \"a\"\nwhen = { nth = 2 }\nthen = \"zeros\"\n";
    let set = set(first).unwrap();
    let fires = |set: &RuleSet| set.events(Function::C_GenerateRandom)[0].counts();
    assert!(!fires(&set));
    let with_another = RuleSet::parse(&format!("{first}[[rule]]\nthen = \"absent\"\n"), &set).unwrap();
    assert!(fires(&with_another));
    let changed = RuleSet::parse(&first.replace("nth = 2", "nth = 1"), &with_another).unwrap();
    assert!(fires(&changed));
}

#[test]
fn rules_are_read_as_they_are_written() {
    let rules = vec![
        Rule::returning("a", "C_Sign", "CKR_DEVICE_ERROR").times(2).after_the_call(),
        Rule::new("b", Then::FlipBit(3)).when(|when| when.probability = Some(0.1)),
        Rule::new("c", Then::OtherKey(Choice::Label("x".to_owned()))).on_each(&["C_SignInit", "C_VerifyInit"]),
        Rule::new("d", Then::Absent),
    ];
    let text = toml::to_string(&Rules { rules: rules.clone() }).unwrap();
    assert_eq!(parse(&text), Ok(rules));
}
