//! `althing get`, `put`, `post`, `delete`, `fetch`, `patch`, `ipatch`, `observe`, `discover`, `ping`: CoAP from the command line.

pub mod arguments;
mod conversation;
mod datagrams;
mod dtls;
mod links;
mod notation;
mod options;
mod show;
mod streams;
mod trace;
mod uri;

use crate::exit::{ExitCode, Failure};
use crate::output::{write_stderr, write_stdout};
use crate::stop::Stop;
use althing_coap::client::Event;
use althing_coap::format::LINK_FORMAT;
use althing_coap::message::{Code, Message, Options, Token, number};
use arguments::{CoapCommand, ObserveArguments, PingArguments, RequestArguments};
use bytes::Bytes;
use conversation::Conversation;
use serde_json::json;
use show::Shown;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use uri::Uri;

pub use datagrams::{Datagrams, open as open_datagrams};

/// How long an observation that is given up may take to say so.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs one of the commands.
pub async fn run(command: &CoapCommand) -> Result<ExitCode, Failure> {
    let (code, arguments) = match command {
        CoapCommand::Get(arguments) => (Code::GET, arguments),
        CoapCommand::Delete(arguments) => (Code::DELETE, arguments),
        CoapCommand::Put(arguments) => return with_payload(Code::PUT, arguments).await,
        CoapCommand::Post(arguments) => return with_payload(Code::POST, arguments).await,
        CoapCommand::Fetch(arguments) => return with_payload(Code::FETCH, arguments).await,
        CoapCommand::Patch(arguments) => return with_payload(Code::PATCH, arguments).await,
        CoapCommand::Ipatch(arguments) => return with_payload(Code::IPATCH, arguments).await,
        CoapCommand::Observe(arguments) => return observe(arguments).await,
        CoapCommand::Discover(arguments) => return discover(arguments).await,
        CoapCommand::Ping(arguments) => return ping(arguments).await,
    };
    request(code, arguments, Bytes::new()).await
}

async fn with_payload(code: Code, arguments: &arguments::PayloadRequestArguments) -> Result<ExitCode, Failure> {
    request(code, &arguments.request, arguments.payload.read()?).await
}

/// One request and its response.
async fn request(code: Code, arguments: &RequestArguments, payload: Bytes) -> Result<ExitCode, Failure> {
    let uri = Uri::parse(&arguments.url)?;
    let options = options::of_request(&uri, arguments)?;
    let silent = options.uint(number::NO_RESPONSE).is_some_and(|kinds| kinds > 0);
    until_stopped(arguments.timeout, async {
        let mut conversation = Conversation::open(&uri, &arguments.carrying).await?;
        let token = conversation.ask(code, options, payload, arguments.non);
        if silent && (arguments.non || uri.is_on_connection()) {
            conversation.flush().await?;
            return Ok(ExitCode::Ok);
        }
        let Some(response) = conversation.response(token).await? else { return Ok(ExitCode::Ok) };
        conversation.close().await;
        show(&response, arguments, &uri)
    })
    .await
}

fn show(response: &Response, arguments: &RequestArguments, uri: &Uri) -> Result<ExitCode, Failure> {
    let shown = Shown::new(&response.options, &response.payload);
    if arguments.json {
        write_stdout(format!("{}\n", response.json(uri)).as_bytes())?;
    } else if let Some(failure) = response.failure() {
        return Err(failure);
    } else if let Some(file) = &arguments.output {
        std::fs::write(file, &response.payload).map_err(|error| {
            Failure::new(ExitCode::Runtime, format!("{} cannot be written: {error}", file.display()))
        })?;
    } else {
        write_stdout(&shown.bytes(arguments.raw))?;
    }
    if !arguments.carrying.quiet && !arguments.json && (response.payload.is_empty() || arguments.carrying.verbose) {
        write_stderr(&response.summary());
    }
    Ok(response.failure().map_or(ExitCode::Ok, |failure| failure.code))
}

/// What became of a request.
#[derive(Debug)]
pub struct Response {
    code: Code,
    options: Options,
    payload: Bytes,
    is_observed: bool,
}

impl Response {
    /// An error as a sentence.
    fn failure(&self) -> Option<Failure> {
        if self.code.is_success() {
            return None;
        }
        let why = String::from_utf8_lossy(&self.payload);
        let text = format!("the server refused: {} {}", show::code_name(self.code), why.trim());
        Some(Failure::new(ExitCode::Refused, text.trim_end()))
    }

    /// The code and what describes the payload, in one line.
    fn summary(&self) -> String {
        let options = show::options(&self.as_message());
        format!("{} {options}", show::code_name(self.code)).trim_end().to_owned()
    }

    fn as_message(&self) -> Message {
        let mut message = Message::new(althing_coap::message::Kind::Acknowledgement, self.code, 0);
        message.options = self.options.clone();
        message
    }

    fn json(&self, uri: &Uri) -> serde_json::Value {
        let shown = Shown::new(&self.options, &self.payload);
        let location: Vec<String> =
            self.options.all(8).map(|segment| String::from_utf8_lossy(segment).into_owned()).collect();
        json!({
            "url": uri.text(),
            "code": self.code.to_string(),
            "name": show::code_name(self.code),
            "content_format": self.options.uint(number::CONTENT_FORMAT),
            "max_age_s": self.options.uint(number::MAX_AGE),
            "etag": self.options.get(number::ETAG).map(|etag| show::hexadecimal(etag)),
            "observe": self.options.uint(number::OBSERVE).filter(|_| self.code.is_success()),
            "location": (!location.is_empty()).then(|| format!("/{}", location.join("/"))),
            "payload": shown.text(),
            "payload_b64": shown.base64(),
            "value": shown.value(),
        })
    }
}

/// Prints notifications until something ends it.
async fn observe(arguments: &ObserveArguments) -> Result<ExitCode, Failure> {
    let asking = &arguments.request;
    let uri = Uri::parse(&asking.url)?;
    let mut options = options::of_request(&uri, asking)?;
    options.add_uint(number::OBSERVE, 0);
    let code = if arguments.payload.is_given() { Code::FETCH } else { Code::GET };
    let payload = arguments.payload.read()?;
    let mut stop = Stop::new(asking.timeout)?;
    let mut conversation = Conversation::open(&uri, &asking.carrying).await?;
    let token = conversation.ask(code, options, payload, asking.non);
    let mut printed = 0;
    let watching = async {
        while arguments.count.is_none_or(|count| printed < count) {
            let Some(notification) = conversation.response(token).await? else { break };
            if let Some(failure) = notification.failure() {
                return Err(failure);
            }
            let line = notification_line(&notification, asking, &uri);
            write_stdout(&line)?;
            printed += 1;
            if !notification.is_observed {
                let text = "the server observes nothing there: this was its one response";
                return Err(Failure::new(ExitCode::Refused, text));
            }
        }
        Ok(ExitCode::Ok)
    };
    let result = tokio::select! {
        code = stop.requested() => Ok(code),
        result = watching => result,
    };
    let code = result?;
    conversation.cancel(token);
    // The last response is of no use, and who has gone silent does not hold the end up.
    let _ = timeout(GOODBYE_TIMEOUT, conversation.response(token)).await;
    conversation.close().await;
    Ok(match code {
        ExitCode::Timeout if arguments.count.is_none() && printed > 0 => ExitCode::Ok,
        code => code,
    })
}

/// Sequence number, time and value.
fn notification_line(notification: &Response, arguments: &RequestArguments, uri: &Uri) -> Vec<u8> {
    let at = jiff::Zoned::now();
    if arguments.json {
        let mut object = notification.json(uri);
        object["ts"] = json!(at.timestamp().to_string());
        return format!("{object}\n").into_bytes();
    }
    let shown = Shown::new(&notification.options, &notification.payload);
    if arguments.raw {
        return [&notification.payload[..], b"\n"].concat();
    }
    let sequence = notification.options.uint(number::OBSERVE);
    let sequence = sequence.map_or_else(|| "-".to_owned(), |sequence| sequence.to_string());
    format!("{sequence} {} {}\n", at.strftime("%H:%M:%S%.3f"), shown.line()).into_bytes()
}

/// The links of `/.well-known/core`, as a tree.
async fn discover(arguments: &arguments::DiscoverArguments) -> Result<ExitCode, Failure> {
    let asking = &arguments.request;
    let uri = Uri::parse(&asking.url)?.or_path(&[".well-known", "core"]);
    let mut options = options::of_request(&uri, asking)?;
    for filter in &arguments.filters {
        options.add(number::URI_QUERY, filter.clone().into_bytes());
    }
    if asking.accept.is_none() {
        options.add_uint(number::ACCEPT, u32::from(LINK_FORMAT));
    }
    until_stopped(asking.timeout, async {
        let mut conversation = Conversation::open(&uri, &asking.carrying).await?;
        let token = conversation.ask(Code::GET, options, Bytes::new(), asking.non);
        let Some(response) = conversation.response(token).await? else { return Ok(ExitCode::Ok) };
        conversation.close().await;
        let is_links = response.options.uint(number::CONTENT_FORMAT) == Some(u32::from(LINK_FORMAT));
        if !response.code.is_success() || asking.json || asking.raw || !is_links {
            return show(&response, asking, &uri);
        }
        let text = String::from_utf8_lossy(&response.payload);
        let tree = if arguments.flat { links::lines(&text) } else { links::tree(&text) };
        write_stdout(tree.as_bytes())?;
        Ok(ExitCode::Ok)
    })
    .await
}

/// Whether the server is there, and how long it takes to say so.
async fn ping(arguments: &PingArguments) -> Result<ExitCode, Failure> {
    let uri = Uri::parse(&arguments.url)?;
    until_stopped(arguments.timeout, async {
        let mut conversation = Conversation::open(&uri, &arguments.carrying).await?;
        for number in 1..=arguments.count {
            let started = Instant::now();
            let token = conversation.ping();
            conversation.pong(token).await?;
            let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
            let line = match arguments.json {
                true => json!({ "url": uri.text(), "ping": number, "elapsed_ms": elapsed_ms }).to_string(),
                false => format!("{} answered ping {number} in {elapsed_ms:.3} ms", uri.authority()),
            };
            write_stdout(format!("{line}\n").as_bytes())?;
        }
        conversation.close().await;
        Ok(ExitCode::Ok)
    })
    .await
}

/// Ends early by a signal, or when the time is up.
async fn until_stopped(
    patience: Option<Duration>,
    command: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    let mut stop = Stop::new(patience)?;
    tokio::select! {
        code = stop.requested() => match code {
            ExitCode::Timeout => Err(Failure::new(code, "the server did not answer within the time of -W")),
            code => Ok(code),
        },
        result = command => result,
    }
}

/// An event about `token` as a response; `None` for one about something else.
fn of_token(event: Event, awaited: Token) -> Option<Result<Option<Response>, Failure>> {
    match event {
        Event::Response { token, code, options, payload, is_observed } if token == awaited => {
            Some(Ok(Some(Response { code, options, payload, is_observed })))
        }
        Event::Acknowledged { token } if token == awaited => Some(Ok(None)),
        Event::Failed { token } if token == awaited => Some(Err(no_answer())),
        Event::Broken { token, why } if token == awaited => Some(Err(Failure::new(ExitCode::Protocol, why))),
        Event::Closed { text } => Some(Err(Failure::new(ExitCode::Protocol, text))),
        _ => None,
    }
}

fn no_answer() -> Failure {
    let text = "the server does not answer, or rejects what was asked: is a CoAP server running there?";
    Failure::new(ExitCode::CannotConnect, text)
}
