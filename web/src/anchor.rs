//! A session that requests of one connection share: so a publish costs one verb instead of a session.

use althing_core::link::{ClientIdFrom, Entrance};
use althing_core::verbs::{Accepted, Connect, Publish, Reason, Refusal};
use althing_core::{Answer, Delivery, Guarantee, Link, Message, Request, Topic};
use althing_net::{Guest, GuestClosed};
use std::future::poll_fn;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// A session of somebody whose requests come by HTTP. It ends when this is dropped.
#[derive(Debug)]
pub struct Anchor {
    guest: Guest,
    standing: Mutex<Standing>,
    last_correlation: AtomicU32,
    /// Questions whose askers have gone: their answers go with the next ones.
    abandoned: Mutex<Vec<u32>>,
}

/// Whether the session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// The broker has not said so yet: passwords take their time.
    Opening,
    Stands,
    Refused(Refusal),
}

impl Anchor {
    /// Asks for a session.
    ///
    /// # Errors
    /// When the house is full or closing.
    pub fn open(link: &Link, connect: Connect) -> Result<Self, Refusal> {
        let full = || Refusal::new(Reason::ServerUnavailable, "nobody is served now: the house is full, or closing");
        let guest = Guest::open(shareable(link)).ok_or_else(full)?;
        guest.request(Request::Connect(Box::new(connect)));
        Ok(Self {
            guest,
            standing: Mutex::new(Standing::Opening),
            last_correlation: AtomicU32::new(0),
            abandoned: Mutex::default(),
        })
    }

    /// Waits until the session stands. Everyone who shares it may ask.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn stands(&self) -> Result<(), Refusal> {
        poll_fn(|cx| self.poll_stands(cx)).await
    }

    fn poll_stands(&self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let mut standing = lock(&self.standing);
        if *standing == Standing::Opening {
            let is_ours =
                |answer: &Answer| matches!(answer, Answer::Connected(_) | Answer::Refused(_) | Answer::Challenge(_));
            *standing = match self.guest.poll_answer(cx, is_ours) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Answer::Connected(_))) => Standing::Stands,
                Poll::Ready(Ok(Answer::Refused(refusal))) => Standing::Refused(refusal),
                Poll::Ready(Ok(_)) => {
                    let text = "this user proves itself by a method that HTTP does not have here";
                    Standing::Refused(Refusal::new(Reason::BadAuthenticationMethod, text))
                }
                Poll::Ready(Err(GuestClosed)) => Standing::Refused(self.farewell()),
            };
        }
        Poll::Ready(match &*standing {
            Standing::Refused(refusal) => Err(refusal.clone()),
            Standing::Opening | Standing::Stands => Ok(()),
        })
    }

    /// Publishes; what is above `AtMostOnce` is durable when this returns.
    ///
    /// # Errors
    /// Why not.
    pub async fn publish(&self, message: Message) -> Result<Accepted, Refusal> {
        let is_at_most_once = message.guarantee == Guarantee::AtMostOnce;
        let answer = self.ask(|correlation| {
            // Any token has it answered; nothing remembers one of `AtMostOnce`.
            let token = is_at_most_once.then_some(correlation);
            Request::Publish(Publish { message, token, correlation })
        });
        match answer.await? {
            Answer::Published { outcome, .. } => outcome,
            _ => Err(unexpected()),
        }
    }

    /// A topic's last value.
    ///
    /// # Errors
    /// Why not.
    pub async fn fetch(&self, topic: Topic) -> Result<Option<Arc<Message>>, Refusal> {
        match self.ask(|correlation| Request::Fetch { correlation, topic }).await? {
            Answer::Fetched { outcome, .. } => outcome,
            _ => Err(unexpected()),
        }
    }

    /// Asks the broker and waits for the answer. `request` is made with the correlation that it has to bear.
    ///
    /// # Errors
    /// When the session has ended meanwhile.
    pub async fn ask(&self, request: impl FnOnce(u32) -> Request) -> Result<Answer, Refusal> {
        poll_fn(|cx| self.guest.poll_ready(cx)).await;
        let correlation = self.last_correlation.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mut question = Question { anchor: self, correlation, is_open: true };
        self.guest.request(request(correlation));
        self.forget_abandoned();
        let answer = poll_fn(|cx| self.guest.poll_answer(cx, |answer| correlation_of(answer) == Some(correlation)));
        let answer = answer.await;
        question.is_open = false;
        answer.map_err(|GuestClosed| self.farewell())
    }

    /// Says what needs no answer: a settlement, a goodbye.
    pub fn tell(&self, request: Request) {
        self.guest.request(request);
    }

    /// What was delivered, at least one, and no more than `bytes_max` beyond it.
    ///
    /// # Errors
    /// Why the session has ended.
    pub fn poll_deliveries(
        &self,
        cx: &mut Context<'_>,
        deliveries: &mut Vec<Delivery>,
        bytes_max: usize,
    ) -> Poll<Result<(), Refusal>> {
        self.guest.poll_deliveries(cx, deliveries, bytes_max).map_err(|GuestClosed| self.farewell())
    }

    /// The peer of the broker behind it.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Whether the broker has ended it.
    pub fn is_over(&self) -> bool {
        self.guest.farewell().is_some() || matches!(*lock(&self.standing), Standing::Refused(_))
    }

    fn farewell(&self) -> Refusal {
        let gone = || Refusal::new(Reason::ServerUnavailable, "the session has ended; try again");
        self.guest.farewell().unwrap_or_else(gone)
    }

    fn forget_abandoned(&self) {
        let mut abandoned = lock(&self.abandoned);
        if abandoned.is_empty() {
            return;
        }
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        let mut left = mem::take(&mut *abandoned);
        left.retain(|correlation| {
            self.guest.poll_answer(&mut nobody, |answer| correlation_of(answer) == Some(*correlation)).is_pending()
        });
        *abandoned = left;
    }
}

/// Sessions of one user are several here. Where a session's id is the user's name they would throw each other out, so they get ids of
/// the broker's.
fn shareable(link: &Link) -> Link {
    let mut link = link.clone();
    if link.entrance.client_id != ClientIdFrom::Peer {
        link.entrance = Arc::new(Entrance { client_id: ClientIdFrom::Peer, ..(*link.entrance).clone() });
    }
    link
}

/// A question without an answer as yet.
struct Question<'a> {
    anchor: &'a Anchor,
    correlation: u32,
    is_open: bool,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if self.is_open {
            lock(&self.anchor.abandoned).push(self.correlation);
        }
    }
}

fn correlation_of(answer: &Answer) -> Option<u32> {
    match answer {
        Answer::Published { correlation, .. }
        | Answer::Subscribed { correlation, .. }
        | Answer::Unsubscribed { correlation, .. }
        | Answer::Fetched { correlation, .. } => Some(*correlation),
        Answer::Released { token: number, .. } | Answer::Complete { number, .. } => Some(*number),
        _ => None,
    }
}

fn unexpected() -> Refusal {
    Refusal::new(Reason::Unspecified, "the broker has answered something else; this is a mistake in it")
}

/// Nothing panics under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
