//! `[[log.witness]]` and `[log.archive]`.

use super::*;

/// The example of `[[log.witness]]`, with the files of the test's folder.
fn witness_example() -> String {
    let (_, section) = EXAMPLE.split_once("### `[[log.witness]]`\n").unwrap();
    let (_, rest) = section.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0.replace("tls/witness-ca.pem", "tls/ca.pem")
}

/// The whole example, with its `[log]` in the place of the one without witnesses.
fn with_witnesses(witnesses: &str) -> String {
    let usable = usable_example();
    let (before, rest) = usable.split_once("[log]\n").unwrap();
    let (_, after) = rest.split_once("[api_keys]\n").unwrap();
    format!("{before}{witnesses}\n[api_keys]\n{after}")
}

#[test]
fn witnesses_are_parsed_as_documented_and_each_mistake_is_found() {
    let folder = Folder::new();
    let config = folder.load(&with_witnesses(&witness_example())).unwrap();
    assert_eq!(check(&config), []);
    let settings = config.log.settings(&config.instance);
    let shown: Vec<String> =
        settings.witnesses.iter().map(|witness| format!("{} {}", witness.key().name(), witness.url())).collect();
    assert_eq!(
        (settings.required, shown),
        (
            1,
            vec![
                "witness.example/w1 https://witness.example/tlog".to_owned(),
                "localhost/w2 http://127.0.0.1:8081/".to_owned()
            ]
        )
    );
    assert_eq!(config.log.witnesses[0].ca.as_deref(), Some(folder.0.path().join("tls/ca.pem").as_path()));

    let first = config.log.witnesses[0].key.to_string();
    let second = config.log.witnesses[1].key.to_string();
    let log = "log.example/chancery+fe94a607+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    for (from, to, severity, field, words) in [
        ("required_witnesses = 1", "required_witnesses = 3", Severity::Error, "witness", "3 cosignatures"),
        (
            "required_witnesses = 1",
            "required_witnesses = 0",
            Severity::Warning,
            "required_witnesses",
            "every checkpoint counts",
        ),
        ("https://witness.example/tlog", "https://localhost/tlog", Severity::Warning, "witness", "on this machine"),
        ("required_witnesses = 1", "required_witnesses = 2", Severity::Warning, "required_witnesses", "is away"),
        (second.as_str(), first.as_str(), Severity::Error, "witness", "there twice"),
        (&second, log, Severity::Error, "witness", "key of a log"),
        ("ca = \"tls/ca.pem\"\n", "", Severity::Error, "witness.ca", "name a PEM file"),
        ("tls/ca.pem", "nowhere", Severity::Error, "witness.ca", "nowhere"),
        ("/tlog", "/tlog?a=b", Severity::Error, "witness.url", "has a query"),
    ] {
        let example = witness_example();
        assert!(example.contains(from), "{from}");
        let found = check(&folder.load(&with_witnesses(&example.replace(from, to))).unwrap());
        let [finding] = found.as_slice() else { panic!("{to}: {found:?}") };
        assert_eq!((finding.severity, finding.field.as_str()), (severity, format!("log.{field}").as_str()), "{to}");
        assert!(finding.message.contains(words), "{finding}");
    }
    let plain = witness_example().replace("https://witness.example/tlog", "http://127.0.0.1/tlog");
    let found = check(&folder.load(&with_witnesses(&plain)).unwrap());
    let error = found.iter().find(|finding| finding.severity == Severity::Error).unwrap();
    assert!(error.field == "log.witness.ca" && error.message.contains("without TLS"), "{error}");
    let without = with_witnesses(&witness_example()).replace("[system_ring]\ntoken = \"main\"\n", "");
    let found = check(&folder.load(&without).unwrap());
    assert!(found.iter().any(|finding| finding.field == "log.witness"), "{found:?}");

    for (from, to, words) in [
        ("http://127.0.0.1:8081", "http://witness.example", "https://host"),
        ("http://127.0.0.1:8081", "http://user:secret@127.0.0.1", "https://host"),
        ("+df1c0a35+", "+df1c0a36+", "changed or mistyped"),
        ("required_witnesses = 1", "required_witnesses = -1", "required_witnesses"),
        ("ca = ", "certificate = ", "unknown field `certificate`"),
    ] {
        let text = with_witnesses(&witness_example().replacen(from, to, 1));
        let message = folder.load(&text).unwrap_err().to_string();
        assert!(message.contains(words), "{to}: {message}");
    }
}

#[test]
fn an_archive_is_parsed_as_documented_and_each_mistake_is_found() {
    let folder = Folder::new();
    let config = folder.load(&usable_example()).unwrap();
    assert_eq!(check(&config), []);
    let archive = config.log.archive.as_ref().unwrap().settings();
    assert_eq!(archive.archive.folder(), folder.0.path().join("archive"));
    assert_eq!(archive.after_days.map(std::num::NonZeroU16::get), Some(730));
    let without = folder.load(&usable_example().replace("after_days = 730\n", "")).unwrap();
    assert_eq!(without.log.archive.unwrap().after_days, None);
    for (from, to) in
        [("after_days = 730", "after_days = 0"), ("after_days = 730", "after_days = 65536"), ("dir = ", "x = ")]
    {
        assert!(usable_example().contains(from), "{from}");
        folder.load(&usable_example().replacen(from, to, 1)).unwrap_err();
    }

    folder.write("archive/checkpoint", "of an export");
    folder.write("file", "content");
    for (from, to, words) in [("", "", "is an export of a log"), ("\"archive\"", "\"file\"", "is not a folder")] {
        let found = check(&folder.load(&usable_example().replacen(from, to, 1)).unwrap());
        let [finding] = found.as_slice() else { panic!("{to}: {found:?}") };
        assert_eq!((finding.severity, finding.field.as_str()), (Severity::Error, "log.archive.dir"));
        assert!(finding.message.contains(words), "{finding}");
    }
    let unsigned = usable_example().replace("[system_ring]\ntoken = \"main\"\n", "");
    let found = check(&folder.load(&unsigned).unwrap());
    assert!(found.iter().any(|finding| finding.field == "log.archive.after_days"), "{found:?}");
}
