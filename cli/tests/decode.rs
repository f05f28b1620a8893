//! `althing decode`: bytes in, tables, objects or a mistake out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use serde_json::{Value, json};

const PUBLISH: &str = "30 07 00 03 61 2f 62 68 69";

#[test]
fn the_readme_shows_what_is_printed() {
    let readme = include_str!("../../README.md");
    let (_, shown) = readme.split_once(&format!("althing decode mqtt {PUBLISH}\n```\n```text\n")).unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let output = run(&["decode", "mqtt", PUBLISH]);
    assert_exit(&output, 0);
    assert_eq!(stdout(&output), shown);
}

#[test]
fn arguments_stdin_and_files_say_the_same() {
    let words: Vec<&str> = PUBLISH.split(' ').collect();
    let as_words = stdout(&run(&[&["decode", "mqtt"], &words[..]].concat()));
    assert!(as_words.contains("\"a/b\""), "{as_words}");
    assert_eq!(stdout(&run_with_input(&["decode", "mqtt"], b"0x30,0x07\n00:03 612f 62\t6869\n")), as_words);
    let file = scratch_directory().join("packet");
    std::fs::write(&file, b"\x30\x07\x00\x03a/bhi").unwrap();
    assert_eq!(stdout(&run(&["decode", "mqtt", "--file", file.to_str().unwrap()])), as_words);
}

#[test]
fn each_field_is_an_object() {
    let output = run(&["decode", "mqtt", "--json", "c000", PUBLISH]);
    assert_exit(&output, 0);
    let objects: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let topic = objects.iter().find(|object| object["name"] == "Topic Name").unwrap();
    let expected = json!({
        "packet": 1, "type": "PUBLISH", "version": "MQTT 3.1.1", "offset": 6, "bytes": "612f62", "bits": null,
        "name": "Topic Name", "value": "\"a/b\"", "section": "§3.3.2.1",
    });
    assert_eq!(topic, &expected);
    assert_eq!(objects[0]["bits"], json!([7, 4]));
}

#[test]
fn a_mistake_is_shown_behind_what_was_right() {
    let output = run(&["decode", "mqtt", "--version", "5", "c0 00", PUBLISH]);
    assert_exit(&output, 5);
    let text = stdout(&output);
    assert!(text.contains("PINGREQ") && text.contains("\"a/b\""), "{text}");
    assert!(text.contains("^^ the packet ends in the middle of a field (0x81 Malformed Packet)"), "{text}");
    assert!(text.contains("not looked at: 1 byte from 10 on"), "{text}");
    let json = stdout(&run(&["decode", "mqtt", "--version", "5", "--json", PUBLISH]));
    let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["offset"], &last["bytes"], &last["code"]),
        (&json!(7), &json!("68"), &json!("0x81 Malformed Packet"))
    );
}

#[test]
fn the_other_languages_are_explained_too() {
    let coap = run(&["decode", "coap", "41 01 7d 35 20 60 51 74 11 32"]);
    assert_exit(&coap, 0);
    let text = stdout(&coap);
    assert!(text.starts_with("GET, 10 bytes, CoAP") && text.contains("0, Confirmable (CON)"), "{text}");
    assert_exit(&run(&["decode", "coap", "40 01 12 34 ff"]), 5);
    let stomp = run(&["decode", "stomp", "53454e440a64657374696e6174696f6e3a2f746f7069632f610a0a686900"]);
    assert_exit(&stomp, 0);
    let text = stdout(&stomp);
    assert!(text.starts_with("SEND, 30 bytes, STOMP 1.2") && text.contains("\"/topic/a\""), "{text}");
    assert_exit(&run(&["decode", "stomp", "--version", "5", "0a"]), 2);
}

#[test]
fn what_is_no_hexadecimal_is_a_wrong_command_line() {
    for arguments in [&["decode", "mqtt", "3g"][..], &["decode", "mqtt", "300"], &["decode", "mqtt"]] {
        let output = run(arguments);
        assert_exit(&output, 2);
        assert_eq!(stderr(&output).lines().count(), 1, "{arguments:?}");
    }
}
