//! The first words of a client (ClientHello, RFC 6347 §4.2.1), answered without any state until its address has proven itself.

use super::provider::{COOKIE_BYTES, hmac, secret};
use std::net::{IpAddr, SocketAddr};

const RECORD_HEAD_BYTES: usize = 13;
const MESSAGE_HEAD_BYTES: usize = 12;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// A secret makes cookies for so long, and they are good for as long again.
const SECRET_NS: u64 = 60_000_000_000;

/// A ClientHello that came in one piece, in one record that begins its datagram.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    datagram: &'a [u8],
    /// Where the cookie begins in the datagram, behind its length.
    cookie_start: usize,
    pub random: &'a [u8],
    pub cookie: &'a [u8],
    /// Cipher suites and everything behind them.
    rest: &'a [u8],
}

impl<'a> Hello<'a> {
    /// `None` for everything else: only a hello begins something.
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let is_first = datagram.first() == Some(&HANDSHAKE) && datagram.get(3..5)? == [0, 0];
        let record_bytes = usize::from(u16::from_be_bytes(datagram.get(11..13)?.try_into().ok()?));
        let message = datagram.get(RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + record_bytes)?;
        let is_hello = message.first() == Some(&CLIENT_HELLO);
        let (length, offset, fragment) = (message.get(1..4)?, message.get(6..9)?, message.get(9..12)?);
        // State for a hello in pieces could not be kept for those who have not proven their address.
        let body = message.get(MESSAGE_HEAD_BYTES..)?;
        let is_whole = offset == [0, 0, 0] && length == fragment && length == &(body.len() as u32).to_be_bytes()[1..];
        if !is_first || !is_hello || !is_whole {
            return None;
        }
        let random = body.get(2..34)?;
        let session_end = 35 + usize::from(*body.get(34)?);
        let cookie_at = session_end + 1;
        let cookie_end = cookie_at + usize::from(*body.get(session_end)?);
        let (cookie, rest) = (body.get(cookie_at..cookie_end)?, body.get(cookie_end..)?);
        let cookie_start = RECORD_HEAD_BYTES + MESSAGE_HEAD_BYTES + cookie_at;
        Some(Self { datagram, cookie_start, random, cookie, rest })
    }

    /// The cipher suites that it offers, the one that it likes best first.
    pub fn cipher_suites(&self) -> impl Iterator<Item = u16> + 'a {
        let length = self.rest.first_chunk::<2>().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
        let suites = self.rest.get(2..2 + length).unwrap_or_default();
        suites.as_chunks::<2>().0.iter().map(|suite| u16::from_be_bytes(*suite))
    }

    /// The same hello as it was before there was a cookie.
    pub fn without_cookie(&self) -> Vec<u8> {
        let cookie_end = self.cookie_start + self.cookie.len();
        let record_bytes = RECORD_HEAD_BYTES + usize::from(u16::from_be_bytes([self.datagram[11], self.datagram[12]]));
        let mut bytes = self.datagram[..self.cookie_start].to_vec();
        bytes.extend_from_slice(&self.datagram[cookie_end..record_bytes]);
        bytes[self.cookie_start - 1] = 0;
        let message = (bytes.len() - RECORD_HEAD_BYTES) as u16;
        let body = (bytes.len() - RECORD_HEAD_BYTES - MESSAGE_HEAD_BYTES) as u32;
        // Record 0 and message 0: the first of everything.
        bytes[5..11].fill(0);
        bytes[11..13].copy_from_slice(&message.to_be_bytes());
        bytes[14..17].copy_from_slice(&body.to_be_bytes()[1..]);
        bytes[17..19].fill(0);
        bytes[22..25].copy_from_slice(&body.to_be_bytes()[1..]);
        bytes
    }

    /// What asks for the cookie to be brought: shorter than the hello, so that nobody is flooded by it.
    pub fn verify_request(&self, cookie: &[u8; COOKIE_BYTES]) -> Vec<u8> {
        const VERSION: [u8; 2] = [0xFE, 0xFF];
        let body_bytes = (VERSION.len() + 1 + COOKIE_BYTES) as u8;
        let mut bytes = vec![HANDSHAKE, VERSION[0], VERSION[1], 0, 0];
        bytes.extend_from_slice(&self.datagram[5..11]);
        bytes.extend_from_slice(&[0, MESSAGE_HEAD_BYTES as u8 + body_bytes]);
        bytes.extend_from_slice(&[HELLO_VERIFY_REQUEST, 0, 0, body_bytes, 0, 0, 0, 0, 0, 0, 0, body_bytes]);
        bytes.extend_from_slice(&VERSION);
        bytes.push(COOKIE_BYTES as u8);
        bytes.extend_from_slice(cookie);
        bytes
    }
}

/// Makes cookies and knows them again: a function of who says to be where and what it said, and of a secret that changes.
#[derive(Debug, Default)]
pub struct Cookies {
    secrets: Option<[[u8; 32]; 2]>,
    since_ns: u64,
}

impl Cookies {
    /// The cookie for this hello; `None` when the system gives no chance.
    pub fn make(&mut self, now_ns: u64, remote: SocketAddr, hello: &Hello<'_>) -> Option<[u8; COOKIE_BYTES]> {
        self.turn(now_ns)?;
        cookie(&self.secrets?[0], remote, hello)
    }

    /// The cookie that this hello has brought, when it is one of ours for it.
    pub fn verify(&mut self, now_ns: u64, remote: SocketAddr, hello: &Hello<'_>) -> Option<[u8; COOKIE_BYTES]> {
        let brought: [u8; COOKIE_BYTES] = hello.cookie.try_into().ok()?;
        self.turn(now_ns)?;
        self.secrets?
            .iter()
            .filter_map(|secret| cookie(secret, remote, hello))
            .find(|cookie| is_equal(cookie, &brought))
    }

    fn turn(&mut self, now_ns: u64) -> Option<()> {
        let age_ns = now_ns.saturating_sub(self.since_ns);
        match self.secrets {
            Some(_) if age_ns < SECRET_NS => return Some(()),
            Some([last, _]) if age_ns < 2 * SECRET_NS => self.secrets = Some([secret()?, last]),
            _ => self.secrets = Some([secret()?, secret()?]),
        }
        self.since_ns = now_ns;
        Some(())
    }
}

fn cookie(secret: &[u8; 32], remote: SocketAddr, hello: &Hello<'_>) -> Option<[u8; COOKIE_BYTES]> {
    let mut data = match remote.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
    .to_vec();
    data.extend_from_slice(&remote.port().to_be_bytes());
    data.extend_from_slice(&hello.datagram[RECORD_HEAD_BYTES + MESSAGE_HEAD_BYTES..hello.cookie_start - 1]);
    data.extend_from_slice(hello.rest);
    hmac(secret, &data)
}

/// In the same time wherever the first difference is.
fn is_equal(one: &[u8; COOKIE_BYTES], other: &[u8; COOKIE_BYTES]) -> bool {
    one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}
