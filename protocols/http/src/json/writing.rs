//! Writing an object, field by field.

use althing_core::verbs::{Reason, Refusal};
use althing_core::{MessageOut, WholeMessage};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// What the peer calls a message, as it was written.
#[derive(Clone, Debug)]
pub(super) struct Id(pub Arc<RawValue>);

/// An object under construction.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// An object of this `type`.
    pub fn new(kind: &'static str) -> Self {
        Self(br#"{"type":"#.to_vec()).value(kind)
    }

    /// An object without one, in another one.
    pub fn part() -> Self {
        Self(b"{".to_vec())
    }

    /// One field more.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Serialize) -> Self {
        if self.0 != b"{" {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.value(value)
    }

    /// One field more, where there is something to say.
    #[must_use]
    pub fn maybe(self, name: &'static str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// What the peer calls what this answers.
    #[must_use]
    pub fn id(self, id: Option<&Id>) -> Self {
        self.maybe("id", id.map(|id| &*id.0))
    }

    fn value(mut self, value: impl Serialize) -> Self {
        // Strings, numbers and arrays of them always have a JSON form, and a vector takes every write.
        let _ = serde_json::to_writer(&mut self.0, &value);
        self
    }

    /// The object, complete.
    pub fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }

    /// The object as a value of another one.
    pub fn into_raw(self) -> Option<Box<RawValue>> {
        RawValue::from_string(String::from_utf8(self.end()).ok()?).ok()
    }

    /// The object on its way.
    pub fn send(self, out: &mut MessageOut<'_>) {
        out.messages.push_back(WholeMessage { is_text: true, bytes: self.end().into() });
    }
}

/// Says what is wrong, with what (`request`), and whether that is the end.
pub(super) fn error(id: Option<&Id>, request: Option<&str>, refusal: &Refusal, is_end: bool, out: &mut MessageOut<'_>) {
    Writer::new("error")
        .id(id)
        .maybe("request", request)
        .field("reason", reason_name(refusal.reason))
        .field("text", &refusal.text)
        .maybe("closes", is_end.then_some(true))
        .send(out);
}

/// The words of the house, as JSON writes names: `not_authorised`.
pub(super) fn reason_name(reason: Reason) -> String {
    let words = format!("{reason:?}");
    let mut name = String::with_capacity(words.len() + 4);
    for (place, letter) in words.char_indices() {
        if letter.is_ascii_uppercase() && place > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words_with_underscores() {
        assert_eq!(reason_name(Reason::NotAuthorised), "not_authorised");
        assert_eq!(reason_name(Reason::Banned), "banned");
    }
}
