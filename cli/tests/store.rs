//! `althing store` on what real brokers leave behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A broker with this data directory.
fn broker(data: &Path) -> Broker {
    Broker::serve(serve(data))
}

fn serve(data: &Path) -> Command {
    let mut command = althing(&["serve", "--data", text(data), "--set", "mqtt.bind=127.0.0.1:0"]);
    command.args(["--set", "store.durability=sync", "--set", "store.segment_bytes=65536"]);
    command
}

/// A session that waits for 20 messages, and a retained one.
fn fill(broker: &Broker) {
    let mut subscriber = broker.subscribe(&["-i", "reader", "-c", "-q", "1", "-t", "t/#"]);
    subscriber.signal("KILL");
    drop(subscriber);
    for number in 0..20 {
        broker.publish(&["-q", "1", "-t", "t/x", "-m", &format!("message {number}")]);
    }
    broker.publish(&["-q", "1", "-r", "-t", "last", "-m", "value"]);
}

fn kill(mut broker: Broker) {
    let mut process = broker.process.take().unwrap();
    process.signal("KILL");
    process.finish();
}

/// A data directory as a killed broker leaves it.
fn killed_store() -> PathBuf {
    let data = scratch_directory().join("data");
    let broker = broker(&data);
    fill(&broker);
    kill(broker);
    data
}

fn export(directory: &Path) -> Vec<String> {
    let output = run(&["store", "export", text(directory)]);
    assert_exit(&output, 0);
    let mut lines: Vec<_> = stdout(&output).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_killed_broker_leaves_everything_it_acknowledged() {
    let data = killed_store();
    let output = run(&["store", "check", text(&data)]);
    assert_exit(&output, 0);
    let report = stdout(&output);
    for part in [
        "no damage",
        "1 session with 1 subscription ",
        "20 entries in 1 queue\n",
        "1 retained message\n",
        "it was killed",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert_eq!(stderr(&output), "", "no progress bar without a terminal");
    let lines = export(&data);
    for number in 0..20 {
        let payload = format!("\"payload\":\"message {number}\"");
        assert_eq!(lines.iter().filter(|line| line.contains(&payload)).count(), 1, "{lines:#?}");
    }
    let output = run(&["store", "check", "--json", text(&data)]);
    assert!(stdout(&output).contains("\"closed\":false") && stdout(&output).contains("\"entries\":20"));
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_backup_of_a_running_broker_comes_back() {
    let directory = scratch_directory();
    let (data, copy, again) = (directory.join("data"), directory.join("copy"), directory.join("again"));
    let running = broker(&data);
    fill(&running);
    assert_exit(&run(&["store", "check", text(&data)]), 2);
    assert_exit(&run(&["store", "backup", text(&data), text(&copy)]), 0);
    running.publish(&["-q", "1", "-t", "t/x", "-m", "later"]);
    kill(running);
    assert_exit(&run(&["store", "backup", text(&data), text(&copy)]), 2);
    assert_exit(&run(&["store", "restore", text(&copy), text(&again)]), 0);
    assert_eq!(export(&again).len() + 1, export(&data).len());

    let running = broker(&again);
    let output = running.run("sub", &["-i", "reader", "-c", "-q", "1", "-t", "t/#", "-C", "20"]);
    assert_exit(&output, 0);
    let expected: Vec<_> = (0..20).map(|number| format!("message {number}")).collect();
    assert_eq!(stdout(&output).lines().collect::<Vec<_>>(), expected);
    kill(running);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn damage_is_told_and_repaired_with_consent() {
    let data = killed_store();
    let segment = data.join("segment-00000001");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(10).position(|window| window == b"message 11").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let output = serve(&data).output().unwrap();
    assert_exit(&output, 65);
    assert!(stderr(&output).contains("segment-00000001 is damaged at byte"), "{}", stderr(&output));
    let output = run(&["store", "check", text(&data)]);
    assert_exit(&output, 1);
    assert!(stdout(&output).contains("damage: segment-00000001 at byte"), "{}", stdout(&output));
    let output = run(&["store", "repair", text(&data)]);
    assert_exit(&output, 1);
    assert!(stderr(&output).contains("--accept-loss"), "{}", stderr(&output));

    let output = run(&["store", "repair", "--accept-loss", text(&data)]);
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("data.damaged-1"), "{}", stdout(&output));
    let output = run(&["store", "check", text(&data)]);
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("19 entries"), "{}", stdout(&output));
    kill(broker(&data));
    fs::remove_dir_all(data.parent().unwrap()).unwrap();
}

#[test]
fn what_is_no_store_is_a_wrong_command_line() {
    let directory = scratch_directory();
    for command in ["check", "export"] {
        for place in [&directory, &directory.join("nowhere")] {
            let output = run(&["store", command, text(place)]);
            assert_exit(&output, 2);
            assert!(stderr(&output).contains(text(&directory)), "{}", stderr(&output));
        }
    }
}
