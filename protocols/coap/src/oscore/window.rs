//! Which Partial IVs have been received (§7.4).

/// How far numbers may arrive out of order (§3.2.2, the default).
const WIDTH: u64 = 32;

/// A sliding window: numbers in it are accepted once, those below it never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayWindow {
    /// The lowest number in the window.
    low: u64,
    /// Which of the numbers from `low` on have been received.
    received: u32,
}

impl ReplayWindow {
    /// A window that begins behind this number, which has just been received (Appendix B.1.2).
    pub fn behind(number: u64) -> Self {
        Self { low: number.saturating_add(1), received: 0 }
    }

    /// Whether the number has not been received.
    pub fn is_fresh(&self, number: u64) -> bool {
        match number.checked_sub(self.low) {
            None => false,
            Some(place @ 0..WIDTH) => self.received >> place & 1 == 0,
            Some(_) => true,
        }
    }

    /// Notes that the number has been received; only once its message was verified.
    pub fn receive(&mut self, number: u64) {
        let Some(mut place) = number.checked_sub(self.low) else { return };
        if place >= WIDTH {
            let shift = place - (WIDTH - 1);
            self.low += shift;
            self.received = if shift < WIDTH { self.received >> shift } else { 0 };
            place = WIDTH - 1;
        }
        self.received |= 1 << place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn late_numbers_are_accepted_once_while_they_are_in_the_window() {
        let mut window = ReplayWindow::default();
        for number in [5, 3, 36] {
            assert!(window.is_fresh(number));
            window.receive(number);
            assert!(!window.is_fresh(number));
        }
        // 36 has moved the window to 5..=36.
        assert!(!window.is_fresh(4) && !window.is_fresh(5) && window.is_fresh(6) && window.is_fresh(35));
        window.receive(u64::MAX);
        assert!(!window.is_fresh(35) && !window.is_fresh(u64::MAX));
        assert!(!ReplayWindow::behind(7).is_fresh(7) && ReplayWindow::behind(7).is_fresh(8));
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_the_newest(numbers in proptest::collection::vec(0..200_u64, 0..200)) {
            let (mut window, mut received) = (ReplayWindow::default(), BTreeSet::new());
            for number in numbers {
                let highest = received.last().copied().unwrap_or(0_u64).max(WIDTH - 1);
                let is_fresh = number + WIDTH > highest && !received.contains(&number);
                prop_assert_eq!(window.is_fresh(number), is_fresh);
                if is_fresh {
                    window.receive(number);
                    received.insert(number);
                }
            }
        }
    }
}
