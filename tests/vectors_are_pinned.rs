//! The test vectors in test-vectors/ are what this code makes, to the byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test is to fail loudly")]

use sceau::vectors::Value;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_file_is_made_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-vectors");
    let files = sceau::vectors::files();
    for file in &files {
        let pinned = std::fs::read_to_string(folder.join(file.name).with_extension("json")).unwrap();
        assert!(format!("{}\n", file.value) == pinned, "{}.json differs: see test-vectors/README.md", file.name);
    }
    let there: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".json").map(str::to_owned))
        .filter(|name| name != "schema")
        .collect();
    assert_eq!(there, files.iter().map(|file| file.name.to_owned()).collect());
}

/// Every negative case has one idea of its own, and fails.
#[test]
fn negative_cases_fail_in_ways_that_are_named() {
    let mut count = 0;
    for file in sceau::vectors::files() {
        let Value::Object(fields) = &file.value else { panic!("{}", file.name) };
        let Some((_, Value::List(negative))) = fields.iter().find(|(name, _)| name == "negative") else { panic!() };
        let mut ideas = BTreeSet::new();
        for case in negative {
            let Value::Object(fields) = case else { panic!("{}", file.name) };
            let text = |wanted: &str| match fields.iter().find(|(name, _)| name == wanted) {
                Some((_, Value::Text(text))) => text.clone(),
                other => panic!("{}: {wanted} is {other:?}", file.name),
            };
            assert!(ideas.insert(text("idea")), "{}: {} twice", file.name, text("idea"));
            let expected = text("expect");
            assert!(!["opened", "accepted", "good", "Applied"].contains(&&*expected), "{}", text("idea"));
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

/// docs/PROTOCOL.md has a line for each error of opening, and for each class that a negative case expects.
#[test]
fn classes_stand_in_the_table_of_errors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protocol = std::fs::read_to_string(root.join("docs/PROTOCOL.md")).unwrap();
    let (_, section) = protocol.split_once("\n## Errors\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let named: BTreeSet<&str> = section.split('`').skip(1).step_by(2).collect();
    let source = std::fs::read_to_string(root.join("src/error/mod.rs")).unwrap();
    let (_, variants) = source.split_once("pub enum OpenError {").unwrap();
    let (variants, _) = variants.split_once("\n}\n").unwrap();
    let variants = variants.lines().map(str::trim).filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let mut wanted: BTreeSet<String> = variants.map(|line| line.split(['(', ',']).next().unwrap().to_owned()).collect();
    assert!(wanted.len() > 12, "{wanted:?}");
    for file in sceau::vectors::files() {
        let text = file.value.to_string();
        let expected = text.lines().filter_map(|line| line.trim().strip_prefix("\"expect\": \""));
        wanted.extend(expected.flat_map(|line| line.trim_end_matches('"').split(' ')).map(str::to_owned));
    }
    let missing: Vec<&String> = wanted.iter().filter(|name| !named.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
