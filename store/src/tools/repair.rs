//! Writing what still holds of a store into a new one.

use super::contents::{Held, HeldEntry, Order};
use super::{Inspection, Progress, ToolError};
use crate::disk::Disk;
use crate::error::Failure;
use crate::{Options, Store};
use althing_core::record::{QueueKey, Record, Restored};

/// About so many bytes of records become durable together.
const COMMIT_BYTES: usize = 1 << 20;
/// Records that are appended with one step.
const RECORDS_MAX: usize = 64;

/// Writes everything that `inspection` can read into a store that begins on `fresh`, and closes it.
///
/// # Errors
/// When `fresh` fails or is full.
pub(super) fn salvage<D: Disk, E: Disk>(
    inspection: &mut Inspection<D>,
    fresh: E,
    options: Options,
    tell: &mut dyn FnMut(Progress),
) -> Result<(), ToolError> {
    let now = inspection.now;
    let mut store = Store::open(fresh, options, now)?;
    let mut records = Vec::new();
    let mut bytes = 0;
    inspection.contents(Order::Places, tell, &mut |held| {
        bytes += size_bytes(&held);
        put(held, &mut records);
        if records.len() >= RECORDS_MAX || bytes >= COMMIT_BYTES {
            store.append(&mut records);
        }
        if bytes >= COMMIT_BYTES {
            bytes = 0;
            commit(&mut store, now)?;
        }
        Ok::<_, Failure>(())
    })?;
    store.append(&mut records);
    commit(&mut store, now)?;
    store.close(now)?;
    Ok(())
}

fn commit<E: Disk>(store: &mut Store<E>, now: althing_core::Now) -> Result<(), Failure> {
    if store.commit(now, true)? {
        return Ok(());
    }
    Err(Failure { action: "write", file: "the repaired store".to_owned(), error: "the disk is full".to_owned() })
}

fn size_bytes(held: &Held) -> usize {
    const FACT: usize = 256;
    match held {
        Held::Fact(Restored::Retained(message)) => message.size_bytes(),
        Held::Fact(_) => FACT,
        Held::Entry(entry) => entry.message.size_bytes(),
    }
}

/// What holds, as the changes that make it hold.
fn put(held: Held, records: &mut Vec<Record>) {
    match held {
        Held::Fact(Restored::Session(session)) => records.push(Record::Session(session)),
        Held::Fact(Restored::Subscription { session, filter, options }) => {
            records.push(Record::Subscribed { session, filter, options });
        }
        Held::Fact(Restored::Token { session, token }) => records.push(Record::TokenHeld { session, token }),
        Held::Fact(Restored::Retained(message)) => {
            records.push(Record::Retained { topic: message.topic.clone(), message: Some(message) });
        }
        // Entries come one by one.
        Held::Fact(Restored::Queue { .. }) => {}
        Held::Entry(entry) => {
            let HeldEntry { queue, sequence, message, terms, number, received } = *entry;
            records.push(Record::Queued { queue: queue.clone(), sequence, message, terms });
            if let QueueKey::Session(session) = queue {
                if number > 0 {
                    records.push(Record::Numbered { session: session.clone(), sequence, number });
                }
                if received {
                    records.push(Record::Received { session, sequence });
                }
            }
        }
    }
}
