//! Reading an object: each field once, of the type that it should have, and none that nobody asks for.
//!
//! What is not understood is refused and not passed over: who writes `retained` for `retain` should hear of it at once.

use super::writing::Id;
use althing_core::verbs::{Reason, Refusal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Fields of one object. None has a third of them.
const FIELDS_MAX: usize = 64;

/// Levels of arrays and objects in a value. Those who get it as text have parsers with limits like this one.
const DEPTH_MAX: usize = 128;

/// Strings of properties: what every language can carry.
const TEXT_BYTES_MAX: usize = 65_535;

/// The fields of an object that nobody has taken yet.
pub(super) struct Fields<'a> {
    /// What the object is, for sentences.
    kind: Cow<'a, str>,
    left: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// Every name that was asked for.
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// A message: an object with a `type`.
    pub fn of_message(text: &'a str) -> Result<Self, Refusal> {
        let mut fields = Self::parse(text, "message".into())?;
        let kind = fields.take("type", "a string: `publish` and `subscribe` are two of them")?;
        fields.kind =
            kind.ok_or_else(|| malformed("a message has a `type`: `publish` and `subscribe` are two of them"))?;
        Ok(fields)
    }

    /// An object in another one.
    pub fn of_part(raw: &'a RawValue, kind: &'static str) -> Result<Self, Refusal> {
        Self::parse(raw.get(), kind.into())
    }

    fn parse(text: &'a str, kind: Cow<'a, str>) -> Result<Self, Refusal> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let object = Object::deserialize(&mut deserializer).and_then(|object| deserializer.end().map(|()| object));
        let Object(left) = object.map_err(|error| malformed(format!("this is no {kind}: {error}")))?;
        Ok(Self { kind, left, known: Vec::new() })
    }

    /// What the object is.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Whether a field is there and not yet taken.
    pub fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(it, _)| it == name)
    }

    /// A field as it was written.
    pub fn raw(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.known.push(name);
        let place = self.left.iter().position(|(field, _)| field == name)?;
        Some(self.left.swap_remove(place).1)
    }

    /// A field, or why it is none: it should be `expected`.
    pub fn take<T: Deserialize<'a>>(
        &mut self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, Refusal> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        match serde_json::from_str(raw.get()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(malformed(format!("`{name}` is {expected}"))),
        }
    }

    /// A field that is true or false, and false where it is not there.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Refusal> {
        Ok(self.take(name, "true or false")?.unwrap_or_default())
    }

    /// Text that every language can carry.
    pub fn text(&mut self, name: &'static str) -> Result<Option<ByteString>, Refusal> {
        let text: Option<Cow<'_, str>> = self.string(name)?;
        text.map(|text| portable(name, &text)).transpose()
    }

    /// Any string.
    pub fn string(&mut self, name: &'static str) -> Result<Option<Cow<'a, str>>, Refusal> {
        let text: Option<Text<'a>> = self.take(name, "a string")?;
        Ok(text.map(|Text(text)| text))
    }

    /// Bytes in base64.
    pub fn base64(&mut self, name: &'static str) -> Result<Option<Bytes>, Refusal> {
        let Some(text) = self.string(name)? else { return Ok(None) };
        match STANDARD.decode(text.as_bytes()) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => Err(malformed(format!("`{name}` is base64 with padding (RFC 4648 §4): {error}"))),
        }
    }

    /// Any value, as it was written.
    pub fn json(&mut self, name: &'static str) -> Result<Option<Bytes>, Refusal> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        if depth(raw.get()) > DEPTH_MAX {
            return Err(malformed(format!("`{name}` has more than {DEPTH_MAX} levels")));
        }
        Ok(Some(Bytes::copy_from_slice(raw.get().as_bytes())))
    }

    /// What the peer calls the message: a string or a whole number.
    pub fn id(&mut self, bytes_max: usize) -> Result<Option<Id>, Refusal> {
        let Some(raw) = self.raw("id") else { return Ok(None) };
        let is_string = raw.get().starts_with('"') && serde_json::from_str::<Cow<'_, str>>(raw.get()).is_ok();
        let is_number = serde_json::from_str::<u64>(raw.get()).is_ok();
        if !is_string && !is_number {
            return Err(malformed("`id` is a string or a whole number"));
        }
        if raw.get().len() > bytes_max {
            return Err(Refusal::new(Reason::QuotaExceeded, format!("`id` is longer than {bytes_max} bytes")));
        }
        Ok(Some(Id(raw.to_owned().into())))
    }

    /// Nothing is left that nobody has asked for.
    pub fn finish(&self) -> Result<(), Refusal> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let kind = &self.kind;
        let text = match nearest(name, &self.known) {
            Some(known) => format!("{} has no field `{}`; did you mean `{known}`?", with_article(kind), shown(name)),
            None => {
                let known: Vec<_> = self.known.iter().map(|known| format!("`{known}`")).collect();
                format!("{} has no field `{}`; it has {}", with_article(kind), shown(name), known.join(", "))
            }
        };
        Err(Refusal::new(Reason::ProtocolError, text))
    }
}

/// Text without U+0000 and not longer than MQTT's strings.
pub(super) fn portable(name: &str, text: &str) -> Result<ByteString, Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(malformed(format!("`{name}` is longer than {TEXT_BYTES_MAX} bytes")));
    }
    if text.contains('\0') {
        return Err(malformed(format!("`{name}` contains U+0000, which not every language can carry")));
    }
    Ok(text.into())
}

/// The name that was most likely meant, if any is near.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    const NEAR: f64 = 0.8;
    let near = known.iter().map(|known| (strsim::jaro_winkler(known, shown(name)), *known));
    let near = near.filter(|(similarity, _)| *similarity > NEAR);
    near.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, known)| known)
}

/// As much of what somebody wrote as belongs into a sentence.
pub(super) fn shown(text: &str) -> &str {
    const CHARACTERS_MAX: usize = 40;
    text.char_indices().nth(CHARACTERS_MAX).map_or(text, |(end, _)| &text[..end])
}

pub(super) fn malformed(text: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Reason::Malformed, text)
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} `{}`", shown(kind))
}

/// How many arrays and objects are within each other, of a value that is JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A string, borrowed where nothing is escaped in it.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of an object in their order, none twice.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some(Text(name)) = map.next_key()? {
                    if fields.iter().any(|(known, _)| *known == name) {
                        return Err(serde::de::Error::custom(format!("`{}` stands in it twice", shown(&name))));
                    }
                    if fields.len() == FIELDS_MAX {
                        return Err(serde::de::Error::custom(format!("it has more than {FIELDS_MAX} fields")));
                    }
                    fields.push((name, map.next_value()?));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_brackets_outside_of_strings() {
        for (json, expected) in [("1", 0), ("[]", 1), (r#"[{"a":[]},[[]]]"#, 3), (r#"["[[[\"[["]"#, 1)] {
            assert_eq!(depth(json), expected, "{json}");
        }
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_was_meant() {
        let mut fields = Fields::of_message(r#"{"type":"publish","retaind":true}"#).unwrap();
        assert!(!fields.flag("retain").unwrap());
        let refusal = fields.finish().unwrap_err();
        assert_eq!(refusal.text, "a `publish` has no field `retaind`; did you mean `retain`?");
    }
}
