//! Observers of one topic: `coap_fan_out PORT PID OBSERVERS EVENTS`. Observes from as many sockets, publishes the events one
//! after the other, each when everybody has had the one before, and prints as JSON what a notification cost the server, and what
//! a bare sendmmsg costs for the same datagrams to the same sockets.

use althing_coap::codec::{decode, encode, encode_empty};
use althing_coap::message::{Code, Kind, Message, Token, number};
use bytes::Bytes;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use std::fs;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Longer than any of this takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Datagrams of one sendmmsg.
const BATCH: usize = 64;

fn main() -> io::Result<()> {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [port, pid, observers, events] = arguments[..] else {
        eprintln!("coap_fan_out PORT PID OBSERVERS EVENTS");
        std::process::exit(2);
    };
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
    let resident_before = resident_bytes(pid)?;
    let sockets = (0..observers).map(|_| observe(server)).collect::<io::Result<Vec<_>>>()?;
    let publisher = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    publisher.connect(server)?;
    // The first notification is confirmable: an address that acknowledges one may be told more without asking.
    publish(&publisher, 0)?;
    let mut last = Vec::new();
    for socket in &sockets {
        last = notification(socket, server)?;
    }
    let bytes_per_observer = resident_bytes(pid)?.saturating_sub(resident_before) / observers;
    let before_ns = cpu_ns(&format!("/proc/{pid}/schedstat"), pid)?;
    for event in 1..=events {
        publish(&publisher, event as u16)?;
        for socket in &sockets {
            notification(socket, server)?;
        }
    }
    let server_ns = cpu_ns(&format!("/proc/{pid}/schedstat"), pid)? - before_ns;
    // Sockets that are connected to the server take nothing from elsewhere.
    drop(sockets);
    let bare_ns = send_bare(observers, &last, events)?;
    let notifications = (observers * events) as f64;
    println!(
        "{{\"us_per_notification\":{:.3},\"us_per_datagram\":{:.3},\"bytes_per_observer\":{bytes_per_observer}}}",
        server_ns as f64 / notifications / 1e3,
        bare_ns as f64 / notifications / 1e3,
    );
    Ok(())
}

/// A socket that observes, once the first response is there.
fn observe(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut request = message(Kind::Confirmable, Code::GET, 1);
    request.options.add_uint(number::OBSERVE, 0);
    say(&socket, &request)?;
    let mut datagram = [0; 1_500];
    let length = socket.recv(&mut datagram)?;
    let response = decode(&Bytes::copy_from_slice(&datagram[..length])).map_err(|_| io::Error::other("no response"))?;
    if response.options.get(number::OBSERVE).is_none() {
        return Err(io::Error::other(format!("{} without an observation", response.code)));
    }
    Ok(socket)
}

/// At most once, so that nothing is confirmed but the first one.
fn publish(publisher: &UdpSocket, id: u16) -> io::Result<()> {
    let mut request = message(Kind::NonConfirmable, Code::POST, id);
    request.payload = Bytes::from(vec![b'x'; 64]);
    say(publisher, &request)?;
    publisher.recv(&mut [0; 1_500]).map(drop)
}

/// The next notification; acknowledged, if it wants to be.
fn notification(socket: &UdpSocket, server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut datagram = [0; 1_500];
    let until = Instant::now() + PATIENCE;
    let length = loop {
        match socket.recv_from(&mut datagram) {
            Ok((length, from)) if from == server => break length,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {}
            Err(error) => return Err(error),
        }
    };
    let datagram = datagram[..length].to_vec();
    if let Ok(message) = decode(&Bytes::copy_from_slice(&datagram))
        && message.kind == Kind::Confirmable
    {
        let mut acknowledgement = Vec::new();
        encode_empty(Kind::Acknowledgement, message.id, &mut acknowledgement);
        socket.send(&acknowledgement)?;
    }
    Ok(datagram)
}

fn message(kind: Kind, code: Code, id: u16) -> Message {
    let mut message = Message::new(kind, code, id);
    message.token = Token::new(b"o").unwrap_or_default();
    for segment in ["t", "bench", "observed"] {
        message.options.add(number::URI_PATH, segment.as_bytes());
    }
    message
}

fn say(socket: &UdpSocket, message: &Message) -> io::Result<()> {
    let mut datagram = Vec::new();
    encode(message, &mut datagram);
    socket.send(&datagram).map(drop)
}

/// The same datagram to as many sockets, as often; processor time of this thread.
fn send_bare(receivers: u64, datagram: &[u8], events: u64) -> io::Result<u64> {
    let receivers =
        (0..receivers).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<Vec<_>>>()?;
    let addresses = receivers.iter().map(UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
    let addresses: Vec<Option<SockaddrIn>> = addresses
        .into_iter()
        .map(|address| if let SocketAddr::V4(address) = address { Some(SockaddrIn::from(address)) } else { None })
        .collect();
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let slices = vec![[IoSlice::new(datagram)]; BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let mut used_ns = 0;
    for _ in 0..events {
        let before_ns = cpu_ns("/proc/thread-self/schedstat", 0)?;
        for batch in addresses.chunks(BATCH) {
            let slices = &slices[..batch.len()];
            sendmmsg(sender.as_raw_fd(), &mut headers, slices, batch, [], MsgFlags::empty())?;
        }
        used_ns += cpu_ns("/proc/thread-self/schedstat", 0)? - before_ns;
        for socket in &receivers {
            socket.recv(&mut [0; 1_500])?;
        }
    }
    Ok(used_ns)
}

/// Processor time: of a thread, or with `pid` of all threads of a process.
fn cpu_ns(path: &str, pid: u64) -> io::Result<u64> {
    let read = |path: &str| {
        Ok::<u64, io::Error>(fs::read_to_string(path)?.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
    };
    if pid == 0 {
        return read(path);
    }
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        sum += read(&format!("{}/schedstat", thread?.path().display()))?;
    }
    Ok(sum)
}

fn resident_bytes(pid: u64) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    Ok(pages * 4_096)
}
