//! `althing trace`: what the broker sees of one client, topic or address, as it happens.

use super::arguments::TraceArguments;
use super::client::{Client, with_query};
use super::table::{moment, show};
use crate::exit::{ExitCode, Failure};
use crate::output::write_stdout;
use crate::stop::Stop;
use bytes::BytesMut;
use http_body_util::BodyExt;
use serde_json::Value;

/// Prints what comes until the time is up.
pub async fn run(arguments: &TraceArguments) -> Result<ExitCode, Failure> {
    let TraceArguments { client, topic, address, duration, admin } = arguments;
    let query = [
        ("client", client.clone()),
        ("topic", topic.clone()),
        ("address", address.map(|address| address.to_string())),
        ("seconds", Some(duration.as_secs().max(1).to_string())),
    ];
    let mut body = Client::connect(admin).await?.stream(&with_query("/api/v1/trace", &query)).await?;
    let mut stop = Stop::new(Some(*duration))?;
    let mut waiting = BytesMut::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            code = stop.requested() => return Ok(if code == ExitCode::Timeout { ExitCode::Ok } else { code }),
        };
        let Some(frame) = frame else { return Ok(ExitCode::Ok) };
        let frame =
            frame.map_err(|error| Failure::new(ExitCode::CannotConnect, format!("the broker is gone: {error}")))?;
        waiting.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            let line = waiting.split_to(end + 1);
            print(&line, admin.json)?;
        }
    }
}

/// One event: an object a line; empty lines keep the connection alive.
fn print(line: &[u8], json: bool) -> Result<(), Failure> {
    let Ok(event) = serde_json::from_slice::<Value>(line) else { return Ok(()) };
    let text = if json { format!("{event}\n") } else { format!("{}\n", words(&event)) };
    write_stdout(text.as_bytes())
}

/// One line: when, who, which way, what.
fn words(event: &Value) -> String {
    let who = [&event["client"], &event["remote"]].into_iter().find(|it| !it.is_null()).map(show);
    let way = match event["way"].as_str() {
        Some("in") => "->",
        Some(_) => "<-",
        None => "--",
    };
    let mut text =
        format!("{} {} {way} {}", moment(&event["at_ms"], "%T%.3f"), who.unwrap_or_default(), show(&event["what"]));
    if !event["topic"].is_null() {
        let retain = if event["retain"] == true { " retain" } else { "" };
        let (topic, qos, bytes) = (show(&event["topic"]), show(&event["qos"]), show(&event["payload_bytes"]));
        text.push_str(&format!(" {topic} qos {qos}{retain}, {bytes} bytes"));
    }
    if !event["details"].is_null() {
        text.push_str(&format!(" ({})", show(&event["details"])));
    }
    if let Some(left_out) = event["left_out"].as_u64() {
        text.push_str(&format!(" [{left_out} before it came too fast to be shown]"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_says_who_does_what() {
        let event = json!({
            "at_ms": 0, "what": "publish", "way": "in", "client": "c", "topic": "a/b", "qos": 1, "retain": true,
            "payload_bytes": 3, "left_out": 2,
        });
        let text = words(&event);
        assert!(
            text.ends_with(" c -> publish a/b qos 1 retain, 3 bytes [2 before it came too fast to be shown]"),
            "{text}"
        );
        assert!(words(&json!({ "at_ms": 0, "what": "trace", "details": "for 30 s" })).ends_with("-- trace (for 30 s)"));
    }
}
