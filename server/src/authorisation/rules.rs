//! Rules as TOML tables, and back.

use crate::config::form::Form;
use althing_core::authorisation::{Actions, Network, Pattern, Rule, User, Who};
use althing_core::message::Guarantee;
use althing_core::topic::{Filter, TopicLimits};
use bytestring::ByteString;
use std::fmt::Write;
use toml::{Table, Value};

/// Every field of a rule; `topic` and `allow` have to be there.
const FIELDS: [&str; 10] =
    ["user", "group", "client", "protocol", "listener", "network", "actions", "topic", "qos_max", "allow"];

/// Whoever has proven no name.
const ANONYMOUS: &str = "$anonymous";

/// Whoever has proven one.
const AUTHENTICATED: &str = "$authenticated";

/// What `actions` takes, and what each word means.
const ACTIONS: [(&str, Actions); 5] = [
    ("publish", Actions::PUBLISH),
    ("retain", Actions { publish: false, retain: true, will: false, subscribe: false, receive: false }),
    ("will", Actions { publish: false, retain: false, will: true, subscribe: false, receive: false }),
    ("subscribe", Actions::SUBSCRIBE),
    ("receive", Actions::RECEIVE),
];

/// What a rule without `actions` speaks of.
const EVERYTHING: Actions = Actions { publish: true, retain: false, will: false, subscribe: true, receive: true };

/// Reads one rule; `source` says where it is written.
///
/// # Errors
/// A sentence that says what is wrong and what would be right.
pub fn read(value: &Value, source: &str) -> Result<Rule, String> {
    let table = value.as_table().ok_or("a rule is a table with at least `topic` and `allow`")?;
    if let Some(unknown) = table.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(format!("a rule has no `{unknown}`; it has {}", FIELDS.join(", ")));
    }
    let allow = table.get("allow").and_then(Value::as_bool).ok_or("a rule needs `allow = true` or `allow = false`")?;
    let topic = text(table, "topic")?.ok_or("a rule needs a `topic`; for all topics write \"#\"")?;
    check_topic(&topic)?;
    let network = text(table, "network")?.map(|it| it.parse::<Network>()).transpose()?;
    let who = Who {
        user: text(table, "user")?.map_or(User::Anyone, user),
        group: text(table, "group")?,
        client: text(table, "client")?,
        protocol: text(table, "protocol")?,
        listener: text(table, "listener")?,
        network,
    };
    let mut rule = Rule {
        who,
        actions: actions(table)?,
        pattern: Pattern::new(&topic),
        allow,
        guarantee_max: guarantee_max(table, allow)?,
        source: ByteString::new(),
    };
    rule.source = format!("{source}: {}", describe(&rule)).into();
    Ok(rule)
}

fn text(table: &Table, field: &str) -> Result<Option<ByteString>, String> {
    let Some(value) = table.get(field) else { return Ok(None) };
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(|text| Some(text.into())).ok_or_else(|| format!("a rule's `{field}` takes text, not {value}"))
}

fn user(name: ByteString) -> User {
    match &name[..] {
        ANONYMOUS => User::Anonymous,
        AUTHENTICATED => User::Authenticated,
        _ => User::Named(name),
    }
}

/// With something in the places of `%u` and `%c` it must be a filter, and not a shared one: those count by their pattern.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_topic(topic: &str) -> Result<(), String> {
    let sample = topic.replace("%u", "u").replace("%c", "c");
    match Filter::new(sample.into(), &TopicLimits::default()) {
        Err(error) => Err(format!("a rule's `topic` is a topic or a filter, and \"{topic}\" is none: {error}")),
        Ok(filter) if filter.pattern().len() != topic.replace("%u", "u").replace("%c", "c").len() => {
            Err(format!("a rule's `topic` is what a shared filter has after its group, not \"{topic}\""))
        }
        Ok(_) => Ok(()),
    }
}

fn actions(table: &Table) -> Result<Actions, String> {
    let expected = || format!("a rule's `actions` takes a list of {}", ACTIONS.map(|(name, _)| name).join(", "));
    let names = match table.get("actions") {
        None => return Ok(EVERYTHING),
        Some(Value::Array(names)) if !names.is_empty() => names.as_slice(),
        Some(one @ Value::String(_)) => std::slice::from_ref(one),
        Some(_) => return Err(expected()),
    };
    names.iter().try_fold(Actions::default(), |sum, name| {
        let known = ACTIONS.iter().find(|(known, _)| name.as_str() == Some(known));
        known.map(|(_, more)| both(sum, *more)).ok_or_else(|| format!("{}, not {name}", expected()))
    })
}

fn both(one: Actions, other: Actions) -> Actions {
    Actions {
        publish: one.publish || other.publish,
        retain: one.retain || other.retain,
        will: one.will || other.will,
        subscribe: one.subscribe || other.subscribe,
        receive: one.receive || other.receive,
    }
}

fn guarantee_max(table: &Table, allow: bool) -> Result<Guarantee, String> {
    match table.get("qos_max").map(Value::as_integer) {
        None => Ok(Guarantee::ExactlyOnce),
        Some(_) if !allow => Err("a rule's `qos_max` says how much is allowed, so it goes with `allow = true`".into()),
        Some(Some(0)) => Ok(Guarantee::AtMostOnce),
        Some(Some(1)) => Ok(Guarantee::AtLeastOnce),
        Some(Some(2)) => Ok(Guarantee::ExactlyOnce),
        Some(_) => Err("a rule's `qos_max` takes 0, 1 or 2".into()),
    }
}

/// What a rule says, in one line.
pub fn describe(rule: &Rule) -> String {
    let mut text = format!("{} {} {}", if rule.allow { "allow" } else { "deny" }, rule.actions, rule.pattern.text());
    for (field, value) in who(&rule.who) {
        // Writing to a string does not fail.
        let _ = write!(text, ", {field} {value}");
    }
    if rule.guarantee_max != Guarantee::ExactlyOnce {
        let _ = write!(text, ", QoS {} at most", rule.guarantee_max as u8);
    }
    text
}

/// What is said of whom a rule is for.
fn who(who: &Who) -> impl Iterator<Item = (&'static str, String)> {
    let user = match &who.user {
        User::Anyone => None,
        User::Anonymous => Some(ANONYMOUS.to_owned()),
        User::Authenticated => Some(AUTHENTICATED.to_owned()),
        User::Named(name) => Some(name.to_string()),
    };
    let text = |text: &Option<ByteString>| text.as_ref().map(ToString::to_string);
    let all = [
        ("user", user),
        ("group", text(&who.group)),
        ("client", text(&who.client)),
        ("protocol", text(&who.protocol)),
        ("listener", text(&who.listener)),
        ("network", who.network.map(|network| network.to_string())),
    ];
    all.into_iter().filter_map(|(field, value)| Some((field, value?)))
}

/// The table that reads as this rule.
pub fn write(rule: &Rule) -> Table {
    let mut table: Table = who(&rule.who).map(|(field, value)| (field.to_owned(), value.into())).collect();
    if rule.actions != EVERYTHING {
        let is_said = |actions: Actions| both(rule.actions, actions) == rule.actions;
        let is_receive_said = rule.actions.subscribe && rule.actions.receive;
        let names =
            ACTIONS.iter().filter(|(name, actions)| is_said(*actions) && !(*name == "receive" && is_receive_said));
        table.insert("actions".into(), names.map(|(name, _)| Value::from(*name)).collect::<Vec<_>>().into());
    }
    table.insert("topic".into(), rule.pattern.text().into());
    if rule.guarantee_max != Guarantee::ExactlyOnce {
        table.insert("qos_max".into(), i64::from(rule.guarantee_max as u8).into());
    }
    table.insert("allow".into(), rule.allow.into());
    table
}

impl Form for Rule {
    fn takes() -> String {
        format!("a table with {}", FIELDS.join(", "))
    }

    fn read(value: &Value) -> Result<Self, String> {
        read(value, "authorisation.rules")
    }

    fn write(&self) -> Option<Value> {
        Some(write(self).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<Rule, String> {
        read(&Value::Table(text.parse().unwrap()), "rules.toml:7")
    }

    #[test]
    fn a_rule_is_read_and_written_again() {
        for (text, described) in [
            ("topic = '#'\nallow = false", "deny publish,subscribe,receive #"),
            (
                "topic = 'a/%u'\nallow = true\nactions = ['publish', 'will']\nuser = 'ann'\nnetwork = '10.0.0.0/8'",
                "allow publish,will a/%u, user ann, network 10.0.0.0/8",
            ),
            (
                "topic = 'a'\nallow = true\nactions = ['subscribe']\nuser = '$anonymous'\nqos_max = 1",
                "allow subscribe,receive a, user $anonymous, QoS 1 at most",
            ),
            (
                "topic = 'a'\nallow = false\nactions = 'receive'\ngroup = 'g'\nclient = 'c'\nprotocol = 'coap'\nlistener = 'l'",
                "deny receive a, group g, client c, protocol coap, listener l",
            ),
        ] {
            let first = rule(text).unwrap();
            assert_eq!(first.source, format!("rules.toml:7: {described}"));
            assert_eq!(read(&write(&first).into(), "rules.toml:7"), Ok(first));
        }
    }

    #[test]
    fn a_mistake_says_what_would_be_right() {
        for (text, expected) in [
            ("topic = 'a'", "a rule needs `allow = true` or `allow = false`"),
            ("allow = true", "a rule needs a `topic`; for all topics write \"#\""),
            ("allow = true\ntopic = ''", "a rule's `topic` takes text, not \"\""),
            ("allow = true\ntopic = 'a'\naction = 'publish'", "a rule has no `action`; it has user, group, client"),
            ("allow = true\ntopic = 'a#'", "a rule's `topic` is a topic or a filter, and \"a#\" is none"),
            ("allow = true\ntopic = '$share/g/a'", "a rule's `topic` is what a shared filter has after its group"),
            ("allow = true\ntopic = 'a'\nactions = []", "a rule's `actions` takes a list of publish, retain"),
            ("allow = true\ntopic = 'a'\nactions = ['read']", "a rule's `actions` takes a list of publish, retain"),
            ("allow = false\ntopic = 'a'\nqos_max = 1", "a rule's `qos_max` says how much is allowed"),
            ("allow = true\ntopic = 'a'\nqos_max = 3", "a rule's `qos_max` takes 0, 1 or 2"),
            ("allow = true\ntopic = 'a'\nnetwork = '10.0.0.0/33'", "`10.0.0.0/33` is no network"),
        ] {
            let error = rule(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        assert!(read(&Value::Integer(1), "x").is_err());
    }
}
