//! From frames to requests: what the peer may ask for ("Client Frames").

use super::subscriptions::{AckMode, InUse};
use super::{Pending, Phase, StompAdaptor, VERSION, goodbye, send_receipt};
use crate::config::PROTOCOL;
use crate::destination;
use crate::frame::{Command, Frame, Headers};
use crate::heart_beat::HeartBeat;
use crate::mapping;
use althing_core::verbs::{
    Connect, Outcome, Publish, Reason, Refusal, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe,
};
use althing_core::{Close, Guarantee, Message, Now, Out, Request};
use bytestring::ByteString;

impl StompAdaptor {
    pub(super) fn handle(&mut self, now: Now, frame: Frame, out: &mut Out<'_>) -> Result<(), Close> {
        let receipt = frame.headers.get("receipt").cloned();
        // What is kept for as long as the peer likes has to be short.
        for name in ["receipt", "id"] {
            if frame.headers.get(name).is_some_and(|value| value.len() > self.limits.client_id_bytes_max) {
                let text = format!("the header {name} is longer than {} bytes", self.limits.client_id_bytes_max);
                return Err(self.refuse(Refusal::new(Reason::QuotaExceeded, text), None, out));
            }
        }
        let result = match (&self.phase, frame.command) {
            (Phase::AwaitConnect, Command::Connect | Command::Stomp) => self.connect(&frame.headers, out),
            (Phase::AwaitConnect, _) => Err(protocol_error("the first frame is not CONNECT")),
            (_, Command::Connect | Command::Stomp) => Err(protocol_error("a second CONNECT")),
            (_, Command::Send) => self.send(now, frame, receipt.clone(), out),
            (_, Command::Subscribe) => self.subscribe(&frame.headers, receipt.clone(), out),
            (_, Command::Unsubscribe) => self.unsubscribe(&frame.headers, receipt.clone(), out),
            (_, Command::Ack) => self.acknowledge(&frame.headers, Outcome::Accept, receipt.as_ref(), out),
            (_, Command::Nack) => self.acknowledge(&frame.headers, Outcome::Release, receipt.as_ref(), out),
            (_, Command::Disconnect) => return self.disconnect(receipt, out),
            (_, Command::Begin | Command::Commit | Command::Abort) => Err(no_transactions()),
            (_, Command::Connected | Command::Message | Command::Receipt | Command::Error) => {
                Err(protocol_error("a frame that only a server may send"))
            }
        };
        result.map_err(|refusal| self.refuse(refusal, receipt.as_ref(), out))
    }

    /// CONNECT or STOMP. Whatever host is asked for, it is this one.
    fn connect(&mut self, headers: &Headers, out: &mut Out<'_>) -> Result<(), Refusal> {
        let versions = headers.get("accept-version").map_or("1.0", |versions| &versions[..]);
        if !versions.split(',').any(|version| version == VERSION) {
            let text = format!("the supported protocol version is {VERSION}");
            return Err(Refusal::new(Reason::UnsupportedVersion, text));
        }
        let heart_beat = headers.get("heart-beat").map(|header| &header[..]);
        let (send_ms, receive_ms) = (self.config.heart_beat_send_ms, self.config.heart_beat_receive_ms);
        self.heart_beat = HeartBeat::agree(send_ms, receive_ms, heart_beat).map_err(protocol_error)?;
        let connect = Connect {
            window: self.limits.inflight_max,
            separate_subscriptions: true,
            username: headers.get("login").cloned(),
            password: headers.get("passcode").map(|passcode| passcode.clone().into_bytes()),
            ..Connect::new(PROTOCOL.name)
        };
        self.phase = Phase::AwaitBroker;
        out.requests.push_back(Request::Connect(Box::new(connect)));
        Ok(())
    }

    /// With a receipt the publisher wants to know, and to a queue a message is worth keeping.
    fn send(&mut self, now: Now, frame: Frame, receipt: Option<ByteString>, out: &mut Out<'_>) -> Result<(), Refusal> {
        refuse_transaction(&frame.headers)?;
        let destination = required(&frame.headers, "destination")?;
        let topic = destination::topic(destination, &self.limits.topic)
            .map_err(|error| Refusal::new(Reason::TopicNameInvalid, error.to_string()))?;
        let is_kept = receipt.is_some() || topic.queue().is_some();
        let mut message = Message::new(topic, frame.body);
        mapping::read(frame.headers, now, &self.limits.topic, &mut message).map_err(protocol_error)?;
        let mut correlation = 0;
        if is_kept {
            message.guarantee = Guarantee::AtLeastOnce;
            correlation = self.await_answer(receipt);
        }
        out.requests.push_back(Request::Publish(Publish { message, token: None, correlation }));
        Ok(())
    }

    fn subscribe(&mut self, headers: &Headers, receipt: Option<ByteString>, out: &mut Out<'_>) -> Result<(), Refusal> {
        let (id, destination) = (required(headers, "id")?, required(headers, "destination")?);
        let ack = match headers.get("ack").map_or("auto", |ack| &ack[..]) {
            "auto" => AckMode::Auto,
            "client" => AckMode::Cumulative,
            "client-individual" => AckMode::Individual,
            _ => return Err(protocol_error("ack is auto, client or client-individual")),
        };
        let filter = destination::filter(destination, &self.limits.topic)
            .map_err(|error| Refusal::new(Reason::TopicFilterInvalid, error.to_string()))?;
        let tag = self.subscriptions.add(id, &filter, ack).map_err(|in_use| {
            let text = match in_use {
                InUse::Id => "this connection has a subscription of that id already",
                InUse::Destination => "this connection is subscribed to that destination already",
            };
            Refusal::new(Reason::IdentifierInUse, text)
        })?;
        let at_most_once = ack == AckMode::Auto && !filter.is_queue();
        let guarantee = if at_most_once { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce };
        let options = SubscriptionOptions { guarantee, tag, ..SubscriptionOptions::default() };
        let filters = vec![SubscribeFilter { filter: Ok(filter), options }];
        let correlation = self.await_answer(receipt);
        out.requests.push_back(Request::Subscribe(Box::new(Subscribe { correlation, filters })));
        Ok(())
    }

    fn unsubscribe(
        &mut self,
        headers: &Headers,
        receipt: Option<ByteString>,
        out: &mut Out<'_>,
    ) -> Result<(), Refusal> {
        let Some((subscription, numbers)) = self.subscriptions.remove(required(headers, "id")?) else {
            let text = "this connection has no subscription of that id";
            return Err(Refusal::new(Reason::IdentifierNotFound, text));
        };
        let correlation = self.await_answer(receipt);
        let filters = vec![Ok(subscription.filter)];
        out.requests.push_back(Request::Unsubscribe(Box::new(Unsubscribe { correlation, filters })));
        // What came from a queue has gone back there with the subscription; these numbers mean nothing then.
        for number in numbers {
            out.requests.push_back(Request::Settle { number, outcome: Outcome::Release });
        }
        Ok(())
    }

    /// ACK and NACK.
    fn acknowledge(
        &mut self,
        headers: &Headers,
        outcome: Outcome,
        receipt: Option<&ByteString>,
        out: &mut Out<'_>,
    ) -> Result<(), Refusal> {
        refuse_transaction(headers)?;
        let Some(numbers) = self.subscriptions.acknowledged(required(headers, "id")?) else {
            return Err(Refusal::new(Reason::IdentifierNotFound, "no message was sent with that ack header"));
        };
        for number in numbers {
            out.requests.push_back(Request::Settle { number, outcome });
        }
        if let Some(receipt) = receipt {
            send_receipt(receipt, out);
        }
        Ok(())
    }

    fn disconnect(&mut self, receipt: Option<ByteString>, out: &mut Out<'_>) -> Result<(), Close> {
        let Some(receipt) = receipt else { return Err(goodbye()) };
        self.phase = Phase::Leaving { receipt };
        self.leave_when_done(out)
    }

    /// A place in the line of those that the broker answers; returns its correlation.
    fn await_answer(&mut self, receipt: Option<ByteString>) -> u32 {
        // 0 belongs to publishes that nobody waits for.
        self.last_correlation = self.last_correlation.checked_add(1).unwrap_or(1);
        let receipt = receipt.map(|receipt| ByteString::from(&receipt[..]));
        self.pending.push_back(Pending { correlation: self.last_correlation, receipt });
        self.last_correlation
    }
}

fn required<'a>(headers: &'a Headers, name: &'static str) -> Result<&'a ByteString, Refusal> {
    headers.get(name).ok_or_else(|| protocol_error(format!("the header {name} is missing")))
}

fn refuse_transaction(headers: &Headers) -> Result<(), Refusal> {
    if headers.get("transaction").is_some() { Err(no_transactions()) } else { Ok(()) }
}

fn no_transactions() -> Refusal {
    Refusal::new(Reason::ImplementationSpecific, "transactions are not supported yet")
}

fn protocol_error(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Reason::ProtocolError, text)
}
