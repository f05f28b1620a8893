//! `coap://host:port/path?query` (§6; RFC 8323 §8).

use crate::connection::Endpoint;
use crate::exit::Failure;
use crate::url::{percent_decode, split_port};
use althing_coap::message::{Options, number};
use std::net::IpAddr;

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Udp,
    Dtls,
    Tcp,
    Tls,
    /// A WebSocket.
    Ws,
    /// A WebSocket inside TLS.
    Wss,
}

/// Scheme, carrier, default port.
const SCHEMES: [(&str, Carrier, u16); 6] = [
    ("coap", Carrier::Udp, 5683),
    ("coaps", Carrier::Dtls, 5684),
    ("coap+tcp", Carrier::Tcp, 5683),
    ("coaps+tcp", Carrier::Tls, 5684),
    ("coap+ws", Carrier::Ws, 80),
    ("coaps+ws", Carrier::Wss, 443),
];

impl Carrier {
    /// Where its servers listen.
    pub fn port_default(self) -> u16 {
        SCHEMES.iter().find(|(_, carrier, _)| *carrier == self).map_or(5683, |(_, _, port)| *port)
    }

    /// As in URLs.
    pub fn scheme(self) -> &'static str {
        SCHEMES.iter().find(|(_, carrier, _)| *carrier == self).map_or("coap", |(name, ..)| name)
    }

    /// Whether a connection carries the messages, which arrive without being repeated.
    pub fn is_connection(self) -> bool {
        !matches!(self, Self::Udp | Self::Dtls)
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub carrier: Carrier,
    /// A name or address, without the brackets of IPv6.
    pub host: String,
    pub port: u16,
}

impl Server {
    /// Host and port.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.host.clone(), self.port)
    }
}

/// A resource of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    pub server: Server,
    path: Vec<String>,
    query: Vec<String>,
    text: String,
}

impl Uri {
    /// Reads `text`; errors are usage errors.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| Failure::usage("that is no URL of CoAP: write coap://HOST[:PORT]/PATH[?QUERY]"))?;
        if matches!(scheme, "http" | "https") {
            return Err(Failure::usage(format!("this speaks CoAP: for {scheme}:// use curl")));
        }
        let known = SCHEMES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(scheme));
        let (_, carrier, port_default) = *known.ok_or_else(|| {
            let ours = SCHEMES.iter().map(|(name, ..)| format!("{name}://")).collect::<Vec<_>>().join(", ");
            Failure::usage(format!("the URL has no scheme of CoAP: use one of {ours}"))
        })?;
        if rest.contains('#') {
            return Err(Failure::usage("a URL of CoAP has no fragment: write # as %23"));
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(Failure::usage(
                "a URL of CoAP names no user: use --psk-identity and --psk, or --cert and --key",
            ));
        }
        let (host, port) = split_port(authority)?;
        // A single empty segment is no segment (§6.4).
        let path =
            if path.is_empty() { Vec::new() } else { path.split('/').map(percent_decode).collect::<Result<_, _>>()? };
        let query = query.map(|query| query.split('&').map(percent_decode).collect::<Result<_, _>>()).transpose()?;
        let server = Server { carrier, host, port: port.unwrap_or(port_default) };
        Ok(Self { server, path, query: query.unwrap_or_default(), text: text.to_owned() })
    }

    /// With this path when it names none.
    pub fn or_path(mut self, path: &[&str]) -> Self {
        if self.path.is_empty() {
            self.path = path.iter().map(|segment| (*segment).to_owned()).collect();
        }
        self
    }

    /// Adds what names the resource (§6.4).
    pub fn add_to(&self, options: &mut Options) {
        if self.server.host.parse::<IpAddr>().is_err() {
            options.add(number::URI_HOST, self.server.host.to_lowercase().into_bytes());
        }
        for segment in &self.path {
            options.add(number::URI_PATH, segment.clone().into_bytes());
        }
        for part in &self.query {
            options.add(number::URI_QUERY, part.clone().into_bytes());
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_options() {
        let uri = Uri::parse("coap://Broker.example/t/a%2Fb//c?f=x%26y&z").unwrap();
        let mut options = Options::default();
        uri.add_to(&mut options);
        let all: Vec<_> = options.iter().map(|(number, value)| (*number, &value[..])).collect();
        let expected: [(u16, &[u8]); 7] =
            [(3, b"broker.example"), (11, b"t"), (11, b"a/b"), (11, b""), (11, b"c"), (15, b"f=x&y"), (15, b"z")];
        assert_eq!(all, expected);
    }

    #[test]
    fn schemes_have_their_ports() {
        for (text, carrier, port) in [
            ("coap://h", Carrier::Udp, 5683),
            ("coaps://h/", Carrier::Dtls, 5684),
            ("coap+tcp://[::1]:7/x", Carrier::Tcp, 7),
            ("coaps+tcp://h", Carrier::Tls, 5684),
            ("coap+ws://h/x", Carrier::Ws, 80),
            ("COAPS+WS://h", Carrier::Wss, 443),
        ] {
            let uri = Uri::parse(text).unwrap();
            assert_eq!(
                (uri.server.carrier, uri.server.port, uri.path.len()),
                (carrier, port, usize::from(text.ends_with('x'))),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_url_of_coap_says_what_would_be_one() {
        for (text, part) in
            [("h/a", "coap://HOST"), ("http://h/a", "curl"), ("mqtt://h", "coap+tcp://"), ("coap://u@h", "--psk")]
        {
            let failure = Uri::parse(text).unwrap_err();
            assert!(failure.text.contains(part), "{}", failure.text);
        }
    }
}
