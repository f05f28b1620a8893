//! A shard that speaks HTTP and MQTT, and clients of both.

use althing_core::authorisation::{Actions, Policy, Rule};
use althing_core::broker::Broker;
use althing_core::effects::{Verdict, Verify};
use althing_core::identity::Identity;
use althing_core::link::Entrance;
use althing_core::record::{Load, Record};
use althing_core::shard::Word;
use althing_core::verbs::Refusal;
use althing_core::{Entropy, Guarantee, Limits, Now, Reason, Topic};
use althing_http::HttpConfig;
use althing_mqtt::client::{Event, Options};
use althing_mqtt::packet::{self, Version};
use althing_mqtt::{Client, MqttAdaptor, MqttConfig};
use althing_net::{Clock, Gate, Host, Listener, Notice, Shard, Welcome, local};
use althing_web::{Entry, Nowhere, Web};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a test decides.
pub struct Terms {
    pub limits: Limits,
    pub policy: Policy,
    pub config: HttpConfig,
}

impl Default for Terms {
    fn default() -> Self {
        Self { limits: Limits::default(), policy: Policy::open(), config: HttpConfig::default() }
    }
}

/// Everyone may do everything but with `secret/#`, which is `ann`'s.
pub fn with_secrets() -> Policy {
    let actions = Actions { publish: true, ..Actions::SUBSCRIBE };
    let rules =
        vec![Rule::for_everyone(actions, "secret/#", true).by("ann"), Rule::for_everyone(actions, "secret/#", false)];
    Policy::new(rules, true)
}

/// A running shard.
pub struct World {
    http: SocketAddr,
    other_http: SocketAddr,
    mqtt: SocketAddr,
    store: Rc<Store>,
}

/// A disk that is as slow, and as full, as the test wants.
#[derive(Default)]
struct Store {
    ticket: Cell<u64>,
    durable: Cell<u64>,
    is_slow: Cell<bool>,
    is_full: Cell<bool>,
}

/// Runs `test` on a shard.
pub fn world(test: impl AsyncFnOnce(World)) {
    world_with(Terms::default(), test);
}

/// Runs `test` on a shard under these terms.
pub fn world_with(terms: Terms, test: impl AsyncFnOnce(World)) {
    let limits = Arc::new(terms.limits);
    let broker = Broker::new(0, 1, Arc::clone(&limits), Arc::new(terms.policy), Entropy::new(1));
    let store = Rc::new(Store::default());
    let host = TestHost { store: Rc::clone(&store) };
    let shard = Shard::new(0, Clock::default(), broker, Arc::clone(&limits), Box::new(host));
    althing_net::run(shard, async {
        let config = Arc::new(terms.config);
        let listen_http = |name| {
            let (configs, limits) = ((Arc::clone(&config), Arc::default()), Arc::clone(&limits));
            let web = Web::new(configs, limits, Entry::default(), Vec::new(), Arc::new(Nowhere));
            listen(name, Welcome::Visitor(web.factory()))
        };
        let (http, other_http) = (listen_http("http"), listen_http("other"));
        let config = Arc::new(MqttConfig::default());
        let adaptor = move |link: &althing_core::Link| -> Box<dyn althing_core::Adaptor> {
            Box::new(MqttAdaptor::new(link, Arc::clone(&limits), Arc::clone(&config)))
        };
        let mqtt = listen("mqtt", Welcome::Adaptor(Arc::new(adaptor)));
        test(World { http, other_http, mqtt, store }).await;
    })
    .unwrap();
}

fn listen(name: &'static str, welcome: Welcome) -> SocketAddr {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address().to_string().parse().unwrap();
    let entrance = Entrance { name, anonymous: true, ..Entrance::default() };
    local::listen(listener, Gate::default(), Arc::new(entrance), welcome);
    address
}

impl World {
    /// A connection that is kept alive.
    pub async fn http(&self) -> Browser {
        browser(self.http).await
    }

    /// A connection to another listener.
    pub async fn other_entrance(&self) -> Browser {
        browser(self.other_http).await
    }

    /// An MQTT 5 client, subscribed to these filters at QoS 2.
    pub async fn mqtt(&self, filters: &[&str]) -> Things {
        Things::connect(self.mqtt, filters).await
    }

    /// From now on nothing becomes durable, until it does.
    pub fn set_slow(&self, is_slow: bool) {
        self.store.is_slow.set(is_slow);
    }

    /// From now on nothing more is kept.
    pub fn set_full(&self) {
        self.store.is_full.set(true);
    }
}

async fn browser(address: SocketAddr) -> Browser {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Browser(sender)
}

/// One HTTP connection.
pub struct Browser(SendRequest<Full<Bytes>>);

/// A response with all of its body.
#[derive(Debug)]
pub struct Heard {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Heard {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// `PUT /topics/a` and the like.
pub fn request(line: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let (method, path) = line.split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

impl Browser {
    pub async fn ask(&mut self, line: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Heard {
        let (status, headers, body) = self.begin(line, headers, body).await;
        Heard { status, headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub async fn get(&mut self, path: &str) -> Heard {
        self.ask(&format!("GET {path}"), &[], "").await
    }

    /// Without waiting for the end of the body.
    pub async fn begin(
        &mut self,
        line: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (StatusCode, HeaderMap, Incoming) {
        self.0.ready().await.unwrap();
        let response = self.0.send_request(request(line, headers, body)).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body)
    }

    /// An event stream.
    pub async fn listen(mut self, path: &str, headers: &[(&str, &str)]) -> Events {
        let headers: Vec<_> = headers.iter().chain(&[("accept", "text/event-stream")]).copied().collect();
        let (status, headers, body) = self.begin(&format!("GET {path}"), &headers, "").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["content-type"], "text/event-stream");
        Events { body, text: String::new(), _browser: self }
    }
}

/// What an `EventSource` hears.
pub struct Events {
    body: Incoming,
    text: String,
    _browser: Browser,
}

/// One block of a stream: an event or a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heading {
    pub name: String,
    pub data: String,
    pub id: String,
    pub comment: String,
}

impl Events {
    /// The next block; `None` at the end.
    pub async fn next(&mut self) -> Option<Heading> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let heading = parse(block);
                self.text = rest.to_owned();
                return Some(heading);
            }
            let frame = self.body.frame().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }

    /// The next event: no comment.
    pub async fn event(&mut self) -> Heading {
        loop {
            let next = self.next().await.unwrap();
            if !next.name.is_empty() {
                return next;
            }
        }
    }

    /// The next one's payload.
    pub async fn payload(&mut self) -> String {
        let event = self.event().await;
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        data["payload"].as_str().unwrap_or_else(|| panic!("{event:?}")).to_owned()
    }
}

fn parse(block: &str) -> Heading {
    let mut heading = Heading::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap();
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => heading.name = value.into(),
            "data" => heading.data += value,
            "id" => heading.id = value.into(),
            "" => heading.comment += value,
            _ => {}
        }
    }
    heading
}

/// An MQTT 5 client.
pub struct Things {
    client: Client,
    stream: TcpStream,
    input: BytesMut,
    events: VecDeque<Event>,
}

impl Things {
    async fn connect(address: SocketAddr, filters: &[&str]) -> Self {
        let mut things = Self {
            client: Client::new(Options::new(Version::V5, "things")),
            stream: TcpStream::connect(address).await.unwrap(),
            input: BytesMut::new(),
            events: VecDeque::new(),
        };
        things.client.connect(now());
        assert!(matches!(things.next().await, Event::Connected(_)));
        for filter in filters {
            let filter = packet::SubscribeFilter {
                filter: (*filter).into(),
                qos: Guarantee::ExactlyOnce,
                no_local: false,
                retain_as_published: false,
                retain_handling: 0,
            };
            let subscribe = packet::Subscribe {
                packet_id: 0,
                subscription_id: None,
                user_properties: Vec::new(),
                filters: vec![filter],
            };
            things.client.subscribe(now(), subscribe).unwrap();
            assert!(matches!(things.next().await, Event::Subscribed(_)));
        }
        things
    }

    /// A message at QoS 1.
    pub fn answer(&self, topic: Topic, payload: &str) -> packet::Publish {
        packet::Publish {
            dup: false,
            qos: Guarantee::AtLeastOnce,
            retain: false,
            topic: Some(topic),
            packet_id: 0,
            topic_alias: None,
            message_expiry_s: None,
            subscription_ids: Vec::new(),
            properties: None,
            payload: payload.to_owned().into(),
        }
    }

    /// Publishes, and waits for the acknowledgement.
    pub async fn publish(&mut self, publish: packet::Publish) {
        self.client.publish(now(), publish).unwrap();
        while !matches!(self.next().await, Event::Published { .. }) {}
    }

    pub async fn next(&mut self) -> Event {
        loop {
            self.flush().await;
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0, "the broker has closed");
            let mut events = Vec::new();
            self.client.receive(now(), &mut self.input, &mut events).unwrap();
            self.events.extend(events);
        }
    }

    pub async fn message(&mut self) -> packet::Publish {
        loop {
            if let Event::Message(message) = self.next().await {
                return message;
            }
        }
    }

    async fn flush(&mut self) {
        let bytes = self.client.output().take_all();
        self.stream.write_all(&bytes).await.unwrap();
    }
}

fn now() -> Now {
    local::now()
}

struct TestHost {
    store: Rc<Store>,
}

impl Host for TestHost {
    fn store(&mut self, records: &mut Vec<Record>, ticket: u64) {
        records.clear();
        self.store.ticket.set(ticket);
    }

    fn durable(&mut self) -> u64 {
        if !self.store.is_slow.get() {
            self.store.durable.set(self.store.ticket.get());
        }
        self.store.durable.get()
    }

    fn is_durable_soon(&mut self) -> bool {
        false
    }

    fn load(&mut self, _: &mut Vec<Load>) {}

    fn has_room(&mut self) -> bool {
        !self.store.is_full.get()
    }

    fn is_behind(&mut self) -> bool {
        false
    }

    fn verify(&mut self, verify: Verify) -> Option<Verdict> {
        Some(match (verify.username, verify.password) {
            (None, None) => Verdict::Accept { identity: Arc::new(Identity::default()), data: None },
            (Some(name), Some(password)) if password == "right" => {
                Verdict::Accept { identity: Arc::new(Identity::named(name)), data: None }
            }
            _ => Verdict::Refuse {
                refusal: Refusal::new(Reason::BadCredentials, "the name or the password is wrong"),
                why: None,
            },
        })
    }

    fn forward(&mut self, _: &mut Vec<(u16, Word)>) {}

    fn notice(&mut self, _: Notice<'_>) {}
}
