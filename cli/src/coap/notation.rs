//! CBOR in diagnostic notation (RFC 8949 §8).

use super::show::hexadecimal;
use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};

/// Deeper than anybody reads.
const DEPTH_MAX: usize = 64;

/// One or several items in a line; `None` for what is no CBOR, or too deep.
pub fn diagnostic(bytes: &[u8]) -> Option<String> {
    let mut decoder = Decoder::new(bytes);
    let mut items = Vec::new();
    while decoder.position() < bytes.len() {
        items.push(item(&mut decoder, 0).ok()?);
    }
    Some(items.join(", "))
}

fn item(decoder: &mut Decoder<'_>, depth: usize) -> Result<String, Error> {
    if depth > DEPTH_MAX {
        return Err(Error::message("nested too deeply"));
    }
    Ok(match decoder.datatype()? {
        Type::Bool => decoder.bool()?.to_string(),
        Type::Null => decoder.null().map(|()| "null".to_owned())?,
        Type::Undefined => decoder.undefined().map(|()| "undefined".to_owned())?,
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            decoder.int()?.to_string()
        }
        Type::F16 => format!("{:?}", half(decoder)?),
        Type::F32 => format!("{:?}", decoder.f32()?),
        Type::F64 => format!("{:?}", decoder.f64()?),
        Type::Bytes | Type::BytesIndef => {
            let bytes = decoder.bytes_iter()?.collect::<Result<Vec<_>, _>>()?.concat();
            format!("h'{}'", hexadecimal(&bytes))
        }
        Type::String | Type::StringIndef => {
            let text = decoder.str_iter()?.collect::<Result<Vec<_>, _>>()?.concat();
            serde_json::Value::String(text).to_string()
        }
        Type::Array | Type::ArrayIndef => {
            let length = decoder.array()?;
            format!("[{}]", several(decoder, length, |decoder| item(decoder, depth + 1))?)
        }
        Type::Map | Type::MapIndef => {
            let length = decoder.map()?;
            let pair = |decoder: &mut Decoder<'_>| {
                let name = item(decoder, depth + 1)?;
                Ok(format!("{name}: {}", item(decoder, depth + 1)?))
            };
            format!("{{{}}}", several(decoder, length, pair)?)
        }
        Type::Tag => {
            let tag = decoder.tag()?.as_u64();
            format!("{tag}({})", item(decoder, depth + 1)?)
        }
        Type::Simple => format!("simple({})", decoder.simple()?),
        _ => return Err(Error::message("not written here")),
    })
}

/// A number of two bytes (RFC 8949 Appendix D).
fn half(decoder: &mut Decoder<'_>) -> Result<f32, Error> {
    let place = decoder.position();
    let bytes = decoder.input().get(place + 1..place + 3).ok_or_else(Error::end_of_input)?;
    let bits = u16::from_be_bytes([bytes[0], bytes[1]]);
    decoder.set_position(place + 3);
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (fraction + 1_024.0) * 2_f32.powi(exponent - 25),
    };
    Ok(if bits >> 15 == 1 { -size } else { size })
}

/// So many, or those up to the break.
fn several(
    decoder: &mut Decoder<'_>,
    length: Option<u64>,
    mut one: impl FnMut(&mut Decoder<'_>) -> Result<String, Error>,
) -> Result<String, Error> {
    let mut all = Vec::new();
    while length.is_none_or(|length| (all.len() as u64) < length) {
        if length.is_none() && decoder.datatype()? == Type::Break {
            decoder.skip()?;
            break;
        }
        all.push(one(decoder)?);
    }
    Ok(all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_written_as_the_specification_does() {
        for (bytes, text) in [
            (&b"\x18\x2a"[..], "42"),
            (b"\xa1\x00\x61a", "{0: \"a\"}"),
            (b"\x83\x01\xf5\xf6", "[1, true, null]"),
            (b"\x9f\x20\xff", "[-1]"),
            (b"\xc1\x1a\x00\x00\x00\x01", "1(1)"),
            (b"\x42\x0a\xff", "h'0aff'"),
            (b"\xf9\x3e\x00", "1.5"),
            (b"\xf9\xc4\x00", "-4.0"),
            (b"\xf9\x00\x01", "5.9604645e-8"),
            (b"\xf9\x7b\xff", "65504.0"),
            (b"\xfa\x3f\x80\x00\x00", "1.0"),
        ] {
            assert_eq!(diagnostic(bytes).as_deref(), Some(text));
        }
        assert_eq!(diagnostic(b"\xf9\x3e"), None);
        assert_eq!(diagnostic(b"\x82\x01"), None);
        assert_eq!(diagnostic(&[0x81; 100_000]), None);
    }
}
