//! The textbook's table: one message a second for many pages, fetched by HTTP polling or brought by WebSocket
//! (P. Lubbers, F. Greco: "HTML5 WebSocket: A Quantum Leap in Scalability for the Web").
//!
//! Everything is counted at real sockets: bytes, sockets, round trips, and which messages arrived in which order. Where
//! there are more clients than the machine has sockets, the bytes of those that there are are scaled, and the table says so.

mod polling;
mod pushing;

use crate::BenchError;
use crate::fleet::{Address, Fleet, Wrapping};
use crate::websocket::WebSocket;
use crate::wire::Version;
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::net::ToSocketAddrs;
use std::time::Duration;

/// Fetch one message a second by HTTP polling and by WebSocket, and count what it takes.
#[derive(Args, Clone, Debug)]
pub struct WebVsPollingArguments {
    /// Host of the broker.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port on which it speaks HTTP.
    #[arg(long, short, default_value_t = 8080)]
    pub port: u16,
    /// Clients; for each number a row.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub clients: Vec<u32>,
    /// More are not opened: their bytes are scaled from those that are.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub connections_max: u32,
    /// Messages, one a second.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub messages: u32,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The table.
#[derive(Clone, Debug, Serialize)]
pub struct WebVsPolling {
    /// How long each half of a row took, in seconds.
    pub measured_s: u32,
    /// One for each number of clients.
    pub rows: Vec<Row>,
}

/// One number of clients.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// As asked for.
    pub clients: u32,
    /// As opened.
    pub connections: u32,
    /// Fetched once a second.
    pub polling: Traffic,
    /// Brought when there is something.
    pub websocket: Traffic,
}

/// What the clients of a row have seen, together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Traffic {
    /// Bytes at the clients' sockets, both directions.
    pub bytes: u64,
    /// Bytes among them that are the messages.
    pub payload_bytes: u64,
    /// Bytes among them that belong to the language inside WebSocket.
    pub inner_bytes: u64,
    /// Messages that arrived, each counted once for each client.
    pub messages: u64,
    /// Those that were due and never seen.
    pub missed: u64,
    /// Those that came again.
    pub repeated: u64,
    /// Those that came before an earlier one.
    pub reordered: u64,
    /// Requests that waited for a response.
    pub round_trips: u64,
}

/// The topic of the prices.
const TOPIC: &str = "bench/price";

/// What the textbook says for 1,000, 10,000 and 100,000 clients, in Mbit/s (of 2^20 bits).
const PUBLISHED: [(u32, f64, f64); 3] = [(1_000, 6.6, 0.015), (10_000, 66.0, 0.153), (100_000, 665.0, 1.526)];

/// Runs all rows against the broker.
pub fn run(arguments: &WebVsPollingArguments) -> Result<WebVsPolling, BenchError> {
    let mut rows: Vec<Row> = Vec::new();
    for clients in &arguments.clients {
        let connections = (*clients).min(arguments.connections_max);
        crate::process::reserve_descriptors(connections as usize + 1)?;
        let measured = rows.iter().find(|row| row.connections == connections);
        let (polling, websocket) = match measured {
            Some(row) => (row.polling, row.websocket),
            None => (polling::run(arguments, connections)?, pushing::run(arguments, connections)?),
        };
        rows.push(Row { clients: *clients, connections, polling, websocket });
    }
    Ok(WebVsPolling { measured_s: arguments.messages, rows })
}

impl WebVsPollingArguments {
    fn address(&self) -> Result<std::net::SocketAddr, BenchError> {
        let error = |source| BenchError::Resolve { host: self.host.clone(), port: self.port, source };
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs().map_err(error)?;
        addresses.next().ok_or_else(|| error(std::io::ErrorKind::NotFound.into()))
    }

    /// For clients of MQTT inside WebSocket.
    fn fleet(&self) -> Result<Fleet, BenchError> {
        let websocket = WebSocket::new(&format!("{}:{}", self.host, self.port), "/mqtt");
        let silence = Duration::from_secs(10);
        let id = std::process::id() as u8;
        Fleet::new(Address::Tcp(self.address()?), Wrapping::WebSocket(websocket), Version::V311, id, 64, silence)
    }
}

/// The message of this number: a price, as a page would get it.
fn message(number: u32) -> String {
    format!("{{\"price\":{number:06}}}")
}

/// The number of a message.
fn number_of(payload: &[u8]) -> Option<u32> {
    let digits = payload.strip_prefix(b"{\"price\":")?.strip_suffix(b"}")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Traffic {
    /// A client that has seen `before` sees `number`.
    fn see(&mut self, before: &mut u32, number: u32) {
        if number > *before {
            self.missed += u64::from(number - *before - 1);
            self.messages += 1;
            *before = number;
        } else if number == *before {
            self.repeated += 1;
        } else {
            self.reordered += 1;
        }
    }
}

impl WebVsPolling {
    /// One JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Mbit/s of 2^20 bits for all clients of a row, from the bytes of those that were connected.
    fn megabits(&self, row: &Row, bytes: u64) -> f64 {
        let scale = f64::from(row.clients) / f64::from(row.connections);
        bytes as f64 * 8.0 * scale / f64::from(self.measured_s) / f64::from(1 << 20)
    }
}

impl fmt::Display for WebVsPolling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Mbit/s beside the messages themselves, one message a second (1 Mbit = 2^20 bits, as in the textbook)"
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "| clients | HTTP polling | published | WebSocket frames | published | with MQTT inside | polling : frames |"
        )?;
        writeln!(f, "|--:|--:|--:|--:|--:|--:|--:|")?;
        for row in &self.rows {
            let published = PUBLISHED.iter().find(|(clients, ..)| *clients == row.clients);
            let says = |figure: Option<f64>| figure.map_or("–".to_owned(), |figure| figure.to_string());
            let polling = self.megabits(row, row.polling.bytes - row.polling.payload_bytes);
            let with_mqtt = self.megabits(row, row.websocket.bytes - row.websocket.payload_bytes);
            let inner = row.websocket.payload_bytes + row.websocket.inner_bytes;
            let frames = self.megabits(row, row.websocket.bytes - inner);
            writeln!(
                f,
                "| {}{} | {polling:.1} | {} | {frames:.3} | {} | {with_mqtt:.3} | {:.0} |",
                row.clients,
                if row.clients > row.connections { " (scaled)" } else { "" },
                says(published.map(|it| it.1)),
                says(published.map(|it| it.2)),
                polling / frames
            )?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "| clients | | sockets | bytes a message and client | round trips | messages seen | missed | seen again | out of order |"
        )?;
        writeln!(f, "|--:|---|--:|--:|--:|--:|--:|--:|--:|")?;
        for row in &self.rows {
            for (name, traffic) in [("polling", &row.polling), ("WebSocket", &row.websocket)] {
                let arrivals = traffic.messages + traffic.repeated + traffic.reordered;
                writeln!(
                    f,
                    "| {} | {name} | {} | {:.1} | {} | {} | {} | {} | {} |",
                    row.clients,
                    row.connections,
                    traffic.bytes as f64 / arrivals.max(1) as f64,
                    traffic.round_trips,
                    traffic.messages,
                    traffic.missed,
                    traffic.repeated,
                    traffic.reordered
                )?;
            }
        }
        if self.rows.iter().any(|row| row.clients > row.connections) {
            let most = self.rows.iter().map(|row| row.connections).max().unwrap_or(0);
            writeln!(f, "\nscaled: {most} sockets were open, and their bytes are multiplied")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sees_is_counted() {
        let (mut traffic, mut before) = (Traffic::default(), 0);
        for number in [1, 1, 2, 5, 3] {
            traffic.see(&mut before, number);
        }
        assert_eq!((traffic.messages, traffic.repeated, traffic.missed, traffic.reordered), (3, 1, 2, 1));
        assert_eq!(number_of(message(77).as_bytes()), Some(77));
        assert_eq!(number_of(b"{}"), None);
    }

    #[test]
    fn the_table_scales_what_was_not_opened() {
        let traffic = Traffic { bytes: 1 << 20, ..Traffic::default() };
        let row = Row { clients: 100, connections: 10, polling: traffic, websocket: traffic };
        let table = WebVsPolling { measured_s: 8, rows: vec![row] };
        assert!(table.to_string().contains("| 100 (scaled) | 10.0 | – | 10.000 |"), "{table}");
    }
}
