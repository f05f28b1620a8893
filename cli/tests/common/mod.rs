//! What the end-to-end tests share: the built binary, a broker to talk to, and a broker made of fixed bytes.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// When the awaited thing has not come by then, the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test. As a broker it takes free ports where a test does not say otherwise, so that tests can
/// run side by side, and keeps nothing.
pub fn althing(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_althing"));
    for section in ["STOMP", "COAP", "COAP_TCP", "HTTP", "ADMIN"] {
        command.env(format!("ALTHING__{section}__BIND"), "127.0.0.1:0");
    }
    command.env("ALTHING__STORE__DURABILITY", "memory");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end.
pub fn run(arguments: &[&str]) -> Output {
    althing(arguments).output().unwrap()
}

/// Runs to the end with `input` on stdin.
pub fn run_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = althing(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
pub fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "stdout: {}\nstderr: {}", stdout(output), stderr(output));
}

/// A command that runs while the test goes on.
pub struct Running {
    child: Option<Child>,
    stderr: Receiver<String>,
    said: Vec<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = lines(child.stderr.take().unwrap());
        Self { child: Some(child), stderr, said: Vec::new() }
    }

    /// Starts with `--debug` and waits until the subscriptions stand.
    pub fn subscribed(arguments: &[&str]) -> Self {
        let mut all = arguments.to_vec();
        all.push("--debug");
        let mut running = Self::start(althing(&all));
        running.await_stderr("subscribed to");
        running
    }

    #[track_caller]
    pub fn await_stderr(&mut self, part: &str) -> String {
        loop {
            let Ok(line) = self.stderr.recv_timeout(PATIENCE) else {
                panic!("stderr never said {part:?}, but: {}", self.said.join("\n"))
            };
            self.said.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    /// Sends a signal by its name.
    pub fn signal(&mut self, name: &str) {
        let process = self.child().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &process]).status().unwrap().success());
    }

    /// Waits for the end; `Output` has no stderr, which is read already.
    pub fn finish(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Lines as they come, read by a thread so that a pipe never fills.
pub fn lines(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(source).lines() {
            let Ok(line) = line else { break };
            let _ = sender.send(line);
        }
    });
    receiver
}

/// A broker for one test: ours, or the one that `ALTHING_TEST_BROKER` names (`mosquitto`, or a host:port).
pub struct Broker {
    pub process: Option<Running>,
    pub host: String,
    pub port: String,
}

impl Broker {
    pub fn start() -> Self {
        match std::env::var("ALTHING_TEST_BROKER") {
            Err(_) => Self::ours("127.0.0.1:0"),
            Ok(name) if name == "mosquitto" => {
                Self::mosquitto("allow_anonymous true\n").expect("ALTHING_TEST_BROKER asks for mosquitto")
            }
            Ok(address) => {
                let (host, port) = address.rsplit_once(':').expect("ALTHING_TEST_BROKER is host:port");
                Self { process: None, host: host.to_owned(), port: port.to_owned() }
            }
        }
    }

    /// `althing serve` on this address; the banner says which port it got.
    pub fn ours(bind: &str) -> Self {
        Self::serve(althing(&["serve", "--set", &format!("mqtt.bind={bind}")]))
    }

    /// What this command makes, which says on stdout where it listens.
    pub fn serve(command: Command) -> Self {
        let mut process = Running::start(command);
        let banner = lines(process.child().stdout.take().unwrap());
        let address = loop {
            let line = banner.recv_timeout(PATIENCE).expect("the banner names the MQTT listener");
            let mut words = line.split_whitespace();
            if words.next() == Some("mqtt") {
                break words.next().unwrap().to_owned();
            }
        };
        let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
        Self { host: host.to_owned(), port: port.to_owned(), process: Some(process) }
    }

    /// A mosquitto with these lines in its configuration, on a free port; `None`, said on stderr, where it is not installed.
    pub fn mosquitto(configuration: &str) -> Option<Self> {
        let Some(program) = find_mosquitto() else {
            eprintln!("SKIPPED: no mosquitto on this machine");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let directory = scratch_directory();
        let file = directory.join("mosquitto.conf");
        std::fs::write(&file, format!("listener {port} 127.0.0.1\nlog_dest stderr\nuser root\n{configuration}"))
            .unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Running::start(command);
        process.await_stderr("running");
        Some(Self { process: Some(process), host: "127.0.0.1".to_owned(), port })
    }

    /// `verb -h HOST -p PORT arguments…`
    pub fn arguments<'a>(&'a self, verb: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec![verb, "-h", &self.host, "-p", &self.port];
        all.extend_from_slice(arguments);
        all
    }

    pub fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        run(&self.arguments(verb, arguments))
    }

    /// Publishes and expects success.
    #[track_caller]
    pub fn publish(&self, arguments: &[&str]) {
        assert_exit(&self.run("pub", arguments), 0);
    }

    /// A subscriber whose subscriptions stand.
    pub fn subscribe(&self, arguments: &[&str]) -> Running {
        Running::subscribed(&self.arguments("sub", arguments))
    }
}

fn find_mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join("mosquitto")).find(|program| program.is_file())
}

/// A directory of this test's own below the target directory.
pub fn scratch_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// A name that no other test uses, for topics and clients of a shared broker.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A broker made of fixed bytes: runs `script` on one connection after the other.
pub struct Scripted {
    pub port: String,
    thread: JoinHandle<()>,
}

impl Scripted {
    pub fn start(script: impl FnOnce(&TcpListener) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        Self { port, thread: thread::spawn(move || script(&listener)) }
    }

    /// Fails when the script did.
    pub fn finish(self) {
        self.thread.join().unwrap();
    }
}

/// The next connection.
pub fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads one packet whose remaining length takes one byte, and checks its type.
#[track_caller]
pub fn expect_packet(stream: &mut impl Read, first_byte: u8) -> Vec<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert!(head[1] < 0x80, "a longer packet than the script expects");
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(head[0], first_byte, "body {body:02x?}");
    body
}

/// First bytes of the packets that clients send.
pub const CONNECT: u8 = 0x10;
pub const PUBLISH_QOS_0: u8 = 0x30;
pub const PUBLISH_QOS_1: u8 = 0x32;
pub const SUBSCRIBE: u8 = 0x82;
pub const DISCONNECT: u8 = 0xe0;
/// Version 5: no session, success, no properties.
pub const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
/// Version 5: packet identifier 1, granted QoS 0.
pub const SUBACK: &[u8] = &[0x90, 4, 0, 1, 0, 0];
