//! What can end a run before it has a result.

use std::io;
use std::path::PathBuf;

/// Each variant names what the caller can look at next. A run that ends with loss, duplicates or disorder is not an
/// error but a [`Report`](crate::Report) that is not clean.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The host name has no address.
    #[error("{host}:{port} has no address: {source}")]
    Resolve {
        /// As given.
        host: String,
        /// As given.
        port: u16,
        /// The resolver's word.
        source: io::Error,
    },
    /// A unix socket could not be connected.
    #[error("cannot connect to {}: {source}", path.display())]
    Unix {
        /// As given.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A socket failed: nothing listens, ports or descriptors ran out, the broker reset the connection.
    #[error("connection {connection}: {source}")]
    Socket {
        /// Counted from 0 in the order of opening.
        connection: usize,
        /// The system's word.
        source: io::Error,
    },
    /// TLS cannot be spoken with these options.
    #[error("TLS: {reason}")]
    Tls {
        /// What is wrong with which file or name.
        reason: String,
    },
    /// A handshake, or a record after it.
    #[error("connection {connection}: TLS: {source}")]
    Session {
        /// Counted from 0 in the order of opening.
        connection: usize,
        /// The TLS library's word.
        source: rustls::Error,
    },
    /// The handshake of a WebSocket, or a frame after it.
    #[error("connection {connection}: WebSocket: {reason}")]
    WebSocket {
        /// Counted from 0 in the order of opening.
        connection: usize,
        /// What is wrong.
        reason: String,
    },
    /// The broker refused a CONNECT, a SUBSCRIBE or a PUBLISH.
    #[error("the broker refused a {packet} of connection {connection} with code {code:#04x}")]
    Refused {
        /// The packet's name in the specification.
        packet: &'static str,
        /// Counted from 0 in the order of opening.
        connection: usize,
        /// Return code (3.1.1) or reason code (5).
        code: u8,
    },
    /// The broker closed a connection during the run.
    #[error("the broker closed connection {connection}")]
    Closed {
        /// Counted from 0 in the order of opening.
        connection: usize,
    },
    /// The broker sent bytes that are no frame a server may send.
    #[error("connection {connection} received a malformed frame")]
    Malformed {
        /// Counted from 0 in the order of opening.
        connection: usize,
    },
    /// The broker sent nothing for the time that the arguments allow while an answer was due.
    #[error("the broker was silent for too long while {waiting_for} were due")]
    Silent {
        /// The answers that are missing.
        waiting_for: &'static str,
    },
    /// A CoAP server answered with an error.
    #[error("the server answered with {code}: {text}")]
    ErrorResponse {
        /// As 4.04.
        code: String,
        /// Its diagnostic payload.
        text: String,
    },
    /// A CoAP server rejected a message (RST).
    #[error("the server rejected a message (RST): does it speak CoAP?")]
    Rejected,
    /// A CoAP resource cannot be observed.
    #[error("the server does not let this resource be observed")]
    NotObserved,
    /// A CoAP resource was replaced and is not what it was replaced by.
    #[error("the resource is not what was put there: leave out --payload-bytes to read what is there")]
    NotKept,
    /// More connections than file descriptors.
    #[error("{needed} connections need more file descriptors than the hard limit of {limit} allows")]
    Descriptors {
        /// Connections and a few more.
        needed: u64,
        /// RLIMIT_NOFILE, hard.
        limit: u64,
    },
    /// Nothing is known about the broker's process.
    #[error("no process {pid} to measure: {source}")]
    Process {
        /// As given.
        pid: u32,
        /// The system's word.
        source: io::Error,
    },
    /// The event loop failed.
    #[error("polling: {0}")]
    Poll(#[source] io::Error),
}
