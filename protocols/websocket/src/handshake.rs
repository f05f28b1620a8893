//! The opening handshake (§4): what a request must say, and what the response says. Who speaks HTTP brings the headers
//! here and takes the answer away.

use crate::extension::{Extension, is_token};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The version that is spoken here (§4.1).
pub const VERSION: &str = "13";

/// What a client offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `Sec-WebSocket-Accept` of the response.
    pub accept: String,
    /// Sub-protocols, the one that it likes best first.
    pub subprotocols: Vec<String>,
    /// Extensions, the one that it likes best first.
    pub extensions: Vec<Extension>,
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The status of the response.
    pub status: u16,
    /// Headers that belong to it.
    pub headers: &'static [(&'static str, &'static str)],
    /// One sentence: what is wrong and what would be right.
    pub text: &'static str,
}

impl Rejection {
    const fn bad(text: &'static str) -> Self {
        Self { status: 400, headers: &[], text }
    }
}

/// Whether the request asks for a WebSocket at all, well or not.
pub fn is_asked_for<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> bool {
    tokens(headers, "upgrade").any(|token| token.eq_ignore_ascii_case("websocket"))
}

/// Checks a request (§4.2.1). The headers are those of the request, in order, with names in any case.
pub fn check<'a, H>(method: &str, is_http_1_1: bool, headers: H) -> Result<Offer, Rejection>
where
    H: IntoIterator<Item = (&'a str, &'a [u8])> + Clone,
{
    if method != "GET" {
        let text = "a WebSocket begins with GET";
        return Err(Rejection { status: 405, headers: &[("allow", "GET")], text });
    }
    if !is_http_1_1 {
        return Err(Rejection::bad("a WebSocket begins with a request of HTTP/1.1"));
    }
    let has = |name: &'static str, wanted: &str| {
        tokens(headers.clone(), name).any(|token| token.eq_ignore_ascii_case(wanted))
    };
    if !has("upgrade", "websocket") || !has("connection", "upgrade") {
        let text = "a WebSocket is asked for by `Upgrade: websocket` and `Connection: Upgrade`";
        return Err(Rejection { status: 426, headers: UPGRADE, text });
    }
    if only(headers.clone(), "sec-websocket-version").map(str::trim) != Some(VERSION) {
        let text = "version 13 of WebSocket is spoken here (`Sec-WebSocket-Version: 13`)";
        return Err(Rejection { status: 426, headers: UPGRADE, text });
    }
    let key = only(headers.clone(), "sec-websocket-key").map(str::trim);
    let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16));
    let Some(key) = key else {
        return Err(Rejection::bad("`Sec-WebSocket-Key` is the Base64 of 16 bytes, given once"));
    };
    let subprotocols: Vec<String> = tokens(headers.clone(), "sec-websocket-protocol").map(str::to_owned).collect();
    if subprotocols.iter().any(|name| !is_token(name)) {
        return Err(Rejection::bad("`Sec-WebSocket-Protocol` is a list of names with commas between"));
    }
    let mut extensions = Vec::new();
    for value in values(headers, "sec-websocket-extensions") {
        let text = "`Sec-WebSocket-Extensions` is a list of names with parameters (RFC 6455 §9.1)";
        let list = value.and_then(Extension::parse_list).ok_or(Rejection::bad(text))?;
        extensions.extend(list);
    }
    Ok(Offer { accept: accept_key(key), subprotocols, extensions })
}

const UPGRADE: &[(&str, &str)] =
    &[("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", VERSION)];

impl Offer {
    /// The sub-protocol to speak: the first one that the client offers and the table has.
    pub fn choose<'t, T>(&self, table: impl IntoIterator<Item = (&'t str, T)> + Clone) -> Option<(&'t str, T)> {
        let find = |wanted: &String| table.clone().into_iter().find(|(name, _)| name == wanted);
        self.subprotocols.iter().find_map(find)
    }

    /// The headers of the response, whose status is 101 (§4.2.2).
    pub fn response(&self, subprotocol: Option<&str>, extension: Option<&Extension>) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("upgrade", "websocket".to_owned()),
            ("connection", "Upgrade".to_owned()),
            ("sec-websocket-accept", self.accept.clone()),
        ];
        headers.extend(subprotocol.map(|name| ("sec-websocket-protocol", name.to_owned())));
        headers.extend(extension.map(|extension| ("sec-websocket-extensions", extension.to_string())));
        headers
    }
}

/// What proves that the server has read the key (§4.2.2).
pub fn accept_key(key: &str) -> String {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// The values of a header; `None` for one that is no text.
fn values<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    name: &'static str,
) -> impl Iterator<Item = Option<&'a str>> {
    let named = headers.into_iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
    named.map(|(_, value)| std::str::from_utf8(value).ok())
}

/// The elements of a list, which may stand in several headers; what is no text becomes an element that is no token.
fn tokens<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    name: &'static str,
) -> impl Iterator<Item = &'a str> {
    let elements = values(headers, name).flat_map(|value| value.unwrap_or("?").split(','));
    elements.map(|element| element.trim_matches([' ', '\t'])).filter(|element| !element.is_empty())
}

/// The value of a header that stands there once.
fn only<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>, name: &'static str) -> Option<&'a str> {
    let mut values = values(headers, name);
    let first = values.next().flatten();
    first.filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers = Vec<(&'static str, &'static [u8])>;

    fn good() -> Headers {
        vec![
            ("Host", b"server.example.com"),
            ("Upgrade", b"websocket"),
            ("Connection", b"keep-alive, Upgrade"),
            ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Protocol", b"chat, superchat"),
            ("Sec-WebSocket-Protocol", b"mqtt"),
            ("Sec-WebSocket-Version", b"13"),
        ]
    }

    fn with(name: &'static str, value: &'static [u8]) -> Headers {
        let mut headers = good();
        headers.retain(|(known, _)| *known != name);
        headers.push((name, value));
        headers
    }

    #[test]
    fn the_example_of_the_specification_is_accepted() {
        let offer = check("GET", true, good()).unwrap();
        assert_eq!(offer.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(offer.subprotocols, ["chat", "superchat", "mqtt"]);
        assert_eq!(offer.choose([("mqtt", 1), ("superchat", 2)]), Some(("superchat", 2)));
        assert_eq!(offer.choose([("MQTT", 1)]), None);
        let response = offer.response(Some("superchat"), None);
        assert!(response.contains(&("sec-websocket-protocol", "superchat".to_owned())));
    }

    #[test]
    fn what_is_wrong_has_its_status() {
        let status =
            |method, is_http_1_1, headers: Headers| check(method, is_http_1_1, headers).map_err(|it| it.status);
        assert_eq!(status("POST", true, good()), Err(405));
        assert_eq!(status("GET", false, good()), Err(400));
        for (name, value, wanted) in [
            ("Upgrade", &b"h2c"[..], 426),
            ("Connection", b"close", 426),
            ("Sec-WebSocket-Version", b"8", 426),
            ("Sec-WebSocket-Version", b"", 426),
            ("Sec-WebSocket-Key", b"", 400),
            ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZQ==", 400),
            ("Sec-WebSocket-Key", b"not base64 at all, no", 400),
            ("Sec-WebSocket-Protocol", b"a b", 400),
            ("Sec-WebSocket-Protocol", b"\xFF", 400),
            ("Sec-WebSocket-Extensions", b";", 400),
            ("Sec-WebSocket-Extensions", b"\xFF", 400),
        ] {
            assert_eq!(status("GET", true, with(name, value)), Err(wanted), "{name}");
        }
        let mut twice = good();
        twice.push(("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(status("GET", true, twice), Err(400));
        let other_version = check("GET", true, with("Sec-WebSocket-Version", b"8")).unwrap_err();
        assert!(other_version.headers.contains(&("sec-websocket-version", "13")));
    }

    #[test]
    fn an_upgrade_to_something_else_is_none_of_ours() {
        assert!(is_asked_for(good()));
        assert!(is_asked_for(with("Upgrade", b"h2c, WebSocket")));
        assert!(!is_asked_for(with("Upgrade", b"h2c")));
    }
}
