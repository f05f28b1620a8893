//! `althing why`: what went wrong lately, a sentence each.

use super::arguments::WhyArguments;
use super::client::{Client, path_of, with_query};
use super::table::{moment, printable, show};
use crate::exit::{ExitCode, Failure};
use crate::output::write_stdout;
use serde_json::Value;

/// Incidents of anybody.
const LATELY: usize = 50;

/// Prints what the broker remembers.
pub async fn run(arguments: &WhyArguments) -> Result<ExitCode, Failure> {
    let WhyArguments { client, address, admin } = arguments;
    let path = match client {
        Some(client) => path_of("/api/v1/why/", client, ""),
        None => {
            let address = address.map(|address| address.to_string());
            with_query("/api/v1/why", &[("address", address), ("limit", Some(LATELY.to_string()))])
        }
    };
    let answer = Client::connect(admin).await?.get(&path).await?;
    let incidents = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let text: String = if admin.json {
        incidents.iter().map(|incident| format!("{incident}\n")).collect()
    } else if incidents.is_empty() {
        let at = address.map(|address| format!("anybody at {address} who did not come to have a client id"));
        let whom = client.as_deref().map(printable).or(at).unwrap_or_else(|| "anybody".into());
        format!("nothing went wrong for {whom} that the broker remembers\n")
    } else {
        let names_client = client.is_none();
        incidents.iter().map(|incident| line(incident, names_client)).collect()
    };
    write_stdout(text.as_bytes())?;
    Ok(ExitCode::Ok)
}

fn line(incident: &Value, names_client: bool) -> String {
    let mut text =
        format!("{}  {:<11}", moment(&incident["at_ms"], "%F %T"), show(&incident["kind"]).replace('_', " "));
    if names_client {
        let who = [&incident["client"], &incident["remote"]].into_iter().find(|it| !it.is_null());
        text.push_str(&format!(" {}:", who.map_or_else(|| "somebody".into(), show)));
    }
    text.push_str(&format!(" {}", show(&incident["why"])));
    if !names_client && !incident["remote"].is_null() {
        text.push_str(&format!(" (from {})", show(&incident["remote"])));
    }
    match incident["times"].as_u64() {
        None | Some(1) => {}
        Some(times) => text.push_str(&format!(" ({times} times)")),
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_says_who_what_and_how_often() {
        let incident =
            json!({ "at_ms": 0, "kind": "turned_away", "why": "too\nfast", "remote": "10.0.0.1:5", "times": 3 });
        let text = line(&incident, true);
        assert!(text.ends_with("turned away 10.0.0.1:5: too\\nfast (3 times)\n"), "{text}");
        let incident = json!({ "at_ms": 0, "kind": "refused", "why": "no", "client": "c", "times": 1 });
        assert!(line(&incident, false).ends_with("refused     no\n"));
    }
}
