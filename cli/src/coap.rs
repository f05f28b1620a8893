//! `althing get`, `put`, `post`, `delete`, `fetch`, `patch`, `ipatch`, `observe`, `discover`, `ping`: CoAP from the command line.

pub mod arguments;
mod conversation;
mod datagrams;
mod dtls;
mod links;
mod notation;
mod options;
mod oscore;
mod response;
mod show;
mod streams;
mod trace;
mod uri;
mod wire;

use crate::exit::{ExitCode, Failure};
use crate::output::{write_stderr, write_stdout};
use crate::stop::Stop;
use althing_bench::CoapResource;
use althing_coap::format::LINK_FORMAT;
use althing_coap::message::{Code, Options, number};
use arguments::{CoapCommand, ObserveArguments, PingArguments, RequestArguments};
use bytes::Bytes;
use serde_json::json;
use show::Shown;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use uri::Uri;

pub use conversation::{Conversation, Manner, Told};
pub use response::Response;
pub use uri::{Carrier, Server};

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
        let mut conversation = Conversation::open(&uri.server, &arguments.carrying.manner()).await?;
        let token = conversation.ask(arguments.kind(), code, options, payload);
        if silent && uri.server.carrier.is_connection() {
            // What is answered after the request has come after it.
            let ping = conversation.ping();
            conversation.pong(ping).await?;
        }
        if silent && (arguments.non || uri.server.carrier.is_connection()) {
            conversation.close().await;
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

/// Prints notifications until something ends it.
async fn observe(arguments: &ObserveArguments) -> Result<ExitCode, Failure> {
    let asking = &arguments.request;
    if asking.output.is_some() {
        return Err(Failure::usage("-o is for one response: leave it out, or redirect the output"));
    }
    let uri = Uri::parse(&asking.url)?;
    let mut options = options::of_request(&uri, asking)?;
    options.add_uint(number::OBSERVE, 0);
    let code = if arguments.payload.is_given() { Code::FETCH } else { Code::GET };
    let payload = arguments.payload.read()?;
    let mut stop = Stop::new(asking.timeout)?;
    let mut conversation = Conversation::open(&uri.server, &asking.carrying.manner()).await?;
    let token = conversation.ask(asking.kind(), code, options, payload);
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
        let mut conversation = Conversation::open(&uri.server, &asking.carrying.manner()).await?;
        let token = conversation.ask(asking.kind(), Code::GET, options, Bytes::new());
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
        let mut conversation = Conversation::open(&uri.server, &arguments.carrying.manner()).await?;
        for number in 1..=arguments.count {
            let started = Instant::now();
            let token = conversation.ping();
            conversation.pong(token).await?;
            let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
            let line = match arguments.json {
                true => json!({ "url": uri.text(), "ping": number, "elapsed_ms": elapsed_ms }).to_string(),
                false => format!("{} answered ping {number} in {elapsed_ms:.3} ms", uri.server.endpoint()),
            };
            write_stdout(format!("{line}\n").as_bytes())?;
        }
        conversation.close().await;
        Ok(ExitCode::Ok)
    })
    .await
}

/// What `althing bench coap` loads.
pub fn bench_resource(url: &str) -> Result<CoapResource, Failure> {
    let uri = Uri::parse(url)?;
    if uri.server.carrier != Carrier::Udp {
        return Err(Failure::usage("the load goes over UDP alone: use coap://"));
    }
    let mut options = Options::default();
    uri.add_to(&mut options);
    Ok(CoapResource { host: uri.server.host, port: uri.server.port, options })
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
