//! `-D COMMAND PROPERTY VALUE`: MQTT 5 properties from the command line, in the spelling of mosquitto's tools.

use crate::exit::Failure;
use althing_core::Topic;
use althing_core::message::Properties;
use althing_core::topic::TopicLimits;
use althing_mqtt::packet::{Connect, Disconnect, Publish, Subscribe, Unsubscribe, Will};
use bytes::Bytes;
use bytestring::ByteString;
use std::collections::HashSet;
use std::sync::Arc;

/// The packet that a property belongs to; a will's properties travel in CONNECT (§3.1.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    Connect,
    Will,
    Publish,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

use Command::{Connect as C, Disconnect as D, Publish as P, Subscribe as S, Unsubscribe as U, Will as W};

const COMMANDS: [(&str, Command); 6] =
    [("connect", C), ("will", W), ("publish", P), ("subscribe", S), ("unsubscribe", U), ("disconnect", D)];

/// How a property's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// 0 or 1.
    Flag,
    /// A whole number within a range (§2.2.2.2).
    Number {
        min: u32,
        max: u32,
    },
    Text,
    Pair,
}

const U16: Kind = Kind::Number { min: 0, max: 65_535 };
const U16_POSITIVE: Kind = Kind::Number { min: 1, max: 65_535 };
const U32: Kind = Kind::Number { min: 0, max: u32::MAX };
const U32_POSITIVE: Kind = Kind::Number { min: 1, max: u32::MAX };

/// Every property, how it is written, and where it may stand (§2.2.2.2, table 2-4).
const PROPERTIES: [(&str, Kind, &[Command]); 17] = [
    ("authentication-data", Kind::Text, &[C]),
    ("authentication-method", Kind::Text, &[C]),
    ("content-type", Kind::Text, &[P, W]),
    ("correlation-data", Kind::Text, &[P, W]),
    ("maximum-packet-size", U32_POSITIVE, &[C]),
    ("message-expiry-interval", U32, &[P, W]),
    ("payload-format-indicator", Kind::Flag, &[P, W]),
    ("receive-maximum", U16_POSITIVE, &[C]),
    ("request-problem-information", Kind::Flag, &[C]),
    ("request-response-information", Kind::Flag, &[C]),
    ("response-topic", Kind::Text, &[P, W]),
    ("session-expiry-interval", U32, &[C, D]),
    // 268,435,455 is the largest variable byte integer (§3.8.2.1.2).
    ("subscription-identifier", Kind::Number { min: 1, max: 268_435_455 }, &[S]),
    ("topic-alias", U16_POSITIVE, &[P]),
    ("topic-alias-maximum", U16, &[C]),
    ("user-property", Kind::Pair, &[C, W, P, S, U, D]),
    ("will-delay-interval", U32, &[W]),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(u32),
    Text(ByteString),
    Pair(ByteString, ByteString),
}

/// The properties given with `-D`, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given(Vec<(Command, &'static str, Value)>);

/// The help text of `-D`, from the same table.
pub fn properties_help() -> String {
    let mut text = String::from("An MQTT 5 property for one packet, repeatable. COMMAND and its properties:\n");
    for (command_name, command) in COMMANDS {
        let names: Vec<&str> = PROPERTIES.iter().filter(|row| row.2.contains(&command)).map(|row| row.0).collect();
        text.push_str(&format!("- {command_name}: {}\n", names.join(", ")));
    }
    text.push_str("user-property takes a NAME and a VALUE, every other property one VALUE.");
    text
}

impl Given {
    /// Reads the words after each `-D`, all occurrences in one row.
    pub fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut given = Self::default();
        let mut seen = HashSet::new();
        let mut words = words.iter().map(String::as_str);
        while let Some(command_name) = words.next() {
            let command = find_command(command_name)?;
            let property = words.next().unwrap_or_default();
            let &(name, kind, commands) =
                PROPERTIES.iter().find(|row| row.0 == property).ok_or_else(|| unknown_property(property))?;
            if !commands.contains(&command) {
                return Err(Failure::usage(format!("-D {command_name} {name}: it belongs to {}", names_of(commands))));
            }
            if kind != Kind::Pair && !seen.insert((command, name)) {
                return Err(Failure::usage(format!(
                    "-D {command_name} {name} is given twice: only user-property may repeat"
                )));
            }
            let value = parse_value(name, kind, &mut words)?;
            given.0.push((command, name, value));
        }
        Ok(given)
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of them belong to one of these.
    pub fn are_for(&self, commands: &[Command]) -> bool {
        self.0.iter().all(|(command, ..)| commands.contains(command))
    }

    fn of(&self, command: Command) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().filter(move |row| row.0 == command).map(|row| (row.1, &row.2))
    }

    fn user_properties(&self, command: Command) -> Vec<(ByteString, ByteString)> {
        self.of(command).filter_map(|(_, value)| value.pair()).collect()
    }

    /// Completes a CONNECT (§3.1.2.11) and its will, if it has one (§3.1.3.2).
    pub fn apply_to_connect(&self, connect: &mut Connect) -> Result<(), Failure> {
        for (name, value) in self.of(C) {
            match name {
                "authentication-data" => connect.authentication_data = Some(value.bytes()),
                "authentication-method" => connect.authentication_method = Some(value.text()),
                "maximum-packet-size" => connect.maximum_packet_size = Some(value.number()),
                "receive-maximum" => connect.receive_maximum = Some(value.number_u16()),
                "request-problem-information" => connect.request_problem_information = value.number() == 1,
                "request-response-information" => connect.request_response_information = value.number() == 1,
                "session-expiry-interval" => connect.session_expiry_s = Some(value.number()),
                "topic-alias-maximum" => connect.topic_alias_maximum = value.number_u16(),
                _ => {}
            }
        }
        connect.user_properties = self.user_properties(C);
        if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
            return Err(Failure::usage("authentication-data needs an authentication-method too"));
        }
        match &mut connect.will {
            Some(will) => self.apply_to_will(will),
            None if self.of(W).next().is_some() => Err(Failure::usage("-D will needs a will: add --will-topic")),
            None => Ok(()),
        }
    }

    fn apply_to_will(&self, will: &mut Will) -> Result<(), Failure> {
        for (name, value) in self.of(W) {
            match name {
                "message-expiry-interval" => will.message_expiry_s = Some(value.number()),
                "will-delay-interval" => will.delay_s = value.number(),
                _ => {}
            }
        }
        will.properties = self.message_properties(W)?;
        Ok(())
    }

    /// Completes a PUBLISH (§3.3.2.3).
    pub fn apply_to_publish(&self, publish: &mut Publish) -> Result<(), Failure> {
        for (name, value) in self.of(P) {
            match name {
                "message-expiry-interval" => publish.message_expiry_s = Some(value.number()),
                "topic-alias" => publish.topic_alias = Some(value.number_u16()),
                _ => {}
            }
        }
        publish.properties = self.message_properties(P)?;
        Ok(())
    }

    /// Completes a SUBSCRIBE (§3.8.2.1).
    pub fn apply_to_subscribe(&self, subscribe: &mut Subscribe) {
        let identifier = self.of(S).find(|(name, _)| *name == "subscription-identifier");
        subscribe.subscription_id = identifier.map(|(_, value)| value.number());
        subscribe.user_properties = self.user_properties(S);
    }

    /// Completes an UNSUBSCRIBE (§3.10.2.1).
    pub fn apply_to_unsubscribe(&self, unsubscribe: &mut Unsubscribe) {
        unsubscribe.user_properties = self.user_properties(U);
    }

    /// Completes a DISCONNECT (§3.14.2.2).
    pub fn apply_to_disconnect(&self, disconnect: &mut Disconnect) {
        let expiry = self.of(D).find(|(name, _)| *name == "session-expiry-interval");
        disconnect.session_expiry_s = expiry.map(|(_, value)| value.number());
        disconnect.details.user_properties = self.user_properties(D);
    }

    /// What a message says about itself, for PUBLISH and for a will.
    fn message_properties(&self, command: Command) -> Result<Option<Arc<Properties>>, Failure> {
        let mut properties = Properties { user: self.user_properties(command), ..Properties::default() };
        for (name, value) in self.of(command) {
            match name {
                "content-type" => properties.content_type = Some(value.text()),
                "correlation-data" => properties.correlation_data = Some(value.bytes()),
                "payload-format-indicator" => properties.payload_is_utf8 = Some(value.number() == 1),
                "response-topic" => {
                    let topic = Topic::new(value.text(), &TopicLimits::default())
                        .map_err(|error| Failure::usage(format!("the response-topic is no topic name: {error}")))?;
                    properties.response_topic = Some(topic);
                }
                _ => {}
            }
        }
        Ok((!properties.is_empty()).then(|| Arc::new(properties)))
    }
}

impl Value {
    fn number(&self) -> u32 {
        if let Self::Number(number) = self { *number } else { 0 }
    }

    /// Only for properties whose range in the table ends at 65,535.
    fn number_u16(&self) -> u16 {
        u16::try_from(self.number()).unwrap_or(u16::MAX)
    }

    fn text(&self) -> ByteString {
        if let Self::Text(text) = self { text.clone() } else { ByteString::new() }
    }

    fn bytes(&self) -> Bytes {
        self.text().into_bytes()
    }

    fn pair(&self) -> Option<(ByteString, ByteString)> {
        if let Self::Pair(name, value) = self { Some((name.clone(), value.clone())) } else { None }
    }
}

fn find_command(name: &str) -> Result<Command, Failure> {
    COMMANDS.iter().find(|row| row.0 == name).map(|row| row.1).ok_or_else(|| {
        let names: Vec<&str> = COMMANDS.iter().map(|row| row.0).collect();
        Failure::usage(format!("-D {name}: use one of {}", names.join(", ")))
    })
}

fn unknown_property(name: &str) -> Failure {
    let names: Vec<&str> = PROPERTIES.iter().map(|row| row.0).collect();
    Failure::usage(format!("-D: {name} is no property: use one of {}", names.join(", ")))
}

fn names_of(commands: &[Command]) -> String {
    let names: Vec<&str> = COMMANDS.iter().filter(|row| commands.contains(&row.1)).map(|row| row.0).collect();
    names.join(", ")
}

fn parse_value<'a>(name: &str, kind: Kind, words: &mut impl Iterator<Item = &'a str>) -> Result<Value, Failure> {
    let first = words.next().ok_or_else(|| Failure::usage(format!("-D … {name} misses its value")))?;
    let number = |min, max| {
        let number = first.parse().ok().filter(|number| (min..=max).contains(number));
        number
            .map(Value::Number)
            .ok_or_else(|| Failure::usage(format!("-D … {name} {first}: use a number from {min} to {max}")))
    };
    match kind {
        Kind::Flag => number(0, 1),
        Kind::Number { min, max } => number(min, max),
        Kind::Text => Ok(Value::Text(first.into())),
        Kind::Pair => {
            let second = words.next().ok_or_else(|| Failure::usage("-D … user-property takes a NAME and a VALUE"))?;
            Ok(Value::Pair(first.into(), second.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitCode;
    use althing_core::Guarantee;

    fn given(line: &str) -> Given {
        Given::parse(&words(line)).unwrap()
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn publish() -> Publish {
        Publish {
            dup: false,
            qos: Guarantee::AtMostOnce,
            retain: false,
            topic: None,
            packet_id: 0,
            topic_alias: None,
            message_expiry_s: None,
            subscription_ids: Vec::new(),
            properties: None,
            payload: Bytes::new(),
        }
    }

    #[test]
    fn user_properties_keep_order_and_duplicates() {
        let mut target = publish();
        given("publish user-property a 1 publish user-property b 2 publish user-property a 1")
            .apply_to_publish(&mut target)
            .unwrap();
        let user = &target.properties.as_ref().unwrap().user;
        let pairs: Vec<(&str, &str)> = user.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "2"), ("a", "1")]);
    }

    #[test]
    fn each_property_reaches_its_field() {
        let mut target = publish();
        given(
            "publish content-type text/plain publish correlation-data xyz publish message-expiry-interval 60 \
             publish payload-format-indicator 1 publish response-topic r/t publish topic-alias 7 \
             disconnect session-expiry-interval 5",
        )
        .apply_to_publish(&mut target)
        .unwrap();
        let properties = target.properties.as_ref().unwrap();
        assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
        assert_eq!(properties.correlation_data.as_deref(), Some(&b"xyz"[..]));
        assert_eq!(properties.payload_is_utf8, Some(true));
        assert_eq!(properties.response_topic.as_ref().map(Topic::as_str), Some("r/t"));
        assert_eq!((target.message_expiry_s, target.topic_alias), (Some(60), Some(7)));
    }

    #[test]
    fn nothing_given_leaves_a_publish_bare() {
        let mut target = publish();
        Given::parse(&[]).unwrap().apply_to_publish(&mut target).unwrap();
        assert_eq!(target, publish());
    }

    #[test]
    fn subscribe_and_disconnect_take_theirs() {
        let all = given(
            "subscribe subscription-identifier 9 subscribe user-property a b disconnect session-expiry-interval 3",
        );
        let mut subscribe =
            Subscribe { packet_id: 1, subscription_id: None, user_properties: Vec::new(), filters: Vec::new() };
        all.apply_to_subscribe(&mut subscribe);
        assert_eq!((subscribe.subscription_id, subscribe.user_properties.len()), (Some(9), 1));
        let mut disconnect = Disconnect::default();
        all.apply_to_disconnect(&mut disconnect);
        assert_eq!(disconnect.session_expiry_s, Some(3));
    }

    #[test]
    fn what_the_specification_forbids_is_a_usage_error() {
        for line in [
            "pub content-type x",
            "publish content_type x",
            "publish",
            "publish content-type",
            "publish user-property only-a-name",
            "connect content-type x",
            "publish topic-alias 0",
            "publish topic-alias 65536",
            "publish payload-format-indicator 2",
            "publish message-expiry-interval -1",
            "subscribe subscription-identifier 0",
            "subscribe subscription-identifier 268435456",
            "connect receive-maximum 0",
            "publish content-type a publish content-type b",
        ] {
            assert_eq!(Given::parse(&words(line)).map_err(|failure| failure.code), Err(ExitCode::Usage), "{line}");
        }
    }

    #[test]
    fn a_response_topic_with_a_wildcard_is_refused() {
        assert!(given("publish response-topic r/#").apply_to_publish(&mut publish()).is_err());
    }

    #[test]
    fn help_lists_every_property() {
        let help = properties_help();
        assert!(PROPERTIES.iter().all(|row| help.contains(row.0)));
    }
}
