//! Subscriptions that outlive their connections for a while, with a bounded memory of what came.

use super::{Topics, lock, secret};
use crate::anchor::Anchor;
use crate::context::Context;
use althing_core::verbs::{Outcome, Refusal, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions};
use althing_core::{Answer, Delivery, Message, Request};
use althing_http::event_stream::EventId;
use althing_http::history::{Continuation, History, HistoryLimits};
use althing_http::request::Subscription;
use althing_http::{HttpConfig, Problem};
use althing_net::local;
use bytes::Bytes;
use bytestring::ByteString;
use http::{HeaderMap, StatusCode};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;
use tokio::time::sleep;

/// Deliveries above `AtMostOnce` on their way to one stream.
const WINDOW: u16 = 64;
/// Bytes of deliveries that are taken at once.
const TURN_BYTES: usize = 16 << 10;

/// Streams that may be gone on with, by their names.
#[derive(Debug)]
pub struct Streams {
    seats: Mutex<HashMap<u128, Arc<Seat>>>,
    limits: HistoryLimits,
    linger: Duration,
    /// Streams that nobody listens to.
    lingering: AtomicUsize,
    lingering_max: usize,
}

impl Streams {
    /// None.
    pub fn new(config: &HttpConfig) -> Self {
        Self {
            seats: Mutex::default(),
            limits: HistoryLimits { events_max: config.event_history_max, bytes_max: config.event_history_bytes_max },
            linger: Duration::from_secs(u64::from(config.event_stream_linger_s)),
            lingering: AtomicUsize::new(0),
            lingering_max: config.event_streams_lingering_max,
        }
    }
}

/// Where a stream is found by who listens to it: one at a time.
#[derive(Debug)]
pub struct Seat(Mutex<Seated>);

#[derive(Debug)]
struct Seated {
    stream: Stream,
    /// Counts those who have listened. Only the last one does.
    listener: u32,
}

/// A subscription, and what came of it.
#[derive(Debug)]
pub struct Stream {
    session: Anchor,
    /// What was asked for; only the same may go on.
    subscription: Subscription,
    form: Form,
    /// Whose it is.
    owner: Option<ByteString>,
    history: History<Event>,
    /// Messages that were dropped before they came here, as far as it was told.
    drops: u64,
}

/// In which form events are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As server-sent events.
    Tails,
    /// As messages.
    Messages,
}

/// Something that came.
#[derive(Clone, Debug)]
pub enum Event {
    /// A server-sent event without its id.
    Tail(Bytes),
    /// A message, and whether it is a last value.
    Message(Arc<Message>, bool),
}

/// Somebody who listens to a stream.
#[derive(Debug)]
pub struct Listener {
    pub topics: Arc<Topics>,
    seat: Arc<Seat>,
    name: u128,
    number: u32,
    /// The last event that it has.
    pub seen: u64,
}

/// What a listener finds.
#[derive(Debug)]
pub enum Found<'a> {
    /// An event, and its id.
    Event(EventId, &'a Event),
    /// So many are lost: the listener was too slow for them.
    Lost(u64),
}

impl Stream {
    /// Subscribes.
    ///
    /// # Errors
    /// When one of the filters is refused, or nobody may come in.
    pub async fn open(
        context: &Context,
        headers: &HeaderMap,
        subscription: Subscription,
        form: Form,
    ) -> Result<Self, Problem> {
        let session = context.own_session(headers, WINDOW).await?;
        subscribe(&session, &subscription).await?;
        let owner = session.guest().standing().name;
        let history = History::new(context.web().topics.streams.limits);
        Ok(Self { session, subscription, form, owner, history, drops: 0 })
    }

    /// Takes what has come since, and shows it.
    ///
    /// # Errors
    /// When the subscription has ended.
    fn poll_collect(
        &mut self,
        cx: &mut TaskContext<'_>,
        topics: &Topics,
        mut show: impl FnMut(u64, &Event),
    ) -> Poll<Result<(), Refusal>> {
        let mut deliveries = Vec::new();
        let collected = self.session.poll_deliveries(cx, &mut deliveries, TURN_BYTES);
        for delivery in deliveries {
            let (event, bytes) = self.event(&delivery, topics);
            show(self.history.last() + 1, &event);
            self.history.push(event, bytes);
            if delivery.number != 0 {
                self.session.tell(Request::Settle { number: delivery.number, outcome: Outcome::Accept });
            }
        }
        collected
    }

    fn event(&self, delivery: &Delivery, topics: &Topics) -> (Event, usize) {
        match self.form {
            Form::Tails => {
                let tail = lock(&topics.tails).of(delivery, self.subscription.data, local::now());
                let bytes = tail.len();
                (Event::Tail(tail), bytes)
            }
            Form::Messages => {
                // It may be kept for long.
                let message = Arc::new(Message { guarantee: delivery.guarantee, ..delivery.message.detached() });
                let bytes = message.size_bytes();
                (Event::Message(message, delivery.retain), bytes)
            }
        }
    }

    /// What was dropped on its way here since the last time.
    fn take_drops(&mut self) -> u64 {
        let drops = self.session.guest().standing().drops;
        drops - mem::replace(&mut self.drops, drops)
    }
}

/// Subscribes a session.
///
/// # Errors
/// When one of the filters is refused.
pub async fn subscribe(session: &Anchor, subscription: &Subscription) -> Result<(), Problem> {
    let retain_handling = match subscription.wants_retained {
        true => RetainHandling::Always,
        false => RetainHandling::Never,
    };
    let options = SubscriptionOptions { guarantee: subscription.guarantee, retain_handling, ..Default::default() };
    let filters = subscription.filters.iter().map(|filter| SubscribeFilter { filter: Ok(filter.clone()), options });
    let filters = filters.collect();
    let answer = session.ask(|correlation| Request::Subscribe(Box::new(Subscribe { correlation, filters }))).await?;
    let Answer::Subscribed { results, why, .. } = answer else {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the broker has answered something else"));
    };
    for (filter, result) in subscription.filters.iter().zip(results) {
        if let Err(reason) = result {
            let problem = Problem::from(Refusal::new(reason, ""));
            return Err(Problem { detail: format!("{filter} is refused: {why}").into(), ..problem });
        }
    }
    Ok(())
}

impl Listener {
    /// Begins a stream, which has a seat from now on.
    ///
    /// # Errors
    /// As [`Stream::open`].
    pub async fn begin(
        context: &Context,
        headers: &HeaderMap,
        subscription: Subscription,
        form: Form,
    ) -> Result<Self, Problem> {
        let topics = super::shared(context);
        let stream = Stream::open(context, headers, subscription, form).await?;
        let seat = Arc::new(Seat(Mutex::new(Seated { stream, listener: 0 })));
        let name = secret();
        lock(&topics.streams.seats).insert(name, Arc::clone(&seat));
        Ok(Self { topics, seat, name, number: 0, seen: 0 })
    }

    /// Goes on with a stream; whoever has listened to it before does no more. With how many of its events are forgotten.
    /// `None` when there is none of this name, of this subscription, and of this principal.
    ///
    /// # Errors
    /// When nobody may come in.
    pub async fn resume(
        context: &Context,
        headers: &HeaderMap,
        subscription: &Subscription,
        form: Form,
        last: EventId,
    ) -> Result<Option<(Self, u64)>, Problem> {
        let topics = super::shared(context);
        let Some(seat) = lock(&topics.streams.seats).get(&last.stream).cloned() else { return Ok(None) };
        let owner = context.anchor(headers).await?.guest().standing().name;
        let mut seated = lock(&seat.0);
        let stream = &seated.stream;
        let is_same = stream.owner == owner && stream.subscription == *subscription && stream.form == form;
        if !is_same || stream.session.is_over() {
            return Ok(None);
        }
        let Some(Continuation { missed, seen }) = stream.history.continue_after(last.number) else { return Ok(None) };
        seated.listener += 1;
        let number = seated.listener;
        drop(seated);
        Ok(Some((Self { topics, seat, name: last.stream, number, seen }, missed)))
    }

    /// The id of the last event that it has.
    pub fn at(&self) -> EventId {
        EventId { stream: self.name, number: self.seen }
    }

    /// Shows what comes next, in order, until `show` says that it is enough or nothing is left. Ready when something was shown;
    /// `None` when somebody else listens now.
    ///
    /// # Errors
    /// When the stream has ended, and everything was shown.
    pub fn poll_next(
        &mut self,
        cx: &mut TaskContext<'_>,
        mut show: impl FnMut(Found<'_>) -> bool,
    ) -> Poll<Option<Result<(), Refusal>>> {
        let mut seated = lock(&self.seat.0);
        if seated.listener != self.number {
            return Poll::Ready(None);
        }
        let stream = &mut seated.stream;
        let (name, seen) = (self.name, &mut self.seen);
        let mut is_shown = false;
        while let Some((number, event)) = stream.history.after(*seen) {
            (*seen, is_shown) = (number, true);
            if show(Found::Event(EventId { stream: name, number }, event)) {
                break;
            }
        }
        if is_shown {
            return Poll::Ready(Some(Ok(())));
        }
        // What was forgotten before it could be shown.
        let lost = stream.history.last() - *seen;
        if lost > 0 {
            *seen = stream.history.last();
            show(Found::Lost(lost));
            return Poll::Ready(Some(Ok(())));
        }
        let mut is_enough = false;
        let collected = stream.poll_collect(cx, &self.topics, |number, event| {
            if !is_enough {
                *seen = number;
                is_enough = show(Found::Event(EventId { stream: name, number }, event));
            }
        });
        if collected.is_ready() {
            let drops = stream.take_drops();
            if drops > 0 {
                show(Found::Lost(drops));
            }
        }
        collected.map(Some)
    }

    /// What was dropped on its way here since it was last told; `None` when somebody else listens now.
    pub fn take_drops(&mut self) -> Option<u64> {
        let mut seated = lock(&self.seat.0);
        (seated.listener == self.number).then(|| seated.stream.take_drops())
    }
}

impl Drop for Listener {
    /// The stream lingers: its client may come back.
    fn drop(&mut self) {
        let streams = &self.topics.streams;
        let seated = lock(&self.seat.0);
        if seated.listener != self.number {
            return;
        }
        let is_over = seated.stream.session.is_over();
        drop(seated);
        let runtime = tokio::runtime::Handle::try_current();
        let is_full = streams.lingering.load(Ordering::Relaxed) >= streams.lingering_max;
        let (Ok(runtime), false, false) = (runtime, is_over, is_full || streams.linger.is_zero()) else {
            lock(&streams.seats).remove(&self.name);
            return;
        };
        streams.lingering.fetch_add(1, Ordering::Relaxed);
        let lingering = Lingering {
            topics: Arc::clone(&self.topics),
            seat: Arc::clone(&self.seat),
            name: self.name,
            number: self.number,
        };
        runtime.spawn(lingering.until_somebody_comes());
    }
}

/// A stream that nobody listens to.
struct Lingering {
    topics: Arc<Topics>,
    seat: Arc<Seat>,
    name: u128,
    number: u32,
}

impl Lingering {
    /// Goes on collecting for a while.
    async fn until_somebody_comes(self) {
        let mut end = pin!(sleep(self.topics.streams.linger));
        poll_fn(|cx| {
            if end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            loop {
                let mut seated = lock(&self.seat.0);
                if seated.listener != self.number {
                    return Poll::Ready(());
                }
                match seated.stream.poll_collect(cx, &self.topics, |_, _| ()) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.topics.streams.lingering.fetch_sub(1, Ordering::Relaxed);
        if lock(&self.seat.0).listener == self.number {
            lock(&self.topics.streams.seats).remove(&self.name);
        }
    }
}
