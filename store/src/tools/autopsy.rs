//! What a damaged frame says that it held: its own words, with which nothing is done but telling them.

use super::Damage;
use super::contents::name;
use crate::codec::{Item, Items, Kind, Reader, read_queue_key};
use crate::disk::Disk;
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, SegmentHeader, Spot};
use crate::log::{Place, read_segment, segments};

/// As many things are named one by one.
const NAMED_MAX: usize = 10;

/// Adds to a damage what the frame there says that it held, when there is one whose header is whole.
pub(super) fn name_the_lost<D: Disk>(disk: &mut D, damage: &mut Damage) {
    if let Some(lost) = lost(disk, damage).filter(|lost| !lost.is_empty()) {
        let more = lost.len().saturating_sub(NAMED_MAX);
        let named = lost[..lost.len().min(NAMED_MAX)].join("; ");
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        damage.affected.push_str(&format!(" (by its own words: {named}{more})"));
    }
}

fn lost<D: Disk>(disk: &mut D, damage: &Damage) -> Option<Vec<String>> {
    let number = segments(&[(damage.file.clone(), 0)]).keys().copied().next()?;
    let length = segments(&disk.list().ok()?).get(&number).copied()?;
    words_of_frame(&read_segment(disk, number, length).ok()?, number, u32::try_from(damage.offset).ok()?)
}

fn words_of_frame(segment: &[u8], number: u32, offset: u32) -> Option<Vec<String>> {
    let store = SegmentHeader::decode(segment).ok()?.store;
    let header = FrameHeader::decode(segment, Spot { store, segment: number, offset })?;
    let start = offset + FRAME_HEADER_BYTES;
    let payload = segment.get(start as usize..)?;
    let payload = &payload[..payload.len().min(header.length as usize)];
    let mut items = Items::new(payload, Place { segment: number, offset: start });
    let mut lost = Vec::new();
    // The first item that is none hides those behind it.
    while let Ok(Some((_, item))) = items.next() {
        lost.extend(words(&item));
    }
    Some(lost)
}

fn words(item: &Item<'_>) -> Option<String> {
    let queue_name = |queue| read_queue_key(queue).map_or("a queue".to_owned(), |queue| name(&queue));
    Some(match *item {
        Item::Body | Item::Aged => return None,
        Item::Fact { kind: Kind::Session, .. } => "a session".to_owned(),
        Item::Fact { kind: Kind::Subscription, .. } => "a subscription".to_owned(),
        Item::Fact { .. } => "a token".to_owned(),
        Item::FactGone { kind, .. } => match kind {
            Kind::Session => "the end of a session".to_owned(),
            Kind::Subscription => "the end of a subscription".to_owned(),
            Kind::Token => "the end of a token".to_owned(),
            Kind::Retained => "the end of a retained message".to_owned(),
        },
        Item::Retained { key, .. } => match Reader::new(key).text() {
            Ok(topic) => format!("the retained message of {topic:?}"),
            Err(_) => "a retained message".to_owned(),
        },
        Item::Queued { queue, sequence, .. } => format!("the entry {sequence} of {}", queue_name(queue)),
        Item::Moved { queue, sequence, .. } => format!("the move of the entry {sequence} to {}", queue_name(queue)),
        Item::Numbered { queue, sequence, .. } => format!("the number of entry {sequence} of {}", queue_name(queue)),
        Item::Received { queue, sequence } => {
            format!("that the entry {sequence} of {} was received", queue_name(queue))
        }
        Item::Settled { queue, sequence } => format!("that the entry {sequence} of {} is over", queue_name(queue)),
        Item::QueueClosed { queue } => format!("the end of the queue of {}", queue_name(queue)),
        Item::Relocated { queue, sequence, .. } => {
            format!("where the entry {sequence} of {} stands", queue_name(queue))
        }
    })
}
