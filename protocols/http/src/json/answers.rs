//! From answers to objects.

use super::writing::{self, Writer, reason_name};
use super::{Asked, JsonAdaptor, Pending, Phase, publication};
use althing_core::verbs::{Connected, Outcome, Reason, Refusal};
use althing_core::{Answer, Close, Guarantee, Message, MessageOut, Now, Request};
use bytestring::ByteString;
use serde_json::value::RawValue;

impl JsonAdaptor {
    pub(super) fn answered(&mut self, now: Now, answer: Answer, out: &mut MessageOut<'_>) -> Result<(), Close> {
        match answer {
            Answer::Connected(connected) => self.connected(now, &connected, out),
            Answer::Published { correlation, outcome, .. } => {
                let Some(pending) = self.done(correlation) else { return Ok(()) };
                match outcome {
                    Ok(accepted) if pending.id.is_some() => {
                        Writer::new("published").id(pending.id.as_ref()).field("matched", accepted.matched).send(out);
                    }
                    Ok(_) => {}
                    Err(refusal) => pending.refuse(&refusal, out),
                }
                Ok(())
            }
            Answer::Released { token, known } => {
                Writer::new("released").field("id", token).field("known", known).send(out);
                Ok(())
            }
            Answer::Complete { number, known } => {
                if known {
                    out.requests.push_back(Request::Settle { number, outcome: Outcome::Accept });
                }
                Ok(())
            }
            Answer::Subscribed { correlation, results, why } => {
                let Some(pending) = self.done(correlation) else { return Ok(()) };
                pending.subscribed(&results, &why, out);
                Ok(())
            }
            Answer::Unsubscribed { correlation, results } => {
                let Some(pending) = self.done(correlation) else { return Ok(()) };
                pending.unsubscribed(&results, out);
                Ok(())
            }
            Answer::Fetched { correlation, outcome } => {
                let Some(pending) = self.done(correlation) else { return Ok(()) };
                match outcome {
                    Ok(value) => pending.fetched(now, value.as_deref(), out),
                    Err(refusal) => pending.refuse(&refusal, out),
                }
                Ok(())
            }
            Answer::Refused(refusal) => {
                writing::error(self.connect_id.as_ref(), Some("connect"), &refusal, true, out);
                Err(Close::with_will(refusal))
            }
            Answer::Close(refusal) => {
                writing::error(None, None, &refusal, true, out);
                // A broker that stops is no lost peer.
                Err(Close { publish_will: !refusal.reason.is_stop(), refusal })
            }
            // Nothing here asks for an authentication in several steps.
            Answer::Challenge(_) | Answer::Reauthenticated(_) => Ok(()),
        }
    }

    fn connected(&mut self, now: Now, connected: &Connected, out: &mut MessageOut<'_>) -> Result<(), Close> {
        self.phase = Phase::Connected;
        Writer::new("connected")
            .id(self.connect_id.take().as_ref())
            .field("client", &connected.client[..])
            .field("assigned", connected.assigned)
            .field("session_present", connected.session_present)
            .field("session_expiry_s", connected.session_expiry_s)
            .field("message_bytes_max", self.limits.packet_bytes_max)
            .send(out);
        match self.first.take() {
            Some(first) => self.take(now, first, out),
            None => Ok(()),
        }
    }

    /// The request that was answered; requests are answered in their order.
    fn done(&mut self, correlation: u32) -> Option<Pending> {
        self.pending.pop_front_if(|first| first.correlation == correlation)
    }
}

impl Pending {
    fn refuse(&self, refusal: &Refusal, out: &mut MessageOut<'_>) {
        let request = match self.what {
            Asked::Publish => "publish",
            Asked::Subscribe(_) => "subscribe",
            Asked::Unsubscribe(_) => "unsubscribe",
            Asked::Fetch => "fetch",
        };
        writing::error(self.id.as_ref(), Some(request), refusal, false, out);
    }

    /// An error when nothing of it was granted.
    fn subscribed(&self, results: &[Result<Guarantee, Reason>], why: &str, out: &mut MessageOut<'_>) {
        let Asked::Subscribe(filters) = &self.what else { return };
        if let Some(Err(reason)) = results.first()
            && results.iter().all(Result::is_err)
        {
            let filter = filters.first().map_or("", |filter| &filter[..]);
            let text = match why {
                "" => format!("the subscription to `{filter}` was refused"),
                why => why.to_owned(),
            };
            return self.refuse(&Refusal::new(*reason, text), out);
        }
        let result = |(filter, result): (&ByteString, &Result<Guarantee, Reason>)| {
            let object = Writer::part().field("filter", &filter[..]);
            match result {
                Ok(granted) => object.field("qos", *granted as u8),
                Err(reason) => object.field("reason", reason_name(*reason)),
            }
            .into_raw()
        };
        let results: Vec<_> = filters.iter().zip(results).filter_map(result).collect();
        let object = Writer::new("subscribed").id(self.id.as_ref()).field("results", results);
        object.maybe("text", (!why.is_empty()).then_some(why)).send(out);
    }

    fn unsubscribed(&self, results: &[Result<bool, Reason>], out: &mut MessageOut<'_>) {
        let Asked::Unsubscribe(filters) = &self.what else { return };
        let result = |(filter, result): (&ByteString, &Result<bool, Reason>)| {
            let object = Writer::part().field("filter", &filter[..]);
            match result {
                Ok(found) => object.field("found", found),
                Err(reason) => object.field("reason", reason_name(*reason)),
            }
            .into_raw()
        };
        let results: Vec<_> = filters.iter().zip(results).filter_map(result).collect();
        Writer::new("unsubscribed").id(self.id.as_ref()).field("results", results).send(out);
    }

    fn fetched(&self, now: Now, value: Option<&Message>, out: &mut MessageOut<'_>) {
        let message: Option<Box<RawValue>> = value.and_then(|message| {
            let object = Writer::part().field("topic", message.topic.as_str());
            let object = publication::write_payload(&message.payload, object).field("qos", message.guarantee as u8);
            publication::write(message, now, object).into_raw()
        });
        Writer::new("value").id(self.id.as_ref()).field("message", message).send(out);
    }
}
