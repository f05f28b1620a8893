//! Requests that become WebSockets (RFC 6455 §4), and the languages inside.

use crate::body::Body;
use crate::context::Context;
use crate::credentials::Credentials;
use crate::language::{Language, Speaking};
use crate::wire::Wire;
use althing_core::Link;
use althing_http::Problem;
use althing_http::json::SUBPROTOCOL;
use althing_websocket::handshake::{self, Offer, Rejection};
use althing_websocket::{EchoAdaptor, Inner, WebSocketAdaptor};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade;
use std::collections::BTreeSet;

/// Where WebSockets begin besides the paths of the languages, whatever is spoken inside.
const PATHS: &[&str] = &["/", "/ws", ECHO];

/// Where each message is answered with itself.
const ECHO: &str = "/ws/echo";

/// Whether a WebSocket is asked for, well or not.
pub fn is_asked_for(request: &Request<Incoming>) -> bool {
    request.headers().contains_key(http::header::UPGRADE) && handshake::is_asked_for(lines(request.headers()))
}

/// Agrees, and hands the connection over once the response has left.
pub fn answer(context: &Context, mut request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let path = request.uri().path();
    let of_languages = context.web().languages.iter().map(|language| language.subprotocol.path);
    let is_ours = PATHS.contains(&path) || of_languages.clone().any(|it| it == path);
    if !is_ours && !context.web().entry.any_path {
        let known: BTreeSet<_> = of_languages.chain(PATHS.iter().copied()).collect();
        let text = format!("no WebSocket begins at {path}; they begin at {}", Vec::from_iter(known).join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, text));
    }
    let is_http_1_1 = request.version() == Version::HTTP_11;
    let headers: Vec<_> = lines(request.headers()).collect();
    let offer = match handshake::check(request.method().as_str(), is_http_1_1, headers.iter().copied()) {
        Ok(offer) => offer,
        Err(rejection) => return Ok(rejected(&rejection)),
    };
    let (inner, subprotocol) = speaker(context, &request, &offer)?;
    let websocket = &context.web().websocket;
    let agreed = websocket.deflate.then(|| context.web().deflater.accept(&offer.extensions)).flatten();
    let (deflate, extension) = agreed.unzip();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    put(response.headers_mut(), offer.response(subprotocol, extension.as_ref()));
    let adaptor = WebSocketAdaptor::new(websocket.clone(), inner, deflate);
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A peer that has gone before the response left is no concern of anybody's.
        if let Ok(upgraded) = upgraded.await {
            hand_over(upgraded, adaptor);
        }
    });
    Ok(response)
}

/// Who speaks, and how it is called if the client gave it a name.
fn speaker<'a>(
    context: &'a Context,
    request: &Request<Incoming>,
    offer: &Offer,
) -> Result<(Inner, Option<&'a str>), Problem> {
    let path = request.uri().path();
    if path == ECHO {
        return Ok((Inner::Messages(Box::new(EchoAdaptor)), None));
    }
    let languages = &context.web().languages;
    let named = languages.iter().map(|language| (language.subprotocol.name, language));
    let chosen = offer.choose(named);
    let unnamed = || {
        // Objects are spoken where they customarily begin even if the client names no sub-protocol.
        let json = languages.iter().find(|language| language.subprotocol == SUBPROTOCOL);
        json.filter(|json| path == json.subprotocol.path && offer.subprotocols.is_empty())
    };
    let (language, name) = match chosen {
        Some((name, language)) => (language, Some(name)),
        None => (unnamed().ok_or_else(|| unknown(languages, offer))?, None),
    };
    Ok((speak(language, context.link(), request.headers())?, name))
}

fn speak(language: &Language, link: &Link, headers: &HeaderMap) -> Result<Inner, Problem> {
    Ok(match &language.speaking {
        Speaking::Bytes(factory) => Inner::Bytes { adaptor: factory(link), is_text: language.subprotocol.is_text },
        Speaking::Messages(factory) => Inner::Messages(factory(link, Credentials::of(headers)?)),
    })
}

fn unknown(languages: &[Language], offer: &Offer) -> Problem {
    let known: Vec<_> = languages.iter().map(|language| language.subprotocol.name).collect();
    let known = known.join(", ");
    Problem::bad_request(match offer.subprotocols.is_empty() {
        true => format!("name a sub-protocol (`Sec-WebSocket-Protocol`): one of {known}"),
        false => format!("none of these sub-protocols is spoken here; choose one of {known}"),
    })
}

fn hand_over(upgraded: Upgraded, adaptor: WebSocketAdaptor) {
    // Every connection is served on a wire.
    if let Ok(parts) = upgrade::downcast::<TokioIo<Wire>>(upgraded) {
        parts.io.into_inner().into_visitor().hand_over(&parts.read_buf, Box::new(adaptor));
    }
}

fn rejected(rejection: &Rejection) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{}\n", rejection.text)));
    *response.status_mut() = StatusCode::from_u16(rejection.status).unwrap_or(StatusCode::BAD_REQUEST);
    put(response.headers_mut(), rejection.headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
    response
}

fn put(headers: &mut HeaderMap, lines: impl IntoIterator<Item = (&'static str, String)>) {
    for (name, value) in lines {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
}

fn lines(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}
