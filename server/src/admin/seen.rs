//! One message published over a real connection, and looked for in every language: whoever doubts that all of them meet
//! in one topic space sees it.
//!
//! The connections are those of anybody on this machine, made for one question and closed behind it.

mod halves;

use crate::config::Listen;
use althing_core::{Now, Topic};
use althing_net::Address;
use bytes::{Bytes, BytesMut};
use halves::{Coap, Half, Json, Mqtt, MqttInWebSocket, Sse, Stomp, Word};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a connection, and the way of the message, may take each.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest datagram that there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// A language, and what carries it.
#[derive(Debug)]
pub struct Way {
    /// For programs.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// The language of the listener, in the protocol table.
    protocol: &'static str,
    /// Makes a client half that knows the topic and the address.
    half: fn(&Topic, SocketAddr) -> Box<dyn Half>,
}

/// Every way that there is.
pub static WAYS: [Way; 6] = [
    Way { name: "mqtt", title: "MQTT", protocol: "mqtt", half: |topic, _| Box::new(Mqtt::new(topic)) },
    Way {
        name: "mqtt-ws",
        title: "MQTT over WebSocket",
        protocol: "http",
        half: |topic, at| Box::new(MqttInWebSocket::new(topic, at)),
    },
    Way { name: "stomp", title: "STOMP", protocol: "stomp", half: |topic, _| Box::new(Stomp::new(topic)) },
    Way { name: "coap", title: "CoAP", protocol: "coap", half: |topic, _| Box::new(Coap::new(topic)) },
    Way { name: "http", title: "HTTP event stream", protocol: "http", half: |topic, at| Box::new(Sse::new(topic, at)) },
    Way {
        name: "json",
        title: "JSON over WebSocket",
        protocol: "http",
        half: |topic, at| Box::new(Json::new(topic, at)),
    },
];

/// What to publish, and in which language.
#[derive(Debug)]
pub struct Question {
    /// Where.
    pub topic: Topic,
    /// What.
    pub payload: Bytes,
    /// How.
    pub from: &'static Way,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Until the publisher was told that the broker has it.
    pub published: Option<Duration>,
    /// When it arrived, or why it did not, in the order of [`WAYS`].
    pub sights: Vec<(&'static Way, Result<Duration, String>)>,
}

/// Subscribes everywhere, publishes, and looks.
///
/// # Errors
/// When it cannot be published.
pub async fn look(listeners: &[Listen], question: Question) -> Result<Outcome, String> {
    let Question { topic, payload, from } = question;
    let mut openings = JoinSet::new();
    for (place, way) in WAYS.iter().enumerate() {
        if let Some(listen) = listener(listeners, way) {
            let line = opening(way, listen, &topic);
            openings
                .spawn(async move { (place, in_time("is not answered", async { line?.subscribed().await }).await) });
        }
    }
    let listen = listener(listeners, from);
    let listen = listen.ok_or_else(|| format!("no listener of this machine speaks {} without TLS", from.title))?;
    let line = opening(from, listen, &topic);
    let cannot = |why| format!("nothing can be published over {}: {why}", from.title);
    let mut publisher = in_time("is not answered", async { line?.connected().await }).await.map_err(cannot)?;
    let mut lines = openings.join_all().await;
    lines.sort_by_key(|(place, _)| *place);

    let start = Instant::now();
    let mut arrivals = JoinSet::new();
    for (place, line) in lines {
        let payload = payload.clone();
        arrivals.spawn(async move { (place, arrival(line, &payload, start).await) });
    }
    let published = in_time("did not hear of it", publisher.publish(payload)).await;
    let published = published.map(|()| start.elapsed()).map_err(cannot);
    let mut sights = arrivals.join_all().await;
    sights.sort_by_key(|(place, _)| *place);
    publisher.leave().await;
    let sights = sights.into_iter().map(|(place, result)| (&WAYS[place], result)).collect();
    published.map(|published| Outcome { published: Some(published), sights })
}

/// Where this way begins: a listener that this machine reaches without TLS and without a proxy before it; best one that
/// lets everyone in.
fn listener<'a>(listeners: &'a [Listen], way: &Way) -> Option<&'a Listen> {
    let speaks = |listen: &&Listen| {
        let is_plain = listen.tls.is_none() && !listen.proxy_protocol;
        listen.protocol.row.name == way.protocol && is_plain && reachable(&listen.address).is_some()
    };
    listeners.iter().filter(speaks).max_by_key(|listen| listen.entrance.anonymous)
}

/// The address at which this machine reaches a listener.
fn reachable(address: &Address) -> Option<SocketAddr> {
    let Address::Tcp(address) = address else { return None };
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    ip.to_canonical().is_loopback().then(|| SocketAddr::new(ip, address.port()))
}

/// A line that nobody has opened yet.
fn opening(way: &Way, listen: &Listen, topic: &Topic) -> Result<Opening, String> {
    let address = reachable(&listen.address).ok_or("it does not listen on this machine")?;
    if !listen.entrance.anonymous {
        return Err("it lets nobody in without credentials, and this test has none".to_owned());
    }
    let is_datagrams = way.protocol == "coap";
    Ok(Opening { address, is_datagrams, half: (way.half)(topic, address) })
}

/// What becomes a line.
struct Opening {
    address: SocketAddr,
    is_datagrams: bool,
    half: Box<dyn Half>,
}

impl Opening {
    async fn connected(self) -> Result<Line, String> {
        let carrier = Carrier::connect(self.address, self.is_datagrams).await.map_err(|error| error.to_string())?;
        let mut line =
            Line { carrier, half: self.half, input: BytesMut::new(), words: VecDeque::new(), start: Instant::now() };
        let now = line.now();
        line.half.connect(now);
        line.hear(|word| matches!(word, Word::Connected)).await?;
        Ok(line)
    }

    async fn subscribed(self) -> Result<Line, String> {
        let mut line = self.connected().await?;
        let now = line.now();
        line.half.subscribe(now);
        line.hear(|word| matches!(word, Word::Subscribed)).await?;
        Ok(line)
    }
}

/// When the message came through.
async fn arrival(line: Result<Line, String>, payload: &Bytes, start: Instant) -> Result<Duration, String> {
    let mut line = line?;
    let is_it = |word: &Word| matches!(word, Word::Message(came) if came == payload);
    let came = in_time("did not bring it", line.hear(is_it)).await.map(|()| start.elapsed());
    line.leave().await;
    came
}

/// A client half on its socket.
struct Line {
    carrier: Carrier,
    half: Box<dyn Half>,
    input: BytesMut,
    /// What was heard and nobody has asked for.
    words: VecDeque<Word>,
    start: Instant,
}

impl Line {
    fn now(&self) -> Now {
        Now { mono_ns: u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX), wall_ms: 0 }
    }

    async fn publish(&mut self, payload: Bytes) -> Result<(), String> {
        let now = self.now();
        self.half.publish(now, payload);
        self.hear(|word| matches!(word, Word::Published)).await
    }

    /// Until such a word comes; what came before it is forgotten.
    async fn hear(&mut self, is_wanted: impl Fn(&Word) -> bool) -> Result<(), String> {
        loop {
            let now = self.now();
            self.words.extend(self.half.receive(now, &mut self.input)?);
            self.write_out().await.map_err(|error| error.to_string())?;
            while let Some(word) = self.words.pop_front() {
                if is_wanted(&word) {
                    return Ok(());
                }
            }
            self.carrier.read(&mut self.input).await.map_err(|error| error.to_string())?;
        }
    }

    async fn write_out(&mut self) -> io::Result<()> {
        while let Some(bytes) = self.half.take_output() {
            self.carrier.write(&bytes).await?;
        }
        Ok(())
    }

    /// Says goodbye; who does not hear it finds the connection closed.
    async fn leave(mut self) {
        let now = self.now();
        self.half.leave(now);
        let _ = timeout(PATIENCE, self.write_out()).await;
    }
}

/// Bytes or datagrams.
enum Carrier {
    Stream(TcpStream),
    Datagrams(UdpSocket),
}

impl Carrier {
    async fn connect(address: SocketAddr, is_datagrams: bool) -> io::Result<Self> {
        if is_datagrams {
            let any: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(address).await?;
            return Ok(Self::Datagrams(socket));
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::Stream(stream))
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write_all(bytes).await,
            Self::Datagrams(socket) => socket.send(bytes).await.map(drop),
        }
    }

    /// Some bytes, or one datagram.
    async fn read(&mut self, input: &mut BytesMut) -> io::Result<()> {
        match self {
            Self::Stream(stream) => match stream.read_buf(input).await? {
                0 => Err(io::Error::other("it has closed the connection")),
                _ => Ok(()),
            },
            Self::Datagrams(socket) => {
                input.clear();
                input.resize(DATAGRAM_BYTES_MAX, 0);
                let length = socket.recv(input).await?;
                input.truncate(length);
                Ok(())
            }
        }
    }
}

/// Fails in these words when it takes too long.
async fn in_time<T>(words: &str, step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(PATIENCE, step).await.unwrap_or_else(|_| Err(format!("it {words} within {} s", PATIENCE.as_secs())))
}
