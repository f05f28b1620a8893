//! Two halves of one language, joined: the broker's MQTT adaptor and the client half over byte vectors, with a
//! scripted broker behind and a virtual clock above. One thread, no sleeps; a test says what moves.

use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::topic::TopicLimits;
use althing_core::verbs::{Accepted, Connected, Outcome};
use althing_core::{
    Adaptor, Answer, Close, Deadline, Delivery, Guarantee, Limits, Link, Message, Now, Out, OutBuffer, PeerId, Receive,
    Request, Topic,
};
use althing_mqtt::client::{ClientError, Event, Options};
use althing_mqtt::codec::{self, Context, Side};
use althing_mqtt::packet::{Packet, Version};
use althing_mqtt::{Client, MqttAdaptor, MqttConfig};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// What the scripted broker says to a request: nothing, one answer or several.
pub type Script = Box<dyn FnMut(&Request) -> Vec<Answer>>;

/// The adaptor and the client half, joined.
pub struct Pair {
    /// The server's side.
    pub adaptor: MqttAdaptor,
    /// The client's side.
    pub client: Client,
    /// The moment; moves by [`step`](Self::step) and [`advance_ms`](Self::advance_ms) only.
    pub now: Now,
    /// Every request that the adaptor has made, in order.
    pub requests: Vec<Request>,
    /// Everything that the client half has said, in order.
    pub events: Vec<Event>,
    /// Why the adaptor closed, when it has.
    pub closed: Option<Close>,
    /// Why the client half gave up, when it has.
    pub failed: Option<ClientError>,
    /// Bytes under way to the adaptor.
    pub to_server: BytesMut,
    /// Bytes under way to the client.
    pub to_client: BytesMut,
    /// What the adaptor has written in the turn under way.
    output: OutBuffer,
    script: Script,
    pending: VecDeque<Request>,
    waits: bool,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("now", &self.now).field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl Pair {
    /// A pair with an obliging broker: [`obliging`].
    pub fn new(limits: Limits, options: Options) -> Self {
        Self::scripted(limits, MqttConfig::default(), options, Box::new(obliging))
    }

    /// A pair with a broker that does as `script` says.
    pub fn scripted(limits: Limits, config: MqttConfig, options: Options, script: Script) -> Self {
        let link = Link::new(None, "pair");
        Self {
            adaptor: MqttAdaptor::new(&link, Arc::new(limits), Arc::new(config)),
            client: Client::new(options),
            now: Now { mono_ns: SECOND_NS, wall_ms: 1_700_000_000_000 },
            requests: Vec::new(),
            events: Vec::new(),
            closed: None,
            failed: None,
            to_server: BytesMut::new(),
            to_client: BytesMut::new(),
            output: OutBuffer::default(),
            script,
            pending: VecDeque::new(),
            waits: false,
        }
    }

    /// Connects the client half and settles: both sides are connected or the pair says why not.
    pub fn connect(&mut self) {
        self.client.connect(self.now);
        self.settle();
    }

    /// Moves bytes, requests and answers until nothing moves any more. Time stands still.
    pub fn settle(&mut self) {
        loop {
            let output = self.client.output().take_all();
            self.to_server.extend_from_slice(&output);
            let server_moved = self.pump_server();
            let client_moved = self.pump_client();
            if output.is_empty() && !server_moved && !client_moved {
                return;
            }
        }
    }

    /// Bytes from a peer that is not the client half; then settles the server's side alone, so that
    /// what it says stays in `to_client`.
    pub fn inject(&mut self, bytes: &[u8]) {
        self.to_server.extend_from_slice(bytes);
        while self.pump_server() {}
    }

    /// Lets the broker deliver, and settles.
    pub fn deliver(&mut self, batch: &[Delivery]) {
        self.with_out(|adaptor, now, out| {
            adaptor.deliver(now, batch, out);
            Ok(())
        });
        self.settle();
    }

    /// Lets the broker say something without being asked, and settles the server's side.
    pub fn answer(&mut self, answer: Answer) {
        self.with_out(|adaptor, now, out| adaptor.answer(now, answer, out));
        self.waits = false;
        while self.pump_server() {}
    }

    /// The next moment at which either side wants to be called.
    pub fn next_timeout(&self) -> Option<Deadline> {
        let server = if self.closed.is_none() { self.adaptor.next_timeout() } else { None };
        let client = if self.failed.is_none() { self.client.next_timeout() } else { None };
        server.into_iter().chain(client).min_by_key(|deadline| deadline.mono_ns)
    }

    /// Jumps to the next timeout, calls whoever wanted it, settles, and says what it was for.
    pub fn step(&mut self) -> Option<&'static str> {
        let deadline = self.next_timeout()?;
        let later_ns = deadline.mono_ns.saturating_sub(self.now.mono_ns);
        self.move_clock_ns(later_ns);
        self.call_timeouts();
        self.settle();
        Some(deadline.reason)
    }

    /// Moves the clock and calls whoever is due by then.
    pub fn advance_ms(&mut self, ms: u64) {
        self.move_clock_ns(ms * MILLISECOND_NS);
        self.call_timeouts();
        self.settle();
    }

    /// The packets that wait for the client, decoded, and taken from it.
    pub fn packets_to_client(&mut self, version: Version) -> Vec<Packet> {
        let context = Context {
            side: Side::Client,
            version: Some(version),
            packet_bytes_max: usize::MAX,
            topic: Limits::default().topic,
        };
        let mut packets = Vec::new();
        while let Some(packet) = codec::decode(&context, &mut self.to_client).expect("the adaptor writes valid packets")
        {
            packets.push(packet);
        }
        packets
    }

    fn move_clock_ns(&mut self, ns: u64) {
        self.now.mono_ns += ns;
        self.now.wall_ms += ns / MILLISECOND_NS;
    }

    fn call_timeouts(&mut self) {
        if self.failed.is_none() {
            self.failed = self.client.timeout(self.now).err();
        }
        self.with_out(|adaptor, now, out| adaptor.timeout(now, out));
    }

    fn pump_server(&mut self) -> bool {
        let mut moved = false;
        if !self.waits && self.closed.is_none() {
            let before = self.to_server.len();
            let mut input = std::mem::take(&mut self.to_server);
            let mut received = Receive::NeedMore;
            self.with_out(|adaptor, now, out| {
                received = adaptor.receive(now, &mut input, out)?;
                Ok(())
            });
            self.to_server = input;
            self.waits = received == Receive::Wait;
            moved = before != self.to_server.len() || received == Receive::Again;
        }
        while let Some(request) = self.pending.pop_front() {
            moved = true;
            let answers = (self.script)(&request);
            self.requests.push(request);
            for answer in answers {
                self.with_out(|adaptor, now, out| adaptor.answer(now, answer, out));
                self.waits = false;
            }
        }
        // As on a socket: what one turn has written leaves together.
        self.to_client.extend_from_slice(&self.output.take_all());
        moved
    }

    fn pump_client(&mut self) -> bool {
        let before = self.to_client.len();
        if before > 0 && self.failed.is_none() {
            self.failed = self.client.receive(self.now, &mut self.to_client, &mut self.events).err();
        }
        before != self.to_client.len()
    }

    fn with_out(&mut self, call: impl FnOnce(&mut MqttAdaptor, Now, &mut Out<'_>) -> Result<(), Close>) {
        if self.closed.is_some() {
            return;
        }
        let mut out = Out { bytes: &mut self.output, requests: &mut self.pending };
        self.closed = call(&mut self.adaptor, self.now, &mut out).err();
    }
}

/// A broker that takes everything: sessions are new, publishes match, subscriptions get what they ask for.
pub fn obliging(request: &Request) -> Vec<Answer> {
    match request {
        Request::Connect(connect) => vec![Answer::Connected(Box::new(Connected {
            session_present: false,
            client: connect.client.clone().unwrap_or_else(|| "assigned".into()),
            assigned: connect.client.is_none(),
            session_expiry_s: connect.session_expiry_s,
            authentication: connect.authentication.clone(),
            response_information: Some("answers/here".into()),
        }))],
        Request::Publish(publish) if publish.message.guarantee as u8 == 0 => Vec::new(),
        Request::Publish(publish) | Request::Configure(publish) => vec![Answer::Published {
            correlation: publish.correlation,
            guarantee: publish.message.guarantee,
            outcome: Ok(Accepted { matched: true }),
        }],
        Request::Release { token } => vec![Answer::Released { token: *token, known: true }],
        Request::Subscribe(subscribe) => {
            let results = subscribe.filters.iter();
            let results = results.map(|wanted| wanted.filter.as_ref().map(|_| wanted.options.guarantee));
            let results = results.map(|result| result.map_err(|reason| *reason)).collect();
            vec![Answer::Subscribed { correlation: subscribe.correlation, results, why: "".into() }]
        }
        Request::Unsubscribe(unsubscribe) => {
            let results = unsubscribe.filters.iter();
            let results = results.map(|filter| filter.as_ref().map(|_| true).map_err(|reason| *reason)).collect();
            vec![Answer::Unsubscribed { correlation: unsubscribe.correlation, results }]
        }
        Request::Settle { number, outcome: Outcome::Received } => {
            vec![Answer::Complete { number: *number, known: true }]
        }
        Request::Fetch { correlation, .. } => {
            vec![Answer::Fetched { correlation: *correlation, outcome: Ok(None) }]
        }
        Request::Settle { .. } | Request::Disconnect(_) | Request::Authenticate(_) => Vec::new(),
    }
}

/// A topic of a test.
///
/// # Panics
/// If it is none.
pub fn topic(name: &str) -> Topic {
    Topic::new(name.into(), &TopicLimits::default()).expect("a test's topic is valid")
}

/// A delivery to nobody in particular: the first of its kind, not retained, without tags.
pub fn delivery(number: u32, guarantee: Guarantee, message: Message) -> Delivery {
    Delivery {
        peer: PeerId { shard: 0, generation: 0, slot: 0 },
        number,
        guarantee,
        retain: false,
        duplicate: false,
        tags: Default::default(),
        message: Arc::new(message),
    }
}
