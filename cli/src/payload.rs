//! Where the payloads of `pub` and `request` come from.

use crate::arguments::PayloadArguments;
use crate::exit::{ExitCode, Failure};
use bytes::Bytes;
use std::fs;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::sleep_until;

/// The largest payload that fits in one PUBLISH, leaving room for its topic and properties (§2.1.4).
const PAYLOAD_BYTES_MAX: u64 = 268_435_455 - 2 * 65_535;
/// Lines read ahead of the network.
const LINES_AHEAD: usize = 256;

impl PayloadArguments {
    /// The one payload that they name, read whole.
    pub fn read(&self) -> Result<Bytes, Failure> {
        read_source(self.message.as_ref(), self.file.as_deref(), self.stdin_file)
    }
}

/// The text, the file or stdin, whichever is given; nothing without any of them.
pub fn read_source(text: Option<&String>, file: Option<&Path>, stdin: bool) -> Result<Bytes, Failure> {
    match (text, file) {
        (Some(text), _) => Ok(Bytes::from(text.clone())),
        (None, Some(path)) => read_file(path),
        (None, None) if stdin => read_all("stdin", io::stdin().lock()),
        (None, None) => Ok(Bytes::new()),
    }
}

fn read_file(path: &Path) -> Result<Bytes, Failure> {
    let file = fs::File::open(path)
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}: check -f", path.display())))?;
    read_all(&path.display().to_string(), file)
}

fn read_all(name: &str, source: impl Read) -> Result<Bytes, Failure> {
    let mut payload = Vec::new();
    source
        .take(PAYLOAD_BYTES_MAX + 1)
        .read_to_end(&mut payload)
        .map_err(|error| Failure::new(ExitCode::Runtime, format!("{name} cannot be read: {error}")))?;
    if payload.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(Failure::usage(format!("{name} is longer than one MQTT message can be: split it")));
    }
    Ok(payload.into())
}

/// Payloads one after the other.
#[derive(Debug)]
pub enum Payloads {
    /// The same one several times, the next not before `next_at`.
    Repeated { payload: Bytes, left: u64, delay: Duration, next_at: Instant },
    /// The lines of stdin, read by a thread of its own because reading them cannot be cancelled.
    Lines(Receiver<io::Result<Bytes>>),
}

impl Payloads {
    /// One payload, `times` times.
    pub fn repeated(payload: Bytes, times: u64, delay: Duration) -> Self {
        Self::Repeated { payload, left: times, delay, next_at: Instant::now() }
    }

    /// Starts to read stdin.
    pub fn lines() -> Self {
        let (sender, receiver) = channel(LINES_AHEAD);
        thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            while let Some(line) = next_line(&mut stdin).transpose() {
                let failed = line.is_err();
                if sender.blocking_send(line).is_err() || failed {
                    break;
                }
            }
        });
        Self::Lines(receiver)
    }

    /// The next one; `None` at the end. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Repeated { left: 0, .. } => Ok(None),
            Self::Repeated { payload, left, delay, next_at } => {
                if !delay.is_zero() {
                    sleep_until((*next_at).into()).await;
                    *next_at += *delay;
                }
                *left -= 1;
                Ok(Some(payload.clone()))
            }
            Self::Lines(receiver) => receiver
                .recv()
                .await
                .transpose()
                .map_err(|error| Failure::new(ExitCode::Runtime, format!("stdin cannot be read: {error}"))),
        }
    }
}

/// A line without its end; the last one may lack it.
fn next_line(source: &mut impl BufRead) -> io::Result<Option<Bytes>> {
    let mut line = Vec::new();
    if source.take(PAYLOAD_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_end_only() {
        let mut source = &b"one\n\ntwo \r\nlast"[..];
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut source).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, [&b"one"[..], b"", b"two \r", b"last"]);
    }

    #[tokio::test]
    async fn a_repeated_payload_ends() {
        let mut payloads = Payloads::repeated(Bytes::from_static(b"x"), 2, Duration::ZERO);
        assert!(payloads.next().await.unwrap().is_some());
        assert!(payloads.next().await.unwrap().is_some());
        assert_eq!(payloads.next().await, Ok(None));
    }

    #[test]
    fn a_missing_file_is_a_usage_error() {
        assert_eq!(read_file(Path::new("/nowhere/at/all")).map_err(|failure| failure.code), Err(ExitCode::Usage));
    }
}
