//! Terms, each kept once: ten thousand queues want their messages in the same few ways.

use hashbrown::HashTable;

/// A pool of byte strings that are counted and named by a number.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    slots: Vec<Slot>,
    free: Vec<u32>,
    numbers: HashTable<u32>,
    /// The one that was asked for last; most of the time it is the next one, too.
    last: u32,
}

#[derive(Debug)]
struct Slot {
    bytes: Box<[u8]>,
    hash: u64,
    count: u32,
}

impl Terms {
    /// The number of `bytes`, counted once more.
    pub(crate) fn hold(&mut self, bytes: &[u8], hash: impl FnOnce(&[u8]) -> u64) -> u32 {
        match self.slots.get_mut(self.last as usize) {
            Some(last) if last.count > 0 && *last.bytes == *bytes => last.count += 1,
            _ => self.last = self.find_or_insert(bytes, hash(bytes)),
        }
        self.last
    }

    /// Counts one less.
    pub(crate) fn release(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        slot.count -= 1;
        if slot.count == 0 {
            if let Ok(found) = self.numbers.find_entry(slot.hash, |other| *other == number) {
                found.remove();
            }
            slot.bytes = Box::default();
            self.free.push(number);
        }
    }

    pub(crate) fn get(&self, number: u32) -> &[u8] {
        &self.slots[number as usize].bytes
    }

    fn find_or_insert(&mut self, bytes: &[u8], hash: u64) -> u32 {
        let Self { slots, numbers, free, .. } = self;
        if let Some(number) = numbers.find(hash, |number| *slots[*number as usize].bytes == *bytes) {
            slots[*number as usize].count += 1;
            return *number;
        }
        let slot = Slot { bytes: bytes.into(), hash, count: 1 };
        let number = match free.pop() {
            Some(number) => {
                slots[number as usize] = slot;
                number
            }
            None => {
                slots.push(slot);
                (slots.len() - 1) as u32
            }
        };
        numbers.insert_unique(hash, number, |number| slots[*number as usize].hash);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_terms_share_a_number_until_the_last_is_gone() {
        let mut terms = Terms::default();
        // Every hash is the same: only the bytes tell them apart.
        let hash = |_: &[u8]| 7;
        let (a, b) = (terms.hold(b"a", hash), terms.hold(b"b", hash));
        assert_ne!(a, b);
        assert_eq!((terms.hold(b"a", hash), terms.hold(b"a", hash)), (a, a));
        (0..3).for_each(|_| terms.release(a));
        assert_eq!((terms.get(b), terms.numbers.len()), (&b"b"[..], 1));
        assert_eq!(terms.hold(b"c", hash), a, "the number is used again");
        assert_eq!((terms.get(a), terms.get(b)), (&b"c"[..], &b"b"[..]));
    }
}
