//! A bare MQTT 3.1.1 relay: no sessions, no windows, no checks, one thread. It is the ceiling that any broker can
//! reach on this machine, and, told to lose, double or swap messages, the liar that the verification must catch.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};

/// What goes wrong with every 100th message that a subscriber should get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)]
pub enum Fault {
    None,
    Lose,
    Double,
    /// It comes after the next one.
    Swap,
    /// It goes to the neighbour.
    Misroute,
}

pub struct Relay {
    poll: Poll,
    listener: TcpListener,
    peers: Vec<Peer>,
    routes: HashMap<Vec<u8>, Vec<usize>>,
    dirty: Vec<usize>,
    fault: Fault,
}

struct Peer {
    stream: Option<TcpStream>,
    partial: Vec<u8>,
    output: Vec<u8>,
    qos: u8,
    delivered: u64,
    held: Vec<u8>,
}

const LISTENER: Token = Token(usize::MAX);

impl Relay {
    pub fn bind(address: std::net::SocketAddr, fault: Fault) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { poll, listener, peers: vec![], routes: HashMap::new(), dirty: vec![], fault })
    }

    #[allow(dead_code)]
    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }

    /// Relays for as long as the process lives.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(index) => {
                        if event.is_readable() {
                            self.read(index, &mut buffer);
                        }
                        if event.is_writable() {
                            self.write(index);
                        }
                    }
                }
            }
            for index in std::mem::take(&mut self.dirty) {
                self.write(index);
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (mut stream, _) = match self.listener.accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                other => other?,
            };
            stream.set_nodelay(true)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(self.peers.len()), interest)?;
            self.peers.push(Peer {
                stream: Some(stream),
                partial: vec![],
                output: vec![],
                qos: 0,
                delivered: 0,
                held: vec![],
            });
        }
    }

    fn write(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if let (Some(stream), false) = (&mut peer.stream, peer.output.is_empty())
            && let Ok(written) = stream.write(&peer.output)
        {
            peer.output.drain(..written);
        }
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        loop {
            let peer = &mut self.peers[index];
            let kept = peer.partial.len();
            let Some(stream) = &mut peer.stream else { return };
            let read = match stream.read(&mut buffer[kept..]) {
                Ok(0) => {
                    peer.stream = None;
                    return;
                }
                Ok(read) => read,
                Err(_) => return,
            };
            buffer[..kept].copy_from_slice(&peer.partial);
            peer.partial.clear();
            let bytes = &buffer[..kept + read];
            let mut used = 0;
            while let Some(frame_bytes) = frame_bytes(&bytes[used..]) {
                self.frame(index, &bytes[used..used + frame_bytes]);
                used += frame_bytes;
            }
            self.peers[index].partial.extend_from_slice(&bytes[used..]);
            if kept + read < buffer.len() {
                return;
            }
        }
    }

    fn frame(&mut self, index: usize, frame: &[u8]) {
        let body = &frame[1 + frame[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1..];
        match frame[0] >> 4 {
            1 => self.output(index).extend_from_slice(&[0x20, 2, 0, 0]),
            3 => self.publish(index, frame[0] >> 1 & 3, body),
            5 => self.output(index).extend_from_slice(&[0x62, 2, body[0], body[1]]),
            6 => self.output(index).extend_from_slice(&[0x70, 2, body[0], body[1]]),
            8 => self.subscribe(index, body),
            14 => self.peers[index].stream = None,
            _ => {}
        }
    }

    /// A filter is a topic, or a topic's parent and `+`.
    fn subscribe(&mut self, index: usize, body: &[u8]) {
        let mut answer = vec![0x90, 2, body[0], body[1]];
        let mut rest = &body[2..];
        while let [high, low, tail @ ..] = rest {
            let (filter, tail) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            self.routes.entry(filter.strip_suffix(b"+").unwrap_or(filter).to_vec()).or_default().push(index);
            self.peers[index].qos = tail[0];
            answer.push(tail[0]);
            rest = &tail[1..];
        }
        answer[1] = (answer.len() - 2) as u8;
        self.output(index).extend_from_slice(&answer);
    }

    fn publish(&mut self, index: usize, qos: u8, body: &[u8]) {
        let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = &body[2..topic_end];
        let mut payload = &body[topic_end..];
        if qos > 0 {
            let answer = if qos == 1 { 0x40 } else { 0x50 };
            self.output(index).extend_from_slice(&[answer, 2, payload[0], payload[1]]);
            payload = &payload[2..];
        }
        let parent = topic.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        for route in [topic, &topic[..parent]] {
            let Some(subscribers) = self.routes.remove(route) else { continue };
            for subscriber in &subscribers {
                self.deliver(*subscriber, qos, &body[..topic_end], payload);
            }
            self.routes.insert(route.to_vec(), subscribers);
        }
    }

    fn deliver(&mut self, subscriber: usize, qos: u8, topic: &[u8], payload: &[u8]) {
        let peer = &mut self.peers[subscriber];
        let qos = qos.min(peer.qos);
        peer.delivered += 1;
        let mut frame = vec![0x30 | qos << 1];
        let mut remaining = topic.len() + payload.len() + if qos > 0 { 2 } else { 0 };
        while remaining > 0x7f {
            frame.push(remaining as u8 | 0x80);
            remaining >>= 7;
        }
        frame.push(remaining as u8);
        frame.extend_from_slice(topic);
        if qos > 0 {
            frame.extend_from_slice(&((peer.delivered % 65_535 + 1) as u16).to_be_bytes());
        }
        frame.extend_from_slice(payload);
        let held = std::mem::take(&mut peer.held);
        let faulty = peer.delivered.is_multiple_of(100);
        match self.fault {
            Fault::Lose if faulty => {}
            Fault::Swap if faulty => self.peers[subscriber].held = frame,
            Fault::Misroute if faulty => self.output(subscriber ^ 1).extend_from_slice(&frame),
            fault => {
                let output = self.output(subscriber);
                output.extend_from_slice(&frame);
                if fault == Fault::Double && faulty {
                    output.extend_from_slice(&frame);
                }
            }
        }
        self.output(subscriber).extend_from_slice(&held);
    }

    fn output(&mut self, index: usize) -> &mut Vec<u8> {
        self.dirty.push(index);
        &mut self.peers[index].output
    }
}

/// The length of the frame at the head of `bytes`, if it is all there.
fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let (mut remaining, mut shift) = (0, 0);
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        remaining |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            let end = at + 1 + remaining;
            return (end <= bytes.len()).then_some(end);
        }
    }
    None
}
