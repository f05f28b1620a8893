//! `althing users`, and brokers that know the users.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `althing users` on the users file of `data`, with a password where one is asked for.
fn users(data: &Path, arguments: &[&str]) -> Output {
    let mut all = vec!["users"];
    all.extend(arguments);
    all.extend(["--data", text(data)]);
    run(&all)
}

fn password(data: &Path, password: &str) -> String {
    let path = data.join("password");
    fs::write(&path, format!("{password}\n")).unwrap();
    text(&path).to_owned()
}

#[test]
fn users_are_added_listed_changed_and_removed() {
    let data = scratch_directory();
    let file = password(&data, "secret");
    assert_exit(&users(&data, &["add", "alice", "-g", "admin", "--scram", "--password-file", &file]), 0);
    assert_exit(&users(&data, &["add", "bob", "--password", "seen by all"]), 0);
    let listed = users(&data, &["ls", "--json"]);
    assert_eq!(
        stdout(&listed),
        "{\"groups\":[\"admin\"],\"hash\":\"argon2id\",\"name\":\"alice\",\"scram\":[\"SCRAM-SHA-256\",\"SCRAM-SHA-512\"]}\n\
         {\"groups\":[],\"hash\":\"argon2id\",\"name\":\"bob\",\"scram\":[]}\n"
    );
    assert_exit(&users(&data, &["groups", "bob", "floor", "roof"]), 0);
    assert_exit(&users(&data, &["groups", "alice", "--none"]), 0);
    let before = fs::read_to_string(data.join("users")).unwrap();
    assert_exit(&users(&data, &["passwd", "alice", "--password-file", &file]), 0);
    let after = fs::read_to_string(data.join("users")).unwrap();
    assert_ne!(before, after);
    assert!(after.contains("SCRAM-SHA-512$") && after.contains("bob:") && after.contains(":floor,roof\n"), "{after}");
    assert_exit(&users(&data, &["rm", "alice"]), 0);
    assert!(stdout(&users(&data, &["ls"])).starts_with("bob "));
}

#[test]
fn a_mistake_changes_nothing_and_says_what_would_be_right() {
    let data = scratch_directory();
    let file = password(&data, "secret");
    let empty = data.join("empty");
    fs::write(&empty, "\n").unwrap();
    assert_exit(&users(&data, &["add", "alice", "--password-file", &file]), 0);
    let before = fs::read_to_string(data.join("users")).unwrap();
    for (arguments, expected) in [
        (&["add", "alice", "--password-file", &file][..], "there is a user \"alice\" already"),
        (&["add", "a:b", "--password-file", &file], "cannot be a user's name"),
        (&["add", "b", "-g", "x y", "--password-file", &file], "cannot be a group's name"),
        (&["add", "b", "--password-file", text(&empty)], "an empty password is none"),
        (&["add", "b", "--scram", "--password", "gehe\u{e9}m"], "printable ASCII"),
        (&["passwd", "b", "--password-file", &file], "there is no user \"b\""),
        (&["rm", "alice", "b"], "there is no user \"b\""),
    ] {
        let output = users(&data, arguments);
        assert_exit(&output, 2);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert_eq!(fs::read_to_string(data.join("users")).unwrap(), before);
    }
}

#[test]
fn a_broker_lets_in_who_knows_the_password() {
    let data = scratch_directory();
    let file = password(&data, "secret");
    assert_exit(&users(&data, &["add", "alice", "--password-file", &file]), 0);
    let mut command = althing(&["serve", "--data", text(&data), "--set", "mqtt.bind=127.0.0.1:0"]);
    command.args(["--set", "identity.anonymous=nowhere", "--set", "store.durability=memory"]);
    let broker = Broker::serve(command);
    let publish = |more: &[&str]| broker.run("pub", &[&["-t", "a", "-m", "b"], more].concat());
    assert_exit(&publish(&["-u", "alice", "-P", "secret"]), 0);
    for wrong in [&["-u", "alice", "-P", "wrong"][..], &["-u", "eve", "-P", "secret"], &["-u", "alice"], &[]] {
        assert_exit(&publish(wrong), 4);
    }
}

#[test]
fn a_password_file_of_mosquitto_loads_as_it_is() {
    let data = scratch_directory();
    let file = data.join("passwd");
    for (hash, create, name, password) in [
        ("sha512-pbkdf2", true, "new", "one"),
        ("sha512", false, "old", "two"),
        ("sha512-pbkdf2", false, "long name", ""),
    ] {
        let mut command = Command::new("mosquitto_passwd");
        command.args(create.then_some("-c")).args(["-H", hash, "-b", text(&file), name, password]);
        let Ok(output) = command.output() else {
            eprintln!("SKIPPED: no mosquitto_passwd on this machine");
            return;
        };
        assert_exit(&output, 0);
    }
    let set = format!("identity.mosquitto_password_file={}", file.display());
    let broker = Broker::serve(althing(&["serve", "--set", "mqtt.bind=127.0.0.1:0", "--set", &set]));
    let publish = |name: &str, password: &str| {
        broker.run("pub", &["-t", "a", "-m", "b", "-u", name, "-P", password]).status.code()
    };
    for (name, password, expected) in
        [("new", "one", 0), ("old", "two", 0), ("new", "two", 4), ("old", "one", 4), ("other", "one", 4)]
    {
        assert_eq!(publish(name, password), Some(expected), "{name} {password}");
    }
}
