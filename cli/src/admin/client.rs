//! Requests to the admin interface of a running broker: through the socket in its data directory, or over HTTP.

use super::arguments::AdminArguments;
use crate::connection::Endpoint;
use crate::credentials;
use crate::exit::{ExitCode, Failure};
use crate::socket::Socket;
use althing_server::admin::SOCKET_FILE;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the broker keeps things when nothing is said, and where its admin interface is.
const DATA_DEFAULT: &str = "./althing-data";
const URL_DEFAULT: &str = "http://127.0.0.1:8080";

/// How long an answer may take. A broker that is asked for a sorted list of a million sessions takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the admin interface.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
    token: Option<String>,
}

/// Where it is.
#[derive(Debug)]
enum Place {
    Socket(PathBuf),
    Url { tls: bool, host: String, port: u16 },
}

impl Client {
    /// Connects as `arguments` say.
    pub async fn connect(arguments: &AdminArguments) -> Result<Self, Failure> {
        let token = token(arguments)?;
        let place = place(arguments, token.is_some())?;
        let (socket, host) = match &place {
            Place::Socket(path) => (Socket::connect(&Endpoint::Unix(path.clone()), None).await, "localhost".to_owned()),
            Place::Url { tls, host, port } => {
                let tls = tls.then(|| arguments.tls.prepare(host)).transpose()?;
                let endpoint = Endpoint::Tcp(host.clone(), *port);
                (Socket::connect(&endpoint, tls.as_ref()).await, endpoint.to_string())
            }
        };
        let socket = socket.map_err(|failure| explain(&place, failure))?;
        let shaken = http1::handshake(TokioIo::new(socket.into_stream())).await;
        let (sender, connection) = shaken.map_err(|error| broken(&error))?;
        // What goes wrong there is told by the request that waits for it.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, host, token })
    }

    /// The JSON that `path` answers with.
    pub async fn get(&mut self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path).await
    }

    /// Does what `method` on `path` means, and gives the JSON of the answer.
    pub async fn request(&mut self, method: Method, path: &str) -> Result<Value, Failure> {
        let answer = tokio::time::timeout(PATIENCE, async {
            let response = self.send(method, path).await?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| broken(&error))?;
            let body = body.to_bytes();
            if !status.is_success() {
                return Err(refused(status, &body));
            }
            if body.is_empty() {
                return Ok(Value::Null);
            }
            serde_json::from_slice(&body)
                .map_err(|_| Failure::new(ExitCode::Protocol, "what answers there is no admin interface of althing"))
        });
        answer.await.unwrap_or_else(|_| {
            Err(Failure::new(ExitCode::Timeout, format!("no answer within {} s", PATIENCE.as_secs())))
        })
    }

    /// The status and the JSON of `path`, also when it says no.
    pub async fn ask(&mut self, path: &str) -> Result<(StatusCode, Value), Failure> {
        let response = self.send(Method::GET, path).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| broken(&error))?;
        Ok((status, serde_json::from_slice(&body.to_bytes()).unwrap_or_default()))
    }

    /// An answer whose body comes bit by bit.
    pub async fn stream(&mut self, path: &str) -> Result<Incoming, Failure> {
        let response = self.send(Method::GET, path).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = response.into_body().collect().await.map_err(|error| broken(&error))?;
        Err(refused(status, &body.to_bytes()))
    }

    async fn send(&mut self, method: Method, path: &str) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let unusable = |_| Failure::usage("the token has characters that no token has");
        let request = request.body(Empty::new()).map_err(unusable)?;
        self.sender.ready().await.map_err(|error| broken(&error))?;
        self.sender.send_request(request).await.map_err(|error| broken(&error))
    }
}

/// A path with one part that comes from outside.
pub fn path_of(before: &str, part: &str, after: &str) -> String {
    format!("{before}{}{after}", percent_encode(part))
}

/// A path with a query; what is absent is left out.
pub fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let pairs = pairs.iter().filter_map(|(key, value)| Some(format!("{key}={}", percent_encode(value.as_deref()?))));
    let query: Vec<_> = pairs.collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// All but the characters that never mean anything else (RFC 3986 §2.3).
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn token(arguments: &AdminArguments) -> Result<Option<String>, Failure> {
    match &arguments.token {
        Some(token) => Ok(Some(token.clone())),
        None => credentials::from_environment("ALTHING_TOKEN"),
    }
}

/// The socket in the data directory, if there is one; whoever has only a token means the usual address.
fn place(arguments: &AdminArguments, has_token: bool) -> Result<Place, Failure> {
    if let Some(url) = &arguments.url {
        return parse_url(url);
    }
    let data = arguments.data.as_deref().unwrap_or(Path::new(DATA_DEFAULT));
    let socket = data.join(SOCKET_FILE);
    let is_there = socket.symlink_metadata().is_ok();
    if !is_there && has_token && arguments.data.is_none() { parse_url(URL_DEFAULT) } else { Ok(Place::Socket(socket)) }
}

fn parse_url(url: &str) -> Result<Place, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "{url} is no address of an admin interface: write http://HOST:PORT or https://HOST:PORT"
        ))
    };
    let (tls, rest) = match url.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        _ => return Err(wrong()),
    };
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (rest, 8_080),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains('/') {
        return Err(wrong());
    }
    Ok(Place::Url { tls, host: host.to_owned(), port })
}

/// What the system's refusal means for whoever wants to administer.
fn explain(place: &Place, failure: Failure) -> Failure {
    let Place::Socket(path) = place else {
        return Failure::new(failure.code, failure.text.replace("check host and port", "check --url"));
    };
    let shown = path.display();
    let text = match std::os::unix::net::UnixStream::connect(path).map_err(|error| error.kind()) {
        Err(ErrorKind::NotFound) => format!(
            "no broker runs here: there is no {shown}. Name the broker's data directory with --data DIR, or its admin \
             interface with --url {URL_DEFAULT} and a token"
        ),
        Err(ErrorKind::PermissionDenied) => format!(
            "{shown} belongs to another user: run this as the user of the broker, or use --url {URL_DEFAULT} and a token"
        ),
        Err(ErrorKind::ConnectionRefused) => {
            format!("no broker runs here: {shown} is left over from one that was killed")
        }
        _ => failure.text,
    };
    Failure::new(ExitCode::CannotConnect, text)
}

fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = problem["detail"].as_str().map(str::to_owned);
    if status == StatusCode::UNAUTHORIZED {
        let text = "the broker wants its token, which it printed at its first start: put it into ALTHING_TOKEN, or its file's \
                    name into ALTHING_TOKEN_FILE; or use --data DIR as the user of the broker";
        return Failure::new(ExitCode::Refused, text);
    }
    let code = match status {
        StatusCode::BAD_REQUEST => ExitCode::Usage,
        status if status.is_client_error() => ExitCode::Refused,
        _ => ExitCode::Runtime,
    };
    Failure::new(code, detail.unwrap_or_else(|| format!("the broker answered {status}")))
}

fn broken(error: &hyper::Error) -> Failure {
    let text = if error.is_parse() {
        "what listens there does not speak HTTP".to_owned()
    } else {
        format!("the connection to the broker broke: {error}")
    };
    Failure::new(ExitCode::CannotConnect, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_and_may_have_a_port() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", Some((false, "127.0.0.1", 8_080))),
            ("https://broker.example/", Some((true, "broker.example", 8_080))),
            ("http://[::1]:9", Some((false, "::1", 9))),
            ("http://[::1]", Some((false, "::1", 8_080))),
            ("broker:8080", None),
            ("http://", None),
            ("http://h:port", None),
            ("ftp://h", None),
        ] {
            let got = parse_url(url).ok().map(|place| match place {
                Place::Url { tls, host, port } => (tls, host, port),
                Place::Socket(path) => panic!("{}", path.display()),
            });
            assert_eq!(got, expected.map(|(tls, host, port)| (tls, host.to_owned(), port)), "{url}");
        }
    }

    #[test]
    fn what_comes_from_outside_is_encoded() {
        assert_eq!(path_of("/c/", "a/b c%", "/queue"), "/c/a%2Fb%20c%25/queue");
        let query = with_query("/x", &[("filter", Some("a/#&b".into())), ("sort", None), ("limit", Some("5".into()))]);
        assert_eq!(query, "/x?filter=a%2F%23%26b&limit=5");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let failure = refused(StatusCode::UNAUTHORIZED, b"{}");
        assert!(failure.code == ExitCode::Refused && failure.text.contains("ALTHING_TOKEN_FILE"), "{failure}");
        let failure = refused(StatusCode::NOT_FOUND, br#"{"detail":"client \"x\" is not connected"}"#);
        assert_eq!((failure.code, &failure.text[..]), (ExitCode::Refused, "client \"x\" is not connected"));
        assert_eq!(refused(StatusCode::BAD_REQUEST, b"").code, ExitCode::Usage);
    }
}
