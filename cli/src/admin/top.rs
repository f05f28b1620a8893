//! `althing top`: the broker at a glance, again and again.

use super::arguments::TopArguments;
use super::client::Client;
use super::lists::{self, CLIENTS};
use super::table::{bytes, duration, printable, show};
use crate::exit::{ExitCode, Failure};
use crate::output::write_stdout;
use crate::stop::Stop;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Clients on the screen.
const CLIENTS_SHOWN: u64 = 10;

/// More are not looked at to say who speaks what.
const CLIENTS_COUNTED_MAX: u64 = 1_000;

/// Shows screens until it is told to stop; one with `--once`.
pub async fn run(arguments: &TopArguments) -> Result<ExitCode, Failure> {
    let TopArguments { once, interval, admin } = arguments;
    let mut client = Client::connect(admin).await?;
    let mut stop = Stop::new(None)?;
    let is_live = !once && !admin.json && std::io::stdout().is_terminal();
    let mut before = Look::take(&mut client).await?;
    let mut first = true;
    loop {
        // The first screen of a live one comes soon, the others with the rates of a whole interval.
        let pause = if first && is_live { (*interval).min(Duration::from_millis(500)) } else { *interval };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            code = stop.requested() => return Ok(code),
        }
        first = false;
        let now = Look::take(&mut client).await?;
        let screen = Screen { before: &before, now: &now };
        let text = if admin.json { format!("{}\n", screen.json()) } else { screen.text() };
        // Home, then the text with each line's rest and everything below wiped: without the flicker of an empty screen.
        let text = if is_live { format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")) } else { text };
        write_stdout(text.as_bytes())?;
        if *once {
            return Ok(ExitCode::Ok);
        }
        before = now;
    }
}

/// What the broker says at one moment.
struct Look {
    at: Instant,
    server: Value,
    /// Those with the longest queues first.
    busiest: Vec<Value>,
    protocols: BTreeMap<String, u64>,
    incidents: Vec<Value>,
}

impl Look {
    async fn take(client: &mut Client) -> Result<Self, Failure> {
        let server = client.get("/api/v1/server").await?;
        let (clients, _) = lists::fetch(client, &CLIENTS, None, Some("-queue_bytes"), CLIENTS_COUNTED_MAX).await?;
        let incidents = client.get("/api/v1/why").await.ok();
        let mut protocols = BTreeMap::new();
        for client in &clients {
            *protocols.entry(show(&client["protocol"])).or_default() += 1;
        }
        let incidents = incidents.and_then(|it| it.as_array().cloned()).unwrap_or_default();
        let busiest = clients.into_iter().take(CLIENTS_SHOWN as usize).collect();
        Ok(Self { at: Instant::now(), server, busiest, protocols, incidents })
    }

    fn number(&self, name: &str) -> f64 {
        self.server[name].as_f64().unwrap_or(0.0)
    }
}

/// Two looks, and what has happened between them.
struct Screen<'a> {
    before: &'a Look,
    now: &'a Look,
}

/// Totals whose rates are shown.
const RATES: [(&str, &str); 5] = [
    ("publishes_received", "publishes_received_total"),
    ("publishes_delivered", "publishes_delivered_total"),
    ("publishes_dropped", "publishes_dropped_total"),
    ("bytes_received", "bytes_received_total"),
    ("bytes_sent", "bytes_sent_total"),
];

impl Screen<'_> {
    fn rate(&self, total: &str) -> f64 {
        let seconds = (self.now.at - self.before.at).as_secs_f64().max(0.001);
        (self.now.number(total) - self.before.number(total)).max(0.0) / seconds
    }

    fn grew(&self, total: &str) -> bool {
        self.now.number(total) > self.before.number(total)
    }

    fn json(&self) -> Value {
        let rates: serde_json::Map<_, _> =
            RATES.iter().map(|(name, total)| (format!("{name}_per_s"), json!(self.rate(total)))).collect();
        json!({
            "server": self.now.server,
            "rates": rates,
            "protocols": self.now.protocols,
            "clients": self.now.busiest,
            "warnings": self.warnings(),
        })
    }

    fn text(&self) -> String {
        let now = self.now;
        let mut text = String::new();
        let uptime = now.server["uptime_s"].as_u64().unwrap_or(0);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "althing {}  up {}  {} connections  {} sessions  {} subscriptions  {} last values",
            show(&now.server["version"]),
            duration(uptime),
            now.number("connections"),
            now.number("sessions"),
            now.number("subscriptions"),
            now.number("retained_messages"),
        );
        let _ = writeln!(
            text,
            "messages/s  in {:.0}  out {:.0}  dropped {:.0}     bytes/s  in {}  out {}",
            self.rate("publishes_received_total"),
            self.rate("publishes_delivered_total"),
            self.rate("publishes_dropped_total"),
            bytes(self.rate("bytes_received_total")),
            bytes(self.rate("bytes_sent_total")),
        );
        let _ = writeln!(
            text,
            "waiting     {} messages, {}  in flight {}  queues {}",
            now.number("queued_messages"),
            bytes(now.number("queued_bytes")),
            now.number("inflight_messages"),
            now.number("queues"),
        );
        let spoken: Vec<_> = now.protocols.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(text, "clients     {}\n", if spoken.is_empty() { "none".into() } else { spoken.join("  ") });
        for warning in self.warnings() {
            let _ = writeln!(text, "! {warning}");
        }
        let _ = writeln!(
            text,
            "{:<32} {:<8} {:<22} {:>8} {:>10} {:>8}",
            "CLIENT", "PROTOCOL", "ADDRESS", "QUEUED", "BYTES", "DROPS"
        );
        for client in &now.busiest {
            let _ = writeln!(
                text,
                "{:<32} {:<8} {:<22} {:>8} {:>10} {:>8}",
                shortened(&show(&client["client"])),
                show(&client["protocol"]),
                show(&client["address"]),
                show(&client["queue_messages"]),
                client["queue_bytes"].as_f64().map(bytes).unwrap_or_default(),
                show(&client["drops"]),
            );
        }
        text
    }

    /// What an operator should know, in words.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.now.server["store_has_room"] == false {
            warnings.push("the store is full: new messages that would have to be kept are refused".into());
        }
        if self.grew("publishes_dropped_total") {
            let rate = self.rate("publishes_dropped_total");
            warnings
                .push(format!("messages are dropped, {rate:.1} a second: `althing clients --sort -drops` shows whose"));
        }
        if self.grew("stalls_total") {
            warnings
                .push("a subscriber does not read: what is for it is dropped instead of holding publishers up".into());
        }
        if self.grew("connections_refused_total") {
            warnings.push("connections are turned away: `althing why` says why".into());
        }
        let since_ms = self.now.server["started_s"].as_u64().unwrap_or(0) * 1_000;
        let last = self.now.incidents.iter().rev().filter(|it| it["at_ms"].as_u64() >= Some(since_ms)).take(3);
        warnings.extend(last.map(|incident| {
            let who = [&incident["client"], &incident["remote"]].into_iter().find(|it| !it.is_null());
            printable(&format!("{}: {}", who.map_or_else(|| "somebody".into(), show), show(&incident["why"])))
        }));
        warnings
    }
}

fn shortened(text: &str) -> String {
    const LENGTH_MAX: usize = 32;
    if text.chars().count() <= LENGTH_MAX {
        return text.to_owned();
    }
    text.chars().take(LENGTH_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, server: Value) -> Look {
        Look { at, server, busiest: Vec::new(), protocols: BTreeMap::new(), incidents: Vec::new() }
    }

    #[test]
    fn rates_are_what_grew_between_two_looks() {
        let start = Instant::now();
        let before = look(start, json!({ "publishes_received_total": 100 }));
        let now = look(start + Duration::from_secs(2), json!({ "publishes_received_total": 300, "uptime_s": 3 }));
        let screen = Screen { before: &before, now: &now };
        assert_eq!(screen.rate("publishes_received_total"), 100.0);
        assert!(screen.text().contains("in 100  out 0"), "{}", screen.text());
        assert_eq!(screen.warnings(), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let start = Instant::now();
        let before = look(start, json!({ "publishes_dropped_total": 0 }));
        let server = json!({ "publishes_dropped_total": 4, "store_has_room": false, "started_s": 1 });
        let mut now = look(start + Duration::from_secs(2), server);
        now.incidents = vec![json!({ "at_ms": 5_000, "client": "c\u{1b}", "why": "no" })];
        let warnings = Screen { before: &before, now: &now }.warnings();
        assert!(warnings[0].contains("full") && warnings[1].contains("2.0 a second"), "{warnings:?}");
        assert_eq!(warnings[2], "c\\u{1b}: no");
    }

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"ä".repeat(40)).chars().count(), 32);
    }
}
