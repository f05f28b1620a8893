//! The configurations of topics: last values of `$ps/NAME`, written through the resource of a language that has one, and by
//! nobody else.

use super::Broker;
use crate::authorisation::{Action, Authorised, authorise};
use crate::effects::{Effects, Event};
use crate::message::Message;
use crate::session::Then;
use crate::time::Now;
use crate::verbs::{Accepted, Answer, Publish, Reason, Refusal};

impl Broker {
    /// Keeps a configuration, or forgets it when it is empty, and answers when that is durable.
    pub(super) fn configure(&mut self, now: Now, index: u32, publish: Publish, effects: &mut Effects) {
        let Publish { mut message, correlation, .. } = publish;
        message.retain = true;
        let (guarantee, operation) = (message.guarantee, self.new_operation());
        let (outcome, waits) = match self.may_configure(now, index, message, effects) {
            Ok(message) => match self.distribute(now, message.shared(), Some(index), false, operation, effects) {
                Ok(distributed) => (Ok(Accepted { matched: distributed.matched }), distributed.waits),
                Err(refusal) => (Err(refusal), 0),
            },
            Err(refusal) => (Err(refusal), 0),
        };
        if outcome.is_err() {
            self.statistics.publishes_refused += 1;
        }
        let answer = Answer::Published { correlation, guarantee, outcome };
        self.answer(now, index, (operation, waits), answer, Then::Nothing, effects);
    }

    fn may_configure(
        &mut self,
        now: Now,
        index: u32,
        mut message: Message,
        effects: &mut Effects,
    ) -> Result<Authorised<Message>, Refusal> {
        if message.topic.configured().is_none() {
            return Err(Refusal::new(Reason::TopicNameInvalid, "the configuration of a topic is $ps/NAME"));
        }
        if self.sessions.get(index).is_some_and(|session| session.is_metered) {
            self.meter(now, index, &message, effects)?;
        }
        self.check_room(&message)?;
        message.origin = self.origin_of(index, Action::Configure(&message.topic), true);
        let Some(session) = self.sessions.get(index) else {
            return Err(Refusal::new(Reason::Unspecified, "the session is gone"));
        };
        authorise(&self.policy, &session.principal, message, |message| Action::Configure(&message.topic)).map_err(
            |why| {
                let (client, why) = (session.principal.client.clone(), why.to_string());
                effects.events.push(Event::Refused { client, reason: Reason::NotAuthorised, why });
                Refusal::new(Reason::NotAuthorised, "you may not configure this topic")
            },
        )
    }
}
