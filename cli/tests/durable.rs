//! What outlives the process: the broker is killed and started again on the same data directory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory that goes with the test.
struct Data(PathBuf);

impl Data {
    fn new() -> Self {
        Self(scratch_directory().join("data"))
    }

    /// Smaller segments than usual: a test has little to say.
    fn command(&self, set: &[&str]) -> Command {
        let mut command = althing(&["serve", "--data", self.0.to_str().unwrap(), "--set", "mqtt.bind=127.0.0.1:0"]);
        command.env("ALTHING__STORE__DURABILITY", "sync").env("ALTHING__STORE__SEGMENT_BYTES", "262144");
        for setting in set {
            command.args(["--set", setting]);
        }
        command
    }

    fn broker(&self) -> Broker {
        Broker::serve(self.command(&[]))
    }

    /// Starts a broker that cannot start.
    fn refused(&self) -> Output {
        self.command(&[]).output().unwrap()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn kill(broker: Broker) {
    let mut process = broker.process.unwrap();
    process.child().kill().unwrap();
    process.finish();
}

fn stop(broker: Broker) {
    let mut process = broker.process.unwrap();
    process.signal("TERM");
    assert_eq!(process.finish().status.code(), Some(0));
}

/// Makes a session that lasts.
fn make_session(broker: &Broker) {
    assert_exit(&broker.run("sub", &["-i", "keeper", "-c", "-q", "1", "-t", "a/#", "-E"]), 0);
}

/// What waits for that session.
fn messages(broker: &Broker, count: &str) -> String {
    let output = broker.run("sub", &["-i", "keeper", "-c", "-q", "1", "-t", "a/#", "-C", count, "-W", "30s"]);
    assert_exit(&output, 0);
    stdout(&output)
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let data = Data::new();
    let broker = data.broker();
    make_session(&broker);
    broker.publish(&["-t", "a/1", "-q", "1", "-m", "one"]);
    broker.publish(&["-t", "a/2", "-q", "2", "-m", "two"]);
    broker.publish(&["-t", "last", "-q", "1", "-r", "-m", "value"]);
    kill(broker);
    let mut broker = data.broker();
    broker.process.as_mut().unwrap().await_stderr("found 1 session, 2 waiting messages and 1 last value in ");
    assert_eq!(messages(&broker, "2"), "one\ntwo\n");
    assert_eq!(stdout(&broker.run("sub", &["-t", "last", "-C", "1", "-W", "30s"])), "value\n");
    // What was settled stays settled, and what is cleared stays cleared.
    broker.publish(&["-t", "last", "-q", "1", "-r", "-n"]);
    broker.publish(&["-t", "a/3", "-q", "1", "-m", "three"]);
    kill(broker);
    let mut broker = data.broker();
    broker.process.as_mut().unwrap().await_stderr("and 0 last values");
    assert_eq!(messages(&broker, "1"), "three\n");
}

#[test]
fn a_stop_and_a_start_keep_everything_too() {
    let data = Data::new();
    for durability in ["sync", "interval"] {
        let broker = Broker::serve(data.command(&[&format!("store.durability={durability}")]));
        make_session(&broker);
        broker.publish(&["-t", "a/1", "-q", "1", "-m", durability]);
        stop(broker);
        let broker = data.broker();
        assert_eq!(messages(&broker, "1"), format!("{durability}\n"));
        stop(broker);
    }
}

#[test]
fn a_kill_costs_nothing_with_an_interval_either() {
    let data = Data::new();
    // An interval that never ends: only what is written before it is acknowledged can be there.
    let broker = Broker::serve(data.command(&["store.durability=interval", "store.interval_ms=3600000"]));
    make_session(&broker);
    broker.publish(&["-t", "a/1", "-q", "1", "-m", "written"]);
    kill(broker);
    assert_eq!(messages(&data.broker(), "1"), "written\n");
}

#[test]
fn a_directory_has_one_owner() {
    let data = Data::new();
    let _broker = data.broker();
    let output = data.refused();
    assert_exit(&output, 75);
    let directory = data.0.to_str().unwrap();
    let text = stderr(&output);
    assert!(text.contains(&format!("{directory} is in use by another process")) && text.contains("--data"), "{text}");
}

#[test]
fn the_directory_is_its_owners_alone() {
    let data = Data::new();
    let _broker = data.broker();
    assert_eq!(fs::metadata(&data.0).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn in_memory_no_directory_is_touched() {
    let data = Data::new();
    let mut broker = Broker::serve(data.command(&["store.durability=memory"]));
    make_session(&broker);
    broker.publish(&["-t", "a/1", "-q", "1", "-m", "gone"]);
    broker.process.as_mut().unwrap().signal("TERM");
    assert_eq!(broker.process.unwrap().finish().status.code(), Some(0));
    assert!(!data.0.exists());
}

#[test]
fn a_directory_that_cannot_be_used_is_named_with_what_to_do() {
    let output = althing(&["serve", "--data", "/dev/null/data", "--set", "store.durability=sync"]).output().unwrap();
    assert_exit(&output, 1);
    let text = stderr(&output);
    assert!(text.contains("cannot use /dev/null/data") && text.contains("--data DIR"), "{text}");
}

#[test]
fn damage_is_named_and_never_skipped() {
    let data = Data::new();
    let broker = data.broker();
    make_session(&broker);
    broker.publish(&["-t", "a/1", "-q", "1", "-m", "something-to-damage"]);
    stop(broker);
    let (file, offset) = find(&data.0, b"something-to-damage");
    let mut bytes = fs::read(&file).unwrap();
    bytes[offset] ^= 1;
    fs::write(&file, bytes).unwrap();
    let output = data.refused();
    assert_exit(&output, 65);
    let text = stderr(&output);
    let name = file.file_name().unwrap().to_str().unwrap();
    for part in [name, "is damaged at byte", "affected: ", &format!("althing store check {}", data.0.display())] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
}

#[test]
fn a_disk_that_fails_ends_the_broker_with_74() {
    let data = Data::new();
    // What is larger than a segment wants a larger file, and the system allows none: the disk has failed.
    let limited = data.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 600; exec \"$@\"", "sh"]).arg(limited.get_program());
    command.args(limited.get_args()).envs(limited.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut broker = Broker::serve(command);
    make_session(&broker);
    broker.publish(&["-t", "a/1", "-q", "1", "-m", "small"]);
    let large = data.0.join("../large");
    fs::write(&large, vec![b'x'; 400_000]).unwrap();
    // No acknowledgement comes, but the end of the connection.
    let output = broker.run("pub", &["-t", "a/2", "-q", "1", "-f", large.to_str().unwrap()]);
    assert_ne!(output.status.code(), Some(0));
    broker.process.as_mut().unwrap().await_stderr("THE STORE HAS FAILED: ");
    assert_eq!(broker.process.unwrap().finish().status.code(), Some(74));
    assert_eq!(messages(&data.broker(), "1"), "small\n");
}

#[test]
fn a_full_store_refuses_and_recovers_and_loses_nothing() {
    const PUBLISHES_MAX: usize = 1_000;
    let data = Data::new();
    let mut broker = Broker::serve(data.command(&["store.segment_bytes=65536", "store.bytes_max=524288"]));
    make_session(&broker);
    let file = data.0.join("../message");
    fs::write(&file, vec![b'x'; 10_000]).unwrap();
    let publish = || broker.run("pub", &["-t", "a/1", "-q", "1", "-f", file.to_str().unwrap()]);
    let refused = (0..PUBLISHES_MAX).map(|_| publish()).position(|output| output.status.code() != Some(0));
    let taken = refused.expect("half a mebibyte is full at some time");
    assert!(taken > 10, "{taken}");
    assert_exit(&publish(), 4);
    // What is not kept goes on, and so do those who make room.
    let sub = broker.subscribe(&["-t", "live", "-C", "1"]);
    broker.publish(&["-t", "live", "-m", "flows"]);
    assert_eq!(stdout(&sub.finish()), "flows\n");
    assert_eq!(messages(&broker, &taken.to_string()).len(), taken * 10_001);
    let process = broker.process.as_mut().unwrap();
    process.await_stderr("the disk is full");
    process.await_stderr("there is room on the disk again");
    assert_exit(&broker.run("pub", &["-t", "a/1", "-q", "1", "-f", file.to_str().unwrap()]), 0);
}

/// The file below `directory` that holds these bytes, and where they are.
fn find(directory: &Path, wanted: &[u8]) -> (PathBuf, usize) {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found = files.filter_map(|file| {
        let bytes = fs::read(&file).unwrap();
        let offset = bytes.windows(wanted.len()).position(|window| window == wanted)?;
        Some((file, offset))
    });
    found.next().expect("the bytes are in the directory")
}

#[test]
fn the_store_tells_of_itself() {
    let data = Data::new();
    let broker = Broker::serve(data.command(&["server.sys_interval_s=1"]));
    let output = broker.run("sub", &["-t", "$SYS/broker/store/durability", "-C", "1", "-W", "30s"]);
    assert_eq!(stdout(&output), "sync\n");
    let output = broker.run("sub", &["-t", "$SYS/broker/store/room", "-C", "1", "-W", "30s"]);
    assert_eq!(stdout(&output), "1\n");
}
