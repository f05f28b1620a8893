//! Responses for people: payloads by what they are, options by their names.

use super::{links, notation};
use althing_coap::annotate::annotate;
use althing_coap::codec;
use althing_coap::format;
use althing_coap::message::{Code, Kind, Message, Options, number};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

/// A payload and what it is.
pub struct Shown<'a> {
    payload: &'a Bytes,
    form: Form,
}

/// How a payload is written.
enum Form {
    Json,
    Cbor,
    Links,
    Other,
}

impl<'a> Shown<'a> {
    /// By the content format that the options name.
    pub fn new(options: &Options, payload: &'a Bytes) -> Self {
        let format = options.uint(number::CONTENT_FORMAT).and_then(|format| u16::try_from(format).ok());
        let name = format.and_then(format::content_type);
        let form = match (format, name.as_deref()) {
            (Some(format::LINK_FORMAT), _) => Form::Links,
            // application/core-pubsub+cbor, which has no name in the table yet.
            (Some(606), _) => Form::Cbor,
            (_, Some(name)) if name.ends_with("json") => Form::Json,
            (_, Some(name)) if name.ends_with("cbor") => Form::Cbor,
            _ => Form::Other,
        };
        Self { payload, form }
    }

    /// For stdout, with a line end unless it has one. Bytes that are no text are written as they are.
    pub fn bytes(&self, raw: bool) -> Vec<u8> {
        if raw || self.payload.is_empty() {
            return self.payload.to_vec();
        }
        let mut bytes = match self.form {
            Form::Json => match serde_json::from_slice::<Value>(self.payload) {
                Ok(value) => format!("{value:#}").into_bytes(),
                Err(_) => self.payload.to_vec(),
            },
            Form::Cbor => notation::diagnostic(self.payload).map_or_else(|| self.payload.to_vec(), String::into_bytes),
            Form::Links => return links::lines(&String::from_utf8_lossy(self.payload)).into_bytes(),
            Form::Other => self.payload.to_vec(),
        };
        if bytes.last() != Some(&b'\n') && std::str::from_utf8(&bytes).is_ok() {
            bytes.push(b'\n');
        }
        bytes
    }

    /// In one line.
    pub fn line(&self) -> String {
        if self.payload.is_empty() {
            return "(empty)".to_owned();
        }
        if let Form::Cbor = self.form
            && let Some(text) = notation::diagnostic(self.payload)
        {
            return text;
        }
        match std::str::from_utf8(self.payload) {
            Ok(text) => text.trim_end().replace('\n', "\\n"),
            Err(_) => format!("0x{}", hexadecimal(self.payload)),
        }
    }

    /// The payload when it is text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.payload).ok()
    }

    /// The payload when it is not.
    pub fn base64(&self) -> Option<String> {
        self.text().is_none().then(|| STANDARD.encode(self.payload))
    }

    /// JSON as it is, CBOR in diagnostic notation, links as objects.
    pub fn value(&self) -> Option<Value> {
        match self.form {
            Form::Json => serde_json::from_slice(self.payload).ok(),
            Form::Cbor => notation::diagnostic(self.payload).map(Value::String),
            Form::Links => Some(links::values(&String::from_utf8_lossy(self.payload))),
            Form::Other => None,
        }
    }
}

/// `2.05 Content`; methods have their names alone.
pub fn code_name(code: Code) -> String {
    let name = code_phrase(code);
    if code == Code::EMPTY || code.is_request() { name } else { format!("{code} {name}") }
}

/// `Content`
pub fn code_phrase(code: Code) -> String {
    match code {
        Code::EMPTY => "Empty",
        Code::CSM => "CSM",
        Code::PING => "Ping",
        Code::PONG => "Pong",
        Code::RELEASE => "Release",
        Code::ABORT => "Abort",
        _ => {
            let mut datagram = Vec::new();
            codec::encode(&Message::new(Kind::NonConfirmable, code, 0), &mut datagram);
            annotate(&datagram).name.unwrap_or_default()
        }
    }
    .to_owned()
}

/// `Content-Format: 50, application/json; Max-Age: 60 seconds`, in the order of their numbers.
pub fn options(message: &Message) -> String {
    if message.code.is_signal() {
        return String::new();
    }
    let mut datagram = Vec::new();
    let bare = Message { payload: Bytes::new(), token: Default::default(), ..message.clone() };
    codec::encode(&bare, &mut datagram);
    let is_option = |name: &str| {
        !name.starts_with("Option Delta") && !name.starts_with("Option Length") && !name.starts_with("Code ")
    };
    let fields = annotate(&datagram).fields;
    let options = fields.iter().filter(|field| field.offset >= 4 && is_option(&field.name));
    options.map(|field| format!("{}: {}", field.name, field.value)).collect::<Vec<_>>().join("; ")
}

/// Two digits a byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
