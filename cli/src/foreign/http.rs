//! HTTP: messages as requests, subscriptions as an event stream.

use super::{ForeignPlan, Message, Publication, Said, lost};
use crate::admin::client::with_query;
use crate::exit::{ExitCode, Failure};
use crate::link::Clock;
use crate::output::Log;
use crate::refusal;
use crate::socket::Socket;
use althing_core::topic::TopicLimits;
use althing_core::{Filter, Guarantee, Message as CoreMessage, Now};
use althing_http::json::object;
use althing_http::{event_stream, path, properties};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::value::RawValue;
use std::io;

const NANOSECONDS_A_SECOND: u64 = 1_000_000_000;

/// One connection; a subscription takes it whole.
#[derive(Debug)]
pub struct Link {
    sender: SendRequest<Full<Bytes>>,
    plan: ForeignPlan,
    /// The event stream, once there is one.
    stream: Option<Incoming>,
    /// What has come of it and is no whole event yet.
    input: BytesMut,
    clock: Clock,
}

impl Link {
    /// Opens the socket; nothing is said yet.
    pub async fn connect(plan: &ForeignPlan) -> Result<Self, Failure> {
        let socket = Socket::connect(&plan.endpoint(), plan.tls.as_ref()).await?;
        let shaken = http1::handshake(TokioIo::new(socket.into_stream())).await;
        let (sender, connection) = shaken.map_err(|error| plan.cannot_connect(&io::Error::other(error)))?;
        // What goes wrong there is told by the request that waits for it.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, plan: plan.clone(), stream: None, input: BytesMut::new(), clock: Clock::new() })
    }

    /// PUT for the topic's last value, POST else.
    pub async fn publish(&mut self, publication: &Publication, payload: Bytes) -> Result<(), Failure> {
        let method = if publication.retain { Method::PUT } else { Method::POST };
        let mut request = self.request(method, &path::of_topic(&publication.topic), payload)?;
        let Said { qos, expiry_s, properties: said } = &publication.said;
        let confirmed = if publication.is_confirmed { Guarantee::AtLeastOnce } else { Guarantee::AtMostOnce };
        let mut message = CoreMessage::new(publication.topic.clone(), Bytes::new());
        message.guarantee = qos.unwrap_or(confirmed);
        message.properties.clone_from(said);
        let now = self.clock.now();
        message.expires_ns = expiry_s.map(|seconds| now.after_s(seconds));
        properties::write(&message, now, request.headers_mut());
        if said.as_ref().is_none_or(|properties| properties.content_type.is_none()) {
            // That one is a guess, for readers that need one.
            request.headers_mut().remove(CONTENT_TYPE);
        }
        let response = self.send(request).await?;
        response.into_body().collect().await.map(drop).map_err(|error| broken(&error))
    }

    /// One stream for all filters. The values that their topics have come first.
    pub async fn subscribe(&mut self, filters: &[Filter], qos: Guarantee) -> Result<(), Failure> {
        let mut query: Vec<_> = filters.iter().map(|filter| ("filter", Some(filter.to_string()))).collect();
        query.push(("qos", Some((qos as u8).to_string())));
        let mut request = self.request(Method::GET, &with_query("/topics", &query), Bytes::new())?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(event_stream::CONTENT_TYPE));
        let response = self.send(request).await?;
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|it| it.starts_with(event_stream::CONTENT_TYPE)) {
            let text = format!("{} does not answer with an event stream: is it a broker?", self.plan.endpoint());
            return Err(Failure::new(ExitCode::Protocol, text));
        }
        self.stream = Some(response.into_body());
        Ok(())
    }

    /// The next message of the stream.
    pub async fn next(&mut self) -> Result<Message, Failure> {
        loop {
            while let Some(event) = take_event(&mut self.input) {
                match &event.name[..] {
                    "message" | "retained" => return read(&event.data, self.clock.now()),
                    "gap" => Log::new(false, false).warn(&gap(&event.data)),
                    _ => {}
                }
            }
            let Some(stream) = &mut self.stream else {
                return Err(lost(&io::Error::from(io::ErrorKind::NotConnected)));
            };
            match stream.frame().await {
                Some(frame) => {
                    let frame = frame.map_err(|error| broken(&error))?;
                    self.input.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
                }
                None => return Err(Failure::new(ExitCode::Runtime, "the broker ended the event stream")),
            }
        }
    }

    /// The end of the connection is the end of everything.
    pub async fn close(&mut self) -> Result<(), Failure> {
        self.stream = None;
        Ok(())
    }

    fn request(&self, method: Method, target: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let request = Request::builder().method(method).uri(target).header(HOST, self.plan.endpoint().to_string());
        let request = match (&self.plan.username, &self.plan.password) {
            (None, None) => request,
            // A password alone is a token (RFC 6750 §2.1).
            (None, Some(token)) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            (Some(username), password) => {
                let pair = format!("{username}:{}", password.as_deref().unwrap_or_default());
                request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
            }
        };
        let unusable = |_| Failure::usage("the password has characters that no token has: add a user name");
        request.body(Full::new(body)).map_err(unusable)
    }

    /// The response, when it says yes.
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let answered = match self.sender.ready().await {
            Ok(()) => self.sender.send_request(request).await,
            Err(error) => Err(error),
        };
        let response = answered.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.into_body().collect().await.map_err(|error| broken(&error))?;
        Err(refused(status, &body.to_bytes()))
    }

    /// No response came. That may be TLS where we spoke plain text, or a server that refuses our certificate.
    fn no_answer(&self, error: &hyper::Error) -> Failure {
        let endpoint = self.plan.endpoint();
        let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
        match (&self.plan.tls, source) {
            (Some(tls), Some(source)) => tls.explain(&endpoint, source).unwrap_or_else(|| lost(source)),
            (None, _) if error.is_parse() => refusal::speaks_tls(&endpoint),
            _ => broken(error),
        }
    }
}

/// One event (HTML §9.2.6).
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

/// The next whole event; comments and what has no data are none.
fn take_event(input: &mut BytesMut) -> Option<Event> {
    loop {
        let end = input.windows(2).position(|end| end == b"\n\n")?;
        let block = input.split_to(end);
        input.advance(2);
        let text = String::from_utf8_lossy(&block);
        let mut event = Event::default();
        for line in text.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => value.clone_into(&mut event.name),
                "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                "data" => event.data.extend(["\n", value]),
                _ => {}
            }
        }
        if !event.data.is_empty() {
            return Some(event);
        }
    }
}

fn read(data: &str, now: Now) -> Result<Message, Failure> {
    let wrong = |why: String| Failure::new(ExitCode::Protocol, format!("the broker sent an event that is none: {why}"));
    let object: &RawValue = serde_json::from_str(data).map_err(|error| wrong(error.to_string()))?;
    let message = object::read(object, Guarantee::AtMostOnce, now, &TopicLimits::default());
    let message = message.map_err(|refusal| wrong(refusal.text.into_owned()))?;
    let left_s = |expires_ns: u64| u32::try_from((expires_ns - now.mono_ns) / NANOSECONDS_A_SECOND).unwrap_or(u32::MAX);
    Ok(Message {
        topic: message.topic,
        payload: message.payload,
        retain: message.retain,
        acknowledgement: None,
        said: Said {
            qos: Some(message.guarantee),
            expiry_s: message.expires_ns.map(left_s),
            properties: message.properties,
        },
    })
}

fn gap(data: &str) -> String {
    let gap: Value = serde_json::from_str(data).unwrap_or_default();
    format!("messages are missing here: {}", gap["why"].as_str().unwrap_or("the broker does not say why"))
}

/// The broker's word for it is in its problem details (RFC 9457).
fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let why = problem["detail"].as_str().unwrap_or(status.canonical_reason().unwrap_or("it does not say why"));
    let advice = match status {
        StatusCode::UNAUTHORIZED => ": give a user name and a password with -u and --pw",
        StatusCode::NOT_FOUND if problem.is_null() => ": is it a broker?",
        _ => "",
    };
    let code = match status.as_u16() {
        401 | 403 | 413 | 429 | 507 => ExitCode::Refused,
        503 => ExitCode::CannotConnect,
        400..500 => ExitCode::Refused,
        _ => ExitCode::Runtime,
    };
    Failure::new(code, format!("the broker refused ({}): {why}{advice}", status.as_u16()))
}

fn broken(error: &hyper::Error) -> Failure {
    Failure::new(ExitCode::Runtime, format!("the connection is lost: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_out_of_the_stream() {
        let mut input =
            BytesMut::from(&b": hello\nretry: 1\n\nid: a.1\nevent: message\ndata: {\"a\":\ndata: 1}\n\n:\n\nda"[..]);
        let expected = Event { name: "message".into(), data: "{\"a\":\n1}".into() };
        assert_eq!(take_event(&mut input), Some(expected));
        assert_eq!(take_event(&mut input), None);
        assert_eq!(&input[..], b"da");
    }

    #[test]
    fn an_event_is_a_message_with_all_that_it_says() {
        let data =
            r#"{"topic":"a","payload":"x","qos":1,"retain":true,"properties":{"expiry_s":5,"user":[["k","v"]]}}"#;
        let publish = read(data, Now::default()).unwrap().into_publish(Guarantee::AtMostOnce);
        assert_eq!((publish.qos, publish.retain), (Guarantee::AtLeastOnce, true));
        assert_eq!((publish.message_expiry_s, publish.properties.unwrap().user.len()), (Some(5), 1));
        assert!(read("{}", Now::default()).is_err());
    }

    #[test]
    fn a_refusal_says_why_in_the_brokers_words() {
        let failure = refused(StatusCode::FORBIDDEN, br#"{"detail":"rule 3 says no"}"#);
        assert_eq!((failure.code, &failure.text[..]), (ExitCode::Refused, "the broker refused (403): rule 3 says no"));
        assert!(refused(StatusCode::NOT_FOUND, b"<html>").text.ends_with("is it a broker?"));
        assert!(refused(StatusCode::UNAUTHORIZED, b"").text.contains("-u"));
    }
}
