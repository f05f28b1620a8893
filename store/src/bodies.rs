//! Messages that the commit under way has written already: one that goes to many queues is written once.

use crate::clock::Clock;
use crate::codec::{BodyAt, PENDING, Step};
use crate::log::Place;
use althing_core::Message;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::sync::Arc;

/// The messages of the commit under way, by where they are in memory. They are kept alive meanwhile, so that no other
/// message can be there.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    written: Vec<(Arc<Message>, BodyAt)>,
    by_address: HashMap<usize, u32, FixedState>,
    /// So many of them have a place in the log.
    placed: usize,
}

/// More room than this is given back.
const KEEP: usize = 4096;

impl Bodies {
    /// Where the message's body stands; writes it into `step` when nobody has.
    pub(crate) fn place_of(&mut self, message: &Arc<Message>, step: &mut Step, clock: &Clock) -> BodyAt {
        // Most messages go to many queues in a row, or to one.
        if let Some((last, body)) = self.written.last()
            && Arc::ptr_eq(last, message)
        {
            return *body;
        }
        if Arc::strong_count(message) == 1 {
            return step.body(message, clock);
        }
        let address = Arc::as_ptr(message) as usize;
        if let Some(number) = self.by_address.get(&address) {
            return self.written[*number as usize].1;
        }
        let body = step.body(message, clock);
        self.by_address.insert(address, self.written.len() as u32);
        self.written.push((message.clone(), body));
        body
    }

    /// The step under way stands at `base`.
    pub(crate) fn place(&mut self, base: Place) {
        for (_, body) in &mut self.written[self.placed..] {
            debug_assert_eq!(body.place.segment, PENDING);
            body.place = base.and(body.place);
        }
        self.placed = self.written.len();
    }

    /// The commit is over.
    pub(crate) fn clear(&mut self) {
        self.written.clear();
        self.by_address.clear();
        self.placed = 0;
        if self.written.capacity() > KEEP {
            self.written.shrink_to(KEEP);
            self.by_address.shrink_to(KEEP);
        }
    }
}
