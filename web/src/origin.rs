//! Whose pages may call: those of the broker itself, and those of `http.origins`. What is no page says nothing here.
//!
//! A browser sends what it knows of us (a password, a certificate, a way through a firewall) along with the requests of any
//! page, and does not ask first where the page could have used a form.

use crate::body::Body;
use crate::context::Context;
use althing_http::{HttpConfig, Problem};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use std::net::IpAddr;

/// The page behind a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// None, or one of ours.
    Ours,
    /// One of another origin that may call; it needs to hear so.
    Permitted(HeaderValue),
}

/// Says which page a request comes from, or refuses it.
pub fn check<B>(context: &Context, request: &Request<B>) -> Result<Page, Problem> {
    let headers = request.headers();
    let host = one(headers, &header::HOST);
    // Inside TLS the certificate says whom the page meant.
    if context.link().tls.is_none() {
        check_host(context.config(), host.unwrap_or_default())?;
    }
    page_of(context.config(), request.method(), headers, host.unwrap_or_default())
}

/// A page whose name was rebound to our address sends that name: only addresses, `localhost` and configured names are ours.
fn check_host(config: &HttpConfig, host: &str) -> Result<(), Problem> {
    let name = without_port(host);
    let is_address = || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let is_listed = || config.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name));
    if name.is_empty() || name.eq_ignore_ascii_case("localhost") || is_address() || is_listed() {
        return Ok(());
    }
    let detail = format!("{name:?} is not a name of this broker: use its address, or add the name to http.hosts");
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
}

fn page_of(config: &HttpConfig, method: &Method, headers: &HeaderMap, host: &str) -> Result<Page, Problem> {
    let foreign = |what: &str| {
        let detail = format!("{what} may not use this broker: add its origin to http.origins");
        Problem::new(StatusCode::FORBIDDEN, detail)
    };
    if headers.contains_key(header::ORIGIN) {
        let Some(origin) = one(headers, &header::ORIGIN) else { return Err(foreign("this page")) };
        if config.origins.iter().any(|permitted| permitted == origin)
            && let Some(value) = headers.get(header::ORIGIN)
        {
            return Ok(Page::Permitted(value.clone()));
        }
        let is_ours = origin.split_once("://").is_some_and(|(scheme, authority)| {
            matches!(scheme, "http" | "https") && !host.is_empty() && authority.eq_ignore_ascii_case(host)
        });
        return if is_ours { Ok(Page::Ours) } else { Err(foreign(&format!("a page of {origin:?}"))) };
    }
    // Whoever follows a link to us sees what is here and has sent nothing.
    let follows_link = *method == Method::GET && one(headers, &FETCH_MODE) == Some("navigate");
    match one(headers, &FETCH_SITE) {
        None | Some("same-origin" | "none") => Ok(Page::Ours),
        Some(_) if follows_link => Ok(Page::Ours),
        Some(_) => Err(foreign("a page of another origin")),
    }
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

impl Page {
    /// The answer to a browser that asks before it lets a page of another origin call (Fetch §3.2).
    pub fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let headers = request.headers();
        let asks = *request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let Self::Permitted(_) = self else { return None };
        if !asks {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, PUT, POST, DELETE"));
        if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        self.permit(answer);
        Some(response)
    }

    /// Tells the browser that the page may see the response. Nothing of the browser's own comes along (cookies, its
    /// passwords): a page brings its credentials itself.
    pub fn permit(&self, headers: &mut HeaderMap) {
        if let Self::Permitted(origin) = self {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> HttpConfig {
        HttpConfig {
            origins: vec!["https://app.example".into()],
            hosts: vec!["broker.example".into()],
            ..HttpConfig::default()
        }
    }

    #[test]
    fn only_our_names_are_called() {
        for host in ["", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "localhost", "LOCALHOST:1", "broker.example:80"] {
            assert_eq!(check_host(&config(), host), Ok(()), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example"] {
            assert_eq!(check_host(&config(), host).unwrap_err().status.as_u16(), 421, "{host}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let page = |method: Method, lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            page_of(&config(), &method, &headers, "127.0.0.1:8080").map_err(|problem| problem.status.as_u16())
        };
        let ours = Ok(Page::Ours);
        assert_eq!(page(Method::GET, &[]), ours);
        assert_eq!(page(Method::PUT, &[("origin", "http://127.0.0.1:8080")]), ours);
        assert_eq!(page(Method::GET, &[("sec-fetch-site", "same-origin")]), ours);
        assert_eq!(page(Method::GET, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]), ours);
        let permitted = HeaderValue::from_static("https://app.example");
        let lines = [("origin", "https://app.example"), ("sec-fetch-site", "cross-site")];
        assert_eq!(page(Method::PUT, &lines), Ok(Page::Permitted(permitted)));
        for lines in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://127.0.0.1:8081")],
            &[("origin", "https://app.example:444")],
            &[("origin", "http://127.0.0.1:8080"), ("origin", "http://evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(page(Method::GET, lines), Err(403), "{lines:?}");
        }
        let post = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(page(Method::POST, &post), Err(403));
    }
}
