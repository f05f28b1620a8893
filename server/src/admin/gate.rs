//! Who may come in. Every request passes here, and nothing but health is answered before it has.

use super::Admin;
use super::connections::Peer;
use super::gateway::HostIsOurs;
use super::problem::Problem;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The cookie of those who have logged in.
pub const COOKIE: &str = "althing-session";

/// A header that a page of another origin cannot send without asking first, and we never say yes: whoever changes
/// something by a cookie must send it.
pub const HEADER: HeaderName = HeaderName::from_static("x-althing");

/// A body: the largest are definitions.
const BODY_BYTES_MAX: usize = 8 << 20;
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Who has come in; for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Through the socket in the data directory.
    Owner,
    /// With the token.
    Token,
    /// After logging in under this name.
    User(String),
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Owner => f.write_str("the owner of the data directory"),
            Self::Token => f.write_str("an administrator with the token"),
            Self::User(name) => write!(f, "the administrator {name:?}"),
        }
    }
}

/// Lets a request through, with its [`Caller`] and its whole body, or answers it.
pub async fn pass(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let mut response = match admit(&admin, request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    // The console's files say more of themselves.
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn admit(admin: &Admin, mut request: Request) -> Result<Request, Problem> {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return Err(Problem::failed("this request came from nowhere"));
    };
    let door = Door::of(&request);
    if door != Door::Health && peer != Peer::Owner {
        if request.extensions().get::<HostIsOurs>().is_none() {
            check_host(admin, request.headers())?;
        }
        if door != Door::Page {
            check_origin(request.headers())?;
        }
    }
    match who(admin, peer, &request) {
        Some(caller) => {
            request.extensions_mut().insert(caller);
        }
        None if door.is_open(admin, peer) => {}
        None => {
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "this needs the token that was printed at the first start (Authorization: Bearer …), or a login",
            ));
        }
    }
    let (parts, body) = request.into_parts();
    let bytes = match timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let text = format!("the body is broken, or larger than {BODY_BYTES_MAX} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        Err(_) => {
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body has to come within 10 seconds"));
        }
    };
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// What is asked for, as far as the gate minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// Open: it says nothing but how we are.
    Health,
    /// Open to those on this machine.
    Metrics,
    /// Open: it proves itself.
    Login,
    /// Open: the console's files, which are the same for everybody. Any page may link to them.
    Page,
    /// Everything else.
    Closed,
}

impl Door {
    fn of(request: &Request) -> Self {
        match (request.method(), request.uri().path()) {
            (_, "/healthz" | "/livez" | "/readyz") => Self::Health,
            (_, "/metrics") => Self::Metrics,
            (&Method::POST, "/api/v1/session" | "/api/v1/session/code") => Self::Login,
            (&Method::GET | &Method::HEAD, path) if !path.starts_with("/api/") => Self::Page,
            _ => Self::Closed,
        }
    }

    fn is_open(self, admin: &Admin, peer: Peer) -> bool {
        match self {
            Self::Health | Self::Login | Self::Page => true,
            Self::Metrics => admin.config.admin.metrics_open || peer.is_on_loopback(),
            Self::Closed => false,
        }
    }
}

impl Peer {
    /// Whether nobody but this machine could have come this way.
    pub fn is_on_loopback(self) -> bool {
        match self {
            Self::Owner => true,
            Self::Tcp { local, .. } => local.ip().to_canonical().is_loopback(),
        }
    }

    /// Where it comes from.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Owner => None,
            Self::Tcp { remote, .. } => Some(remote.ip().to_canonical()),
        }
    }
}

/// A page whose name was rebound to our address sends that name as the host: only addresses, `localhost` and names from the
/// configuration are ours.
fn check_host(admin: &Admin, headers: &HeaderMap) -> Result<(), Problem> {
    let host = one(headers, &header::HOST).unwrap_or_default();
    let name = without_port(host);
    let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let is_ours = is_address || name == "localhost" || admin.config.admin.hosts.iter().any(|ours| ours == name);
    match is_ours {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!("{name:?} is not a name of this broker: use its address, or add the name to admin.hosts"),
        )),
    }
}

/// What another site's page sends is refused, whatever it brings along.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let foreign = || Problem::new(StatusCode::FORBIDDEN, "requests from pages of other origins are refused");
    if headers.contains_key(header::ORIGIN) {
        let host = one(headers, &header::HOST).unwrap_or_default();
        let origin = one(headers, &header::ORIGIN).and_then(|origin| origin.split_once("://"));
        let is_ours = origin.is_some_and(|(scheme, ours)| matches!(scheme, "http" | "https") && ours == host);
        if !is_ours {
            return Err(foreign());
        }
    }
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(foreign()),
    }
}

/// The only value of a header; `None` when there is none, more than one, or one that is not text.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn who(admin: &Admin, peer: Peer, request: &Request) -> Option<Caller> {
    if peer == Peer::Owner {
        return Some(Caller::Owner);
    }
    let headers = request.headers();
    if let Some(value) = one(headers, &header::AUTHORIZATION) {
        let token = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return token.filter(|(_, token)| admin.token.is(token.trim())).map(|_| Caller::Token);
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && !headers.contains_key(HEADER) {
        return None;
    }
    admin.logins.user(cookie(headers)?).map(Caller::User)
}

/// The secret in our cookie.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_its_port_only() {
        for (host, name) in [
            ("localhost:8080", "localhost"),
            ("localhost", "localhost"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("evil.example:80", "evil.example"),
            ("", ""),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
