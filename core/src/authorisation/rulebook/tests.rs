//! The compiled rulebook says what asking one rule after the other says.

use super::super::*;
use crate::link::Entrance;
use crate::time::Entropy;
use crate::topic::TopicLimits;

const LEVELS: [&str; 11] = ["a", "b", "c", "", "%u", "%c", "x%u", "$SYS", "$%c", "%c%u", "ü%u%"];
const NAMES: [&str; 6] = ["a", "b", "$SYS", "x/y", "+", ""];
const GROUPS: [&str; 3] = ["g", "h", "i"];
const LISTENERS: [&str; 3] = ["", "one", "other"];

struct Chance(Entropy);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn guarantee(&mut self) -> Guarantee {
        self.choose(&[Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::ExactlyOnce])
    }

    fn path(&mut self, levels: &[&str], wildcards: bool) -> String {
        let count = 1 + self.below(3);
        let mut path: Vec<&str> =
            (0..count).map(|_| if wildcards && self.one_in(4) { "+" } else { self.choose(levels) }).collect();
        if wildcards && self.one_in(4) {
            path.push("#");
        }
        let path = path.join("/");
        if wildcards && self.one_in(10) { format!("$share/a/{path}") } else { path }
    }

    fn topic(&mut self) -> Topic {
        loop {
            let path = self.path(&["a", "b", "c", "", "xa", "$SYS", "$a", "aa", "ba", "üa%"], false);
            if let Ok(topic) = Topic::new(path.into(), &TopicLimits::default()) {
                return topic;
            }
        }
    }

    fn filter(&mut self) -> Filter {
        loop {
            let path = self.path(&["a", "b", "c", "", "xa", "$SYS", "$a", "aa", "ba", "üa%"], true);
            if let Ok(filter) = Filter::new(path.into(), &TopicLimits::default()) {
                return filter;
            }
        }
    }

    fn some<T>(&mut self, times: usize, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.one_in(times).then(|| make(self))
    }

    fn rule(&mut self) -> Rule {
        let actions = Actions {
            publish: self.one_in(2),
            retain: self.one_in(3),
            will: self.one_in(3),
            subscribe: self.one_in(2),
            receive: self.one_in(2),
        };
        let pattern = self.path(&LEVELS, true);
        let mut rule = Rule::for_everyone(actions, &pattern, self.one_in(2));
        rule.guarantee_max = self.guarantee();
        rule.who = Who {
            user: match self.below(6) {
                0 => User::Anonymous,
                1 => User::Authenticated,
                2 | 3 => User::Named(self.choose(&NAMES).into()),
                _ => User::Anyone,
            },
            group: self.some(5, |chance| chance.choose(&GROUPS).into()),
            client: self.some(5, |chance| chance.choose(&NAMES).into()),
            protocol: self.some(8, |_| "mqtt".into()),
            listener: self.some(8, |_| "one".into()),
            network: self.some(8, |_| "127.0.0.0/8".parse().unwrap()),
        };
        rule
    }

    fn policy(&mut self) -> Policy {
        let count = self.choose(&[0, 1, 5, 40, 200]);
        let mut policy = Policy::new((0..count).map(|_| self.rule()).collect(), self.one_in(2));
        policy.users = self.some(3, |chance| {
            let known = NAMES.iter().filter(|_| !chance.one_in(5)).copied().collect::<Vec<_>>();
            let groups =
                |chance: &mut Self| GROUPS.iter().filter(|_| chance.one_in(2)).map(|group| (*group).into()).collect();
            known.into_iter().map(|name| (name.into(), groups(chance))).collect()
        });
        if self.one_in(4) {
            policy.banned.users.insert("b".into());
        }
        if self.one_in(4) {
            policy.banned.clients.insert("$SYS".into());
        }
        policy
    }

    fn principal(&mut self) -> Principal {
        let entrance = Entrance { name: self.choose(&LISTENERS), ..Entrance::default() };
        let remote = self.some(2, |_| "10.0.0.1:1".parse().unwrap());
        let identity = Identity {
            name: self.some(2, |chance| chance.choose(&NAMES).into()),
            groups: GROUPS.iter().filter(|_| self.one_in(4)).map(|group| (*group).into()).collect(),
            rules: (0..self.below(3)).filter_map(|_| self.some(3, Self::rule)).collect(),
            expires_wall_ms: None,
        };
        Principal {
            identity: Arc::new(identity),
            client: self.choose(&NAMES).into(),
            protocol: self.choose(&["mqtt", "coap"]),
            link: Link { remote, entrance: Arc::new(entrance), ..Link::default() },
        }
    }
}

#[test]
fn the_rulebook_says_what_one_rule_after_the_other_says() {
    let mut chance = Chance(Entropy::new(1));
    let mut rules_that_decided = 0;
    for _ in 0..300 {
        let policy = Arc::new(chance.policy());
        let rulebook = Rulebook::new(policy.clone(), 1);
        for _ in 0..30 {
            let principal = chance.principal();
            let mut standing = None;
            let (topic, filter) = (chance.topic(), chance.filter());
            let (guarantee, retain, will) = (chance.guarantee(), chance.one_in(2), chance.one_in(2));
            for action in [
                Action::Publish { topic: &topic, guarantee, retain, will },
                Action::Receive(&topic),
                Action::Subscribe(&filter),
            ] {
                let expected = policy.decide(&principal, action);
                assert_eq!(rulebook.decide(&principal, action), expected, "{principal:?} {action} {policy:#?}");
                rules_that_decided += u32::from(matches!(expected.because, Because::Rule(_)));
            }
            for rule in &policy.rules {
                let filled = rule.pattern.filter_for(&principal).is_some_and(|filter| filter.matches(&topic));
                assert_eq!(
                    rule.pattern.matches(&topic, &principal),
                    filled,
                    "{:?} {topic} {principal:?}",
                    rule.pattern
                );
            }
            let receives = policy.decide(&principal, Action::Receive(&topic)).allowed;
            assert_eq!(rulebook.known_may_receive(&mut standing, &principal, &topic), receives);
            for _ in 0..3 {
                let mut message = Message::new(topic.clone(), "".into());
                (message.guarantee, message.retain) = (chance.guarantee(), chance.one_in(2));
                let expected = policy.decide(&principal, Action::publish(&message)).allowed;
                let found = rulebook.known_may_publish(&mut standing, &principal, &message).allowed;
                assert_eq!(found, expected, "{principal:?} {message:?} {policy:#?}");
            }
        }
    }
    assert!(rules_that_decided > 1_000, "{rules_that_decided}");
}
