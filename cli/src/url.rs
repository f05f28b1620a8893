//! `mqtt://user:password@host:port/topic` and its like for other languages, as the tools of other brokers write it.

use crate::coap::Carrier;
use crate::exit::Failure;
use crate::foreign::Language;

/// What a URL says; what it leaves out stays `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The language besides MQTT.
    pub language: Option<Language>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// User name, percent-decoded.
    pub username: Option<String>,
    /// Password, percent-decoded.
    pub password: Option<String>,
    /// A name or address, without the brackets of IPv6.
    pub host: String,
    /// TCP port.
    pub port: Option<u16>,
    /// The topic that the path names, percent-decoded.
    pub topic: Option<String>,
    /// The path and query of a WebSocket, as they were written.
    pub resource: Option<String>,
}

/// What a path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathIs {
    Topic,
    /// The resource that becomes a WebSocket.
    WebSocket,
    /// The resource of a topic: `/topics/TOPIC`.
    TopicResource,
}

/// Scheme, language besides MQTT, whether TLS is spoken, what the path is; the names that other tools use, ours first.
const SCHEMES: [(&str, Option<Language>, bool, PathIs); 19] = [
    ("mqtt", None, false, PathIs::Topic),
    ("tcp", None, false, PathIs::Topic),
    ("mqtts", None, true, PathIs::Topic),
    ("ssl", None, true, PathIs::Topic),
    ("tls", None, true, PathIs::Topic),
    ("ws", None, false, PathIs::WebSocket),
    ("wss", None, true, PathIs::WebSocket),
    ("coap", Some(Language::Coap(Carrier::Udp)), false, PathIs::Topic),
    ("coaps", Some(Language::Coap(Carrier::Dtls)), true, PathIs::Topic),
    ("coap+tcp", Some(Language::Coap(Carrier::Tcp)), false, PathIs::Topic),
    ("coaps+tcp", Some(Language::Coap(Carrier::Tls)), true, PathIs::Topic),
    ("coap+ws", Some(Language::Coap(Carrier::Ws)), false, PathIs::Topic),
    ("coaps+ws", Some(Language::Coap(Carrier::Wss)), true, PathIs::Topic),
    ("stomp", Some(Language::Stomp), false, PathIs::Topic),
    ("stomps", Some(Language::Stomp), true, PathIs::Topic),
    ("stomp+tls", Some(Language::Stomp), true, PathIs::Topic),
    ("stomp+ssl", Some(Language::Stomp), true, PathIs::Topic),
    ("http", Some(Language::Http), false, PathIs::TopicResource),
    ("https", Some(Language::Http), true, PathIs::TopicResource),
];

/// Where most brokers speak MQTT in a WebSocket.
const WEB_SOCKET_DEFAULT: &str = "/mqtt";

impl Url {
    /// Reads `text`; errors are usage errors.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        // The text may hold a password: no error shows more than the scheme.
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| Failure::usage("that is no URL: write mqtt://[user[:password]@]host[:port][/topic]"))?;
        let known = SCHEMES.iter().find(|(name, ..)| *name == scheme);
        let (_, language, tls, path_is) = *known.ok_or_else(|| {
            let ours = SCHEMES.iter().map(|(name, ..)| format!("{name}://")).collect::<Vec<_>>().join(", ");
            Failure::usage(format!("the URL has no known scheme: use one of {ours}"))
        })?;
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        // The last `@` separates: a password may hold one that was not escaped.
        let (credentials, address) = match authority.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, authority),
        };
        let (username, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, "\0"))) {
            None => (None, None),
            Some((username, "\0")) => (Some(percent_decode(username)?), None),
            Some((username, password)) => (Some(percent_decode(username)?), Some(percent_decode(password)?)),
        };
        let (host, port) = split_port(address)?;
        let resource = path.map_or_else(|| WEB_SOCKET_DEFAULT.to_owned(), |path| format!("/{path}"));
        let resource = (path_is == PathIs::WebSocket).then_some(resource);
        let topic = match path_is {
            PathIs::Topic => path,
            PathIs::WebSocket => None,
            PathIs::TopicResource => path.map(of_resource).transpose()?,
        };
        let topic = topic.filter(|topic| !topic.is_empty()).map(percent_decode).transpose()?;
        Ok(Self { language, tls, username, password, host, port, topic, resource })
    }
}

/// The topic in `topics/TOPIC`, still percent-encoded.
fn of_resource(path: &str) -> Result<&str, Failure> {
    match path.strip_prefix("topics").map(|rest| rest.strip_prefix('/').unwrap_or(rest)) {
        _ if path.is_empty() => Ok(""),
        Some(topic) if !topic.contains('?') => Ok(topic),
        _ => Err(Failure::usage("the path of an http:// URL names a topic: write /topics/TOPIC, or use -t")),
    }
}

/// `host`, `host:port`, `[::1]`, `[::1]:port`.
pub fn split_port(address: &str) -> Result<(String, Option<u16>), Failure> {
    let no_host = || Failure::usage("the URL names no host: write mqtt://localhost, for one");
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) =
            rest.split_once(']').ok_or_else(|| Failure::usage("the IPv6 address in the URL misses its closing ]"))?;
        (host, rest.strip_prefix(':'))
    } else {
        match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        }
    };
    if host.is_empty() {
        return Err(no_host());
    }
    let port = port
        .map(|port| {
            // Without a host, this may be a password.
            port.parse().map_err(|_| Failure::usage("the URL has no valid port: use a number from 1 to 65535"))
        })
        .transpose()?;
    Ok((host.to_owned(), port))
}

/// Text without its percent signs.
pub fn percent_decode(text: &str) -> Result<String, Failure> {
    let wrong = || Failure::usage("the URL is not percent-encoded UTF-8: write % as %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitCode;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn every_part_is_read() {
        let all = url("mqtt://ann:s%40cret@broker.example:1999/a/b%20c");
        assert_eq!(all.username.as_deref(), Some("ann"));
        assert_eq!(all.password.as_deref(), Some("s@cret"));
        assert_eq!((all.host.as_str(), all.port), ("broker.example", Some(1999)));
        assert_eq!(all.topic.as_deref(), Some("a/b c"));
    }

    #[test]
    fn the_scheme_is_the_language() {
        assert_eq!(url("mqtt://h").language, None);
        assert_eq!(url("coap://h:5683/a/b").language, Some(Language::Coap(Carrier::Udp)));
        assert_eq!(url("coaps+ws://h/a").language, Some(Language::Coap(Carrier::Wss)));
        assert_eq!(url("stomp://ann:secret@h/a").language, Some(Language::Stomp));
    }

    #[test]
    fn the_path_of_a_websocket_is_no_topic() {
        for (text, resource) in [
            ("ws://h", "/mqtt"),
            ("ws://h/", "/"),
            ("wss://h:8443/a%20b?c=d", "/a%20b?c=d"),
            ("ws://ann:x@h/ws", "/ws"),
        ] {
            let url = url(text);
            assert_eq!((url.resource.as_deref(), url.topic, url.language), (Some(resource), None, None), "{text}");
        }
        assert_eq!(url("mqtt://h/a").resource, None);
        assert!(url("wss://h").tls && !url("ws://h").tls);
    }

    #[test]
    fn the_path_of_http_is_the_resource_of_a_topic() {
        for (text, topic) in [
            ("http://h", None),
            ("http://h/", None),
            ("http://h/topics", None),
            ("http://h/topics/", None),
            ("https://h/topics/a/b%20c", Some("a/b c")),
        ] {
            let url = url(text);
            assert_eq!((url.topic.as_deref(), url.language), (topic, Some(Language::Http)), "{text}");
        }
        for text in ["http://h/a", "http://h/api/v1", "http://h/topics/a?qos=1"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_scheme_says_whether_tls_is_spoken() {
        for text in ["mqtts://h", "ssl://h", "tls://h"] {
            assert_eq!((url(text).language, url(text).tls), (None, true), "{text}");
        }
        for text in ["stomps://h", "stomp+tls://h", "stomp+ssl://h"] {
            assert_eq!((url(text).language, url(text).tls), (Some(Language::Stomp), true), "{text}");
        }
        assert!(!url("mqtt://h").tls && !url("stomp://h").tls);
    }

    #[test]
    fn no_error_shows_a_password() {
        for text in [
            "ann:secret@h",
            "mqtt://ann:secret",
            "gopher://ann:secret@h",
            "http://ann:secret@h/x",
            "mqtt://ann:secret%@h",
            "mqtt://a:secret@h:x",
        ] {
            let failure = Url::parse(text).unwrap_err();
            assert!(!failure.text.contains("secret"), "{}", failure.text);
        }
    }

    #[test]
    fn what_is_left_out_stays_open() {
        let none = url("mqtt://localhost");
        assert_eq!(none.host, "localhost");
        assert_eq!((none.port, none.username, none.password, none.topic), (None, None, None, None));
        assert_eq!(url("mqtt://h/").topic, None);
        assert_eq!(url("mqtt://ann@h").password, None);
        assert_eq!(url("mqtt://ann:@h").password.as_deref(), Some(""));
    }

    #[test]
    fn ipv6_addresses_have_brackets() {
        assert_eq!(url("mqtt://[::1]:1884/t").host, "::1");
        assert_eq!(url("mqtt://[::1]:1884/t").port, Some(1884));
        assert_eq!(url("mqtt://[fe80::2]").port, None);
    }

    #[test]
    fn an_unescaped_at_sign_in_the_password_is_understood() {
        assert_eq!(url("mqtt://u:a@b@h").password.as_deref(), Some("a@b"));
    }

    #[test]
    fn what_is_wrong_is_a_usage_error() {
        for text in [
            "localhost",
            "gopher://h",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://h:port",
            "mqtt://h:70000",
            "mqtt://[::1",
            "mqtt://h/%zz",
            "mqtt://h/%e9",
            "mqtt://h/%1",
        ] {
            assert_eq!(Url::parse(text).map_err(|failure| failure.code), Err(ExitCode::Usage), "{text}");
        }
    }
}
