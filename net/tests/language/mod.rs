//! A language of lines, and a shard that speaks it.
#![allow(dead_code, reason = "each test file uses its part")]

use althing_core::authorisation::Policy;
use althing_core::broker::Broker;
use althing_core::effects::{Verdict, Verify};
use althing_core::link::Entrance;
use althing_core::record::{Load, Record};
use althing_core::shard::Word;
use althing_core::time::MILLISECOND_NS;
use althing_core::topic::TopicLimits;
use althing_core::verbs::{Connect, Publish, Refusal, Subscribe, SubscribeFilter, SubscriptionOptions};
use althing_core::{
    Adaptor, Answer, Close, Deadline, Delivery, Entropy, Filter, Limits, Link, Message, Now, Out, PeerId, Reason,
    Receive, Request, Topic,
};
use althing_net::{Address, Clock, Gate, Host, Listener, Notice, Shard, Welcome, local};
use bytes::{Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Runs `test` on a shard with the usual limits.
pub fn house(test: impl AsyncFnOnce(House)) {
    house_with(Limits::default(), test);
}

/// Runs `test` on a shard.
pub fn house_with(limits: Limits, test: impl AsyncFnOnce(House)) {
    house_under(limits, Policy::open(), test);
}

/// Runs `test` on a shard where this policy holds.
pub fn house_under(limits: Limits, policy: Policy, test: impl AsyncFnOnce(House)) {
    let limits = Arc::new(limits);
    let broker = Broker::new(0, 1, Arc::clone(&limits), Arc::new(policy), Entropy::new(1));
    let heard = Rc::new(Heard::default());
    let shard = Shard::new(0, Clock::default(), broker, limits, Box::new(TestHost { heard: Rc::clone(&heard) }));
    althing_net::run(shard, async {
        let mut house = House { address: Address::Unix("".into()), heard };
        house.address = house.listen("127.0.0.1:0");
        test(house).await;
    })
    .unwrap();
}

/// Who speaks the language.
pub fn line_adaptor(link: &Link) -> Box<dyn Adaptor> {
    Box::new(LineAdaptor { link: link.clone(), ..LineAdaptor::default() })
}

pub async fn say(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

pub async fn hear(stream: &mut (impl AsyncRead + Unpin), expected: &str) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).await.unwrap();
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard == expected, "heard {heard:.200} instead of {expected:.200}");
}

/// A running shard.
pub struct House {
    address: Address,
    heard: Rc<Heard>,
}

/// What the host has heard: why conversations ended, and who waits for a verdict.
#[derive(Default)]
struct Heard {
    undecided: Cell<Option<PeerId>>,
    is_behind: Cell<bool>,
    texts: RefCell<VecDeque<String>>,
    more: Notify,
}

impl House {
    /// Listens at one more address; returns the real one.
    pub fn listen(&self, address: &str) -> Address {
        self.listen_behind(Gate::default(), address)
    }

    /// The same behind a gate.
    pub fn listen_behind(&self, gate: Gate, address: &str) -> Address {
        let listener = Listener::bind(&address.parse().unwrap()).unwrap();
        let address = listener.address().clone();
        local::listen(
            listener,
            gate,
            Arc::new(Entrance { name: "line", ..Entrance::default() }),
            Welcome::Adaptor(Arc::new(line_adaptor)),
        );
        address
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address.to_string()).await.unwrap()
    }

    /// A peer with a session.
    pub async fn connect_as(&self, name: &str) -> TcpStream {
        let mut peer = self.connect().await;
        say(&mut peer, &format!("connect {name}\n")).await;
        hear(&mut peer, "connected\n").await;
        peer
    }

    /// Waits until `late` has asked to be let in.
    pub async fn undecided(&self) -> PeerId {
        loop {
            if let Some(peer) = self.heard.undecided.take() {
                return peer;
            }
            self.heard.more.notified().await;
        }
    }

    /// Says whether much waits for the store.
    pub fn set_behind(&self, is_behind: bool) {
        self.heard.is_behind.set(is_behind);
    }

    /// Waits until a conversation has ended, or was found wanting, for this reason.
    pub async fn closed(&self, why: &str) {
        loop {
            while let Some(text) = self.heard.texts.borrow_mut().pop_front() {
                if text.contains(why) {
                    return;
                }
            }
            self.heard.more.notified().await;
        }
    }
}

struct TestHost {
    heard: Rc<Heard>,
}

impl Host for TestHost {
    fn store(&mut self, _: &mut Vec<Record>, _: u64) {}

    fn durable(&mut self) -> u64 {
        0
    }

    fn is_durable_soon(&mut self) -> bool {
        false
    }

    fn load(&mut self, _: &mut Vec<Load>) {}

    fn has_room(&mut self) -> bool {
        true
    }

    fn is_behind(&mut self) -> bool {
        self.heard.is_behind.get()
    }

    fn verify(&mut self, verify: Verify) -> Option<Verdict> {
        if verify.client == "late" {
            self.heard.undecided.set(Some(verify.peer));
            self.heard.more.notify_one();
            return None;
        }
        Some(Verdict::Accept { identity: Default::default(), data: None })
    }

    fn forward(&mut self, _: &mut Vec<(u16, Word)>) {}

    fn notice(&mut self, notice: Notice<'_>) {
        let text = match notice {
            Notice::Closed { why, .. } => why.to_string(),
            Notice::TurnedAway { why, .. } => why,
            Notice::Stalled { .. } => "stalled".to_owned(),
            _ => return,
        };
        self.heard.texts.borrow_mut().push_back(text);
        self.heard.more.notify_one();
    }
}

/// Echoes lines, and does what some of them say.
#[derive(Default)]
struct LineAdaptor {
    link: Link,
    /// Bytes of an unfinished line that hold no line end.
    searched_bytes: usize,
    timeout_ns: Option<u64>,
    panics_in_drop: bool,
}

impl Adaptor for LineAdaptor {
    fn receive(&mut self, now: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<Receive, Close> {
        let Some(end) = input[self.searched_bytes..].iter().position(|byte| *byte == b'\n') else {
            self.searched_bytes = input.len();
            return Ok(Receive::NeedMore);
        };
        let line = input.split_to(self.searched_bytes + end + 1).freeze();
        self.searched_bytes = 0;
        let text = std::str::from_utf8(&line).unwrap().trim_end();
        match text.split_once(' ').unwrap_or((text, "")) {
            ("panic", "") => panic!("a line said so"),
            ("panic", _) => {
                self.panics_in_drop = true;
                panic!("a line said so")
            }
            ("close", _) => {
                out.bytes.tail().extend_from_slice(b"bye\n");
                return Err(Close::with_will(Refusal::new(Reason::Normal, "said close")));
            }
            ("link", _) => out.bytes.tail().extend_from_slice(describe(&self.link).as_bytes()),
            ("big", count) => out.bytes.put_payload(&Bytes::from(vec![b'b'; count.parse().unwrap()])),
            ("timeout", ms) => {
                self.timeout_ns = Some(now.mono_ns + ms.parse::<u64>().unwrap() * MILLISECOND_NS);
            }
            ("connect", name) => {
                out.requests.push_back(connect(name));
                return Ok(Receive::Wait);
            }
            ("subscribe", filter) => out.requests.push_back(subscribe(filter)),
            ("retain", count) => {
                let mut message = message(count.parse().unwrap());
                message.retain = true;
                out.requests.push_back(Request::Publish(Publish { message, token: None, correlation: 0 }));
            }
            ("burst", count) => out.requests.extend((0..count.parse().unwrap()).map(|_| publish(1))),
            ("publish", count) => out.requests.push_back(publish(count.parse().unwrap())),
            _ => out.bytes.put_payload(&line),
        }
        Ok(Receive::Again)
    }

    fn answer(&mut self, _: Now, answer: Answer, out: &mut Out<'_>) -> Result<(), Close> {
        out.bytes.tail().extend_from_slice(match answer {
            Answer::Connected(_) => b"connected\n",
            Answer::Subscribed { .. } => b"subscribed\n",
            _ => b"farewell\n",
        });
        Ok(())
    }

    fn deliver(&mut self, _: Now, batch: &[Delivery], out: &mut Out<'_>) {
        for delivery in batch {
            out.bytes.put_payload(&delivery.message.payload);
        }
    }

    fn timeout(&mut self, now: Now, out: &mut Out<'_>) -> Result<(), Close> {
        if self.timeout_ns.is_some_and(|timeout_ns| timeout_ns <= now.mono_ns) {
            self.timeout_ns = None;
            out.bytes.tail().extend_from_slice(b"timed out\n");
        }
        Ok(())
    }

    fn next_timeout(&self) -> Option<Deadline> {
        self.timeout_ns.map(|mono_ns| Deadline { mono_ns, reason: "a line said so" })
    }
}

/// How a peer came in, in one line.
fn describe(link: &Link) -> String {
    let remote = link.remote.map_or("nobody".into(), |remote| remote.ip().to_string());
    let Some(tls) = &link.tls else { return format!("{remote} in plain\n") };
    let name = |it: &Option<String>| it.clone().unwrap_or_else(|| "-".into());
    let protocol = tls.application_protocol.as_ref().map(|it| String::from_utf8_lossy(it).into_owned());
    let owner = tls.certificate.as_ref().map(|it| it.subject.clone());
    let (server_name, protocol, owner) = (name(&tls.server_name), name(&protocol), name(&owner));
    format!("{remote} {} {} {server_name} {protocol} {owner}\n", tls.version, tls.cipher)
}

pub fn connect(name: &str) -> Request {
    Request::Connect(Box::new(Connect { client: Some(name.into()), number_max: 1, ..Connect::new("line") }))
}

pub fn subscribe(filter: &str) -> Request {
    let filter = Filter::new(filter.into(), &TopicLimits::default()).unwrap();
    let filters = vec![SubscribeFilter { filter: Ok(filter), options: SubscriptionOptions::default() }];
    Request::Subscribe(Box::new(Subscribe { correlation: 0, filters }))
}

pub fn publish(count: usize) -> Request {
    Request::Publish(Publish { message: message(count), token: None, correlation: 0 })
}

fn message(count: usize) -> Message {
    let topic = Topic::new("t".into(), &TopicLimits::default()).unwrap();
    Message::new(topic, Bytes::from(vec![b'p'; count]))
}

impl Drop for LineAdaptor {
    fn drop(&mut self) {
        assert!(!self.panics_in_drop, "a line said so");
    }
}
