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
