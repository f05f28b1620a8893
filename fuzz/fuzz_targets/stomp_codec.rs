//! Any bytes, read as frames: never a panic; the same frames however they are split; and what was read can be
//! written and read again.
#![no_main]

use althing_core::OutBuffer;
use althing_stomp::codec::{Decoder, FrameLimits, encode};
use althing_stomp::frame::Frame;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

const LIMITS: FrameLimits = FrameLimits { headers_max: 16, header_bytes_max: 1_024, body_bytes_max: 1_024 };
/// What was read within the limits may be a little longer when it is written: by content-length and escapes.
const LIMITS_WRITTEN: FrameLimits = FrameLimits { headers_max: 32, header_bytes_max: 4_096, body_bytes_max: 1_024 };

fuzz_target!(|bytes: &[u8]| {
    althing_stomp::annotate::annotate_stream(bytes);
    let whole = read_all(&LIMITS, bytes, bytes.len());
    for piece in [1, 7] {
        assert_eq!(read_all(&LIMITS, bytes, piece), whole);
    }
    for frame in whole {
        let mut written = OutBuffer::default();
        encode(&frame, &mut written);
        let written = written.take_all();
        assert_eq!(read_all(&LIMITS_WRITTEN, &written, written.len()), [frame], "written as {written:02X?}");
    }
});

/// The frames before the first error, when the bytes come in pieces.
fn read_all(limits: &FrameLimits, bytes: &[u8], piece: usize) -> Vec<Frame> {
    let (mut decoder, mut input, mut frames) = (Decoder::default(), BytesMut::new(), Vec::new());
    for part in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(part);
        loop {
            match decoder.decode(limits, &mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}
