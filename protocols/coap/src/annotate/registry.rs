//! Names of codes and options as IANA registers them (§12), and how options are written.

use super::hexadecimal;
use crate::format;
use crate::message::{Code, read_uint};
use althing_core::annotation::{count, quoted};

/// The name of a method or a response code (§12.1; RFC 7959 §2.9, RFC 8132 §2, RFC 8516, RFC 8768).
pub(super) fn code(code: Code) -> &'static str {
    match (code.class(), code.0 & 0x1f) {
        (0, 0) => "Empty",
        (0, 1) => "GET",
        (0, 2) => "POST",
        (0, 3) => "PUT",
        (0, 4) => "DELETE",
        (0, 5) => "FETCH",
        (0, 6) => "PATCH",
        (0, 7) => "iPATCH",
        (2, 1) => "Created",
        (2, 2) => "Deleted",
        (2, 3) => "Valid",
        (2, 4) => "Changed",
        (2, 5) => "Content",
        (2, 31) => "Continue",
        (4, 0) => "Bad Request",
        (4, 1) => "Unauthorized",
        (4, 2) => "Bad Option",
        (4, 3) => "Forbidden",
        (4, 4) => "Not Found",
        (4, 5) => "Method Not Allowed",
        (4, 6) => "Not Acceptable",
        (4, 8) => "Request Entity Incomplete",
        (4, 9) => "Conflict",
        (4, 12) => "Precondition Failed",
        (4, 13) => "Request Entity Too Large",
        (4, 15) => "Unsupported Content-Format",
        (4, 22) => "Unprocessable Entity",
        (4, 29) => "Too Many Requests",
        (5, 0) => "Internal Server Error",
        (5, 1) => "Not Implemented",
        (5, 2) => "Bad Gateway",
        (5, 3) => "Service Unavailable",
        (5, 4) => "Gateway Timeout",
        (5, 5) => "Proxying Not Supported",
        (5, 8) => "Hop Limit Reached",
        _ => "Unassigned",
    }
}

/// What is known of an option number.
pub(super) struct Known {
    /// Empty for a number that is not known here.
    pub name: &'static str,
    pub form: Form,
    pub section: &'static str,
}

/// How the value of an option is written (§3.2).
pub(super) enum Form {
    Empty,
    Opaque,
    Text,
    Uint(&'static str),
    ContentFormat,
    Observe,
    Block,
}

/// Table 4 (§5.10), RFC 7641 §2, RFC 7959 §2.1 and §4, RFC 7967 §2, RFC 8613 §2, RFC 8768 §3, RFC 9175 §2 and §3.
pub(super) fn option(number: u16) -> Known {
    let (name, form, section) = match number {
        1 => ("If-Match", Form::Opaque, "§5.10.8.1"),
        3 => ("Uri-Host", Form::Text, "§5.10.1"),
        4 => ("ETag", Form::Opaque, "§5.10.6"),
        5 => ("If-None-Match", Form::Empty, "§5.10.8.2"),
        6 => ("Observe", Form::Observe, "RFC 7641 §2"),
        7 => ("Uri-Port", Form::Uint(""), "§5.10.1"),
        8 => ("Location-Path", Form::Text, "§5.10.7"),
        9 => ("OSCORE", Form::Opaque, "RFC 8613 §2"),
        11 => ("Uri-Path", Form::Text, "§5.10.1"),
        12 => ("Content-Format", Form::ContentFormat, "§5.10.3"),
        14 => ("Max-Age", Form::Uint("second"), "§5.10.5"),
        15 => ("Uri-Query", Form::Text, "§5.10.1"),
        16 => ("Hop-Limit", Form::Uint("hop"), "RFC 8768 §3"),
        17 => ("Accept", Form::ContentFormat, "§5.10.4"),
        20 => ("Location-Query", Form::Text, "§5.10.7"),
        23 => ("Block2", Form::Block, "RFC 7959 §2.1"),
        27 => ("Block1", Form::Block, "RFC 7959 §2.1"),
        28 => ("Size2", Form::Uint("byte"), "RFC 7959 §4"),
        35 => ("Proxy-Uri", Form::Text, "§5.10.2"),
        39 => ("Proxy-Scheme", Form::Text, "§5.10.2"),
        60 => ("Size1", Form::Uint("byte"), "§5.10.9"),
        252 => ("Echo", Form::Opaque, "RFC 9175 §2.2"),
        258 => ("No-Response", Form::Uint(""), "RFC 7967 §2"),
        292 => ("Request-Tag", Form::Opaque, "RFC 9175 §3.2"),
        _ => ("", Form::Opaque, "§12.2"),
    };
    Known { name, form, section }
}

impl Form {
    /// A value in words; bytes that do not have the form are shown as bytes.
    pub(super) fn show(&self, value: &[u8], code: Code) -> String {
        let number = read_uint(value);
        match (self, number) {
            (Self::Empty, _) if value.is_empty() => "set".to_owned(),
            (Self::Text, _) => std::str::from_utf8(value).map_or_else(|_| hexadecimal(value), quoted),
            (Self::Uint(""), Some(number)) => number.to_string(),
            (Self::Uint(unit), Some(number)) => count(number as usize, unit),
            (Self::ContentFormat, Some(number)) => {
                let name = u16::try_from(number).ok().and_then(format::content_type);
                name.map_or_else(|| number.to_string(), |name| format!("{number}, {name}"))
            }
            (Self::Observe, Some(0)) if code.is_request() => "0, register".to_owned(),
            (Self::Observe, Some(1)) if code.is_request() => "1, deregister".to_owned(),
            (Self::Observe, Some(number)) => format!("{number}, the order of this notification"),
            (Self::Block, Some(number)) if value.len() <= 3 => {
                let more = if number & 0b1000 == 0 { "the last one" } else { "more follow" };
                match number & 0b111 {
                    7 => format!("block {}, {more}, size reserved", number >> 4),
                    exponent => format!("block {}, {more}, of {} bytes", number >> 4, 16 << exponent),
                }
            }
            _ if value.is_empty() => "empty".to_owned(),
            _ => hexadecimal(value),
        }
    }
}
