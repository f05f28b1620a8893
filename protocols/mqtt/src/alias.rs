//! Topic aliases: short numbers for topics, one table a direction and connection (§3.3.2.3.4).

use althing_core::Topic;

/// The aliases that our peer has set up.
#[derive(Debug, Default)]
pub struct AliasesIn {
    /// Alias `n` is at `n - 1`. Grows with the highest alias in use, bounded by the maximum we stated.
    topics: Vec<Option<Topic>>,
}

/// Why an alias cannot be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliasError {
    /// 0, or above the maximum that the receiver stated ([MQTT-3.3.2-8], [MQTT-3.3.2-9]).
    OutOfRange,
    /// No topic was given, neither now nor earlier.
    Unknown,
}

impl AliasesIn {
    /// The topic of a PUBLISH with this `alias`; sets the alias up when the packet has a topic as well.
    pub fn resolve(&mut self, topic: Option<Topic>, alias: u16, alias_max: u16) -> Result<Topic, AliasError> {
        if alias == 0 || alias > alias_max {
            return Err(AliasError::OutOfRange);
        }
        let place = usize::from(alias) - 1;
        let Some(topic) = topic else {
            return self.topics.get(place).cloned().flatten().ok_or(AliasError::Unknown);
        };
        if self.topics.len() <= place {
            self.topics.resize(place + 1, None);
        }
        if self.topics[place].as_ref() != Some(&topic) {
            // The topic is a slice of the read buffer, which must not live as long as the alias.
            self.topics[place] = Some(topic.detached());
        }
        Ok(topic)
    }
}

/// The aliases that we set up towards our peer: the first topics that come get them and keep them.
#[derive(Debug)]
pub struct AliasesOut {
    /// The topic at `n` has alias `n + 1`. A plain list, since it is short (`topic_alias_out_maximum`) and
    /// comparing lengths tells most topics apart; hundreds of aliases would ask for a map.
    topics: Vec<Topic>,
    alias_max: u16,
}

/// What a PUBLISH says about its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliasOut {
    /// The topic, no alias.
    None,
    /// The topic, and the alias that it has from now on.
    New(u16),
    /// The alias alone.
    Known(u16),
}

impl AliasesOut {
    /// An empty table for at most `alias_max` topics.
    pub fn new(alias_max: u16) -> Self {
        Self { topics: Vec::new(), alias_max }
    }

    /// How to name `topic` in the next PUBLISH. [`AliasOut::New`] takes hold with [`set_up`](Self::set_up).
    pub fn name(&self, topic: &Topic) -> AliasOut {
        if let Some(place) = self.topics.iter().position(|known| known == topic) {
            AliasOut::Known(place as u16 + 1)
        } else if self.topics.len() < usize::from(self.alias_max) {
            AliasOut::New(self.topics.len() as u16 + 1)
        } else {
            AliasOut::None
        }
    }

    /// The PUBLISH that introduces `topic` under the next alias is on its way.
    pub fn set_up(&mut self, topic: &Topic) {
        self.topics.push(topic.detached());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::topic::TopicLimits;

    fn topic(name: &str) -> Topic {
        Topic::new(name.into(), &TopicLimits::default()).unwrap()
    }

    #[test]
    fn incoming_aliases_are_set_up_used_and_changed() {
        let mut aliases = AliasesIn::default();
        assert_eq!(aliases.resolve(None, 1, 3), Err(AliasError::Unknown));
        assert_eq!(aliases.resolve(Some(topic("a")), 3, 3), Ok(topic("a")));
        assert_eq!(aliases.resolve(None, 3, 3), Ok(topic("a")));
        assert_eq!(aliases.resolve(None, 1, 3), Err(AliasError::Unknown));
        assert_eq!(aliases.resolve(Some(topic("b")), 3, 3), Ok(topic("b")));
        assert_eq!(aliases.resolve(None, 3, 3), Ok(topic("b")));
        for alias in [0, 4, u16::MAX] {
            assert_eq!(aliases.resolve(Some(topic("a")), alias, 3), Err(AliasError::OutOfRange), "{alias}");
        }
    }

    #[test]
    fn outgoing_aliases_go_to_the_first_topics() {
        let mut aliases = AliasesOut::new(2);
        assert_eq!(aliases.name(&topic("a")), AliasOut::New(1));
        assert_eq!(aliases.name(&topic("a")), AliasOut::New(1), "not sent yet");
        aliases.set_up(&topic("a"));
        assert_eq!(aliases.name(&topic("a")), AliasOut::Known(1));
        assert_eq!(aliases.name(&topic("b")), AliasOut::New(2));
        aliases.set_up(&topic("b"));
        assert_eq!(aliases.name(&topic("c")), AliasOut::None);
    }
}
