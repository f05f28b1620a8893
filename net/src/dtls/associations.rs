//! All associations at one socket, by the address at which the client is.
//!
//! A client that has lost its state begins anew from the same address. Until the new handshake is done, the association
//! before it goes on (RFC 6347 §4.2.8): anybody can write that address on a hello.

use super::hello::{Cookies, Hello};
use super::session::{Facts, Session, Turn, Word};
use super::{DtlsAcceptor, DtlsTerms};
use althing_core::door::Datagrams;
use bytes::Bytes;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Handshakes under way, in total and from one IP address: each costs a few KiB and some arithmetic.
const HANDSHAKES_MAX: usize = 1_024;
const HANDSHAKES_PER_ADDRESS_MAX: usize = 64;

/// What the door has to be told.
#[derive(Debug)]
pub enum Happening {
    /// A datagram came.
    Datagram(SocketAddr, Bytes),
    /// The association with this address has ended, or another one has taken its place.
    Left(SocketAddr),
}

/// All associations at one socket.
pub struct Associations {
    acceptor: Arc<DtlsAcceptor>,
    terms: Arc<DtlsTerms>,
    start: Instant,
    cookies: Cookies,
    by_remote: HashMap<SocketAddr, Association>,
    /// Nobody is let in any more.
    is_closed: bool,
    handshakes: HashMap<IpAddr, usize>,
    handshakes_total: usize,
    /// Associations whose handshake is done.
    established: usize,
    /// When somebody's time comes, at the latest.
    due: BTreeSet<(u64, SocketAddr)>,
    buffer: Vec<u8>,
    plaintexts: Vec<Bytes>,
    /// Records to send.
    pub outgoing: Datagrams,
    /// What the door has not been told yet.
    pub happenings: Vec<Happening>,
}

#[derive(Default)]
struct Association {
    current: Option<Established>,
    /// The one that takes its place when its handshake is done.
    next: Option<Session>,
    /// Its entry among those that are due.
    due_ns: u64,
}

struct Established {
    session: Session,
    facts: Facts,
}

impl Associations {
    pub fn new(acceptor: Arc<DtlsAcceptor>) -> Self {
        Self {
            terms: acceptor.terms(),
            acceptor,
            start: Instant::now(),
            cookies: Cookies::default(),
            by_remote: HashMap::new(),
            is_closed: false,
            handshakes: HashMap::new(),
            handshakes_total: 0,
            established: 0,
            due: BTreeSet::new(),
            buffer: Vec::new(),
            plaintexts: Vec::new(),
            outgoing: Datagrams::default(),
            happenings: Vec::new(),
        }
    }

    /// Associations, and handshakes under way.
    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        (self.by_remote.len(), self.handshakes_total)
    }

    /// What is known of the client at this address.
    pub fn facts(&self, remote: SocketAddr) -> Option<&Facts> {
        Some(&self.by_remote.get(&remote)?.current.as_ref()?.facts)
    }

    /// When [`timeout`](Self::timeout) is to be called.
    pub fn due_ns(&self) -> u64 {
        self.due.first().map_or(u64::MAX, |(due_ns, _)| *due_ns)
    }

    /// Takes a datagram from the socket.
    pub fn receive(&mut self, now_ns: u64, remote: SocketAddr, datagram: &[u8]) {
        if self.is_closed {
            return;
        }
        self.renew_terms(now_ns);
        match Hello::read(datagram) {
            Some(hello) => self.receive_hello(now_ns, remote, &hello, datagram),
            None if self.by_remote.contains_key(&remote) => self.receive_records(now_ns, remote, datagram),
            // Nobody is known there: not worth an answer.
            None => {}
        }
    }

    fn receive_hello(&mut self, now_ns: u64, remote: SocketAddr, hello: &Hello<'_>, datagram: &[u8]) {
        let Some(cookie) = self.cookies.verify(now_ns, remote, hello) else {
            if let Some(cookie) = self.cookies.make(now_ns, remote, hello) {
                self.outgoing.push(remote, &hello.verify_request(&cookie));
            }
            return;
        };
        let known = self.by_remote.get(&remote);
        if known.and_then(|it| it.next.as_ref()).is_some_and(|next| next.random[..] == *hello.random) {
            // Our answer was lost.
            return self.receive_records(now_ns, remote, datagram);
        }
        if known.and_then(|it| it.current.as_ref()).is_some_and(|it| it.session.random[..] == *hello.random) {
            // A copy of the hello of this very association, late.
            return;
        }
        let of_address = self.handshakes.get(&remote.ip()).copied().unwrap_or_default();
        if self.handshakes_total >= HANDSHAKES_MAX || of_address >= HANDSHAKES_PER_ADDRESS_MAX {
            return;
        }
        let terms = Arc::clone(&self.terms);
        let Some(session) = Session::begin(remote, hello, cookie, datagram, &mut self.turn(&terms, now_ns)) else {
            return;
        };
        let mut association = self.take(remote).unwrap_or_default();
        association.next = Some(session);
        self.put_back(remote, association);
    }

    /// Records may belong to either of two associations; each drops what it cannot verify.
    fn receive_records(&mut self, now_ns: u64, remote: SocketAddr, datagram: &[u8]) {
        let is_protected = datagram.get(3..5).is_some_and(|epoch| epoch != [0, 0]);
        let terms = Arc::clone(&self.terms);
        let Some(mut association) = self.take(remote) else { return };
        if is_protected || association.next.is_none() {
            self.say_to_current(&terms, &mut association, Word::Record(datagram), now_ns, remote);
        }
        if let Some(next) = &mut association.next {
            let said = next.say(Word::Record(datagram), &mut self.turn(&terms, now_ns));
            if said.is_err() {
                association.next = None;
                self.plaintexts.clear();
            } else if next.is_connected {
                self.replace(&terms, &mut association, now_ns, remote);
            }
        }
        self.put_back(remote, association);
        if self.established > self.terms.settings.sessions_max {
            self.evict(now_ns, remote);
        }
    }

    /// Whoever has been silent for longest makes room for a newcomer that has proven who it is; a hello alone pushes nobody out.
    fn evict(&mut self, now_ns: u64, newcomer: SocketAddr) {
        let terms = Arc::clone(&self.terms);
        let max = terms.settings.sessions_max;
        while self.established > max {
            let is_settled = |remote: &SocketAddr| self.by_remote.get(remote).is_some_and(|it| it.current.is_some());
            let mut settled = self.due.iter().filter(|(_, remote)| *remote != newcomer && is_settled(remote));
            let Some((due_ns, remote)) = settled.next().copied() else { return };
            let Some(mut association) = self.take(remote) else { return };
            if self.due_of(&association) <= due_ns {
                self.end(&terms, &mut association, now_ns, remote);
            } else {
                // It was heard since its entry was made: it stands further behind.
                self.due.remove(&(due_ns, remote));
                association.due_ns = 0;
            }
            self.put_back(remote, association);
        }
    }

    /// The new handshake is done.
    fn replace(&mut self, terms: &DtlsTerms, association: &mut Association, now_ns: u64, remote: SocketAddr) {
        // What came with the last flight already belongs to the new association.
        let early = std::mem::take(&mut self.plaintexts);
        let Some(session) = association.next.take() else { return };
        if let Some(mut before) = association.current.take() {
            // Its client may have forgotten it, or may not: it is told.
            let _ = before.session.say(Word::Close, &mut self.turn(terms, now_ns));
            self.happenings.push(Happening::Left(remote));
        }
        self.plaintexts = early;
        let facts = session.facts();
        association.current = Some(Established { session, facts });
        self.tell_plaintexts(remote);
    }

    fn say_to_current(
        &mut self,
        terms: &DtlsTerms,
        association: &mut Association,
        word: Word<'_>,
        now_ns: u64,
        remote: SocketAddr,
    ) {
        let Some(current) = &mut association.current else { return };
        let said = current.session.say(word, &mut self.turn(terms, now_ns));
        self.tell_plaintexts(remote);
        if said.is_err() {
            association.current = None;
            self.happenings.push(Happening::Left(remote));
        }
    }

    fn tell_plaintexts(&mut self, remote: SocketAddr) {
        self.happenings.extend(self.plaintexts.drain(..).map(|it| Happening::Datagram(remote, it)));
    }

    /// Protects a datagram on its way to this address. There is nobody to take it where there is no association.
    pub fn send(&mut self, now_ns: u64, remote: SocketAddr, datagram: &[u8]) {
        let terms = Arc::clone(&self.terms);
        let Some(mut association) = self.take(remote) else { return };
        self.say_to_current(&terms, &mut association, Word::Plaintext(datagram), now_ns, remote);
        self.put_back(remote, association);
    }

    /// Repeats what was not answered, and ends what has been silent for long.
    pub fn timeout(&mut self, now_ns: u64) {
        self.renew_terms(now_ns);
        let terms = Arc::clone(&self.terms);
        while let Some((due_ns, remote)) = self.due.first().copied().filter(|(due_ns, _)| *due_ns <= now_ns) {
            self.due.remove(&(due_ns, remote));
            let Some(mut association) = self.take(remote) else { continue };
            association.due_ns = 0;
            let is_idle = |it: &Established| it.session.heard_ns.saturating_add(idle_ns(&terms)) <= now_ns;
            match association.current.as_ref().map(is_idle) {
                Some(true) => self.end(&terms, &mut association, now_ns, remote),
                _ => self.say_to_current(&terms, &mut association, Word::Time, now_ns, remote),
            }
            if let Some(next) = &mut association.next
                && next.say(Word::Time, &mut self.turn(&terms, now_ns)).is_err()
            {
                association.next = None;
            }
            self.put_back(remote, association);
        }
    }

    /// Says goodbye to everyone, and answers nobody any more.
    pub fn close_all(&mut self, now_ns: u64) {
        self.is_closed = true;
        let terms = Arc::clone(&self.terms);
        for remote in self.by_remote.keys().copied().collect::<Vec<_>>() {
            let Some(mut association) = self.take(remote) else { continue };
            association.next = None;
            self.end(&terms, &mut association, now_ns, remote);
            self.put_back(remote, association);
        }
    }

    fn end(&mut self, terms: &DtlsTerms, association: &mut Association, now_ns: u64, remote: SocketAddr) {
        self.say_to_current(terms, association, Word::Close, now_ns, remote);
        if association.current.take().is_some() {
            self.happenings.push(Happening::Left(remote));
        }
    }

    /// After a reload, those whose key is gone or another one go.
    fn renew_terms(&mut self, now_ns: u64) {
        let terms = self.acceptor.terms();
        if Arc::ptr_eq(&terms, &self.terms) {
            return;
        }
        self.terms = Arc::clone(&terms);
        let unwelcome = |it: &Association| it.current.as_ref().is_some_and(|it| !it.session.is_welcome(&terms));
        let gone: Vec<_> = self.by_remote.iter().filter(|(_, it)| unwelcome(it)).map(|(remote, _)| *remote).collect();
        for remote in gone {
            let Some(mut association) = self.take(remote) else { continue };
            self.end(&terms, &mut association, now_ns, remote);
            self.put_back(remote, association);
        }
    }

    /// Takes an association out to change it; every count is without it until it is put back.
    fn take(&mut self, remote: SocketAddr) -> Option<Association> {
        let association = self.by_remote.remove(&remote)?;
        self.established -= usize::from(association.current.is_some());
        if association.next.is_some() {
            self.handshakes_total -= 1;
            if let Entry::Occupied(mut count) = self.handshakes.entry(remote.ip()) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        Some(association)
    }

    /// One of which nothing is left is gone.
    fn put_back(&mut self, remote: SocketAddr, association: Association) {
        if association.current.is_none() && association.next.is_none() {
            self.due.remove(&(association.due_ns, remote));
            return;
        }
        self.established += usize::from(association.current.is_some());
        if association.next.is_some() {
            self.handshakes_total += 1;
            *self.handshakes.entry(remote.ip()).or_default() += 1;
        }
        self.arm(remote, association);
    }

    /// Makes sure that it is called in time. A session that is heard often keeps its early entry until that is due.
    fn arm(&mut self, remote: SocketAddr, mut association: Association) {
        let due_ns = self.due_of(&association);
        if association.due_ns == 0 || due_ns < association.due_ns {
            self.due.remove(&(association.due_ns, remote));
            association.due_ns = due_ns;
            self.due.insert((due_ns, remote));
        }
        self.by_remote.insert(remote, association);
    }

    fn due_of(&self, association: &Association) -> u64 {
        let next_ns = association.next.as_ref().map_or(u64::MAX, |next| next.due_ns);
        let current = association.current.as_ref().map(|it| &it.session);
        let idle_ns = idle_ns(&self.terms);
        let current_ns = current.map_or(u64::MAX, |it| it.due_ns.min(it.heard_ns.saturating_add(idle_ns)));
        next_ns.min(current_ns).max(1)
    }

    fn turn<'a>(&'a mut self, terms: &'a DtlsTerms, now_ns: u64) -> Turn<'a> {
        let now = self.start + Duration::from_nanos(now_ns);
        let Self { buffer, outgoing, plaintexts, .. } = self;
        Turn { terms, now_ns, now, buffer, outgoing, plaintexts }
    }
}

fn idle_ns(terms: &DtlsTerms) -> u64 {
    u64::try_from(terms.settings.idle.as_nanos()).unwrap_or(u64::MAX)
}
