//! Plays the cases of `packets.txt`: on the stage, and on a live socket when one is named.
//!
//! `ALTHING_ADDRESS=127.0.0.1:1883 cargo test -p althing-mqtt --test conformance live -- --ignored` plays them on a running
//! server, except those that need its identity provider.

use crate::mutations::{Answer, Case, State, cases};
use crate::stage::*;
use althing_mqtt::packet::Version;
use althing_testkit::house::{Grain, House, Setup};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One connection to a server.
trait Line {
    fn send(&mut self, bytes: &[u8]);
    /// What the server says until there are `count` bytes, or it says nothing more.
    fn hear(&mut self, count: usize) -> Vec<u8>;
    /// What the server says until it closes; `Err` with it when it does not close.
    fn hear_all(&mut self) -> Result<Vec<u8>, Vec<u8>>;
}

/// A connection on the stage.
struct StageLine {
    stage: Stage,
    peer: Peer,
}

impl Line for StageLine {
    fn send(&mut self, bytes: &[u8]) {
        self.stage.send_bytes(self.peer, bytes);
    }

    fn hear(&mut self, count: usize) -> Vec<u8> {
        self.stage.hear_bytes(self.peer, count)
    }

    fn hear_all(&mut self) -> Result<Vec<u8>, Vec<u8>> {
        let said = bytes(&self.stage.hear(self.peer));
        if self.stage.is_closed(self.peer) { Ok(said) } else { Err(said) }
    }
}

/// How long a server may be silent before a case has failed.
const PATIENCE: Duration = Duration::from_secs(5);

impl Line for TcpStream {
    fn send(&mut self, bytes: &[u8]) {
        // A server may close while we still write; what it said before is what counts.
        let _ = self.write_all(bytes);
    }

    fn hear(&mut self, count: usize) -> Vec<u8> {
        let mut said = vec![0; count];
        let mut length = 0;
        while length < count {
            match self.read(&mut said[length..]) {
                Ok(0) | Err(_) => break,
                Ok(read) => length += read,
            }
        }
        said.truncate(length);
        said
    }

    fn hear_all(&mut self) -> Result<Vec<u8>, Vec<u8>> {
        let mut said = Vec::new();
        match self.read_to_end(&mut said) {
            Ok(_) => Ok(said),
            // Bytes that the server had not read when it closed.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(said),
            Err(_) => Err(said),
        }
    }
}

/// Plays one case; says what was wrong.
fn play(case: &Case, line: &mut dyn Line) -> Result<(), String> {
    prepare(case, line);
    line.send(&case.said);
    let verdict = match &case.answer {
        Answer::Bytes(expected) => {
            let found = line.hear(expected.len());
            line.send(&bytes("C000"));
            let alive = line.hear(2);
            check(found == *expected && alive == bytes("D000"), &[found, alive].concat())
        }
        Answer::Accepted => {
            let mut said = line.hear(2);
            let rest = said.get(1).map_or(0, |length| usize::from(*length));
            said.extend(line.hear(rest));
            line.send(&bytes("C000"));
            let alive = line.hear(2);
            check(said[..1] == [0x20] && said[2..4] == [0, 0] && alive == bytes("D000"), &[said, alive].concat())
        }
        Answer::Closed => check_end(line, |said| said.is_empty()),
        Answer::ConnAck(code) => check_end(line, |said| connack_code(said) == Some(*code)),
        Answer::Refused(code) => match (case.version, case.state) {
            (Version::V31 | Version::V311, _) => check_end(line, |said| said.is_empty()),
            (Version::V5, State::Nothing) => check_end(line, |said| connack_code(said) == Some(*code)),
            (Version::V5, _) => check_end(line, |said| disconnect_code(said) == Some(*code)),
        },
    };
    let Case { name, said, answer, .. } = case;
    verdict
        .map_err(|found| format!("{name}\n    said     {}\n    expected {answer:X?}\n    found    {found}", hex(said)))
}

fn check(is_right: bool, found: &[u8]) -> Result<(), String> {
    if is_right { Ok(()) } else { Err(hex(found)) }
}

fn check_end(line: &mut dyn Line, is_right: impl Fn(&[u8]) -> bool) -> Result<(), String> {
    match line.hear_all() {
        Ok(said) => check(is_right(&said), &said).map_err(|found| format!("{found}, closed")),
        Err(said) => Err(format!("{}, open", hex(&said))),
    }
}

/// The code of a CONNACK that fills all of `said` and refuses.
fn connack_code(said: &[u8]) -> Option<u8> {
    match said {
        [0x20, 2, 0, code] | [0x20, 3, 0, code, 0] => Some(*code),
        [0x20, length, 0, code, properties, 0x1F | 0x26, ..]
            if usize::from(*length) == said.len() - 2 && usize::from(*properties) == said.len() - 5 =>
        {
            Some(*code)
        }
        _ => None,
    }
}

/// Brings the conversation to where the case begins.
fn prepare(case: &Case, line: &mut dyn Line) {
    let (head, none) = (connect_head(case.version), no_properties(case.version));
    match case.state {
        State::Nothing => {}
        State::Connected => {
            line.send(&frame(0x10, &format!("{head} 02 0000 {none} 0001'p'")));
            let connack = if case.version == V5 { 16 } else { 4 };
            let said = line.hear(connack);
            assert_eq!((said[0], said[3], said.len()), (0x20, 0, connack), "{}", hex(&said));
        }
        State::Authenticated => {
            line.send(&frame(0x10, &format!("{head} 02 0000 07 15 0004'ECHO' 0001'p'")));
            let asked = line.hear(usize::MAX);
            line.send(&asked);
            let said = line.hear(usize::MAX);
            assert_eq!((said[0], said[3]), (0x20, 0), "{}", hex(&said));
        }
    }
}

fn report(failures: &[String], count: usize) {
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn packets_and_their_exact_answers() {
    let cases = cases();
    assert!(cases.len() > 2_000, "the table has shrunk to {} cases", cases.len());
    let mut failures = Vec::new();
    // The answer does not depend on how the bytes arrive.
    for (shards, grain) in [(1, Grain::Whole), (1, Grain::Fine), (3, Grain::Mixed)] {
        for case in &cases {
            let mut stage = Stage::new(House::new(Setup { grain: Some(grain), ..Setup::new(1, shards) }));
            let peer = stage.open(case.version);
            failures.extend(play(case, &mut StageLine { stage, peer }).err());
        }
    }
    report(&failures, cases.len());
}

/// The well-formed packets of the table, each on a connection of its own that is ready for it.
fn well_formed(mut act: impl FnMut(&Case, &dyn Fn() -> StageLine)) {
    for case in cases().iter().filter(|case| case.name.ends_with("as it is")) {
        act(case, &|| {
            let mut stage = Stage::new(House::new(Setup::new(1, 1)));
            let peer = stage.open(case.version);
            let mut line = StageLine { stage, peer };
            prepare(case, &mut line);
            line
        });
    }
}

#[test]
fn the_beginning_of_a_packet_is_no_packet() {
    well_formed(|case, line| {
        if matches!(case.answer, Answer::Refused(_)) {
            return; // Some of these are refused by their first byte.
        }
        for length in 0..case.said.len() {
            let mut line = line();
            line.send(&case.said[..length]);
            assert_eq!(line.hear_all(), Err(Vec::new()), "{}, {length} bytes", case.name);
            line.stage.hang_up(line.peer);
            assert_eq!(line.hear_all(), Ok(Vec::new()), "{}, {length} bytes and the end", case.name);
        }
    });
}

#[test]
fn every_flipped_bit_is_taken_or_refused_in_the_protocols_words() {
    well_formed(|case, line| {
        for bit in 0..case.said.len() * 8 {
            let mut said = case.said.clone();
            said[bit / 8] ^= 1 << (bit % 8);
            let mut line = line();
            line.send(&said);
            let Ok(found) = line.hear_all() else { continue };
            let code = match (case.version, case.state) {
                (Version::V5, State::Nothing) if found.is_empty() => continue,
                (Version::V5, State::Nothing) => connack_code(&found),
                (Version::V5, _) if said[0] == 0xE0 && found.is_empty() => continue,
                (Version::V5, _) => disconnect_code(&found),
                (_, State::Nothing) if !found.is_empty() => connack_code(&found).map(|_| 0x80),
                _ => found.is_empty().then_some(0x80),
            };
            let is_own_word = code.is_some_and(|code| code >= 0x80 || case.state == State::Nothing);
            assert!(is_own_word, "{}, bit {bit}: {} is answered by {}", case.name, hex(&said), hex(&found));
        }
    });
}

#[test]
#[ignore = "needs a running server, named by ALTHING_ADDRESS"]
fn packets_and_their_exact_answers_on_a_live_socket() {
    let address = std::env::var("ALTHING_ADDRESS").expect("ALTHING_ADDRESS names a server");
    let cases: Vec<_> = cases().into_iter().filter(|case| case.state != State::Authenticated).collect();
    let mut failures = Vec::new();
    for case in &cases {
        let mut socket = TcpStream::connect(&address).expect("the server listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        failures.extend(play(case, &mut socket).err());
    }
    report(&failures, cases.len());
}
