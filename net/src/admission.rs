//! Who may connect, decided by listener and address before anything is read and before TLS.
//!
//! What is counted for a connection is held by an [`Admitted`] that lives as long as it does, so that every way to fail
//! gives everything back. An address that keeps opening connections and losing them at once is turned away for a
//! while, longer each time, and forgiven when it is calm.

mod addresses;

use crate::clock::Clock;
use addresses::{Addresses, Source};
use althing_core::authorisation::Network;
use althing_core::bucket::Bucket;
use althing_core::{Limits, Link};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much may come in through one listener; what is `None` is bounded by the house alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections at once.
    pub connections_max: Option<u32>,
    /// New connections in one second; twice as many may come at once.
    pub connects_per_s: Option<u32>,
}

/// How many connections were turned away, and for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnedAway {
    /// Their network is banned.
    pub banned: u64,
    /// Their listener has as many connections as it may.
    pub listener_full: u64,
    /// Connections come too fast to their listener.
    pub listener_rate: u64,
    /// Their address has as many connections as it may.
    pub address_full: u64,
    /// Their address has as many connections whose session does not stand as it may.
    pub address_openings: u64,
    /// Connections come too fast from their address.
    pub address_rate: u64,
    /// Their address has had too many short connections.
    pub address_flapping: u64,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Banned,
    ListenerFull(u32),
    ListenerRate(u32),
    AddressFull(u32),
    AddressOpenings(u32),
    AddressRate(u32),
    AddressFlapping { for_s: u64 },
}

/// What is open, by listener and by address.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Arc<Limits>,
    listeners: Vec<ListenerUse>,
    addresses: Addresses,
    banned: Vec<Network>,
    turned_away: TurnedAway,
}

#[derive(Debug)]
struct ListenerUse {
    name: &'static str,
    limits: ListenerLimits,
    connections: u32,
    connects: Bucket,
}

/// What one connection has been counted for.
#[derive(Debug)]
struct Ticket {
    listener: u32,
    /// `None` where addresses do not count.
    source: Option<Source>,
    since_ns: u64,
    stands: bool,
    /// It may be as short as it likes.
    is_good: bool,
}

/// A connection that ends sooner is a short one: no device that works as it should needs more than a few of them.
const SHORT_NS: u64 = 10_000_000_000;

/// One that ends before its session stands counts for so many short ones: it may be guessing passwords.
const FAILED_UNITS: u32 = 10;

impl Admission {
    fn new(limits: Arc<Limits>) -> Self {
        let (listeners, addresses, banned) = (Vec::new(), Addresses::default(), Vec::new());
        Self { limits, listeners, addresses, banned, turned_away: TurnedAway::default() }
    }

    pub fn set_limits(&mut self, limits: Arc<Limits>) {
        self.limits = limits;
    }

    pub fn set_listener(&mut self, name: &'static str, limits: ListenerLimits) {
        let listener = self.listener(name);
        self.listeners[listener].limits = limits;
    }

    pub fn set_banned(&mut self, networks: Vec<Network>) {
        self.banned = networks;
    }

    pub fn turned_away(&self) -> TurnedAway {
        self.turned_away
    }

    fn listener(&mut self, name: &'static str) -> usize {
        self.listeners.iter().position(|listener| listener.name == name).unwrap_or_else(|| {
            let limits = ListenerLimits::default();
            self.listeners.push(ListenerUse { name, limits, connections: 0, connects: Bucket::default() });
            self.listeners.len() - 1
        })
    }

    /// Lets one connection in, or says why not. A refusal costs nobody anything.
    fn admit(&mut self, mono_ns: u64, listener: &'static str, address: Option<IpAddr>) -> Result<Ticket, Refusal> {
        let ticket = self.try_admit(mono_ns, listener, address);
        if let Err(refusal) = &ticket {
            *self.turned_away.count_of(*refusal) += 1;
        }
        ticket
    }

    fn try_admit(&mut self, mono_ns: u64, listener: &'static str, address: Option<IpAddr>) -> Result<Ticket, Refusal> {
        let index = self.listener(listener);
        let limits = &*self.limits;
        if address.is_some_and(|address| self.banned.iter().any(|network| network.contains(address))) {
            return Err(Refusal::Banned);
        }
        let listener = &mut self.listeners[index];
        let ListenerLimits { connections_max, connects_per_s } = listener.limits;
        if let Some(most) = connections_max.filter(|most| listener.connections >= *most) {
            return Err(Refusal::ListenerFull(most));
        }
        if let Some(rate) = connects_per_s.filter(|_| listener.connects.rests_until_ns(mono_ns).is_some()) {
            return Err(Refusal::ListenerRate(rate));
        }
        let counts = |address: &IpAddr| limits.address_limits_on_loopback || !address.to_canonical().is_loopback();
        let source = address.filter(counts).map(|address| Source::new(address, limits.address_prefix_bits_v6));
        if let Some(source) = source {
            let record = self.addresses.of(source, mono_ns, limits.addresses_remembered_max);
            check_address(record, mono_ns, limits)?;
            record.connects.take(mono_ns, 1, u64::from(limits.connects_per_s_per_address));
            record.connections += 1;
            record.openings += 1;
        }
        if let Some(rate) = connects_per_s {
            listener.connects.take(mono_ns, 1, u64::from(rate));
        }
        listener.connections += 1;
        Ok(Ticket { listener: index as u32, source, since_ns: mono_ns, stands: false, is_good: false })
    }

    /// The session of a connection stands.
    fn stand(&mut self, ticket: &mut Ticket) {
        if !std::mem::replace(&mut ticket.stands, true)
            && let Some(record) = ticket.source.and_then(|source| self.addresses.get_mut(source))
        {
            record.openings -= 1;
        }
    }

    /// A connection is over.
    fn leave(&mut self, mono_ns: u64, ticket: &Ticket) {
        self.listeners[ticket.listener as usize].connections -= 1;
        let Some(record) = ticket.source.and_then(|source| self.addresses.get_mut(source)) else { return };
        record.connections -= 1;
        record.openings -= u32::from(!ticket.stands);
        let is_short = mono_ns.saturating_sub(ticket.since_ns) < SHORT_NS;
        let units = if ticket.stands { u32::from(is_short && !ticket.is_good) } else { FAILED_UNITS };
        if units > 0 {
            record.punish(mono_ns, units, self.limits.short_connections_per_address_max);
        }
    }
}

fn check_address(record: &addresses::Record, mono_ns: u64, limits: &Limits) -> Result<(), Refusal> {
    if record.turned_away_until_ns > mono_ns {
        let for_s = (record.turned_away_until_ns - mono_ns).div_ceil(1_000_000_000);
        Err(Refusal::AddressFlapping { for_s })
    } else if record.connections >= limits.connections_per_address_max {
        Err(Refusal::AddressFull(limits.connections_per_address_max))
    } else if record.openings >= limits.openings_per_address_max {
        Err(Refusal::AddressOpenings(limits.openings_per_address_max))
    } else if record.connects.rests_until_ns(mono_ns).is_some() {
        Err(Refusal::AddressRate(limits.connects_per_s_per_address))
    } else {
        Ok(())
    }
}

impl TurnedAway {
    fn count_of(&mut self, refusal: Refusal) -> &mut u64 {
        match refusal {
            Refusal::Banned => &mut self.banned,
            Refusal::ListenerFull(_) => &mut self.listener_full,
            Refusal::ListenerRate(_) => &mut self.listener_rate,
            Refusal::AddressFull(_) => &mut self.address_full,
            Refusal::AddressOpenings(_) => &mut self.address_openings,
            Refusal::AddressRate(_) => &mut self.address_rate,
            Refusal::AddressFlapping { .. } => &mut self.address_flapping,
        }
    }
}

/// Continues a sentence that begins with the listener or the address.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Banned => f.write_str("is in a network of authorisation.banned_networks"),
            Self::ListenerFull(most) => {
                write!(f, "came to a listener with as many connections as its connections_max allows: {most}")
            }
            Self::ListenerRate(rate) => {
                write!(f, "came to a listener with more new connections than its connects_per_s allows: {rate}")
            }
            Self::AddressFull(most) => {
                write!(f, "has as many connections as limits.connections_per_address_max allows: {most}")
            }
            Self::AddressOpenings(most) => {
                write!(f, "has as many connections without a session as limits.openings_per_address_max allows: {most}")
            }
            Self::AddressRate(rate) => {
                write!(f, "connects faster than limits.connects_per_s_per_address allows: {rate}")
            }
            Self::AddressFlapping { for_s } => write!(
                f,
                "has had more short connections than limits.short_connections_per_address_max allows: it is turned away \
                 for {for_s} s"
            ),
        }
    }
}

/// The admission of a shard, shared with the connections that it has let in.
pub(crate) struct AdmissionControl {
    /// Taken for moments, by connections that come and go on this thread and by nobody else.
    admission: Mutex<Admission>,
    clock: Clock,
}

impl AdmissionControl {
    pub fn new(clock: Clock, limits: Arc<Limits>) -> Arc<Self> {
        Arc::new(Self { admission: Mutex::new(Admission::new(limits)), clock })
    }

    pub fn lock(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one connection in, for as long as what is returned lives.
    pub fn admit(self: &Arc<Self>, link: &Link) -> Result<Admitted, Refusal> {
        let address = link.remote.map(|remote| remote.ip());
        let ticket = self.lock().admit(self.clock.now().mono_ns, link.listener(), address)?;
        Ok(Admitted { control: Arc::clone(self), ticket })
    }
}

/// A connection that was let in: it counts as one as long as this lives.
pub(crate) struct Admitted {
    control: Arc<AdmissionControl>,
    ticket: Ticket,
}

impl Admitted {
    /// When it was let in, on the monotonic clock.
    pub fn since_ns(&self) -> u64 {
        self.ticket.since_ns
    }

    /// Its session stands.
    pub fn stands(&mut self) {
        if !self.ticket.stands {
            self.control.lock().stand(&mut self.ticket);
        }
    }

    /// It has done what it came for: requests of people and scripts come in connections that are short and nobody's fault.
    pub fn is_good(&mut self) {
        self.stands();
        self.ticket.is_good = true;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.control.lock().leave(self.control.clock.now().mono_ns, &self.ticket);
    }
}

#[cfg(test)]
mod tests;
