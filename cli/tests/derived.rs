//! Help, completions, man pages and facts: everything that needs no broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;

const CODES: [&str; 13] = ["0", "1", "2", "3", "4", "5", "6", "7", "65", "74", "75", "130", "143"];

fn lists_the_exit_codes(text: &str) -> bool {
    let has = |code: &str| text.lines().any(|line| line.trim().starts_with(&format!("{code}  ")));
    CODES.iter().all(|code| has(code))
}

#[test]
fn help_documents_the_exit_codes() {
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["pub", "--help"],
        &["sub", "--help"],
        &["request", "--help"],
        &["reply", "--help"],
        &["bench", "mqtt", "--help"],
        &["bench", "coap", "--help"],
        &["decode", "--help"],
        &["store", "backup", "--help"],
    ] {
        let output = run(command);
        assert_exit(&output, 0);
        assert!(lists_the_exit_codes(&stdout(&output)), "{command:?}");
    }
}

#[test]
fn completions_know_the_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_exit(&output, 0);
        for word in ["request", "retained-only", "port-offset"] {
            assert!(stdout(&output).contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn there_is_a_man_page_for_each_command() {
    let directory = scratch_directory().join("man");
    assert_exit(&run(&["man", "--out", directory.to_str().unwrap()]), 0);
    for page in [
        "althing",
        "althing-serve",
        "althing-pub",
        "althing-sub",
        "althing-request",
        "althing-reply",
        "althing-bench",
        "althing-decode",
        "althing-store",
        "althing-protocols",
    ] {
        let text = std::fs::read_to_string(directory.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
    let sub = std::fs::read_to_string(directory.join("althing-sub.1")).unwrap();
    assert!(lists_the_exit_codes(&sub) && sub.contains("retained"));
    assert!(stdout(&run(&["man"])).contains(".TH althing 1"));
}

#[test]
fn the_version_is_the_packages() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(stdout(&run(&["version"])), format!("althing {version}\n"));
    assert_eq!(stdout(&run(&["--version"])), format!("althing {version}\n"));
    let json: serde_json::Value = serde_json::from_slice(&run(&["version", "--json"]).stdout).unwrap();
    assert_eq!(json["version"], version);
}

#[test]
fn protocols_are_compared_in_words_and_in_json() {
    let table = stdout(&run(&["protocols"]));
    assert!(table.contains("MQTT") && table.contains("Constrained devices"), "{table}");
    let json = stdout(&run(&["protocols", "--json"]));
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    for key in [
        "name",
        "sponsor",
        "standard",
        "pattern",
        "quality_of_service",
        "security",
        "addressing",
        "rest",
        "constrained_devices",
    ] {
        assert!(first[key].is_string(), "{key}");
    }
}
