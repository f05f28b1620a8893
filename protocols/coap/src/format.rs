//! Content-Formats (§12.3) and MIME types. CoAP writes a number where others write a type.

use althing_core::Properties;
use bytestring::ByteString;

/// The numbers that are known here, each with its type. Types with several numbers stand first under the one
/// that they are written with.
const FORMATS: &[(u16, &str)] = &[
    (0, "text/plain;charset=utf-8"),
    (0, "text/plain; charset=utf-8"),
    (0, "text/plain"),
    (40, "application/link-format"),
    (41, "application/xml"),
    (42, "application/octet-stream"),
    (47, "application/exi"),
    (50, "application/json"),
    (51, "application/json-patch+json"),
    (52, "application/merge-patch+json"),
    (60, "application/cbor"),
    (61, "application/cwt"),
    (101, "application/jwt"),
    (110, "application/senml+json"),
    (111, "application/sensml+json"),
    (112, "application/senml+cbor"),
    (113, "application/sensml+cbor"),
    (310, "application/senml+xml"),
    (432, "application/td+json"),
    (606, "application/core-pubsub+cbor"),
    (11542, "application/vnd.oma.lwm2m+tlv"),
    (11543, "application/vnd.oma.lwm2m+json"),
    (11544, "application/vnd.oma.lwm2m+cbor"),
];

/// Text in UTF-8.
pub const TEXT: u16 = 0;

/// Link format, of `/.well-known/core`.
pub const LINK_FORMAT: u16 = 40;

/// CBOR.
pub const CBOR: u16 = 60;

/// `application/core-pubsub+cbor`, of the configurations of topics; the number that the draft asks for (TBD606).
pub const CORE_PUBSUB: u16 = 606;

/// The user property that carries a number which has no type here, so that a CoAP reader gets it back.
pub const USER_PROPERTY: &str = "coap-content-format";

/// The type of a number.
pub fn content_type(format: u16) -> Option<ByteString> {
    FORMATS.iter().find(|(number, _)| *number == format).map(|(_, name)| ByteString::from_static(name))
}

/// The number of a type, if it has one; parameters count.
pub fn content_format(content_type: &str) -> Option<u16> {
    FORMATS.iter().find(|(_, name)| name.eq_ignore_ascii_case(content_type)).map(|(number, _)| *number)
}

/// What a message in this format says about itself.
pub fn properties(format: u16) -> Properties {
    let mut properties = Properties { content_type: content_type(format), ..Properties::default() };
    if properties.content_type.is_none() {
        properties.user.push((USER_PROPERTY.into(), format.to_string().into()));
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (number, _) in FORMATS {
            assert_eq!(content_format(&content_type(*number).unwrap()), Some(*number));
        }
        assert_eq!(content_format("Application/JSON"), Some(50));
        assert_eq!(content_format("image/png"), None);
        assert_eq!(content_type(65_000), None);
    }
}
