//! Packet identifiers and what is under way with each of them.

use crate::packet::Publish;
use std::collections::VecDeque;

/// What a packet identifier stands for.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// Nothing any more; the identifier is free once everything before it is.
    Free,
    /// A SUBSCRIBE or UNSUBSCRIBE that is not answered. It does not outlive the connection.
    Request,
    /// A publish that is not acknowledged (QoS 1) or not received (QoS 2). `sent`: on any connection.
    Publish { publish: Publish, sent: bool },
    /// A QoS 2 publish whose PUBREC has come, with its code; PUBCOMP is missing.
    Released { code: u8 },
}

impl Slot {
    fn is_publish(&self) -> bool {
        matches!(self, Self::Publish { .. } | Self::Released { .. })
    }
}

/// A window that slides over the circle of packet identifiers 1 to 65,535: identifiers are given out in
/// order and found by their distance from the first one. The price is that one identifier that is never
/// answered stops the window after 65,534 others.
#[derive(Debug)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    /// The identifier of the first slot.
    first: u16,
    /// Publishes before this place have been sent on this connection.
    unsent: usize,
    /// How many slots are `Publish` or `Released`.
    open_publishes: usize,
}

const IDENTIFIERS: u32 = u16::MAX as u32;

impl Window {
    pub fn new() -> Self {
        Self { slots: VecDeque::new(), first: 1, unsent: 0, open_publishes: 0 }
    }

    /// The next identifier; `None` when all are in use.
    pub fn next_id(&self) -> Option<u16> {
        (self.slots.len() < IDENTIFIERS as usize).then(|| self.id_at(self.slots.len()))
    }

    /// Takes the identifier that `next_id` named.
    pub fn push(&mut self, slot: Slot) {
        self.open_publishes += usize::from(slot.is_publish());
        self.slots.push_back(slot);
    }

    /// What `packet_id` stands for; `Free` ones included.
    pub fn get_mut(&mut self, packet_id: u16) -> Option<&mut Slot> {
        let place = self.place_of(packet_id);
        self.slots.get_mut(place)
    }

    /// `packet_id` is over.
    pub fn free(&mut self, packet_id: u16) {
        let place = self.place_of(packet_id);
        if let Some(slot) = self.slots.get_mut(place) {
            self.open_publishes -= usize::from(slot.is_publish());
            *slot = Slot::Free;
        }
        self.slide();
    }

    fn slide(&mut self) {
        while matches!(self.slots.front(), Some(Slot::Free)) {
            self.slots.pop_front();
            self.first = if self.first == u16::MAX { 1 } else { self.first + 1 };
            self.unsent = self.unsent.saturating_sub(1);
        }
    }

    /// The next slot that has to be sent on this connection, with its identifier.
    pub fn next_unsent(&mut self) -> Option<(u16, &mut Slot)> {
        while matches!(self.slots.get(self.unsent), Some(Slot::Free | Slot::Request)) {
            self.unsent += 1;
        }
        let packet_id = self.id_at(self.unsent);
        self.slots.get_mut(self.unsent).map(|slot| (packet_id, slot))
    }

    /// The slot that `next_unsent` named has been sent.
    pub fn sent(&mut self) {
        self.unsent += 1;
    }

    /// A new connection begins: requests are gone, everything else will be sent again, in order.
    pub fn restart(&mut self) {
        self.unsent = 0;
        for slot in &mut self.slots {
            if matches!(slot, Slot::Request) {
                *slot = Slot::Free;
            }
        }
        self.slide();
    }

    /// The server has forgotten the session: publishes become new ones, and the identifiers of those that it
    /// had received are returned with their codes.
    pub fn forget_session(&mut self) -> Vec<(u16, u8)> {
        let mut released = Vec::new();
        for place in 0..self.slots.len() {
            let packet_id = self.id_at(place);
            match &mut self.slots[place] {
                Slot::Publish { sent, .. } => *sent = false,
                Slot::Released { code } => released.push((packet_id, *code)),
                Slot::Free | Slot::Request => {}
            }
        }
        for (packet_id, _) in &released {
            self.free(*packet_id);
        }
        released
    }

    /// Publishes that are not over.
    pub fn open_publishes(&self) -> usize {
        self.open_publishes
    }

    fn id_at(&self, place: usize) -> u16 {
        ((u32::from(self.first) - 1 + place as u32) % IDENTIFIERS + 1) as u16
    }

    fn place_of(&self, packet_id: u16) -> usize {
        ((u32::from(packet_id) + IDENTIFIERS - u32::from(self.first)) % IDENTIFIERS) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(window: &mut Window) -> u16 {
        let packet_id = window.next_id().unwrap();
        window.push(Slot::Released { code: 0 });
        packet_id
    }

    #[test]
    fn identifiers_go_round_without_zero() {
        let mut window = Window::new();
        for round in 0..200_000_u32 {
            let packet_id = push(&mut window);
            assert_eq!(u32::from(packet_id), round % IDENTIFIERS + 1);
            assert!(matches!(window.get_mut(packet_id), Some(Slot::Released { .. })));
            window.free(packet_id);
            assert!(!matches!(window.get_mut(packet_id), Some(Slot::Released { .. })));
        }
    }

    #[test]
    fn the_window_ends_with_the_identifiers() {
        let mut window = Window::new();
        for _ in 0..IDENTIFIERS {
            push(&mut window);
        }
        assert_eq!(window.next_id(), None);
        window.free(2);
        assert_eq!(window.next_id(), None, "1 holds the window");
        window.free(1);
        assert_eq!([push(&mut window), push(&mut window)], [1, 2]);
    }

    #[test]
    fn what_was_sent_is_sent_again_in_order_after_a_restart() {
        let mut window = Window::new();
        let ids: Vec<u16> = (0..4).map(|_| push(&mut window)).collect();
        window.free(ids[1]);
        let sent = |window: &mut Window| {
            let mut sent = Vec::new();
            while let Some((packet_id, _)) = window.next_unsent() {
                sent.push(packet_id);
                window.sent();
            }
            sent
        };
        assert_eq!(sent(&mut window), [1, 3, 4]);
        assert_eq!(sent(&mut window), []);
        window.restart();
        window.free(1);
        assert_eq!(sent(&mut window), [3, 4]);
        let fifth = push(&mut window);
        assert_eq!(sent(&mut window), [fifth]);
    }
}
