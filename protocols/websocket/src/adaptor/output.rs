//! From what the inner adaptor writes to frames.

use super::{Inner, WebSocketAdaptor};
use crate::close::{CloseCode, close_payload};
use crate::frame::{Header, Opcode};
use althing_core::{Adaptor, Close, MessageAdaptor, MessageOut, Out, OutBuffer, WholeMessage};
use bytes::Bytes;
use std::collections::VecDeque;

impl WebSocketAdaptor {
    /// Calls a language of bytes; what it writes leaves in one frame.
    pub(super) fn call_bytes<R>(
        &mut self,
        out: &mut Out<'_>,
        act: impl FnOnce(&mut dyn Adaptor, &mut Out<'_>) -> Result<R, Close>,
    ) -> Result<R, Close> {
        let Inner::Bytes { adaptor, is_text } = &mut self.inner else {
            unreachable!("only a language of bytes is called so")
        };
        if !*is_text {
            let start = out.bytes.begin_frame();
            let result = act(&mut **adaptor, out);
            let length = out.bytes.frame_bytes(&start);
            if length == 0 {
                out.bytes.abandon_frame(start);
            } else if self.is_worth_compressing(length) {
                let bytes = out.bytes.cut_frame(start).into();
                self.put_message(&WholeMessage { is_text: false, bytes }, out.bytes);
            } else {
                let (header, size) = Header::whole(Opcode::Binary, length).write();
                out.bytes.end_frame(start, &header[..size]);
            }
            return result;
        }
        let (mut written, is_text) = (OutBuffer::default(), *is_text);
        let result = act(&mut **adaptor, &mut Out { bytes: &mut written, requests: out.requests });
        if !written.is_empty() {
            let bytes: Bytes = written.take_all().into();
            // The body of a STOMP frame for one may be anything.
            let is_text = is_text && std::str::from_utf8(&bytes).is_ok();
            self.put_message(&WholeMessage { is_text, bytes }, out.bytes);
        }
        result
    }

    /// Calls a language of messages; each of its messages leaves in a frame.
    pub(super) fn call_messages<R>(
        &mut self,
        out: &mut Out<'_>,
        act: impl FnOnce(&mut dyn MessageAdaptor, &mut MessageOut<'_>) -> Result<R, Close>,
    ) -> Result<R, Close> {
        let Inner::Messages(adaptor) = &mut self.inner else {
            unreachable!("only a language of messages is called so")
        };
        let mut messages = VecDeque::new();
        let result = act(&mut **adaptor, &mut MessageOut { messages: &mut messages, requests: out.requests });
        for message in messages {
            self.put_message(&message, out.bytes);
        }
        result
    }

    fn is_worth_compressing(&self, length: usize) -> bool {
        self.compression.is_some() && length >= self.config.deflate_bytes_min
    }

    fn put_message(&self, message: &WholeMessage, out: &mut OutBuffer) {
        let compression = self.compression.as_ref().filter(|_| self.is_worth_compressing(message.bytes.len()));
        let compressed = compression.and_then(|it| it.deflate.compress(&message.bytes)).map(Bytes::from);
        let payload = compressed.as_ref().unwrap_or(&message.bytes);
        let header = Header::whole(Opcode::of_message(message.is_text), payload.len());
        let (header, size) = Header { compressed: compressed.is_some(), ..header }.write();
        out.tail().extend_from_slice(&header[..size]);
        out.put_payload(payload);
    }
}

/// Ping, Pong or Close from a server.
pub(super) fn put_control(opcode: Opcode, payload: &[u8], out: &mut OutBuffer) {
    let (header, size) = Header::whole(opcode, payload.len()).write();
    let tail = out.tail();
    tail.extend_from_slice(&header[..size]);
    tail.extend_from_slice(payload);
}

pub(super) fn put_close(code: CloseCode, text: &str, out: &mut OutBuffer) {
    put_control(Opcode::Close, &close_payload(code, text), out);
}
