//! Why: the last things that went wrong for each client and each address, for whoever asks afterwards.

use althing_core::{Link, Reason};
use serde::Serialize;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;

/// What is remembered. The shard's thread writes it, other threads read it. All of it is bounded; what has been
/// silent for longest is forgotten first.
#[derive(Clone, Debug, Default)]
pub struct Why(Arc<Mutex<Book>>);

/// One thing that went wrong, or several in a row that are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Incident {
    /// When it was last so, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub kind: Kind,
    /// For programs: the reason in the words of every protocol, `not_authorised` for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For people: one sentence.
    pub why: String,
    /// The client id, as far as there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The other end, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub remote: Option<SocketAddr>,
    /// Where it came in, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<&'static str>,
    /// How often in a row.
    pub times: u64,
}

/// What happened to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IncidentKind)]
pub enum Kind {
    /// It asked for something and did not get it.
    Refused,
    /// Its connection ended, and not by its own goodbye.
    Closed,
    /// A message on its way to it was lost.
    Dropped,
    /// A message of it reached nobody.
    Unheard,
    /// It did not read for so long that nobody waits for it any more.
    Stalled,
    /// It was not read for a while, because it sent more than it may.
    Throttled,
    /// It was sent away before a word was said.
    TurnedAway,
}

impl Incident {
    /// Something that happens now.
    pub fn now(kind: Kind, why: impl Into<String>) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut why = why.into();
        shorten(&mut why);
        Self {
            at_ms: since_1970.as_millis() as u64,
            kind,
            reason: None,
            why,
            client: None,
            remote: None,
            listener: None,
            times: 1,
        }
    }

    /// With its reason.
    pub fn reason(self, reason: Reason) -> Self {
        Self { reason: Some(reason_name(reason)), ..self }
    }

    /// Of whoever came in through this link.
    pub fn through(self, link: &Link) -> Self {
        Self { remote: link.remote, listener: Some(link.listener()), ..self }
    }

    /// Whether the next one only has to be counted.
    fn is_like(&self, other: &Self) -> bool {
        let same_ip = self.remote.map(|it| it.ip()) == other.remote.map(|it| it.ip());
        (self.kind, &self.why) == (other.kind, &other.why) && same_ip
    }
}

/// Sentences may quote what a peer has sent, which may be long.
const SENTENCE_BYTES_MAX: usize = 512;

fn shorten(text: &mut String) {
    if text.len() > SENTENCE_BYTES_MAX {
        let end = (0..=SENTENCE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// `NotAuthorised` as programs like it: `not_authorised`.
pub fn reason_name(reason: Reason) -> String {
    let name = format!("{reason:?}");
    let mut text = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

impl Why {
    /// Notes what happened to a client, or, without one, to whoever is at its address.
    pub fn note(&self, client: Option<&str>, mut incident: Incident) {
        let mut book = self.lock();
        match client {
            Some(client) => {
                incident.client = Some(client.to_owned());
                book.clients.note(client, incident);
            }
            None => {
                let address = incident.remote.map(|remote| remote.ip().to_canonical());
                book.addresses.note(&address, incident);
            }
        }
    }

    /// What happened to a client, the oldest first.
    pub fn of_client(&self, client: &str) -> Vec<Incident> {
        self.lock().clients.of(client)
    }

    /// What happened to those at this address who did not come to have a client id, the oldest first; `None`: to those
    /// whose address is not known, as on unix sockets.
    pub fn of_address(&self, address: Option<IpAddr>) -> Vec<Incident> {
        self.lock().addresses.of(&address.map(|address| address.to_canonical()))
    }

    /// What happened lately to anybody, the oldest first, at most `most` of it.
    pub fn lately(&self, most: usize) -> Vec<Incident> {
        let book = self.lock();
        let mut all: Vec<_> = book.clients.last(most).chain(book.addresses.last(most)).cloned().collect();
        all.sort_by_key(|incident| incident.at_ms);
        all.split_off(all.len().saturating_sub(most))
    }

    /// Nothing panics under the lock that would leave it in pieces.
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Book {
    clients: Rings<String>,
    addresses: Rings<Option<IpAddr>>,
}

/// Who is remembered at once, and how much of each.
const RINGS_MAX: usize = 1_000;
const INCIDENTS_MAX: usize = 16;

/// The last incidents of each key; of too many keys, those that were noted last.
#[derive(Debug)]
struct Rings<K> {
    rings: HashMap<K, Ring>,
    /// Every key by the moment of its last incident, which counts up.
    order: BTreeMap<u64, K>,
    moment: u64,
}

#[derive(Debug, Default)]
struct Ring {
    incidents: VecDeque<Incident>,
    moment: u64,
}

impl<K> Default for Rings<K> {
    fn default() -> Self {
        Self { rings: HashMap::new(), order: BTreeMap::new(), moment: 0 }
    }
}

impl<K: Eq + Hash + Clone> Rings<K> {
    fn note<Q>(&mut self, key: &Q, incident: Incident)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.moment += 1;
        if !self.rings.contains_key(key) {
            self.make_room();
            self.rings.insert(key.to_owned(), Ring::default());
        }
        let Some(ring) = self.rings.get_mut(key) else { return };
        let owned = self.order.remove(&ring.moment).unwrap_or_else(|| key.to_owned());
        ring.moment = self.moment;
        self.order.insert(self.moment, owned);
        match ring.incidents.back_mut().filter(|last| last.is_like(&incident)) {
            Some(last) => *last = Incident { times: last.times + 1, ..incident },
            None => {
                if ring.incidents.len() == INCIDENTS_MAX {
                    ring.incidents.pop_front();
                }
                ring.incidents.push_back(incident);
            }
        }
    }

    fn make_room(&mut self) {
        if self.rings.len() < RINGS_MAX {
            return;
        }
        if let Some((_, key)) = self.order.pop_first() {
            self.rings.remove(&key);
        }
    }

    fn of<Q>(&self, key: &Q) -> Vec<Incident>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.rings.get(key).map(|ring| ring.incidents.iter().cloned().collect()).unwrap_or_default()
    }

    /// The incidents of the `most` keys that were noted last.
    fn last(&self, most: usize) -> impl Iterator<Item = &Incident> {
        let keys = self.order.values().rev().take(most);
        keys.filter_map(|key| self.rings.get(key)).flat_map(|ring| &ring.incidents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(why: &str) -> Incident {
        Incident::now(Kind::Refused, why).reason(Reason::NotAuthorised)
    }

    fn sentences(incidents: &[Incident]) -> Vec<&str> {
        incidents.iter().map(|incident| &incident.why[..]).collect()
    }

    #[test]
    fn the_last_incidents_of_a_client_are_told_in_order() {
        let why = Why::default();
        for number in 0..20 {
            why.note(Some("c"), incident(&number.to_string()));
        }
        let told = why.of_client("c");
        assert_eq!((told.len(), &told[0].why[..], &told[15].why[..]), (16, "4", "19"));
        assert_eq!(told[0].reason.as_deref(), Some("not_authorised"));
        assert_eq!(why.of_client("d"), []);
    }

    #[test]
    fn the_same_again_is_counted() {
        let why = Why::default();
        for sentence in ["a", "a", "a", "b", "a"] {
            why.note(Some("c"), incident(sentence));
        }
        let told: Vec<_> = why.of_client("c").iter().map(|it| (it.why.clone(), it.times)).collect();
        assert_eq!(told, [("a".to_owned(), 3), ("b".to_owned(), 1), ("a".to_owned(), 1)]);
    }

    #[test]
    fn who_has_been_silent_for_longest_is_forgotten() {
        let why = Why::default();
        for number in 0..RINGS_MAX {
            why.note(Some(&number.to_string()), incident("x"));
        }
        why.note(Some("0"), incident("y"));
        why.note(Some("new"), incident("z"));
        assert_eq!(sentences(&why.of_client("0")), ["x", "y"]);
        assert_eq!(why.of_client("1"), []);
        let book = why.lock();
        assert_eq!((book.clients.rings.len(), book.clients.order.len()), (RINGS_MAX, RINGS_MAX));
    }

    #[test]
    fn who_has_no_name_is_known_by_its_address() {
        let why = Why::default();
        let remote: SocketAddr = "[::ffff:10.0.0.1]:7".parse().unwrap();
        why.note(None, Incident { remote: Some(remote), ..incident("x") });
        why.note(None, incident("y"));
        assert_eq!(sentences(&why.of_address(Some("10.0.0.1".parse().unwrap()))), ["x"]);
        assert_eq!(sentences(&why.of_address(None)), ["y"]);
        assert_eq!(why.lately(10).len(), 2);
        assert_eq!(why.lately(1).len(), 1);
    }

    #[test]
    fn a_long_sentence_is_shortened() {
        let told = Incident::now(Kind::Closed, "ä".repeat(SENTENCE_BYTES_MAX));
        assert!(told.why.len() <= SENTENCE_BYTES_MAX + '…'.len_utf8() && told.why.ends_with("ä…"));
    }
}
