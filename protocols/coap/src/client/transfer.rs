//! One request as its messages, block by block (RFC 7959): what is asked next, and what the responses make together.

use crate::block::{BERT, Block, size_bytes};
use crate::message::{Code, Message, Options, number};
use bytes::Bytes;

/// Beginnings anew, by a server that forgets and by a representation that changes, before it is given up.
const RESTARTS_MAX: u8 = 3;

/// The largest body that is put together. A server alone decides how much it sends.
const BODY_BYTES_MAX: usize = 64 << 20;

/// What Block1 or Block2 says, where it is there.
fn block_in(options: &Options, number: u16) -> Option<Block> {
    options.uint(number).filter(|value| *value < 1 << 24).map(Block::from_uint)
}

/// Adds the block at `offset`, which is a multiple of its size.
fn add_block(options: &mut Options, number: u16, offset: usize, has_more: bool, size_exponent: u8) {
    let block = Block { number: (offset / size_bytes(size_exponent)) as u32, has_more, size_exponent };
    options.add_uint(number, block.to_uint());
}

/// How much may go into one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// The largest payload that needs no blocks.
    pub whole_bytes_max: usize,
    /// The largest blocks, 16 bytes times a power of two.
    pub exponent: u8,
    /// Bytes of one message of blocks with the exponent 7.
    pub bert_bytes: usize,
    /// Whether the exponent holds for what is received too, from the first message on.
    pub is_asked_for: bool,
}

/// What a response means for its request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to ask.
    Again,
    /// The response with everything that came in blocks.
    Whole(Message),
    /// The blocks do not fit together.
    Broken(&'static str),
}

/// Where a request stands between its first block and the last one of its response.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    /// Bytes of the request's payload that have been taken.
    sent_bytes: usize,
    /// What the last message carried of it.
    under_way_bytes: usize,
    /// The exponent that the server wants, below ours.
    upload_exponent: Option<u8>,
    download: Option<Download>,
    restarts: u8,
}

/// A response that comes in blocks.
#[derive(Debug)]
struct Download {
    /// The first response, which describes the whole.
    first: Message,
    body: Vec<u8>,
    exponent: u8,
}

impl Transfer {
    /// Whether a response has begun: what is asked now is only its rest.
    pub fn has_begun(&self) -> bool {
        self.download.is_some()
    }

    /// Forgets a response that has begun, for there is a newer one.
    pub fn begin_anew(&mut self) {
        self.download = None;
    }

    /// The next message of the request that was `asked`.
    pub fn message(&mut self, asked: &Message, room: Room) -> Message {
        let mut message = asked.clone();
        match &self.download {
            Some(download) => {
                // Who observes already must not do it twice (RFC 7959 §2.6).
                let mut left_out = vec![number::OBSERVE];
                if asked.code != Code::FETCH {
                    left_out.push(number::CONTENT_FORMAT);
                    message.payload = Bytes::new();
                }
                message.options = without(&asked.options, &left_out);
                add_block(&mut message.options, number::BLOCK2, download.body.len(), false, download.exponent);
            }
            None if room.is_asked_for && asked.options.get(number::BLOCK2).is_none() => {
                add_block(&mut message.options, number::BLOCK2, 0, false, room.exponent);
            }
            None => {}
        }
        self.cut(&mut message, room);
        message
    }

    /// Leaves in a message the part of its payload that is next.
    fn cut(&mut self, message: &mut Message, room: Room) {
        let body_bytes = message.payload.len();
        self.under_way_bytes = body_bytes;
        let is_given = message.options.get(number::BLOCK1).is_some();
        let is_small = self.upload_exponent.is_none() && body_bytes <= room.whole_bytes_max;
        if is_given || is_small || body_bytes == 0 {
            return;
        }
        let exponent = self.upload_exponent.map_or(room.exponent, |wanted| wanted.min(room.exponent));
        let block_bytes = if exponent == BERT { room.bert_bytes } else { size_bytes(exponent) };
        let end = body_bytes.min(self.sent_bytes + block_bytes);
        if self.sent_bytes == 0 {
            message.options.add_uint(number::SIZE1, body_bytes as u32);
        }
        message.options.add(number::REQUEST_TAG, Bytes::copy_from_slice(message.token.as_slice()));
        add_block(&mut message.options, number::BLOCK1, self.sent_bytes, end < body_bytes, exponent);
        message.payload = message.payload.slice(self.sent_bytes..end);
        (self.under_way_bytes, self.upload_exponent) = (message.payload.len(), Some(exponent));
    }

    /// What a response means.
    pub fn take(&mut self, asked: &Message, response: Message) -> Progress {
        match self.take_of_upload(asked, &response) {
            Some(progress) => progress,
            None => self.take_of_download(asked, response),
        }
    }

    /// `None` for a response that is about the whole request.
    fn take_of_upload(&mut self, asked: &Message, response: &Message) -> Option<Progress> {
        let is_over = self.has_begun() && asked.code != Code::FETCH;
        if is_over || asked.options.get(number::BLOCK1).is_some() || asked.payload.is_empty() {
            return None;
        }
        let wanted = block_in(&response.options, number::BLOCK1);
        let taken_bytes = self.sent_bytes + self.under_way_bytes;
        let is_last = taken_bytes >= asked.payload.len();
        match (response.code, wanted) {
            (Code::CONTINUE, _) if is_last => {
                Some(Progress::Broken("the server wants more than there is (2.31 Continue)"))
            }
            // A success for a block that is not the last: the server works block by block (RFC 7959 §2.3).
            (code, _) if code == Code::CONTINUE || (code.is_success() && !is_last) => {
                self.sent_bytes = taken_bytes;
                self.upload_exponent = match (self.upload_exponent, wanted) {
                    (Some(ours), Some(wanted)) => Some(ours.min(wanted.size_exponent)),
                    (ours, _) => ours,
                };
                Some(Progress::Again)
            }
            // Smaller ones, please (RFC 7959 §2.9.3).
            (Code::REQUEST_ENTITY_TOO_LARGE, Some(Block { size_exponent: exponent, .. }))
                if self.upload_exponent.is_none_or(|ours| exponent < ours) && self.may_restart() =>
            {
                (self.sent_bytes, self.upload_exponent) = (0, Some(exponent));
                Some(Progress::Again)
            }
            (Code::REQUEST_ENTITY_INCOMPLETE, _) if self.sent_bytes > 0 && self.may_restart() => {
                self.sent_bytes = 0;
                Some(Progress::Again)
            }
            _ => None,
        }
    }

    fn take_of_download(&mut self, asked: &Message, response: Message) -> Progress {
        let is_ours = asked.options.get(number::BLOCK2).is_none();
        let block = block_in(&response.options, number::BLOCK2).filter(|_| is_ours && response.code.is_success());
        let Some(block) = block else { return Progress::Whole(response) };
        let has_changed = self
            .download
            .as_ref()
            .is_some_and(|download| download.first.options.get(number::ETAG) != response.options.get(number::ETAG));
        if has_changed {
            return self.changed(block, response);
        }
        let payload = response.payload.clone();
        let Download { body, exponent, .. } = self.download.get_or_insert_with(|| Download {
            first: response,
            body: Vec::new(),
            exponent: block.size_exponent,
        });
        if block.offset_bytes() != body.len() {
            return Progress::Broken("the server sent another block than the one that was asked for");
        }
        if body.len() + payload.len() > BODY_BYTES_MAX {
            return Progress::Broken("the representation is larger than 64 MiB");
        }
        if block.has_more && (payload.is_empty() || !payload.len().is_multiple_of(size_bytes(block.size_exponent))) {
            return Progress::Broken("a block before the last one has another size than it says");
        }
        body.extend_from_slice(&payload);
        *exponent = (*exponent).min(block.size_exponent);
        if block.has_more {
            // A request with blocks of its own says all of it once more.
            self.sent_bytes = 0;
            return Progress::Again;
        }
        match self.download.take() {
            Some(Download { mut first, body, .. }) => {
                first.options = without(&first.options, &[number::BLOCK1, number::BLOCK2]);
                first.payload = body.into();
                Progress::Whole(first)
            }
            None => Progress::Broken("no block has come"),
        }
    }

    /// The representation is another one than that of the blocks before (RFC 7959 §2.4): it begins anew.
    fn changed(&mut self, block: Block, response: Message) -> Progress {
        if !self.may_restart() {
            return Progress::Broken("the representation changes faster than its blocks can be read");
        }
        self.sent_bytes = 0;
        self.download = Some(Download { first: response, body: Vec::new(), exponent: block.size_exponent });
        Progress::Again
    }

    fn may_restart(&mut self) -> bool {
        self.restarts += 1;
        self.restarts <= RESTARTS_MAX
    }
}

/// The options but for those with these numbers.
fn without(options: &Options, left_out: &[u16]) -> Options {
    let mut rest = Options::default();
    for (number, value) in options.iter().filter(|(number, _)| !left_out.contains(number)) {
        rest.add(*number, value.clone());
    }
    rest
}
