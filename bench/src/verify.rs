//! Loss, duplicates and order, found exactly and cheaply.
//!
//! Two books are kept. A [`Track`] a receiver and stream says whether this receiver has had the message before, and
//! in order. A [`Ledger`] a stream counts how often each message still has to arrive. Together they are exact for any
//! topology: when no receiver had a message twice and it arrived as often as it has receivers, each had it once.

/// What a receiver thinks of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Newer than all before it.
    InOrder,
    /// New, but a later one came first.
    Reordered,
    /// Here already.
    Duplicate,
}

/// The sequence numbers of one stream that one receiver has had.
#[derive(Clone, Debug)]
pub enum Track {
    /// For live messages, whose order MQTT promises per topic and publisher (MQTT 5.0 §4.6). `next` is one above the
    /// highest number; bit n of `history` stands for `next - 1 - n`.
    Ordered { next: u64, history: u64 },
    /// For retained messages, which come in any order: one bit a number.
    Unordered { seen: Vec<u64> },
}

impl Track {
    /// Nothing seen.
    pub fn ordered() -> Self {
        Self::Ordered { next: 0, history: 0 }
    }

    /// Nothing seen of numbers below `messages`.
    pub fn unordered(messages: u64) -> Self {
        Self::Unordered { seen: vec![0; messages.div_ceil(64) as usize] }
    }

    /// Notes one message. A late one beyond the history of 64 counts as reordered: it is a fault either way.
    #[inline]
    pub fn observe(&mut self, sequence: u64) -> Seen {
        match self {
            Self::Ordered { next, history } if sequence >= *next => {
                let step = sequence + 1 - *next;
                *history = if step < 64 { *history << step | 1 } else { 1 };
                *next = sequence + 1;
                Seen::InOrder
            }
            Self::Ordered { next, history } => {
                let age = *next - 1 - sequence;
                if age >= 64 {
                    return Seen::Reordered;
                }
                let had = *history >> age & 1 == 1;
                *history |= 1 << age;
                if had { Seen::Duplicate } else { Seen::Reordered }
            }
            Self::Unordered { seen } => {
                let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
                match seen.get_mut(word) {
                    Some(bits) if *bits & bit == 0 => {
                        *bits |= bit;
                        Seen::InOrder
                    }
                    _ => Seen::Duplicate,
                }
            }
        }
    }
}

/// A message that nobody waits for: complete long ago, never sent, or delivered more often than it has receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unexpected;

/// The messages of one stream that are under way, which is also its window: `next - base` never exceeds `window`,
/// where all messages below `base` are delivered to every receiver and acknowledged.
#[derive(Clone, Debug)]
pub struct Ledger {
    base: u64,
    /// No message below it waits for its acknowledgement; packet ids are counted from here.
    acknowledged_base: u64,
    next: u64,
    window: u64,
    mask: u64,
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    deliveries_due: u32,
    acknowledgement_due: bool,
    sent_ns: u64,
}

impl Slot {
    fn is_complete(self) -> bool {
        self.deliveries_due == 0 && !self.acknowledgement_due
    }
}

impl Ledger {
    /// Room for `window` messages, at least one.
    pub fn new(window: u64) -> Self {
        let window = window.max(1);
        let slots = window.next_power_of_two();
        Self {
            base: 0,
            acknowledged_base: 0,
            next: 0,
            window,
            mask: slots - 1,
            slots: vec![Slot::default(); slots as usize].into(),
        }
    }

    /// `messages` that were sent and acknowledged in an earlier run and have to be delivered `deliveries` times each.
    pub fn stored(messages: u64, deliveries: u32) -> Self {
        let mut ledger = Self::new(messages);
        for _ in 0..messages {
            ledger.send(deliveries, false, 0);
        }
        ledger.acknowledged_base = ledger.next;
        ledger
    }

    /// Whether another message may be sent.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.next - self.base < self.window
    }

    /// Messages from the oldest without an acknowledgement on; only meaningful above QoS 0.
    #[inline]
    pub fn unacknowledged(&self) -> u64 {
        self.next - self.acknowledged_base
    }

    /// Messages sent in all.
    pub fn sent(&self) -> u64 {
        self.next
    }

    /// Opens the next message and returns its sequence number. Call only while `has_room`.
    #[inline]
    pub fn send(&mut self, deliveries: u32, acknowledgement: bool, sent_ns: u64) -> u64 {
        debug_assert!(self.has_room());
        let sequence = self.next;
        self.slots[(sequence & self.mask) as usize] =
            Slot { deliveries_due: deliveries, acknowledgement_due: acknowledgement, sent_ns };
        self.next += 1;
        sequence
    }

    /// One receiver has the message.
    #[inline]
    pub fn delivered(&mut self, sequence: u64) -> Result<(), Unexpected> {
        let slot = self.slot(sequence)?;
        slot.deliveries_due = slot.deliveries_due.checked_sub(1).ok_or(Unexpected)?;
        self.advance();
        Ok(())
    }

    /// The broker has taken responsibility for the message with this packet id; returns when it was sent.
    #[inline]
    pub fn acknowledged(&mut self, id: u16) -> Result<u64, Unexpected> {
        let sequence = self.sequence_of(id);
        let slot = self.slot(sequence)?;
        if !std::mem::take(&mut slot.acknowledgement_due) {
            return Err(Unexpected);
        }
        let sent_ns = slot.sent_ns;
        while self.acknowledged_base < self.next
            && !self.slots[(self.acknowledged_base & self.mask) as usize].acknowledgement_due
        {
            self.acknowledged_base += 1;
        }
        self.advance();
        Ok(sent_ns)
    }

    /// Deliveries that have not happened.
    pub fn deliveries_due(&self) -> u64 {
        self.open().map(|slot| u64::from(slot.deliveries_due)).sum()
    }

    /// Acknowledgements that have not come.
    pub fn acknowledgements_due(&self) -> u64 {
        self.open().map(|slot| u64::from(slot.acknowledgement_due)).sum()
    }

    /// Whether every message is delivered and acknowledged.
    pub fn is_complete(&self) -> bool {
        self.base == self.next
    }

    /// The packet id of a message: 1 to 65,535 in turn, unique while fewer are under way.
    #[inline]
    pub fn id_of(sequence: u64) -> u16 {
        (sequence % 65_535 + 1) as u16
    }

    /// The only message at or above `acknowledged_base` and within 65,535 of it that has this id.
    #[inline]
    fn sequence_of(&self, id: u16) -> u64 {
        let base_id = u64::from(Self::id_of(self.acknowledged_base));
        self.acknowledged_base + (u64::from(id) + 65_535 - base_id) % 65_535
    }

    #[inline]
    fn slot(&mut self, sequence: u64) -> Result<&mut Slot, Unexpected> {
        if (self.base..self.next).contains(&sequence) {
            Ok(&mut self.slots[(sequence & self.mask) as usize])
        } else {
            Err(Unexpected)
        }
    }

    #[inline]
    fn advance(&mut self) {
        while self.base < self.next && self.slots[(self.base & self.mask) as usize].is_complete() {
            self.base += 1;
        }
    }

    fn open(&self) -> impl Iterator<Item = &Slot> {
        (self.base..self.next).map(|sequence| &self.slots[(sequence & self.mask) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(sequences: &[u64]) -> Vec<Seen> {
        let mut track = Track::ordered();
        sequences.iter().map(|sequence| track.observe(*sequence)).collect()
    }

    #[test]
    fn a_doubled_message_is_found() {
        assert_eq!(
            observe(&[0, 1, 1, 2, 0]),
            [Seen::InOrder, Seen::InOrder, Seen::Duplicate, Seen::InOrder, Seen::Duplicate]
        );
    }

    #[test]
    fn two_swapped_messages_are_one_reordering() {
        assert_eq!(observe(&[0, 2, 1, 3]), [Seen::InOrder, Seen::InOrder, Seen::Reordered, Seen::InOrder]);
    }

    #[test]
    fn a_late_message_that_comes_twice_is_reordered_then_doubled() {
        assert_eq!(observe(&[5, 3, 3]), [Seen::InOrder, Seen::Reordered, Seen::Duplicate]);
    }

    #[test]
    fn a_gap_as_wide_as_the_history_forgets_it() {
        assert_eq!(observe(&[0, 64, 1, 0]), [Seen::InOrder, Seen::InOrder, Seen::Reordered, Seen::Reordered]);
        assert_eq!(observe(&[0, 63, 0])[2], Seen::Duplicate);
    }

    #[test]
    fn an_unordered_track_finds_only_duplicates() {
        let mut track = Track::unordered(100);
        assert_eq!(
            [99, 0, 99].map(|sequence| track.observe(sequence)),
            [Seen::InOrder, Seen::InOrder, Seen::Duplicate]
        );
        assert_eq!(track.observe(5_000), Seen::Duplicate, "a number never sent is not new");
    }

    #[test]
    fn a_lost_message_stays_due() {
        let mut ledger = Ledger::new(4);
        for _ in 0..4 {
            ledger.send(1, false, 9);
        }
        for sequence in [0, 1, 3] {
            assert_eq!(ledger.delivered(sequence), Ok(()));
        }
        assert_eq!((ledger.deliveries_due(), ledger.is_complete()), (1, false));
        assert_eq!(ledger.delivered(2), Ok(()));
        assert!(ledger.is_complete());
    }

    #[test]
    fn what_an_earlier_run_has_stored_is_due_once() {
        let mut ledger = Ledger::stored(3, 1);
        assert_eq!((ledger.sent(), ledger.deliveries_due(), ledger.acknowledgements_due()), (3, 3, 0));
        for sequence in 0..3 {
            assert_eq!(ledger.delivered(sequence), Ok(()));
        }
        assert_eq!((ledger.is_complete(), ledger.delivered(1)), (true, Err(Unexpected)));
    }

    #[test]
    fn the_window_opens_only_when_the_oldest_is_acknowledged_and_delivered_to_all() {
        let mut ledger = Ledger::new(3);
        while ledger.has_room() {
            ledger.send(2, true, 9);
        }
        assert_eq!(ledger.sent(), 3);
        for step in [Ledger::delivered, Ledger::delivered] {
            assert_eq!(step(&mut ledger, 0), Ok(()));
            assert!(!ledger.has_room());
        }
        assert_eq!(ledger.acknowledged(2), Ok(9));
        assert!(!ledger.has_room(), "sequence 1 is acknowledged, 0 is not");
        assert_eq!(ledger.acknowledged(1), Ok(9));
        assert!(ledger.has_room());
    }

    #[test]
    fn what_nobody_waits_for_is_unexpected() {
        let mut ledger = Ledger::new(2);
        assert_eq!(ledger.delivered(0), Err(Unexpected), "never sent");
        ledger.send(1, true, 9);
        assert_eq!(ledger.delivered(0), Ok(()));
        assert_eq!(ledger.delivered(0), Err(Unexpected), "to a second member of a group");
        assert_eq!(ledger.acknowledged(1), Ok(9));
        assert_eq!(ledger.acknowledged(1), Err(Unexpected));
        assert!(ledger.is_complete());
    }

    #[test]
    fn packet_ids_wrap_without_zero_and_lead_back_to_their_message() {
        let mut ledger = Ledger::new(20);
        for expected in 0..200_000 {
            let sequence = ledger.send(0, true, 9);
            assert_eq!(ledger.unacknowledged(), 1);
            let id = Ledger::id_of(sequence);
            assert!(sequence == expected && id != 0);
            assert_eq!(ledger.sequence_of(id), sequence);
            assert_eq!(ledger.acknowledged(id), Ok(9));
        }
    }
}
