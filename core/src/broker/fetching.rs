//! The last value of one topic, for languages that read resources.

use super::Broker;
use crate::authorisation::{Action, authorise};
use crate::effects::{Effects, Event};
use crate::session::Then;
use crate::shard::Word;
use crate::time::Now;
use crate::topic::{Filter, Topic};
use crate::verbs::{Answer, Reason, Refusal};

impl Broker {
    /// Answers with what the topic's owner keeps.
    pub(super) fn fetch(&mut self, now: Now, index: u32, correlation: u32, topic: &Topic, effects: &mut Effects) {
        if let Err(refusal) = self.may_read(index, topic, effects) {
            let answer = Answer::Fetched { correlation, outcome: Err(refusal) };
            return self.answer(now, index, (0, 0), answer, Then::Nothing, effects);
        }
        let owner = self.owner_of(topic);
        if owner == self.shard {
            let message = self.retained.get(topic, now.mono_ns).cloned();
            let answer = Answer::Fetched { correlation, outcome: Ok(message) };
            return self.answer(now, index, (0, 0), answer, Then::Nothing, effects);
        }
        let operation = self.new_operation();
        effects.forward.push((owner, Word::Fetch { topic: topic.detached(), operation }));
        let answer = Answer::Fetched { correlation, outcome: Ok(None) };
        self.answer(now, index, (operation, 1), answer, Then::Nothing, effects);
    }

    /// A value on its way to its reader: only what that may have, by an author who may still say it.
    pub(super) fn show_fetched(&self, index: u32, answer: &mut Answer, effects: &mut Effects) {
        let Answer::Fetched { outcome: Ok(found), .. } = answer else { return };
        *found = found.take().and_then(|message| self.shown_to(index, vec![message], effects).pop());
    }

    /// Reading a value is subscribing to it for a moment.
    fn may_read(&self, index: u32, topic: &Topic, effects: &mut Effects) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get(index) else {
            return Err(Refusal::new(Reason::Unspecified, "the session is gone"));
        };
        let filter = Filter::new(topic.text().clone(), &self.limits.topic)
            .map_err(|_| Refusal::new(Reason::TopicNameInvalid, "the topic's name means a shared subscription"))?;
        match authorise(&self.policy, &session.principal, filter, |filter| Action::Subscribe(filter)) {
            Ok(_) => Ok(()),
            Err(why) => {
                let (client, why) = (session.principal.client.clone(), why.to_string());
                effects.events.push(Event::Refused { client, reason: Reason::NotAuthorised, why });
                Err(Refusal::new(Reason::NotAuthorised, "you may not read this topic"))
            }
        }
    }
}
