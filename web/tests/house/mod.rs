//! A shard that serves HTTP, with a host that keeps nothing.
#![allow(dead_code, reason = "each test file uses its part")]

use althing_core::authorisation::Policy;
use althing_core::broker::Broker;
use althing_core::effects::{Verdict, Verify};
use althing_core::link::Entrance;
use althing_core::record::{Load, Record};
use althing_core::shard::Word;
use althing_core::verbs::{Reason, Refusal};
use althing_core::{Entropy, Limits};
use althing_http::HttpConfig;
use althing_http::json::{Credentials as JsonCredentials, JsonAdaptor, SUBPROTOCOL};
use althing_net::{Clock, Gate, Host, Listener, Notice, Shard, Welcome, local};
use althing_web::{Credentials, Entry, Language, Nowhere, Speaking, Web};
use althing_websocket::WebSocketConfig;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A running shard.
pub struct House {
    pub address: String,
    heard: Rc<Heard>,
}

#[derive(Default)]
struct Heard {
    texts: RefCell<VecDeque<String>>,
    more: Notify,
}

/// Runs `test` on a shard that speaks HTTP as `config` says.
pub fn house_with(limits: Limits, config: HttpConfig, test: impl AsyncFnOnce(House)) {
    let limits = Arc::new(limits);
    let broker = Broker::new(0, 1, Arc::clone(&limits), Arc::new(Policy::open()), Entropy::new(1));
    let heard = Rc::new(Heard::default());
    let host = Box::new(TestHost { heard: Rc::clone(&heard) });
    let shard = Shard::new(0, Clock::default(), broker, Arc::clone(&limits), host);
    althing_net::run(shard, async {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().to_string();
        let entrance = Arc::new(Entrance { name: "http", anonymous: true, ..Entrance::default() });
        let configs = (Arc::new(config), Arc::new(WebSocketConfig::default()));
        let languages = vec![objects(Arc::clone(&limits))];
        let web = Web::new(configs, limits, Entry::default(), languages, Arc::new(Nowhere));
        local::listen(listener, Gate::default(), entrance, Welcome::Visitor(web.factory()));
        test(House { address, heard }).await;
    })
    .unwrap();
}

pub fn house(test: impl AsyncFnOnce(House)) {
    house_with(Limits::default(), HttpConfig::default(), test);
}

fn objects(limits: Arc<Limits>) -> Language {
    let speaking = Speaking::Messages(Arc::new(move |link, Credentials { username, password }| {
        Box::new(JsonAdaptor::new(link, Arc::clone(&limits), JsonCredentials { username, password }))
    }));
    Language { subprotocol: SUBPROTOCOL, speaking }
}

impl House {
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// Sends these bytes and hears everything up to the end of the connection, which the broker makes.
    pub async fn until_closed(&self, said: &[u8]) -> String {
        let mut stream = self.connect().await;
        // What refuses early may close before everything is sent.
        let _ = stream.write_all(said).await;
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// The status of a request with these lines, on a connection of its own.
    pub async fn status(&self, lines: &str) -> u16 {
        let mut stream = self.connect().await;
        say(&mut stream, &format!("{}\r\nHost: {}\r\n\r\n", lines.trim_end(), self.address)).await;
        status(&hear_head(&mut stream).await)
    }

    /// Waits until a conversation has ended, or was turned away, for this reason.
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

pub async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// The head of the next response.
pub async fn hear_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.expect("a response");
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}

/// The status in a response, or 0.
pub fn status(response: &str) -> u16 {
    response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
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
        false
    }

    /// Passwords take their time, and the right one is `secret`.
    fn verify(&mut self, verify: Verify) -> Option<Verdict> {
        let accept = || Verdict::Accept { identity: Default::default(), data: None };
        let Some(password) = verify.password else { return Some(accept()) };
        let refusal = Refusal::new(Reason::BadCredentials, "wrong user name or password");
        let verdict =
            if password == "secret" { accept() } else { Verdict::Refuse { refusal, why: String::new().into() } };
        let peer = verify.peer;
        tokio::spawn(async move { local::verified(peer, verdict) });
        None
    }

    fn forward(&mut self, _: &mut Vec<(u16, Word)>) {}

    fn notice(&mut self, notice: Notice<'_>) {
        let text = match notice {
            Notice::Closed { why, .. } => why.to_string(),
            Notice::TurnedAway { why, .. } => why,
            _ => return,
        };
        self.heard.texts.borrow_mut().push_back(text);
        self.heard.more.notify_one();
    }
}
