//! What is remembered of addresses: a table that grows with the connections that are open and, beyond them, to a fixed size.

use althing_core::bucket::Bucket;
use std::collections::HashMap;
use std::net::IpAddr;

/// Where connections come from: an address of IPv4, or a network of IPv6, where one subscriber has whole networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(u128);

impl Source {
    /// Of IPv6 the first `prefix_bits_v6` bits count.
    pub fn new(address: IpAddr, prefix_bits_v6: u8) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => {
                let ignored = 128_u32.saturating_sub(u32::from(prefix_bits_v6));
                let kept = u128::MAX.checked_shl(ignored).unwrap_or(0);
                // The first bit tells the two kinds apart; no two networks in use differ in it alone.
                (u128::from(address) & kept) | 1 << 127
            }
        })
    }
}

/// What is known of one source.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Connections that are open, and those among them whose session does not stand yet.
    pub connections: u32,
    pub openings: u32,
    /// How fast connections have come.
    pub connects: Bucket,
    /// Short connections, halved every [`HALVED_AFTER_NS`]; and when that was last done.
    penalty: u32,
    penalty_ns: u64,
    /// Nobody is let in before this moment.
    pub turned_away_until_ns: u64,
    /// How often that has happened lately, and when last.
    strikes: u32,
    struck_ns: u64,
}

const SECOND_NS: u64 = 1_000_000_000;
const HALVED_AFTER_NS: u64 = 60 * SECOND_NS;

/// How long a source is turned away at first. Each time is twice as long as the one before, up to the sixth: ten minutes.
const FIRST_NS: u64 = 10 * SECOND_NS;
const DOUBLED_MAX: u32 = 6;

/// After so much time each time is forgiven.
const FORGIVEN_AFTER_NS: u64 = 1_800 * SECOND_NS;

impl Record {
    /// A short connection has ended. Beyond `most` the source is turned away for a while.
    pub fn punish(&mut self, mono_ns: u64, units: u32, most: u32) {
        let whole_ns = mono_ns.saturating_sub(self.penalty_ns) / HALVED_AFTER_NS * HALVED_AFTER_NS;
        self.penalty = self.penalty(mono_ns).saturating_add(units);
        self.penalty_ns += whole_ns;
        if self.penalty > most && self.turned_away_until_ns <= mono_ns {
            self.penalty = most / 2;
            let strikes = self.strikes(mono_ns);
            self.turned_away_until_ns = mono_ns + (FIRST_NS << strikes.min(DOUBLED_MAX));
            (self.strikes, self.struck_ns) = (strikes + 1, mono_ns);
        }
    }

    fn penalty(&self, mono_ns: u64) -> u32 {
        let halvings = mono_ns.saturating_sub(self.penalty_ns) / HALVED_AFTER_NS;
        u32::try_from(halvings).ok().and_then(|halvings| self.penalty.checked_shr(halvings)).unwrap_or(0)
    }

    fn strikes(&self, mono_ns: u64) -> u32 {
        let forgiven = mono_ns.saturating_sub(self.struck_ns) / FORGIVEN_AFTER_NS;
        self.strikes.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    /// What would be lost if it were forgotten, the worst first.
    fn weight(&self, mono_ns: u64) -> (u32, u64, u32, bool) {
        let turned_away_ns = self.turned_away_until_ns.saturating_sub(mono_ns);
        (self.strikes(mono_ns), turned_away_ns, self.penalty(mono_ns), !self.connects.is_full(mono_ns))
    }

    fn is_forgotten(&self, mono_ns: u64) -> bool {
        self.weight(mono_ns) == (0, 0, 0, false)
    }
}

/// Records by source. Those with open connections stay; among the others, once there are too many, that one goes that
/// has the least against it: whoever wants to be forgiven has to fill the table with worse than itself.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    by_source: HashMap<Source, usize>,
    places: Vec<(Source, Record)>,
    /// Where the next look for somebody to forget begins.
    hand: usize,
}

/// Records that are compared when one has to go, and those that are looked at with each new one.
const COMPARED: usize = 16;
const LOOKED_AT: usize = 2;

impl Addresses {
    pub fn get_mut(&mut self, source: Source) -> Option<&mut Record> {
        self.by_source.get(&source).map(|place| &mut self.places[*place].1)
    }

    /// The record of `source`, new if there is none.
    pub fn of(&mut self, source: Source, mono_ns: u64, remembered_max: usize) -> &mut Record {
        if !self.by_source.contains_key(&source) {
            self.forget_some(mono_ns, remembered_max);
            self.by_source.insert(source, self.places.len());
            self.places.push((source, Record::default()));
        }
        let place = self.by_source[&source];
        &mut self.places[place].1
    }

    fn forget_some(&mut self, mono_ns: u64, remembered_max: usize) {
        for _ in 0..LOOKED_AT.min(self.places.len()) {
            self.hand = (self.hand + 1) % self.places.len().max(1);
            if self.places.get(self.hand).is_some_and(|(_, it)| it.connections == 0 && it.is_forgotten(mono_ns)) {
                self.remove(self.hand);
            }
        }
        if self.places.len() < remembered_max {
            return;
        }
        let compared = (0..COMPARED.min(self.places.len())).map(|step| (self.hand + step) % self.places.len());
        let gone = compared.filter(|place| self.places[*place].1.connections == 0);
        if let Some(place) = gone.min_by_key(|place| self.places[*place].1.weight(mono_ns)) {
            self.remove(place);
        }
        self.hand += COMPARED;
    }

    fn remove(&mut self, place: usize) {
        let (source, _) = self.places.swap_remove(place);
        self.by_source.remove(&source);
        if let Some((moved, _)) = self.places.get(place) {
            self.by_source.insert(*moved, place);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.places.len()
    }
}
