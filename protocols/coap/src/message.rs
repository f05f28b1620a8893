//! A CoAP message as a value (§3).

use bytes::Bytes;
use std::fmt;

/// How a message is to be treated by the message layer (§4.2, §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Confirmable: repeated until acknowledged.
    Confirmable = 0,
    /// Non-confirmable: sent once.
    NonConfirmable = 1,
    /// Acknowledgement: names the message that has arrived, and may carry its response.
    Acknowledgement = 2,
    /// Reset: names a message that has arrived and means nothing here.
    Reset = 3,
}

/// A request method or response code, `class.detail` (§3, §12.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

#[allow(missing_docs, reason = "the names are those of the registry, §12.1")]
impl Code {
    pub const EMPTY: Self = Self(0);
    pub const GET: Self = Self(1);
    pub const POST: Self = Self(2);
    pub const PUT: Self = Self(3);
    pub const DELETE: Self = Self(4);
    pub const FETCH: Self = Self(5);
    pub const PATCH: Self = Self(6);
    pub const IPATCH: Self = Self(7);
    pub const CREATED: Self = Self::new(2, 1);
    pub const DELETED: Self = Self::new(2, 2);
    pub const VALID: Self = Self::new(2, 3);
    pub const CHANGED: Self = Self::new(2, 4);
    pub const CONTENT: Self = Self::new(2, 5);
    /// More blocks are awaited (RFC 7959 §2.9.1).
    pub const CONTINUE: Self = Self::new(2, 31);
    pub const BAD_REQUEST: Self = Self::new(4, 0);
    pub const UNAUTHORIZED: Self = Self::new(4, 1);
    pub const BAD_OPTION: Self = Self::new(4, 2);
    pub const FORBIDDEN: Self = Self::new(4, 3);
    pub const NOT_FOUND: Self = Self::new(4, 4);
    pub const METHOD_NOT_ALLOWED: Self = Self::new(4, 5);
    pub const NOT_ACCEPTABLE: Self = Self::new(4, 6);
    pub const REQUEST_ENTITY_INCOMPLETE: Self = Self::new(4, 8);
    pub const CONFLICT: Self = Self::new(4, 9);
    pub const PRECONDITION_FAILED: Self = Self::new(4, 12);
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self::new(4, 13);
    pub const UNSUPPORTED_CONTENT_FORMAT: Self = Self::new(4, 15);
    pub const UNPROCESSABLE_ENTITY: Self = Self::new(4, 22);
    /// Too Many Requests (RFC 8516).
    pub const TOO_MANY_REQUESTS: Self = Self::new(4, 29);
    pub const INTERNAL_SERVER_ERROR: Self = Self::new(5, 0);
    pub const NOT_IMPLEMENTED: Self = Self::new(5, 1);
    pub const SERVICE_UNAVAILABLE: Self = Self::new(5, 3);
    pub const PROXYING_NOT_SUPPORTED: Self = Self::new(5, 5);
    /// Capabilities and Settings (RFC 8323 §5.3).
    pub const CSM: Self = Self::new(7, 1);
    pub const PING: Self = Self::new(7, 2);
    pub const PONG: Self = Self::new(7, 3);
    pub const RELEASE: Self = Self::new(7, 4);
    pub const ABORT: Self = Self::new(7, 5);

    /// `class.detail`.
    pub const fn new(class: u8, detail: u8) -> Self {
        Self(class << 5 | detail)
    }

    /// 0 = request, 2 = success, 4 = the client's mistake, 5 = the server's.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// Whether this is a method rather than a response or nothing.
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// Whether this is about the connection, on reliable carriers (RFC 8323 §5.1).
    pub const fn is_signal(self) -> bool {
        self.class() == 7
    }

    /// Whether this is a response of success.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.0 & 0x1f)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What ties a response to its request: bytes of the client's choice (§5.3.1), up to [`BYTES_MAX`](Self::BYTES_MAX) of
/// the 65,804 that may be (RFC 8974 §2.1). It stands in every request and observation that is kept, so that it is bounded
/// and without an allocation of its own.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Token {
    length: u8,
    bytes: [u8; Self::BYTES_MAX],
}

impl Token {
    /// The longest token that is taken: room for the state that a client wants back (RFC 8974 §3), sealed.
    pub const BYTES_MAX: usize = 32;

    /// From at most [`BYTES_MAX`](Self::BYTES_MAX) bytes; `None` for more.
    pub fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self { length: from.len() as u8, bytes })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.as_slice())
    }
}

/// The numbers of the options that are known here (§12.2, RFC 7641 §6, RFC 7959 §6, RFC 9175 §6).
#[allow(missing_docs, reason = "the names are those of the registry")]
pub mod number {
    pub const IF_MATCH: u16 = 1;
    pub const URI_HOST: u16 = 3;
    pub const ETAG: u16 = 4;
    pub const IF_NONE_MATCH: u16 = 5;
    pub const OBSERVE: u16 = 6;
    pub const URI_PORT: u16 = 7;
    pub const LOCATION_PATH: u16 = 8;
    /// RFC 8613 §2.
    pub const OSCORE: u16 = 9;
    pub const URI_PATH: u16 = 11;
    pub const CONTENT_FORMAT: u16 = 12;
    pub const MAX_AGE: u16 = 14;
    pub const URI_QUERY: u16 = 15;
    /// RFC 8768 §6.
    pub const HOP_LIMIT: u16 = 16;
    pub const ACCEPT: u16 = 17;
    pub const BLOCK2: u16 = 23;
    pub const BLOCK1: u16 = 27;
    pub const SIZE2: u16 = 28;
    pub const PROXY_URI: u16 = 35;
    pub const PROXY_SCHEME: u16 = 39;
    pub const SIZE1: u16 = 60;
    pub const ECHO: u16 = 252;
    pub const NO_RESPONSE: u16 = 258;
    pub const REQUEST_TAG: u16 = 292;

    /// Whether whoever does not know the option must not go on without it (§5.4.6).
    pub const fn is_critical(number: u16) -> bool {
        number % 2 == 1
    }
}

/// Options in the order of their numbers; equal ones in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<(u16, Bytes)>);

impl Options {
    /// Adds one behind those with the same number.
    pub fn add(&mut self, number: u16, value: impl Into<Bytes>) {
        let place = self.0.partition_point(|(other, _)| *other <= number);
        self.0.insert(place, (number, value.into()));
    }

    /// Adds a number in the fewest bytes (§3.2).
    pub fn add_uint(&mut self, number: u16, value: u32) {
        let bytes = value.to_be_bytes();
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        self.add(number, Bytes::copy_from_slice(&bytes[start..]));
    }

    /// Takes all with this number away.
    pub fn remove(&mut self, number: u16) {
        self.0.retain(|(other, _)| *other != number);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &(u16, Bytes)> {
        self.0.iter()
    }

    /// The values of all options with this number.
    pub fn all(&self, number: u16) -> impl Iterator<Item = &Bytes> {
        self.0.iter().filter(move |(other, _)| *other == number).map(|(_, value)| value)
    }

    /// The first value with this number.
    pub fn get(&self, number: u16) -> Option<&Bytes> {
        self.all(number).next()
    }

    /// The first value with this number as a number; `None` when it is missing or longer than four bytes.
    pub fn uint(&self, number: u16) -> Option<u32> {
        self.get(number).and_then(|value| read_uint(value))
    }
}

/// A number in network byte order; leading zeros do not matter (§3.2). `None` above four bytes.
pub fn read_uint(bytes: &[u8]) -> Option<u32> {
    (bytes.len() <= 4).then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How the message layer treats it.
    pub kind: Kind,
    /// What it says.
    pub code: Code,
    /// What acknowledgements and resets name, and repeats repeat.
    pub id: u16,
    /// What ties a response to its request.
    pub token: Token,
    /// What else it says.
    pub options: Options,
    /// The representation; or, with an error, a sentence for people (§5.5.2).
    pub payload: Bytes,
}

impl Message {
    /// A message without token, options and payload.
    pub fn new(kind: Kind, code: Code, id: u16) -> Self {
        Self { kind, code, id, token: Token::default(), options: Options::default(), payload: Bytes::new() }
    }
}
