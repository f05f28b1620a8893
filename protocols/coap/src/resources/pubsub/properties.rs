//! What is said of a topic: a CBOR map with small numbers as keys, `application/core-pubsub+cbor`.

use bytes::Bytes;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};
use std::fmt;

/// The only resource type of topic data.
pub const TOPIC_DATA: &str = "core.ps.data";

/// How often an observer has to confirm, unless the topic says otherwise (RFC 7641 §4.5: at least once a day).
pub const OBSERVER_CHECK_S: u32 = 86_400;

/// The properties that are there. As a configuration it has the first three and `observer_check_s`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// 0: the name, by which there is one topic.
    pub topic_name: Option<String>,
    /// 1: where its data is, as a reference of a URI.
    pub topic_data: Option<String>,
    /// 2: [`TOPIC_DATA`].
    pub resource_type: Option<String>,
    /// 3: the only Content-Format of what is published.
    pub topic_content_format: Option<u16>,
    /// 4: what is measured, for people and programs.
    pub topic_type: Option<String>,
    /// 5: when the topic is deleted, in milliseconds since 1970.
    pub expiration_wall_ms: Option<u64>,
    /// 6: how many may observe.
    pub max_subscribers: Option<u32>,
    /// 7: longest time between two notifications that an observer has to confirm.
    pub observer_check_s: Option<u32>,
    /// 8: the first data, for creation alone.
    pub initialize: Option<Bytes>,
}

/// What is wrong with a map of properties, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<minicbor::decode::Error> for Wrong {
    fn from(_: minicbor::decode::Error) -> Self {
        Self("the payload is no CBOR map of topic properties with their types".into())
    }
}

/// The names of the properties; a property's key is its place.
const NAMES: [&str; 9] = [
    "topic-name",
    "topic-data",
    "resource-type",
    "topic-content-format",
    "topic-type",
    "expiration-date",
    "max-subscribers",
    "observer-check",
    "initialize",
];

impl Properties {
    /// Reads a map that is the whole payload.
    ///
    /// # Errors
    /// What is wrong: a key that is not known or comes twice, a value of another type, bytes behind it.
    pub fn decode(payload: &[u8]) -> Result<Self, Wrong> {
        let mut decoder = Decoder::new(payload);
        let mut properties = Self::default();
        let mut seen = [false; NAMES.len()];
        let mut left = decoder.map()?;
        while !is_end(&mut decoder, &mut left)? {
            let key = decoder.u64()?;
            let place = usize::try_from(key).ok().filter(|place| *place < NAMES.len());
            let place = place.ok_or_else(|| Wrong(format!("property {key} is not known here")))?;
            if std::mem::replace(&mut seen[place], true) {
                return Err(Wrong(format!("{} is there twice", NAMES[place])));
            }
            properties
                .decode_value(place, &mut decoder)
                .map_err(|Wrong(why)| Wrong(format!("{}: {why}", NAMES[place])))?;
        }
        match decoder.position() == payload.len() {
            true => Ok(properties),
            false => Err(Wrong("there is more behind the map of topic properties".into())),
        }
    }

    fn decode_value(&mut self, key: usize, decoder: &mut Decoder<'_>) -> Result<(), Wrong> {
        match key {
            0 => self.topic_name = Some(decoder.str()?.to_owned()),
            1 => self.topic_data = Some(decoder.str()?.to_owned()),
            2 => self.resource_type = Some(decoder.str()?.to_owned()),
            3 => self.topic_content_format = Some(decoder.u16()?),
            4 => self.topic_type = Some(decoder.str()?.to_owned()),
            5 => self.expiration_wall_ms = Some(decode_moment(decoder)?),
            6 => self.max_subscribers = Some(decoder.u32()?),
            7 => match decoder.u32()? {
                0 => return Err(Wrong("it has to be above 0".into())),
                seconds => self.observer_check_s = Some(seconds),
            },
            _ => self.initialize = Some(Bytes::copy_from_slice(decoder.bytes()?)),
        }
        Ok(())
    }

    /// The map with what is there, in the order of the keys (RFC 8949 §4.2.1).
    pub fn encode(&self) -> Bytes {
        self.encode_if(|_| true)
    }

    /// The same with these keys alone.
    pub fn encode_selected(&self, keys: &[u64]) -> Bytes {
        self.encode_if(|key| keys.contains(&key))
    }

    fn encode_if(&self, is_wanted: impl Fn(u64) -> bool) -> Bytes {
        let wanted: Vec<u64> = (0..NAMES.len() as u64).filter(|key| self.has(*key) && is_wanted(*key)).collect();
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes);
        // A vector takes everything.
        let _ = encoder.map(wanted.len() as u64);
        for key in wanted {
            let _ = self.encode_value(key, &mut encoder);
        }
        bytes.into()
    }

    fn encode_value(
        &self,
        key: u64,
        encoder: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let number = |value: Option<u32>| u64::from(value.unwrap_or_default());
        let encoder = encoder.u64(key)?;
        match key {
            0 => encoder.str(&text(&self.topic_name))?,
            1 => encoder.str(&text(&self.topic_data))?,
            2 => encoder.str(&text(&self.resource_type))?,
            3 => encoder.u64(self.topic_content_format.unwrap_or_default().into())?,
            4 => encoder.str(&text(&self.topic_type))?,
            5 => {
                let wall_ms = self.expiration_wall_ms.unwrap_or_default();
                let encoder = encoder.tag(Tag::new(MOMENT))?;
                match wall_ms % 1_000 {
                    0 => encoder.u64(wall_ms / 1_000)?,
                    _ => encoder.f64(wall_ms as f64 / 1_000.0)?,
                }
            }
            6 => encoder.u64(number(self.max_subscribers))?,
            7 => encoder.u64(number(self.observer_check_s))?,
            _ => encoder.bytes(self.initialize.as_deref().unwrap_or_default())?,
        };
        Ok(())
    }

    fn has(&self, key: u64) -> bool {
        match key {
            0 => self.topic_name.is_some(),
            1 => self.topic_data.is_some(),
            2 => self.resource_type.is_some(),
            3 => self.topic_content_format.is_some(),
            4 => self.topic_type.is_some(),
            5 => self.expiration_wall_ms.is_some(),
            6 => self.max_subscribers.is_some(),
            7 => self.observer_check_s.is_some(),
            _ => self.initialize.is_some(),
        }
    }

    /// Whether everything that `filter` has is here and the same.
    pub fn matches(&self, filter: &Self) -> bool {
        fn same<T: PartialEq>(wanted: &Option<T>, here: &Option<T>) -> bool {
            wanted.is_none() || wanted == here
        }
        same(&filter.topic_name, &self.topic_name)
            && same(&filter.topic_data, &self.topic_data)
            && same(&filter.resource_type, &self.resource_type)
            && same(&filter.topic_content_format, &self.topic_content_format)
            && same(&filter.topic_type, &self.topic_type)
            && same(&filter.expiration_wall_ms, &self.expiration_wall_ms)
            && same(&filter.max_subscribers, &self.max_subscribers)
            && same(&filter.observer_check_s, &self.observer_check_s)
            && same(&filter.initialize, &self.initialize)
    }

    /// This configuration with `given` in it: in place of all that may change, or of what is named alone.
    ///
    /// # Errors
    /// When it would change what cannot change.
    pub fn changed(&self, given: Self, is_replacement: bool) -> Result<Self, Wrong> {
        let fixed = Self {
            topic_name: given.topic_name.clone(),
            topic_data: given.topic_data.clone(),
            resource_type: given.resource_type.clone(),
            ..Self::default()
        };
        if !self.matches(&fixed) {
            return Err(Wrong("topic-name, topic-data and resource-type do not change".into()));
        }
        if given.initialize.is_some() {
            return Err(Wrong("initialize is for the creation of a topic".into()));
        }
        let base = match is_replacement {
            true => Self { observer_check_s: Some(OBSERVER_CHECK_S), ..Self::default() },
            false => self.clone(),
        };
        Ok(Self {
            topic_name: self.topic_name.clone(),
            topic_data: self.topic_data.clone(),
            resource_type: self.resource_type.clone(),
            topic_content_format: given.topic_content_format.or(base.topic_content_format),
            topic_type: given.topic_type.or(base.topic_type),
            expiration_wall_ms: given.expiration_wall_ms.or(base.expiration_wall_ms),
            max_subscribers: given.max_subscribers.or(base.max_subscribers),
            observer_check_s: given.observer_check_s.or(base.observer_check_s),
            initialize: None,
        })
    }
}

/// An array of keys, which is the whole payload: what FETCH wants of a configuration.
///
/// # Errors
/// When it is something else.
pub fn decode_keys(payload: &[u8]) -> Result<Vec<u64>, Wrong> {
    let wrong = |_| Wrong("FETCH wants a CBOR array of the properties' numbers".into());
    let mut decoder = Decoder::new(payload);
    let mut keys = Vec::new();
    let mut left = decoder.array().map_err(wrong)?;
    while !is_end(&mut decoder, &mut left).map_err(wrong)? {
        keys.push(decoder.u64().map_err(wrong)?);
    }
    match decoder.position() == payload.len() {
        true => Ok(keys),
        false => Err(Wrong("there is more behind the array of the properties' numbers".into())),
    }
}

/// Whether an array or map ends here: by its count, or where that is not known by a break.
fn is_end(decoder: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, minicbor::decode::Error> {
    match left {
        Some(0) => Ok(true),
        Some(left) => {
            *left -= 1;
            Ok(false)
        }
        None if decoder.datatype()? == Type::Break => decoder.skip().map(|()| true),
        None => Ok(false),
    }
}

/// Seconds since 1970, whole or not (RFC 8949 §3.4.2).
const MOMENT: u64 = 1;

fn decode_moment(decoder: &mut Decoder<'_>) -> Result<u64, Wrong> {
    let wrong = || Wrong("it has to be seconds since 1970 under tag 1".into());
    if decoder.tag()? != Tag::new(MOMENT) {
        return Err(wrong());
    }
    let seconds = match decoder.datatype()? {
        Type::F32 => f64::from(decoder.f32()?),
        Type::F64 => decoder.f64()?,
        _ => decoder.u64()? as f64,
    };
    // Beyond this not every millisecond has a number.
    const SECONDS_MAX: f64 = 4e12;
    match (0.0..=SECONDS_MAX).contains(&seconds) {
        true => Ok((seconds * 1_000.0).round() as u64),
        false => Err(wrong()),
    }
}
