//! A socket with TLS on it.

use super::session::{Outgoing, RECORD_BYTES_MAX, TlsSession};
use crate::reading::READ_BUFFER_BYTES;
use crate::transport::Socket;
use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

/// Plaintext that is sealed for one write. What the socket does not take of it is the most that waits here.
const SEAL_BYTES_MAX: usize = 64 << 10;

/// The longest that may be incomplete: a message of the protocol itself (64 KiB) and one record.
const INCOMING_BYTES_MAX: usize = 96 << 10;

/// Reads in one poll that may bring nothing but TLS's own words.
const READS_MAX: usize = 4;

/// Memory to work in, one for all streams of a shard: what is in it between calls is of no use.
#[derive(Default)]
pub(crate) struct Scratch {
    incoming: Vec<u8>,
    gathered: Vec<u8>,
    outgoing: Outgoing,
}

/// A connection after its handshake. An idle one owns no buffer.
pub(crate) struct TlsStream {
    socket: Socket,
    session: TlsSession,
    /// The start of a record whose end has not come yet.
    incoming: Vec<u8>,
    /// Records that the socket has not taken, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
}

impl TlsStream {
    /// A stream whose next bytes begin with `incoming`.
    pub fn new(socket: Socket, session: TlsSession, incoming: &[u8]) -> Self {
        Self { socket, session, incoming: incoming.to_vec(), outgoing: Vec::new(), sent: 0 }
    }

    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Reads until there is plaintext, or the socket is empty.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        plaintext: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<usize>> {
        let length_before = plaintext.len();
        for _ in 0..READS_MAX {
            if self.session.has_ended() {
                return Poll::Ready(Ok(0));
            }
            ready!(self.poll_read_records(cx, plaintext, scratch))?;
            if plaintext.len() > length_before {
                return Poll::Ready(Ok(plaintext.len() - length_before));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_read_records(
        &mut self,
        cx: &mut Context<'_>,
        plaintext: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<()>> {
        let start = self.incoming.len();
        scratch.incoming.resize(INCOMING_BYTES_MAX + READ_BUFFER_BYTES, 0);
        scratch.incoming[..start].copy_from_slice(&self.incoming);
        // Plaintext is shorter than its records: it finds room without growing.
        let room = (plaintext.capacity() - plaintext.len()).saturating_sub(start);
        let end = start + room.clamp(READ_BUFFER_BYTES / 4, READ_BUFFER_BYTES);
        let read = ready!(self.socket.poll_read_slice(cx, &mut scratch.incoming[start..end]))?;
        if read == 0 {
            let text = "the stream was cut off: TLS has not said its end (close_notify)";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        let records = &mut scratch.incoming[..start + read];
        scratch.outgoing.clear();
        let (taken, opened) = self.session.open(records, plaintext, &mut scratch.outgoing);
        keep(&mut self.incoming, &records[taken..]);
        self.send(scratch.outgoing.as_slice())?;
        opened.map_err(broken)?;
        if self.incoming.len() > INCOMING_BYTES_MAX || self.pending_bytes() > 2 * SEAL_BYTES_MAX {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "TLS: too much without an end")));
        }
        Poll::Ready(Ok(()))
    }

    /// Ready also for what needs no further byte.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.session.has_ended() { Poll::Ready(Ok(())) } else { self.socket.poll_read_ready(cx) }
    }

    /// Seals some of `slices`, unless records wait already, and writes them at once.
    pub fn try_write(&mut self, slices: &[IoSlice<'_>], scratch: &mut Scratch) -> io::Result<usize> {
        self.flush()?;
        scratch.outgoing.clear();
        let taken = self.seal(slices, scratch).map_err(broken)?;
        self.send(scratch.outgoing.as_slice())?;
        Ok(taken)
    }

    /// Seals the first of `slices`, and returns their length. Those that fill a record are sealed where they are; small ones
    /// are put together first, for they would make a record each.
    fn seal(&mut self, slices: &[IoSlice<'_>], scratch: &mut Scratch) -> Result<usize, rustls::Error> {
        let Scratch { gathered, outgoing, .. } = scratch;
        gathered.clear();
        let mut taken = 0;
        for slice in slices {
            let part = &slice[..slice.len().min(SEAL_BYTES_MAX - taken)];
            taken += part.len();
            if part.len() < RECORD_BYTES_MAX {
                gathered.extend_from_slice(part);
                continue;
            }
            self.session.seal(&mut self.incoming, gathered, outgoing)?;
            gathered.clear();
            self.session.seal(&mut self.incoming, part, outgoing)?;
        }
        self.session.seal(&mut self.incoming, gathered, outgoing)?;
        Ok(taken)
    }

    /// Writes what the socket has not taken before.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.outgoing.len() {
            self.sent += self.socket.try_write(&[IoSlice::new(&self.outgoing[self.sent..])])?;
        }
        if self.sent > 0 {
            (self.outgoing, self.sent) = (Vec::new(), 0);
        }
        Ok(())
    }

    pub fn pending_bytes(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Says the end, in TLS's word and in the socket's.
    pub fn shutdown_write(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        scratch.outgoing.clear();
        if self.session.seal_end(&mut self.incoming, &mut scratch.outgoing).is_ok() {
            self.send(scratch.outgoing.as_slice())?;
        }
        self.socket.shutdown_write()
    }

    /// Writes `records`, and keeps what the socket does not take now.
    fn send(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let taken = match self.pending_bytes() {
            0 => or_nothing(self.socket.try_write(&[IoSlice::new(records)]))?,
            _ => 0,
        };
        self.outgoing.extend_from_slice(&records[taken..]);
        Ok(())
    }
}

/// A socket that takes nothing now.
fn or_nothing(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        written => written,
    }
}

fn keep(incoming: &mut Vec<u8>, rest: &[u8]) {
    if rest.is_empty() {
        *incoming = Vec::new();
    } else {
        incoming.clear();
        incoming.extend_from_slice(rest);
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}"))
}
