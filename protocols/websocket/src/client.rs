//! The client half, without IO: what a tool, a load generator or a test speaks through.
//!
//! The caller writes [`Client::output`] to its transport and hands what comes back to [`Client::receive`].

use crate::close::{CloseCode, CloseWords, close_payload};
use crate::decoder::{Decoder, Kind, Piece, Rules, Window};
use crate::deflate::{Deflate, Deflater, InflateLimits};
use crate::extension::Extension;
use crate::frame::{FrameError, Header, Opcode, Side, apply_mask};
use crate::handshake::{VERSION, accept_key};
use althing_core::{Entropy, OutBuffer, WholeMessage};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use std::fmt;

/// The client's side of one WebSocket.
#[derive(Debug)]
pub struct Client {
    options: Options,
    entropy: Entropy,
    output: OutBuffer,
    phase: Phase,
    decoder: Decoder,
    /// Payload of the message under way that the input begins with.
    plain: usize,
    deflate: Option<Deflate>,
}

/// What to ask for and how to behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// `HOST:PORT`, as the `Host` header says it.
    pub host: String,
    /// With its query; begins with `/`.
    pub path: String,
    /// The one that is liked best first.
    pub subprotocols: Vec<String>,
    /// More headers, `Authorization` or `Origin` for two.
    pub headers: Vec<(String, String)>,
    /// Compresses with these, if the server can do it too.
    pub deflater: Option<Deflater>,
    /// The longest message taken from the server, inflated or not.
    pub message_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            path: "/".to_owned(),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            deflater: None,
            message_bytes_max: 256 << 20,
        }
    }
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server has agreed.
    Open {
        /// What is spoken; one of those that were offered.
        subprotocol: Option<String>,
    },
    /// A message.
    Message(WholeMessage),
    /// The answer to a ping.
    Pong(Vec<u8>),
    /// The server's Close frame; ours has been sent. Nothing follows.
    Closed(CloseWords),
}

/// Why there is no connection any more, or never was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The server did not agree.
    Refused {
        /// The status of its response.
        status: u16,
        /// The first line of its response.
        line: String,
    },
    /// What came back is no response to a WebSocket's handshake.
    Handshake(&'static str),
    /// The server broke the rules of frames; it has been told so.
    Frame(FrameError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { line, .. } => write!(f, "the server refused the WebSocket: {line}"),
            Self::Handshake(text) => write!(f, "the server did not complete the handshake: {text}"),
            Self::Frame(error) => write!(f, "the server broke the protocol: {}", error.text),
        }
    }
}

impl std::error::Error for ClientError {}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    /// The response has to bring this proof.
    AwaitResponse {
        accept: String,
    },
    Open,
    /// Our Close has left.
    Closing,
}

/// The longest head of a response.
const HEAD_BYTES_MAX: usize = 64 << 10;

impl Client {
    /// A client that is not connected. Keys and masks come from `entropy`.
    pub fn new(options: Options, entropy: Entropy) -> Self {
        Self {
            options,
            entropy,
            output: OutBuffer::default(),
            phase: Phase::Closed,
            decoder: Decoder::default(),
            plain: 0,
            deflate: None,
        }
    }

    /// A client whose handshake somebody else has made.
    pub fn opened(options: Options, entropy: Entropy, deflate: Option<Deflate>) -> Self {
        Self { phase: Phase::Open, deflate, ..Self::new(options, entropy) }
    }

    /// Bytes for the server; the caller takes what it has written.
    pub fn output(&mut self) -> &mut OutBuffer {
        &mut self.output
    }

    /// Whether messages can be sent.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Begins on a fresh transport: asks for the upgrade (§4.1).
    pub fn connect(&mut self) {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.entropy.next_u64().to_le_bytes());
        nonce[8..].copy_from_slice(&self.entropy.next_u64().to_le_bytes());
        let key = STANDARD.encode(nonce);
        let Options { host, path, subprotocols, headers, deflater, .. } = &self.options;
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {VERSION}\r\n"
        );
        let mut header = |name: &str, value: &str| request.extend([name, ": ", value, "\r\n"]);
        if !subprotocols.is_empty() {
            header("Sec-WebSocket-Protocol", &subprotocols.join(", "));
        }
        if deflater.is_some() {
            header("Sec-WebSocket-Extensions", &Deflater::offer().to_string());
        }
        headers.iter().for_each(|(name, value)| header(name, value));
        request.push_str("\r\n");
        self.output = OutBuffer::default();
        self.output.tail().extend_from_slice(request.as_bytes());
        (self.decoder, self.plain, self.deflate) = (Decoder::default(), 0, None);
        self.phase = Phase::AwaitResponse { accept: accept_key(&key) };
    }

    /// Takes what it can use from the front of `input` and leaves the rest there. After an error the connection is over;
    /// what `output` holds by then may still be sent.
    pub fn receive(&mut self, input: &mut BytesMut, events: &mut Vec<Event>) -> Result<(), ClientError> {
        if let Phase::AwaitResponse { accept } = &self.phase {
            let Some(end) = head_end(input)? else { return Ok(()) };
            let head = input.split_to(end);
            let Agreed { subprotocol, extension } = check_response(&head, accept, &self.options.subprotocols)?;
            if let Some(extension) = extension {
                let accepted = self.options.deflater.as_ref().and_then(|deflater| deflater.accepted(&extension));
                self.deflate =
                    Some(accepted.ok_or(ClientError::Handshake("it answers with an extension that was not offered"))?);
            }
            self.phase = Phase::Open;
            events.push(Event::Open { subprotocol });
        }
        self.take_frames(input, events).map_err(|error| {
            self.close(error.code, error.text);
            self.phase = Phase::Closed;
            ClientError::Frame(error)
        })
    }

    /// Sends a message. Compressed, if that was agreed on and makes it smaller.
    pub fn send(&mut self, is_text: bool, message: &[u8]) {
        let compressed = self.deflate.as_ref().and_then(|deflate| deflate.compress(message));
        let payload = compressed.as_deref().unwrap_or(message);
        let header = Header::whole(Opcode::of_message(is_text), payload.len());
        self.put_frame(Header { compressed: compressed.is_some(), ..header }, payload);
    }

    /// Asks for a pong; at most 125 bytes.
    pub fn ping(&mut self, payload: &[u8]) {
        self.put_frame(Header::whole(Opcode::Ping, payload.len()), payload);
    }

    /// Says goodbye; the server's answer is [`Event::Closed`].
    pub fn close(&mut self, code: CloseCode, text: &str) {
        if self.phase == Phase::Open {
            let payload = close_payload(code, text);
            self.put_frame(Header::whole(Opcode::Close, payload.len()), &payload);
            self.phase = Phase::Closing;
        }
    }

    /// Any frame, right or wrong, masked: for tests and for those who cut messages into fragments themselves.
    pub fn put_frame(&mut self, header: Header, payload: &[u8]) {
        let mask = (self.entropy.next_u64() as u32).to_le_bytes();
        let (header, size) = Header { mask: Some(mask), ..header }.write();
        let tail = self.output.tail();
        tail.extend_from_slice(&header[..size]);
        let start = tail.len();
        tail.extend_from_slice(payload);
        apply_mask(&mut tail[start..], mask);
    }

    fn take_frames(&mut self, input: &mut BytesMut, events: &mut Vec<Event>) -> Result<(), FrameError> {
        let rules = Rules {
            side: Side::Client,
            may_compress: self.deflate.is_some(),
            may_be_text: true,
            message_bytes_max: self.options.message_bytes_max as u64,
        };
        let mut window = Window::new(input, self.plain);
        while matches!(self.phase, Phase::Open | Phase::Closing) {
            match self.decoder.next(&rules, &mut window)? {
                None => break,
                Some(Piece::Part) => {}
                Some(Piece::End(kind)) => {
                    let bytes = self.inflated(kind, window.split())?;
                    events.push(Event::Message(WholeMessage { is_text: kind.is_text, bytes }));
                }
                Some(Piece::Control(Opcode::Ping, control)) => {
                    let payload = control.payload();
                    self.put_frame(Header::whole(Opcode::Pong, payload.len()), payload);
                }
                Some(Piece::Control(Opcode::Close, control)) => {
                    let words = CloseWords::parse(control.payload())?;
                    self.close(words.code, "");
                    self.phase = Phase::Closed;
                    events.push(Event::Closed(words));
                }
                Some(Piece::Control(_, control)) => events.push(Event::Pong(control.payload().to_vec())),
            }
        }
        self.plain = window.close();
        Ok(())
    }

    fn inflated(&self, kind: Kind, payload: BytesMut) -> Result<Bytes, FrameError> {
        match &self.deflate {
            Some(deflate) if kind.is_compressed => {
                let limits = InflateLimits { bytes_max: self.options.message_bytes_max, ratio_max: usize::MAX };
                Ok(deflate.inflate(&payload, limits)?.into())
            }
            _ => Ok(payload.freeze()),
        }
    }
}

/// What the response says.
struct Agreed {
    subprotocol: Option<String>,
    extension: Option<Extension>,
}

/// Where the head of the response ends, once it has.
fn head_end(input: &mut BytesMut) -> Result<Option<usize>, ClientError> {
    let end = input.windows(4).position(|end| end == b"\r\n\r\n");
    match end {
        Some(at) => Ok(Some(at + 4)),
        None if input.remaining() > HEAD_BYTES_MAX => Err(ClientError::Handshake("its response does not end")),
        None => Ok(None),
    }
}

/// Checks the response (§4.1).
fn check_response(head: &[u8], accept: &str, offered: &[String]) -> Result<Agreed, ClientError> {
    let head = std::str::from_utf8(head).map_err(|_| ClientError::Handshake("its response is no text"))?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 ")).and_then(|rest| rest.get(..3));
    let status = status.and_then(|status| status.parse().ok());
    match status {
        Some(101) => {}
        Some(status) => return Err(ClientError::Refused { status, line: line.to_owned() }),
        None => return Err(ClientError::Handshake("it does not speak HTTP/1.1")),
    }
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let get = |wanted: &str| {
        let known = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        known.map(|(_, value)| value.trim())
    };
    if !get("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(ClientError::Handshake("no `Upgrade: websocket`"));
    }
    if get("sec-websocket-accept") != Some(accept) {
        return Err(ClientError::Handshake("`Sec-WebSocket-Accept` does not answer our key"));
    }
    let subprotocol = get("sec-websocket-protocol").map(str::to_owned);
    if subprotocol.as_ref().is_some_and(|name| !offered.contains(name)) {
        return Err(ClientError::Handshake("it answers with a sub-protocol that was not offered"));
    }
    let extensions = get("sec-websocket-extensions").map_or(Some(Vec::new()), Extension::parse_list);
    let mut extensions = extensions.ok_or(ClientError::Handshake("its extensions are no list"))?;
    if extensions.len() > 1 {
        return Err(ClientError::Handshake("it answers with an extension that was not offered"));
    }
    Ok(Agreed { subprotocol, extension: extensions.pop() })
}
