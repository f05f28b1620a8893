//! Frames explained byte by byte, for people. The codec is the judge: what it refuses has its reason here.

use crate::close::CloseWords;
use crate::frame::{FrameError, Header, Opcode, Side, apply_mask};
use althing_core::annotation::{Annotation, Bits, Field, Mistake, count, quoted, text_or_length};

/// Explains frames one after the other, up to the first mistake. Whose they are, the mask tells.
pub fn annotate_stream(bytes: &[u8]) -> Vec<Annotation> {
    let (mut annotations, mut start) = (Vec::new(), 0);
    while start < bytes.len() {
        let annotation = annotate(&bytes[start..]);
        start += annotation.length_bytes;
        let is_last = annotation.mistake.is_some();
        annotations.push(annotation);
        if is_last {
            break;
        }
    }
    annotations
}

/// Explains the frame that `bytes` begin with.
fn annotate(bytes: &[u8]) -> Annotation {
    let is_masked = bytes.get(1).is_some_and(|second| second & 0x80 != 0);
    let side = if is_masked { Side::Server } else { Side::Client };
    let mut annotation = Annotation {
        version: "WebSocket 13",
        specification: "RFC 6455",
        length_bytes: bytes.len(),
        ..Annotation::default()
    };
    match Header::parse(side, bytes) {
        Ok(Some((header, length))) => whole(&header, length, bytes, &mut annotation),
        Ok(None) => annotation.mistake = Some(incomplete(bytes, "header", "the header is not complete")),
        Err(error) => annotation.mistake = Some(mistake(bytes, 2.min(bytes.len()), "header", error)),
    }
    annotation
}

fn whole(header: &Header, header_bytes: usize, bytes: &[u8], annotation: &mut Annotation) {
    annotation.name = Some(kind(header.opcode));
    first_bytes(header, header_bytes, bytes, &mut annotation.fields);
    let rest = &bytes[header_bytes..];
    let Some(payload) = usize::try_from(header.length).ok().and_then(|length| rest.get(..length)) else {
        let text = format!("{} of {} payload bytes have come", rest.len(), header.length);
        annotation.mistake = Some(Mistake { offset: header_bytes, ..incomplete(rest, "Payload data", &text) });
        return;
    };
    annotation.length_bytes = header_bytes + payload.len();
    let mut plain = payload.to_vec();
    if let Some(mask) = header.mask {
        apply_mask(&mut plain, mask);
    }
    let field = |name: &str, value: String, section: &str| Field {
        offset: header_bytes,
        length_bytes: payload.len(),
        bits: None,
        name: name.to_owned(),
        value,
        section: section.to_owned(),
    };
    match header.opcode {
        _ if payload.is_empty() => {}
        Opcode::Close => match CloseWords::parse(&plain) {
            Ok(words) => {
                let value = format!("{:?}, {}", words.code, quoted(&words.text));
                annotation.fields.push(field("Status code and reason", value, "§5.5.1, §7.4"));
            }
            Err(error) => {
                let name = "Status code and reason";
                annotation.mistake =
                    Some(Mistake { offset: header_bytes, ..mistake(payload, payload.len(), name, error) });
            }
        },
        _ if header.compressed => {
            let value = format!("{}, compressed", count(payload.len(), "byte"));
            annotation.fields.push(field("Payload data", value, "RFC 7692 §7.2"));
        }
        _ => annotation.fields.push(field("Payload data", text_or_length(&plain), "§5.2")),
    }
}

fn first_bytes(header: &Header, header_bytes: usize, bytes: &[u8], fields: &mut Vec<Field>) {
    let mut bits = |offset: usize, (high, low): (u8, u8), name: &str, value: String, section: &str| {
        let (name, section) = (name.to_owned(), section.to_owned());
        fields.push(Field { offset, length_bytes: 1, bits: Some(Bits { high, low }), name, value, section });
    };
    let end = if header.fin { "1, the last frame of its message" } else { "0, more frames follow" };
    let compressed = if header.compressed { "1, the message is compressed" } else { "0" };
    bits(0, (7, 7), "FIN", end.to_owned(), "§5.2");
    bits(0, (6, 6), "RSV1", compressed.to_owned(), "RFC 7692 §6");
    bits(0, (5, 4), "RSV2, RSV3", "0".to_owned(), "§5.2");
    bits(0, (3, 0), "Opcode", format!("0x{:X}, {}", header.opcode as u8, kind(header.opcode)), "§11.8");
    let masked = if header.mask.is_some() { "1, from a client" } else { "0, from a server" };
    bits(1, (7, 7), "MASK", masked.to_owned(), "§5.1");
    let meaning = match bytes[1] & 0x7F {
        126 => "126, the length follows in 2 bytes".to_owned(),
        127 => "127, the length follows in 8 bytes".to_owned(),
        short => count(short.into(), "byte"),
    };
    bits(1, (6, 0), "Payload len", meaning, "§5.2");
    let mask_bytes = if header.mask.is_some() { 4 } else { 0 };
    let mut whole = |offset, length_bytes, name: &str, value: String, section: &str| {
        if length_bytes > 0 {
            let (name, section) = (name.to_owned(), section.to_owned());
            fields.push(Field { offset, length_bytes, bits: None, name, value, section });
        }
    };
    let length_end = header_bytes - mask_bytes;
    whole(2, length_end - 2, "Extended payload length", format!("{} bytes", header.length), "§5.2");
    let mask = header.mask.unwrap_or_default().map(|byte| format!("{byte:02x}")).concat();
    whole(length_end, mask_bytes, "Masking-key", mask, "§5.3");
}

fn kind(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::Continuation => "Continuation frame",
        Opcode::Text => "Text frame",
        Opcode::Binary => "Binary frame",
        Opcode::Close => "Connection Close frame",
        Opcode::Ping => "Ping frame",
        Opcode::Pong => "Pong frame",
    }
}

fn mistake(bytes: &[u8], length_bytes: usize, name: &str, error: FrameError) -> Mistake {
    let length_bytes = length_bytes.min(bytes.len());
    let code = Some(format!("{:?}", error.code));
    Mistake { offset: 0, length_bytes, name: name.to_owned(), text: error.text.to_owned(), code }
}

fn incomplete(bytes: &[u8], name: &str, text: &str) -> Mistake {
    Mistake { offset: 0, length_bytes: bytes.len(), name: name.to_owned(), text: text.to_owned(), code: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification_are_explained() {
        // §5.7: a masked text message, an unmasked ping, a message of 256 bytes.
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let long = [&[0x82, 0x7E, 0x01, 0x00][..], &[7; 256]].concat();
        let stream = [&masked[..], &[0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f], &long].concat();
        let frames = annotate_stream(&stream);
        let told: Vec<_> = frames.iter().map(|frame| (frame.name.unwrap(), frame.length_bytes)).collect();
        assert_eq!(told, [("Text frame", 11), ("Ping frame", 7), ("Binary frame", 260)]);
        assert_eq!(frames[0].fields.last().unwrap().value, "\"Hello\"");
        for frame in &frames {
            assert!(frame.mistake.is_none(), "{frame:?}");
            let bits: usize = frame
                .fields
                .iter()
                .map(|field| match field.bits {
                    Some(bits) => usize::from(bits.high - bits.low + 1),
                    None => field.length_bytes * 8,
                })
                .sum();
            assert_eq!(bits, frame.length_bytes * 8, "each bit belongs to one field");
        }
    }

    #[test]
    fn what_is_wrong_has_its_reason() {
        for (bytes, text) in [
            (&[0x81][..], "the header is not complete"),
            (&[0xB1, 0x00], "a reserved bit"),
            (&[0x83, 0x00], "an opcode that is not defined"),
            (&[0x09, 0x00], "a control frame in fragments"),
            (&[0x81, 0x05, b'h'], "1 of 5 payload bytes have come"),
            (&[0x88, 0x01, 0x03], "close"),
        ] {
            let frames = annotate_stream(bytes);
            let mistake = frames[0].mistake.as_ref().unwrap_or_else(|| panic!("{bytes:?}"));
            assert!(mistake.text.to_lowercase().contains(text), "{}", mistake.text);
            assert!(mistake.range().end <= bytes.len());
        }
    }
}
