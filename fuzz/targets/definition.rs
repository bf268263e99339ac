//! Any bytes as a launch file: an answer, never a panic, and the same one twice.

#![no_main]

use ark_model::definition::{Definition, LaunchFile, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let parsed = parse("fuzz.yml", bytes);
    assert_eq!(parse("fuzz.yml", bytes), parsed);
    assert!(parsed.launch.is_some() || parsed.errors().next().is_some());
    for finding in &parsed.diagnostics {
        assert!(!finding.render().is_empty());
        assert!(finding.line == 0 || finding.snippet.is_some());
        assert!(!finding.message.contains("cannot be read: "), "{finding}");
    }
    if let Some(LaunchFile::App(app)) = &parsed.launch {
        let json = app.canonical_json();
        let back: Definition = serde_json::from_str(&json).expect("canonical JSON is read back");
        assert_eq!(&back, app.as_ref());
        assert_eq!(back.canonical_json(), json);
    }
});
