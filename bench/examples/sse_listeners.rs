//! Listeners of event streams: `sse_listeners PORT PID LISTENERS EVENTS GET-PATH PUT-PATH`. Opens the streams, publishes the
//! events one after the other, each when everybody has had the one before, and prints as JSON what that took.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Stands once in every event and nowhere else.
const MARK: u8 = b'~';

struct Streams {
    poll: Poll,
    sockets: Vec<TcpStream>,
    marks: u64,
    bytes: u64,
    heads: usize,
    has_head: Vec<bool>,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, pid, listeners, events, get, put] = &arguments[..] else {
        eprintln!("sse_listeners PORT PID LISTENERS EVENTS GET-PATH PUT-PATH");
        std::process::exit(2);
    };
    let number = |text: &str| text.parse::<u64>().map_err(|error| io::Error::other(format!("{text}: {error}")));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number(port)? as u16));
    let (listeners, events) = (number(listeners)?, number(events)?);
    let resident_before = resident_bytes(pid)?;
    let mut streams = Streams::open(address, listeners as usize, get)?;
    let bytes_per_listener = resident_bytes(pid)?.saturating_sub(resident_before) / listeners;
    let mut publisher = std::net::TcpStream::connect(address)?;
    publisher.set_nodelay(true)?;
    let (mut response, payload) = ([0; 4_096], format!("{}{}", MARK as char, "x".repeat(63)));
    let request =
        format!("PUT {put} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{payload}", payload.len());
    let (marks, bytes, cpu, begin) = (streams.marks, streams.bytes, cpu_ticks(pid)?, Instant::now());
    for event in 1..=events {
        publisher.write_all(request.as_bytes())?;
        while streams.marks < marks + event * listeners {
            streams.turn()?;
        }
        if publisher.read(&mut response)? == 0 {
            return Err(io::Error::other("the publisher was closed"));
        }
    }
    let (seconds, cpu_s) = (begin.elapsed().as_secs_f64(), (cpu_ticks(pid)? - cpu) as f64 / 100.0);
    let deliveries = (streams.marks - marks) as f64;
    println!(
        "{{\"listeners\":{listeners},\"events\":{events},\"deliveries_per_s\":{:.0},\"deliveries_per_cpu_s\":{:.0},\
         \"bytes_per_delivery\":{:.1},\"bytes_per_listener\":{bytes_per_listener}}}",
        deliveries / seconds,
        deliveries / cpu_s.max(0.01),
        (streams.bytes - bytes) as f64 / deliveries,
    );
    Ok(())
}

impl Streams {
    fn open(address: SocketAddr, count: usize, path: &str) -> io::Result<Self> {
        let mut streams = Self {
            poll: Poll::new()?,
            sockets: Vec::with_capacity(count),
            marks: 0,
            bytes: 0,
            heads: 0,
            has_head: vec![false; count],
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
        while streams.heads < count {
            // No more at once than a backlog holds.
            while streams.sockets.len() < count && streams.sockets.len() < streams.heads + 64 {
                let mut socket = std::net::TcpStream::connect(address)?;
                socket.write_all(request.as_bytes())?;
                socket.set_nonblocking(true)?;
                let mut socket = TcpStream::from_std(socket);
                streams.poll.registry().register(&mut socket, Token(streams.sockets.len()), Interest::READABLE)?;
                streams.sockets.push(socket);
            }
            streams.turn()?;
        }
        Ok(streams)
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        self.poll.poll(&mut events, Some(Duration::from_secs(20)))?;
        if events.is_empty() {
            return Err(io::Error::other("nothing has come for 20 s"));
        }
        let mut buffer = [0; 16 << 10];
        for event in &events {
            let Token(index) = event.token();
            loop {
                match self.sockets[index].read(&mut buffer) {
                    Ok(0) => return Err(io::Error::other(format!("stream {index} has ended"))),
                    Ok(read) => {
                        self.bytes += read as u64;
                        self.marks += buffer[..read].iter().filter(|byte| **byte == MARK).count() as u64;
                        if !self.has_head[index] {
                            if !buffer.starts_with(b"HTTP/1.1 200") {
                                return Err(io::Error::other(String::from_utf8_lossy(&buffer[..read]).into_owned()));
                            }
                            self.has_head[index] = true;
                            self.heads += 1;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Hundredths of seconds that the process has run.
fn cpu_ticks(pid: &str) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Ok(fields.filter_map(|field| field.parse::<u64>().ok()).sum())
}

fn resident_bytes(pid: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1_024)
}
