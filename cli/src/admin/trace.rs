//! `althing trace`: what the broker sees of one client, topic or address, as it happens.

use super::arguments::TraceArguments;
use super::client::{Client, with_query};
use super::table::show;
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

/// The fields in the broker's order.
fn words(event: &Value) -> String {
    let fields = event.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    fields.map(|(name, value)| format!("{name}={}", show(value))).collect::<Vec<_>>().join(" ")
}
