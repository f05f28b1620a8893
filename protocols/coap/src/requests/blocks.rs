//! Block-wise transfer (RFC 7959): bodies that come in blocks are put together, and what is larger than a message
//! leaves in blocks.
//!
//! What is read is cut without memory: each block is cut from the value as it is now, and the ETag says whether it is
//! still the same one. Two things are kept between blocks, within bounds of count, bytes and time: bodies on their
//! way in, and large responses to requests that are not to be carried out again for each block.

use super::Carriage;
use crate::block::{self, BERT, Block};
use crate::common::{Common, TransferBytes};
use crate::config::CoapConfig;
use crate::message::{Code, Message, number};
use crate::resources::{Response, digest};
use althing_core::Now;
use bytes::Bytes;
use std::sync::Arc;

/// What a client has us keep between its blocks.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    uploads: Vec<Upload>,
    kept: Vec<Kept>,
}

/// A body on its way in.
#[derive(Debug)]
struct Upload {
    operation: Operation,
    format: Option<u32>,
    body: Vec<u8>,
    bytes: TransferBytes,
    expires_ns: u64,
}

/// A response of which more is to be sent.
#[derive(Debug)]
struct Kept {
    operation: Operation,
    response: Response,
    _bytes: TransferBytes,
    expires_ns: u64,
}

/// What the requests of one transfer have in common: method, resource and Request-Tag (RFC 9175 §3.3). Its bytes pin
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation(Box<[u8]>);

/// Transfers of one client in each direction; one more ends the one that has been silent for longest.
const TRANSFERS_MAX: usize = 8;

/// What a transfer costs besides its bytes.
const STRUCTURE_BYTES: usize = 256;

/// How long the next block may take: EXCHANGE_LIFETIME (§4.8.2), by when every repeat of it has come.
const TRANSFER_LIFETIME_S: u32 = 247;

/// When to come back after a shortage of room.
const RETRY_AFTER_S: u32 = 10;

impl Transfers {
    pub fn is_empty(&self) -> bool {
        self.uploads.is_empty() && self.kept.is_empty()
    }

    /// When the first of them is over.
    pub fn due_ns(&self) -> u64 {
        let uploads = self.uploads.iter().map(|upload| upload.expires_ns);
        uploads.chain(self.kept.iter().map(|kept| kept.expires_ns)).min().unwrap_or(u64::MAX)
    }

    /// Forgets those whose next block did not come in time.
    pub fn expire(&mut self, now: Now) {
        self.uploads.retain(|upload| upload.expires_ns > now.mono_ns);
        self.kept.retain(|kept| kept.expires_ns > now.mono_ns);
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes one block of a request's body: all of the body when this was its last one, else the response that it gets.
    pub fn take(
        &mut self,
        now: Now,
        request: &Message,
        carriage: Carriage,
        common: &Arc<Common>,
    ) -> Result<Bytes, Response> {
        let Some(block) = block_of(request, number::BLOCK1) else { return Ok(request.payload.clone()) };
        check_size(block, request.payload.len(), carriage)?;
        let operation = Operation::of(request);
        let place = self.uploads.iter().position(|upload| upload.operation == operation);
        let before = place.map(|place| self.uploads.remove(place));
        let mut upload = match before {
            // The first block begins anew (RFC 7959 §2.5).
            _ if block.number == 0 => Upload {
                operation,
                format: request.options.uint(number::CONTENT_FORMAT),
                body: Vec::new(),
                bytes: TransferBytes::none(common),
                expires_ns: 0,
            },
            Some(upload) => upload,
            None => return Err(incomplete("the blocks before this one are not here: begin again with the first")),
        };
        upload.append(request, block, common)?;
        if !block.has_more {
            return Ok(upload.body.into());
        }
        upload.expires_ns = now.after_s(TRANSFER_LIFETIME_S);
        self.make_room(common);
        self.uploads.push(upload);
        Err(continued(block, carriage, &common.config))
    }

    /// Bounds what one client has: as many transfers as it may have, and of bytes one largest body.
    fn make_room(&mut self, common: &Common) {
        let bytes = |uploads: &[Upload]| uploads.iter().map(|upload| upload.bytes.bytes()).sum::<usize>();
        let bytes_max = common.limits.packet_bytes_max;
        while self.uploads.len() >= TRANSFERS_MAX || bytes(&self.uploads) > bytes_max {
            self.uploads.remove(0);
        }
    }

    /// Keeps a response whose later blocks are not to be had by carrying out the request again. Where there is no room
    /// the client hears so when it asks for them.
    pub fn keep(&mut self, now: Now, operation: Operation, response: &Response, common: &Arc<Common>) {
        self.kept.retain(|kept| kept.operation != operation);
        let mut bytes = TransferBytes::none(common);
        if bytes.grow(STRUCTURE_BYTES + operation.0.len() + response.payload.len()) {
            self.kept.drain(..(self.kept.len() + 1).saturating_sub(TRANSFERS_MAX));
            let expires_ns = now.after_s(TRANSFER_LIFETIME_S);
            self.kept.push(Kept { operation, response: response.clone(), _bytes: bytes, expires_ns });
        }
    }

    /// The response of which a later block is asked for.
    pub fn kept(&self, request: &Message) -> Result<Response, Response> {
        let operation = Operation::of(request);
        let kept = self.kept.iter().find(|kept| kept.operation == operation);
        kept.map(|kept| kept.response.clone())
            .ok_or_else(|| incomplete("the response is not here any more: ask again for its first block"))
    }
}

impl Upload {
    fn append(&mut self, request: &Message, block: Block, common: &Common) -> Result<(), Response> {
        // Blocks of different formats are not one body (RFC 7959 §2.3).
        if self.format != request.options.uint(number::CONTENT_FORMAT) {
            return Err(incomplete("the blocks of one body have one Content-Format"));
        }
        let (offset, end) = (block.offset_bytes(), block.offset_bytes() + request.payload.len());
        let bytes_max = common.limits.packet_bytes_max;
        let announced = request.options.uint(number::SIZE1).map_or(0, |bytes| bytes as usize);
        if end.max(announced) > bytes_max {
            return Err(too_large(bytes_max));
        }
        if offset > self.body.len() {
            return Err(incomplete("a block before this one is missing: begin again with the first"));
        }
        if end <= self.body.len() && block.has_more {
            // It has come before; its acknowledgement was lost.
            return match self.body[offset..end] == request.payload[..] {
                true => Ok(()),
                false => Err(incomplete("this block was another one before: begin again with the first")),
            };
        }
        if offset < self.body.len() {
            return Err(incomplete("this block overlaps one before: begin again with the first"));
        }
        let structure_bytes = if self.body.is_empty() { STRUCTURE_BYTES + self.operation.0.len() } else { 0 };
        if !self.bytes.grow(structure_bytes + request.payload.len()) {
            let text = "too many bodies are on their way in; try again later";
            let mut response = Response::error(Code::SERVICE_UNAVAILABLE, text);
            response.options.add_uint(number::MAX_AGE, RETRY_AFTER_S);
            return Err(response);
        }
        self.body.extend_from_slice(&request.payload);
        Ok(())
    }
}

impl Operation {
    pub fn of(request: &Message) -> Self {
        let mut bytes = vec![request.code.0];
        let is_common = |number: u16| {
            matches!(
                number,
                number::URI_HOST | number::URI_PATH | number::URI_QUERY | number::ACCEPT | number::REQUEST_TAG
            )
        };
        for (number, value) in request.options.iter().filter(|(number, _)| is_common(*number)) {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
            bytes.extend_from_slice(value);
        }
        Self(bytes.into())
    }
}

/// Whether a request is one of several that carry one body, or asks for a later block of a response that cannot be had
/// by asking again: only its conversation knows the others.
pub(crate) fn is_part(request: &Message) -> bool {
    let is_in_blocks = block_of(request, number::BLOCK1).is_some_and(|block| block.number > 0 || block.has_more);
    is_in_blocks || is_later_block(request)
}

/// Whether a request that is not to be carried out twice asks for a later block of its response.
pub(super) fn is_later_block(request: &Message) -> bool {
    request.code != Code::GET && block_of(request, number::BLOCK2).is_some_and(|block| block.number > 0)
}

/// A Block option of a message.
pub(super) fn block_of(message: &Message, number: u16) -> Option<Block> {
    message.options.uint(number).map(Block::from_uint)
}

/// How the response to a request is cut, and what it says of the request's own block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cut {
    wanted: Option<Block>,
    is_size_wanted: bool,
    acknowledged: Option<Block>,
}

impl Cut {
    pub fn of(request: &Message) -> Self {
        Self {
            wanted: block_of(request, number::BLOCK2),
            is_size_wanted: request.options.get(number::SIZE2).is_some(),
            acknowledged: block_of(request, number::BLOCK1),
        }
    }

    /// Notifications carry the first block alone; the others are for a GET (RFC 7959 §2.6).
    pub fn of_notifications(self) -> Self {
        let wanted = self.wanted.map(|block| Block { number: 0, ..block });
        Self { wanted, is_size_wanted: false, acknowledged: None }
    }

    /// The part of a response that is wanted, or as much of it as one message may hold. True when more follows.
    pub fn apply(self, mut response: Response, carriage: Carriage, config: &CoapConfig) -> (Response, bool) {
        if let Some(block) = self.acknowledged
            && response.options.get(number::BLOCK1).is_none()
            && !matches!(response.code, Code::REQUEST_ENTITY_INCOMPLETE | Code::REQUEST_ENTITY_TOO_LARGE)
        {
            response.options.add_uint(number::BLOCK1, Block { has_more: false, ..block }.to_uint());
        }
        let payload_bytes_max = carriage.payload_bytes_max(config);
        let bytes = response.payload.len();
        let is_whole = self.wanted.is_none() && bytes <= payload_bytes_max;
        if is_whole || !response.code.is_success() || bytes == 0 && response.code != Code::CONTENT {
            return (response, false);
        }
        let (start, size_exponent) = match self.wanted {
            Some(Block { size_exponent: BERT, .. }) if !carriage.is_reliable => return (no_bert(), false),
            Some(wanted) => (wanted.offset_bytes(), wanted.size_exponent.min(carriage.size_exponent(config))),
            None => (0, carriage.size_exponent(config)),
        };
        if start > 0 && start >= bytes {
            let text = format!("the representation has {bytes} bytes, and no block begins at {start}");
            return (Response::error(Code::BAD_REQUEST, text), false);
        }
        let one_bytes = block::size_bytes(size_exponent);
        let at_once = if size_exponent == BERT { (payload_bytes_max / one_bytes).max(1) } else { 1 };
        let end = bytes.min(start + at_once * one_bytes);
        let has_more = end < bytes;
        if has_more || start > 0 {
            tag(&mut response);
        }
        let block = Block { number: (start / one_bytes) as u32, has_more, size_exponent };
        response.options.add_uint(number::BLOCK2, block.to_uint());
        if self.is_size_wanted {
            response.options.add_uint(number::SIZE2, bytes as u32);
        }
        response.payload = response.payload.slice(start..end);
        (response, has_more)
    }
}

/// The same ETag on all blocks of one representation, so that a change between them is seen (RFC 7959 §2.4).
fn tag(response: &mut Response) {
    if response.options.get(number::ETAG).is_none() {
        let etag = digest(&response.payload);
        response.options.add(number::ETAG, Bytes::copy_from_slice(&etag));
    }
}

impl Carriage {
    /// What the other parts of a message take: header, token and the options of responses.
    const OVERHEAD_BYTES: usize = 128;

    /// The largest payload of one message.
    fn payload_bytes_max(self, config: &CoapConfig) -> usize {
        let base = Self::default().message_bytes_max;
        match self.message_bytes_max > base {
            true => self.message_bytes_max - Self::OVERHEAD_BYTES,
            false => config.payload_bytes_max.min(self.message_bytes_max.saturating_sub(Self::OVERHEAD_BYTES)).max(16),
        }
    }

    /// SZX of the largest blocks that we send and ask for.
    fn size_exponent(self, config: &CoapConfig) -> u8 {
        if self.has_bert { BERT } else { block::size_exponent_within(self.payload_bytes_max(config)) }
    }
}

/// All blocks but the last have their full size, several times it with BERT (RFC 8323 §6); the last one has any (RFC 7959
/// §2.3). Whether the client takes BERT does not matter for what it sends: we do, and have said so.
fn check_size(block: Block, bytes: usize, carriage: Carriage) -> Result<(), Response> {
    let one_bytes = block.size_bytes();
    let is_right = match (block.size_exponent, block.has_more) {
        (BERT, _) if !carriage.is_reliable => return Err(no_bert()),
        (_, false) => true,
        (BERT, true) => bytes > 0 && bytes.is_multiple_of(one_bytes),
        (_, true) => bytes == one_bytes,
    };
    match is_right {
        true => Ok(()),
        false => Err(Response::error(Code::BAD_REQUEST, format!("the block has {bytes} bytes instead of {one_bytes}"))),
    }
}

/// 2.31 Continue, which asks for smaller blocks where ours are smaller (RFC 7959 §2.3).
fn continued(block: Block, carriage: Carriage, config: &CoapConfig) -> Response {
    let may_differ = block.number == 0 && !carriage.is_reliable;
    let ours = if may_differ { carriage.size_exponent(config) } else { BERT };
    let block = Block { size_exponent: block.size_exponent.min(ours), ..block };
    let mut response = Response::new(Code::CONTINUE);
    response.options.add_uint(number::BLOCK1, block.to_uint());
    response
}

fn incomplete(text: &str) -> Response {
    Response::error(Code::REQUEST_ENTITY_INCOMPLETE, text)
}

fn too_large(bytes_max: usize) -> Response {
    let mut response =
        Response::error(Code::REQUEST_ENTITY_TOO_LARGE, format!("a body has {bytes_max} bytes at most here"));
    response.options.add_uint(number::SIZE1, u32::try_from(bytes_max).unwrap_or(u32::MAX));
    response
}

/// SZX 7 is reserved over datagrams (RFC 7959 §2.2).
fn no_bert() -> Response {
    Response::error(Code::BAD_REQUEST, "a block's size exponent is 0 to 6 here")
}
