//! mosquitto's ACL files, as they are.
//!
//! What mosquitto does with them, in its order: whoever has a name is held to the `topic` lines below `user NAME`, whoever has
//! none to those above the first `user`; then everyone to the `pattern` lines; in each of the two, denials are asked first. What
//! no line allows is denied. `read` is asked when a message is delivered; everyone may subscribe to anything.

use super::{SUBSCRIBE_ALONE, rules};
use crate::config::ConfigError;
use althing_core::authorisation::{Actions, Pattern, Rule, User, Who};
use althing_core::message::Guarantee;
use bytestring::ByteString;
use std::path::Path;

/// What everyone may subscribe to. No filter covers both what begins with `$` and the rest.
const EVERYTHING: [&str; 3] = ["#", "$SYS/#", "$queue/#"];

/// Reads a file.
///
/// # Errors
/// The first mistake, with its line.
pub fn read(path: &Path) -> Result<Vec<Rule>, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::File { path: path.to_owned(), error })?;
    let name = path.display();
    let syntax =
        |line: usize, expected: String| ConfigError::Syntax { source_text: format!("{name}:{line}"), expected };
    // mosquitto asks for no encoding, but topics are UTF-8.
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        syntax(1 + before.iter().filter(|byte| **byte == b'\n').count(), "this is not UTF-8".into())
    })?;
    parse(&text, &name.to_string()).map_err(|(line, expected)| syntax(line, expected))
}

/// Reads the text of the file `name`; a mistake comes with its line.
fn parse(text: &str, name: &str) -> Result<Vec<Rule>, (usize, String)> {
    let mut lists = Lists::default();
    let mut user = User::Anonymous;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let at = |expected: String| (index + 1, expected);
        let line = line.trim();
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let source = |whose: &User| {
            let whose = match whose {
                User::Named(name) => format!(", user {name}"),
                User::Anonymous => ", without a user".into(),
                User::Anyone | User::Authenticated => String::new(),
            };
            format!("{name}:{}: {line}{whose}", index + 1).into()
        };
        match (word, rest.trim()) {
            (comment, _) if comment.is_empty() || comment.starts_with('#') => {}
            ("user", "") => return Err(at("`user` needs a name: user NAME".into())),
            ("user", name) => user = User::Named(name.into()),
            ("topic", rest) if rest.contains("%u") || rest.contains("%c") => {
                // There it stands for itself, in a topic that nobody has.
                tracing::warn!(
                    "{name}:{}: %u and %c mean something in `pattern` lines only; this line is skipped",
                    index + 1
                );
            }
            ("topic", rest) => lists.topics.add(rest, user.clone(), source(&user)).map_err(at)?,
            ("pattern", rest) => lists.patterns.add(rest, User::Anyone, source(&User::Anyone)).map_err(at)?,
            _ => return Err(at(format!("`{word}` is none of user, topic and pattern"))),
        }
    }
    Ok(lists.rules())
}

/// The lines that are asked one after the other.
#[derive(Default)]
struct Lists {
    topics: List,
    patterns: List,
}

#[derive(Default)]
struct List {
    denials: Vec<Rule>,
    others: Vec<Rule>,
}

impl Lists {
    fn rules(self) -> Vec<Rule> {
        let subscribe = |pattern| Rule {
            source: "mosquitto lets everyone subscribe, and decides at delivery".into(),
            ..Rule::for_everyone(SUBSCRIBE_ALONE, pattern, true)
        };
        let lists = [self.topics, self.patterns].into_iter();
        lists.flat_map(|list| list.denials.into_iter().chain(list.others)).chain(EVERYTHING.map(subscribe)).collect()
    }
}

impl List {
    /// `rest` is what follows `topic` or `pattern`: an access, if any, and a filter, which may have spaces in it.
    fn add(&mut self, rest: &str, user: User, source: ByteString) -> Result<(), String> {
        let (access, topic) = match rest.split_once([' ', '\t']) {
            Some((access, topic)) => (access, topic.trim()),
            None => ("readwrite", rest),
        };
        let read_and_write = Actions { publish: true, ..Actions::RECEIVE };
        let (allow, actions) = match access {
            "read" => (true, Actions::RECEIVE),
            "write" => (true, Actions::PUBLISH),
            "readwrite" => (true, read_and_write),
            "deny" => (false, read_and_write),
            _ => return Err(format!("`{access}` is none of read, write, readwrite and deny")),
        };
        if topic.is_empty() {
            return Err("a topic is missing: topic [read|write|readwrite|deny] TOPIC".into());
        }
        rules::check_topic(topic)?;
        let rule = Rule {
            who: Who { user, ..Who::default() },
            actions,
            pattern: Pattern::new(topic),
            allow,
            guarantee_max: Guarantee::ExactlyOnce,
            source,
        };
        if allow {
            self.others.push(rule)
        } else {
            self.denials.push(rule)
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::authorisation::{Action, Because, Policy, Principal};
    use althing_core::topic::TopicLimits;
    use althing_core::{Filter, Identity, Link, Topic};
    use std::sync::Arc;

    const FILE: &str = "# a comment\n\
        topic read public/#\n\
        topic write inbox\n\
        \n\
        user alice\n\
        topic a/#\n\
        topic deny a/secret\n\
        topic readwrite with space/x\r\n\
        user bob\n\
        pattern write up/%u/%c\n\
        pattern deny up/bob/bad\n";

    fn principal(user: Option<&str>, client: &str) -> Principal {
        let identity = user.map_or_else(Identity::default, Identity::named);
        let link = Link::new(None, "mqtt");
        Principal { identity: Arc::new(identity), client: client.into(), protocol: "mqtt", link }
    }

    fn policy() -> Policy {
        Policy::new(parse(FILE, "acl").unwrap(), false)
    }

    fn topic(text: &str) -> Topic {
        Topic::new(text.into(), &TopicLimits::default()).unwrap()
    }

    #[test]
    fn it_decides_as_mosquitto_does() {
        let policy = policy();
        for (user, client, action, text, expected) in [
            (None, "x", "read", "public/a", true),
            (None, "x", "write", "public/a", false),
            (None, "x", "write", "inbox", true),
            (None, "x", "read", "a/b", false),
            (Some("alice"), "x", "read", "a/b", true),
            (Some("alice"), "x", "write", "a/b", true),
            // Denials come first, wherever they stand.
            (Some("alice"), "x", "read", "a/secret", false),
            (Some("alice"), "x", "write", "with space/x", true),
            // What is said of those without a name is not said of those with one.
            (Some("alice"), "x", "read", "public/a", false),
            (Some("bob"), "c", "write", "up/bob/c", true),
            (Some("bob"), "c", "read", "up/bob/c", false),
            (Some("bob"), "c", "write", "up/bob/d", false),
            (Some("bob"), "bad", "write", "up/bob/bad", false),
            (None, "c", "write", "up//c", false),
        ] {
            let (principal, topic) = (principal(user, client), topic(text));
            let publish =
                Action::Publish { topic: &topic, guarantee: Guarantee::AtMostOnce, retain: false, will: false };
            let action = if action == "read" { Action::Receive(&topic) } else { publish };
            assert_eq!(policy.decide(&principal, action).allowed, expected, "{user:?} {client} {action:?}");
        }
    }

    #[test]
    fn everyone_may_subscribe_to_anything() {
        for text in ["#", "a/secret", "$SYS/#", "$share/g/x", "$queue/q"] {
            let filter = Filter::new(text.into(), &TopicLimits::default()).unwrap();
            assert!(policy().decide(&principal(None, "x"), Action::Subscribe(&filter)).allowed, "{text}");
        }
    }

    #[test]
    fn a_decision_names_its_line() {
        let (policy, topic) = (policy(), topic("a/secret"));
        let alice = principal(Some("alice"), "x");
        let Because::Rule(rule) = policy.decide(&alice, Action::Receive(&topic)).because else { panic!() };
        assert_eq!(rule.source, "acl:7: topic deny a/secret, user alice");
    }

    #[test]
    fn mistakes_come_with_their_line() {
        for (text, line, expected) in [
            ("user", 1, "`user` needs a name"),
            ("user  \n", 1, "`user` needs a name"),
            ("\n\ntopic", 3, "a topic is missing"),
            ("# x\nallow a", 2, "`allow` is none of user, topic and pattern"),
            ("topic wriet a", 1, "`wriet` is none of read, write, readwrite and deny"),
            ("topic read a/#/b", 1, "a rule's `topic` is a topic or a filter"),
            ("topic a\0b", 1, "a rule's `topic` is a topic or a filter"),
            ("pattern read $share/g/a", 1, "a rule's `topic` is what a shared filter has after its group"),
        ] {
            let (at, error) = parse(text, "acl").unwrap_err();
            assert!(at == line && error.starts_with(expected), "{text:?}: {at} {error}");
        }
    }

    #[test]
    fn any_bytes_are_rules_or_a_mistake() {
        let mut bytes = FILE.as_bytes().to_vec();
        for index in 0..bytes.len() {
            for byte in [0, b' ', b'\n', b'#', b'%', b'/', 0xff] {
                let before = std::mem::replace(&mut bytes[index], byte);
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    let _ = parse(text, "acl");
                }
                bytes[index] = before;
            }
            let _ = parse(&FILE[..index], "acl");
        }
        let long = format!("topic read {}", "a/".repeat(100_000));
        assert!(parse(&long, "acl").is_err(), "deeper than any topic may be");
    }
}
