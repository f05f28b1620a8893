//! The half with HTTP polling: every client asks for the last value once a second, on a connection that it keeps.

use super::{TOPIC, Traffic, WebVsPollingArguments, message, number_of};
use crate::BenchError;
use crate::fleet::{Fleet, Handler, connect_tcp};
use crate::setup::{self, Session};
use crate::wire::{self, Frame};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Publishes the messages and counts what the clients fetch.
pub fn run(arguments: &WebVsPollingArguments, connections: u32) -> Result<Traffic, BenchError> {
    let mut publisher = arguments.fleet()?;
    let (link, _) = setup::connect(&mut publisher, Session::clean('p'), 1)?;
    let mut pages = Pages::open(arguments, connections)?;
    let begin = Instant::now();
    let interval = Duration::from_secs(1) / connections;
    let polls = u64::from(connections) * u64::from(arguments.messages);
    let (mut asked, mut number) = (0_u64, 0);
    while pages.traffic.round_trips < polls {
        let elapsed = begin.elapsed();
        if number < arguments.messages && elapsed >= Duration::from_secs(u64::from(number)) {
            number += 1;
            let version = publisher.version();
            wire::put_publish(publisher.output(link.start), version, TOPIC, message(number).as_bytes(), true);
            publisher.turn(&mut Ignore, Duration::ZERO)?;
        }
        // Spread over the second, and each half a second behind a message where nothing is late.
        let due = elapsed.saturating_sub(Duration::from_millis(500)).as_nanos() / interval.as_nanos().max(1);
        while u128::from(asked) < due.min(u128::from(polls)) {
            pages.ask((asked % u64::from(connections)) as usize)?;
            asked += 1;
        }
        pages.hear()?;
        if elapsed > Duration::from_secs(u64::from(arguments.messages) + 30) {
            return Err(BenchError::Silent { waiting_for: "responses" });
        }
    }
    Ok(pages.traffic)
}

struct Ignore;

impl Handler for Ignore {
    fn frame(&mut self, _: &mut Fleet, _: usize, _: Frame<'_>, _: u64) -> Result<(), BenchError> {
        Ok(())
    }
}

/// The clients.
struct Pages {
    poll: Poll,
    events: Events,
    clients: Vec<Page>,
    request: Vec<u8>,
    traffic: Traffic,
}

struct Page {
    stream: TcpStream,
    /// Of a request that the socket did not take.
    output: Vec<u8>,
    /// Of a response that is not complete.
    input: Vec<u8>,
    seen: u32,
}

/// What a browser of today sends with every request (Chromium, without the cookies that most sites add).
const HEADERS: &str = "Connection: keep-alive\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36\r\n\
    sec-ch-ua: \"Google Chrome\";v=\"141\", \"Not?A_Brand\";v=\"8\", \"Chromium\";v=\"141\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    Accept: */*\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n";

impl Pages {
    fn open(arguments: &WebVsPollingArguments, connections: u32) -> Result<Self, BenchError> {
        let address = arguments.address()?;
        let poll = Poll::new().map_err(BenchError::Poll)?;
        let mut clients = Vec::new();
        for index in 0..connections as usize {
            let error = |source| BenchError::Socket { connection: index, source };
            let mut stream = connect_tcp(address, index, None).map_err(error)?;
            poll.registry()
                .register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)
                .map_err(error)?;
            clients.push(Page { stream, output: Vec::new(), input: Vec::new(), seen: 0 });
            if index % 64 == 63 {
                // The broker's backlog is not endless.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let host = format!("{}:{}", arguments.host, arguments.port);
        let referer = format!("Referer: http://{host}/prices\r\n");
        let request = format!("GET /topics/{TOPIC} HTTP/1.1\r\nHost: {host}\r\n{HEADERS}{referer}\r\n").into_bytes();
        Ok(Self { poll, events: Events::with_capacity(1_024), clients, request, traffic: Traffic::default() })
    }

    fn ask(&mut self, index: usize) -> Result<(), BenchError> {
        self.clients[index].output.extend_from_slice(&self.request);
        self.write(index)
    }

    fn write(&mut self, index: usize) -> Result<(), BenchError> {
        let page = &mut self.clients[index];
        while !page.output.is_empty() {
            match page.stream.write(&page.output) {
                Ok(written) => {
                    page.output.drain(..written);
                    self.traffic.bytes += written as u64;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(source) => return Err(BenchError::Socket { connection: index, source }),
            }
        }
        Ok(())
    }

    /// Waits a moment and takes what has come.
    fn hear(&mut self) -> Result<(), BenchError> {
        match self.poll.poll(&mut self.events, Some(Duration::from_millis(1))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(BenchError::Poll(error)),
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let Token(index) = event.token();
            if event.is_writable() {
                self.write(index)?;
            }
            if event.is_readable() {
                self.read(index)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(), BenchError> {
        let mut buffer = [0; 16 << 10];
        loop {
            let page = &mut self.clients[index];
            match page.stream.read(&mut buffer) {
                Ok(0) => return Err(BenchError::Closed { connection: index }),
                Ok(read) => {
                    self.traffic.bytes += read as u64;
                    page.input.extend_from_slice(&buffer[..read]);
                    while let Some((size, body)) = response(&page.input) {
                        let payload = &page.input[size - body..size];
                        self.traffic.round_trips += 1;
                        let number = number_of(payload).ok_or(BenchError::Malformed { connection: index })?;
                        self.traffic.see(&mut page.seen, number);
                        self.traffic.payload_bytes += body as u64;
                        page.input.drain(..size);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(BenchError::Socket { connection: index, source }),
            }
        }
    }
}

/// The size of a whole response, and of its body.
fn response(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length = text.split("\r\n").filter_map(|line| line.split_once(':'));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).last();
    let body = length.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0);
    (bytes.len() >= head + body).then_some((head + body, body))
}
