//! All connections of a run on one thread: one poll, one read buffer, one write a connection and turn.

use crate::BenchError;
use crate::tls::{Session, Tls};
use crate::websocket::{Tunnel, WebSocket};
use crate::wire::{self, Decoded, Frame, Version};
use mio::net::{TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where the broker listens.
#[derive(Clone, Debug)]
pub enum Address {
    /// TCP, with Nagle's algorithm off.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

/// What all connections of a run are inside.
pub enum Wrapping {
    /// Nothing.
    None,
    /// TLS.
    Tls(Tls),
    /// WebSocket.
    WebSocket(WebSocket),
}

/// What one connection is inside.
enum Wrapper {
    Tls(Box<Session>),
    WebSocket(Box<Tunnel>),
}

/// What a scenario does with the frames that arrive.
pub trait Handler {
    /// One frame of a connection. `now_ns` was read after the system call that brought it.
    fn frame(&mut self, fleet: &mut Fleet, link: usize, frame: Frame<'_>, now_ns: u64) -> Result<(), BenchError>;
}

/// Connections, numbered from 0 in the order of opening.
pub struct Fleet {
    address: Address,
    wrapping: Wrapping,
    version: Version,
    /// Part of every client id.
    id: u8,
    poll: Poll,
    events: Events,
    links: Vec<Link>,
    /// Links with output that nobody has tried to write yet.
    dirty: Vec<usize>,
    /// Every read goes here; what is left of a cut frame moves to its link.
    buffer: Vec<u8>,
    /// What was wrapped in it.
    plaintext: Vec<u8>,
    /// How long the broker may send nothing while an answer is due.
    silence: Duration,
    started: Instant,
    frames: u64,
    /// At the sockets.
    bytes_received: u64,
    links_open: usize,
}

struct Link {
    stream: Option<Stream>,
    wrapper: Option<Wrapper>,
    output: Vec<u8>,
    written: usize,
    partial: Vec<u8>,
    dirty: bool,
    /// Read only by [`Fleet::read_some`].
    by_hand: bool,
    /// We have said DISCONNECT, the broker's close is welcome.
    closing: bool,
}

impl Link {
    /// Of packets, and of what carries some.
    fn output_bytes(&self) -> usize {
        self.output.len() - self.written + self.wrapper.as_ref().map_or(0, |wrapper| wrapper.waiting().len())
    }
}

/// Connections that one source address of 127.0.0.0/8 carries before the next is used: the ephemeral ports of one
/// are 28,232, and those of earlier runs may still be in TIME_WAIT.
const LINKS_PER_SOURCE: usize = 8_000;
/// Reads below this size never fill the buffer, so a short read means that the socket is empty.
const BUFFER_BYTES: usize = 256 * 1024;

impl Fleet {
    /// No connection yet; client ids contain `id`, frames of the run have at most about `payload_bytes`.
    pub fn new(
        address: Address,
        wrapping: Wrapping,
        version: Version,
        id: u8,
        payload_bytes: usize,
        silence: Duration,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            address,
            wrapping,
            version,
            id,
            poll: Poll::new().map_err(BenchError::Poll)?,
            events: Events::with_capacity(1024),
            links: Vec::new(),
            dirty: Vec::new(),
            buffer: vec![0; BUFFER_BYTES + 2 * payload_bytes],
            plaintext: Vec::new(),
            silence,
            started: Instant::now(),
            frames: 0,
            bytes_received: 0,
            links_open: 0,
        })
    }

    /// The version that all connections speak.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the client ids of this run have in common.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// Nanoseconds since the run began.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Connections that are open.
    pub fn links_open(&self) -> usize {
        self.links_open
    }

    /// Bytes that all sockets have brought so far.
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// Starts a connection and returns its number. What is put into its output leaves once it stands.
    /// `receive_buffer_bytes` makes it a slow reader that [`Fleet::read_some`] serves.
    pub fn open(&mut self, receive_buffer_bytes: Option<usize>) -> Result<usize, BenchError> {
        let index = self.links.len();
        let socket_error = |source| BenchError::Socket { connection: index, source };
        let mut stream = match &self.address {
            Address::Tcp(address) => {
                Stream::Tcp(connect_tcp(*address, index, receive_buffer_bytes).map_err(socket_error)?)
            }
            Address::Unix(path) => Stream::Unix(connect_unix(path)?),
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        match &mut stream {
            Stream::Tcp(stream) => self.poll.registry().register(stream, Token(index), interest),
            Stream::Unix(stream) => self.poll.registry().register(stream, Token(index), interest),
        }
        .map_err(socket_error)?;
        let wrapper = match &self.wrapping {
            Wrapping::None => None,
            Wrapping::Tls(tls) => {
                let session = Session::new(tls).map_err(|source| BenchError::Session { connection: index, source })?;
                Some(Wrapper::Tls(Box::new(session)))
            }
            Wrapping::WebSocket(websocket) => Some(Wrapper::WebSocket(Box::new(Tunnel::new(websocket, index)))),
        };
        self.links.push(Link {
            stream: Some(stream),
            wrapper,
            output: Vec::new(),
            written: 0,
            partial: Vec::new(),
            dirty: false,
            by_hand: receive_buffer_bytes.is_some(),
            closing: false,
        });
        self.links_open += 1;
        Ok(index)
    }

    /// The bytes to be written to a link at the end of the turn; append only.
    #[inline]
    pub fn output(&mut self, index: usize) -> &mut Vec<u8> {
        let link = &mut self.links[index];
        if !link.dirty {
            link.dirty = true;
            self.dirty.push(index);
        }
        &mut link.output
    }

    /// Bytes that the link's socket has not taken yet.
    pub fn output_bytes(&self, index: usize) -> usize {
        self.links[index].output_bytes()
    }

    /// Whether connections take up the TLS sessions of earlier ones.
    pub fn resumes(&self) -> bool {
        matches!(&self.wrapping, Wrapping::Tls(tls) if tls.resumes())
    }

    /// Links whose handshake brought an earlier session back.
    pub fn links_resumed(&self) -> usize {
        let is_resumed = |link: &&Link| matches!(&link.wrapper, Some(Wrapper::Tls(tls)) if tls.is_resumed());
        self.links.iter().filter(is_resumed).count()
    }

    /// Says DISCONNECT; the link ends when the broker closes it.
    pub fn close(&mut self, index: usize) {
        wire::put_disconnect(self.output(index));
        self.links[index].closing = true;
    }

    /// Lets a slow link read at full speed from now on.
    pub fn release(&mut self, index: usize, handler: &mut impl Handler) -> Result<(), BenchError> {
        self.links[index].by_hand = false;
        self.read(index, usize::MAX, handler)
    }

    /// Reads at most `bytes` from a slow link.
    pub fn read_some(&mut self, index: usize, bytes: usize, handler: &mut impl Handler) -> Result<(), BenchError> {
        self.read(index, bytes, handler)
    }

    /// Writes what is due, waits until something happens or `timeout` is over, and hands every frame to `handler`.
    /// What the handler puts out leaves at the beginning of the next turn, one write a link.
    pub fn turn(&mut self, handler: &mut impl Handler, timeout: Duration) -> Result<(), BenchError> {
        self.flush()?;
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(BenchError::Poll(error)),
            _ => {}
        }
        let events = mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let Token(index) = event.token();
            // Once it stands, and when there is room again.
            if event.is_writable() && self.links[index].output_bytes() > 0 {
                self.write(index)?;
            }
            if event.is_readable() && !self.links[index].by_hand {
                self.read(index, usize::MAX, handler)?;
                // The last bytes and the end may share one event.
                if event.is_read_closed() {
                    self.read(index, usize::MAX, handler)?;
                }
            }
        }
        self.events = events;
        Ok(())
    }

    /// Turns until `done`; silence is an error that names what was waited for.
    pub fn run_until<H: Handler>(
        &mut self,
        handler: &mut H,
        waiting_for: &'static str,
        mut done: impl FnMut(&mut Self, &mut H) -> Result<bool, BenchError>,
    ) -> Result<(), BenchError> {
        let (mut frames, mut progress) = (self.frames, Instant::now());
        while !done(self, handler)? {
            self.turn(handler, Duration::from_millis(100))?;
            if self.frames != frames {
                (frames, progress) = (self.frames, Instant::now());
            } else if progress.elapsed() > self.silence {
                return Err(BenchError::Silent { waiting_for });
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BenchError> {
        let mut dirty = mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            self.links[index].dirty = false;
            self.write(index)?;
        }
        self.dirty = dirty;
        Ok(())
    }

    /// One write; what the socket does not take waits for its writable event.
    fn write(&mut self, index: usize) -> Result<(), BenchError> {
        let link = &mut self.links[index];
        let Some(stream) = &mut link.stream else { return Ok(()) };
        if let Some(wrapper) = &mut link.wrapper {
            if wrapper.is_ready() && !link.output.is_empty() {
                wrapper.seal(index, &link.output)?;
                link.output.clear();
            }
            if wrapper.waiting().is_empty() {
                return Ok(());
            }
        }
        let waiting = link.wrapper.as_ref().map_or(&link.output[link.written..], |wrapper| wrapper.waiting());
        let written = match stream.write(waiting) {
            Ok(written) => written,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
            Err(source) => return Err(BenchError::Socket { connection: index, source }),
        };
        match &mut link.wrapper {
            Some(wrapper) => wrapper.advance(written),
            None => link.written += written,
        }
        if link.written == link.output.len() {
            link.output.clear();
            link.written = 0;
        }
        Ok(())
    }

    /// Reads until the socket is empty or `limit` bytes are read. The poll is edge-triggered: a read that comes back
    /// shorter than its room has emptied the socket, and a later arrival makes a new event (epoll(7)).
    fn read(&mut self, index: usize, mut limit: usize, handler: &mut impl Handler) -> Result<(), BenchError> {
        let mut buffer = mem::take(&mut self.buffer);
        while limit > 0 {
            let link = &mut self.links[index];
            let Some(stream) = &mut link.stream else { break };
            let kept = link.wrapper.as_ref().map_or(&link.partial[..], |wrapper| wrapper.partial()).len();
            let room = limit.min(buffer.len() - kept);
            let read = match stream.read(&mut buffer[kept..kept + room]) {
                Ok(0) => {
                    self.closed(index)?;
                    break;
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) if link.closing => {
                    self.closed(index)?;
                    break;
                }
                Err(source) => return Err(BenchError::Socket { connection: index, source }),
            };
            self.bytes_received += read as u64;
            match &link.wrapper {
                Some(_) => self.opened(index, &mut buffer[..kept + read], handler)?,
                None => {
                    buffer[..kept].copy_from_slice(&link.partial);
                    self.received(index, &buffer[..kept + read], handler)?;
                }
            }
            limit = limit.saturating_sub(read);
            // A slow reader may leave bytes behind a full read; its next turn fetches them.
            if read < room {
                break;
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Handles what stands in `wrapped` behind room for what the last read left of a record.
    fn opened(&mut self, index: usize, wrapped: &mut [u8], handler: &mut impl Handler) -> Result<(), BenchError> {
        let mut plaintext = mem::take(&mut self.plaintext);
        let link = &mut self.links[index];
        let Some(wrapper) = &mut link.wrapper else { return Ok(()) };
        plaintext.clear();
        plaintext.extend_from_slice(&link.partial);
        wrapped[..wrapper.partial().len()].copy_from_slice(wrapper.partial());
        wrapper.open(index, wrapped, &mut plaintext)?;
        let is_due = !link.dirty && (!wrapper.waiting().is_empty() || (wrapper.is_ready() && !link.output.is_empty()));
        if is_due {
            link.dirty = true;
            self.dirty.push(index);
        }
        self.received(index, &plaintext, handler)?;
        self.plaintext = plaintext;
        Ok(())
    }

    /// Handles `bytes`, which begin with what was left of a cut frame.
    fn received(&mut self, index: usize, bytes: &[u8], handler: &mut impl Handler) -> Result<(), BenchError> {
        self.links[index].partial.clear();
        let used = self.decode(index, bytes, handler)?;
        self.links[index].partial.extend_from_slice(&bytes[used..]);
        Ok(())
    }

    /// Hands over all whole frames and returns their bytes.
    #[inline]
    fn decode(&mut self, index: usize, bytes: &[u8], handler: &mut impl Handler) -> Result<usize, BenchError> {
        let now_ns = self.now_ns();
        let mut used = 0;
        loop {
            match wire::decode(&bytes[used..], self.version) {
                Decoded::Frame(Frame::Disconnect { code }, _) => {
                    return Err(BenchError::Refused { packet: "connection (DISCONNECT)", connection: index, code });
                }
                Decoded::Frame(frame, frame_bytes) => {
                    used += frame_bytes;
                    self.frames += 1;
                    handler.frame(self, index, frame, now_ns)?;
                }
                Decoded::Incomplete => return Ok(used),
                Decoded::Malformed => return Err(BenchError::Malformed { connection: index }),
            }
        }
    }

    fn closed(&mut self, index: usize) -> Result<(), BenchError> {
        let link = &mut self.links[index];
        if !link.closing {
            return Err(BenchError::Closed { connection: index });
        }
        link.stream = None;
        self.links_open -= 1;
        Ok(())
    }
}

impl Wrapper {
    fn is_ready(&self) -> bool {
        match self {
            Self::Tls(session) => session.is_ready(),
            Self::WebSocket(tunnel) => tunnel.is_ready(),
        }
    }

    fn seal(&mut self, connection: usize, packets: &[u8]) -> Result<(), BenchError> {
        match self {
            Self::Tls(session) => session.seal(packets).map_err(|source| BenchError::Session { connection, source }),
            Self::WebSocket(tunnel) => {
                tunnel.seal(packets);
                Ok(())
            }
        }
    }

    /// What the last read has left of a record.
    fn partial(&self) -> &[u8] {
        match self {
            Self::Tls(session) => session.partial(),
            Self::WebSocket(_) => &[],
        }
    }

    fn open(&mut self, connection: usize, wrapped: &mut [u8], plain: &mut Vec<u8>) -> Result<(), BenchError> {
        match self {
            Self::Tls(session) => {
                session.open(wrapped, plain).map_err(|source| BenchError::Session { connection, source })
            }
            Self::WebSocket(tunnel) => {
                tunnel.open(wrapped, plain).map_err(|reason| BenchError::WebSocket { connection, reason })
            }
        }
    }

    fn waiting(&self) -> &[u8] {
        match self {
            Self::Tls(session) => session.waiting(),
            Self::WebSocket(tunnel) => tunnel.waiting(),
        }
    }

    fn advance(&mut self, bytes: usize) {
        match self {
            Self::Tls(session) => session.advance(bytes),
            Self::WebSocket(tunnel) => tunnel.advance(bytes),
        }
    }
}

/// Starts a connection; on loopback, every 8,000th takes the next source address, so that ports do not run short.
pub fn connect_tcp(address: SocketAddr, index: usize, receive_buffer_bytes: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    let source = (index / LINKS_PER_SOURCE) as u32;
    if let (IpAddr::V4(host), 1..) = (address.ip(), source)
        && host.is_loopback()
    {
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + source);
        socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
    }
    match socket.connect(&SockAddr::from(address)) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Connects at once: a unix socket stands as soon as the listener's backlog has room.
fn connect_unix(path: &PathBuf) -> Result<UnixStream, BenchError> {
    let connect = || {
        let stream = std::os::unix::net::UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        Ok(UnixStream::from_std(stream))
    };
    connect().map_err(|source| BenchError::Unix { path: path.clone(), source })
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}
