//! From packets to requests: what the peer may ask for once it is connected.

use super::{MqttAdaptor, Phase};
use crate::alias::AliasError;
use crate::packet::{self, Acknowledgement, Packet};
use crate::reason::{code, from_code};
use althing_core::verbs::{
    Disconnect, Outcome, Publish, Reason, Refusal, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions,
    Unsubscribe,
};
use althing_core::{Close, Filter, Guarantee, Message, Now, Out, Request, Topic};

impl MqttAdaptor {
    pub(super) fn handle(&mut self, now: Now, packet: Packet, out: &mut Out<'_>) -> Result<(), Close> {
        if self.phase == Phase::Connected {
            return self.handle_connected(now, packet, out);
        }
        match (self.phase, packet) {
            (Phase::AwaitConnect, Packet::Connect(connect)) => self.connect(*connect, out),
            (Phase::AwaitAuth, Packet::Auth(auth)) => self.authenticate(*auth, out),
            (Phase::AwaitAuth, Packet::Disconnect(_)) => {
                let refusal = Refusal::new(Reason::Normal, "the client gave up authenticating");
                Err(Close { refusal, publish_will: false })
            }
            (Phase::AwaitAuth, _) => Err(self.protocol_error("only AUTH or DISCONNECT may follow here", out)),
            _ => Err(self.protocol_error("the first packet is not CONNECT", out)),
        }
    }

    fn handle_connected(&mut self, now: Now, packet: Packet, out: &mut Out<'_>) -> Result<(), Close> {
        match packet {
            Packet::Publish(publish) => self.publish(now, publish, out),
            Packet::PubAck(acknowledgement) => self.settle(acknowledgement, Outcome::Accept, out),
            Packet::PubRec(acknowledgement) => self.settle(acknowledgement, Outcome::Received, out),
            Packet::PubComp(acknowledgement) => self.settle(acknowledgement, Outcome::Accept, out),
            Packet::PubRel(release) => {
                out.requests.push_back(Request::Release { token: u32::from(release.packet_id) });
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.subscribe(*subscribe, out),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(*unsubscribe, out),
            Packet::PingReq => {
                self.send(&Packet::PingResp, out);
                Ok(())
            }
            Packet::Disconnect(disconnect) => Err(self.disconnect(*disconnect, out)),
            Packet::Auth(auth) => self.authenticate(*auth, out),
            Packet::Connect(_) => Err(self.protocol_error("a second CONNECT", out)), // [MQTT-3.1.0-2]
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(self.protocol_error("a packet that only a server may send", out))
            }
        }
    }

    fn publish(&mut self, now: Now, publish: packet::Publish, out: &mut Out<'_>) -> Result<(), Close> {
        let topic = match (publish.topic, publish.topic_alias) {
            (Some(topic), None) => topic,
            (topic, alias) => self.resolve(topic, alias.unwrap_or(0), out)?,
        };
        if publish.qos > Guarantee::AtMostOnce {
            self.open_publish(out)?;
        }
        let message = Message {
            topic,
            payload: publish.payload,
            guarantee: publish.qos,
            retain: publish.retain,
            expires_ns: publish.message_expiry_s.map(|seconds| now.after_s(seconds)),
            properties: publish.properties,
            origin: None,
        };
        let correlation = u32::from(publish.packet_id);
        let token = (publish.qos == Guarantee::ExactlyOnce).then_some(correlation);
        out.requests.push_back(Request::Publish(Publish { message, token, correlation }));
        Ok(())
    }

    fn resolve(&mut self, topic: Option<Topic>, alias: u16, out: &mut Out<'_>) -> Result<Topic, Close> {
        let alias_max = self.limits.topic_alias_maximum;
        self.rare().aliases_in.resolve(topic, alias, alias_max).map_err(|error| match error {
            AliasError::OutOfRange => {
                let text = "a topic alias of 0 or above the Topic Alias Maximum";
                self.refuse(Refusal::new(Reason::TopicAliasInvalid, text), out)
            }
            AliasError::Unknown => self.protocol_error("a topic alias that was never set up", out),
        })
    }

    /// Counts a publish above QoS 0 (§4.9). Version 3 waits instead, see `must_wait`.
    fn open_publish(&mut self, out: &mut Out<'_>) -> Result<(), Close> {
        if self.open_publishes >= self.receive_maximum() {
            let text = "more unacknowledged publishes than the Receive Maximum";
            return Err(self.refuse(Refusal::new(Reason::ReceiveMaximumExceeded, text), out));
        }
        self.open_publishes += 1;
        Ok(())
    }

    fn settle(&self, packet: Acknowledgement, accepted: Outcome, out: &mut Out<'_>) -> Result<(), Close> {
        let outcome = if packet.code >= code::UNSPECIFIED_ERROR { Outcome::Reject } else { accepted };
        out.requests.push_back(Request::Settle { number: u32::from(packet.packet_id), outcome });
        Ok(())
    }

    fn subscribe(&mut self, subscribe: packet::Subscribe, out: &mut Out<'_>) -> Result<(), Close> {
        self.check_filter_count(subscribe.filters.len(), out)?;
        let tag = subscribe.subscription_id.unwrap_or(0);
        let mut filters = Vec::with_capacity(subscribe.filters.len());
        for wanted in subscribe.filters {
            let filter = Filter::new(wanted.filter, &self.limits.topic).map_err(|_| Reason::TopicFilterInvalid);
            let options = SubscriptionOptions {
                guarantee: wanted.qos,
                no_local: wanted.no_local,
                retain_as_published: wanted.retain_as_published,
                retain_handling: match wanted.retain_handling {
                    0 => RetainHandling::Always,
                    1 => RetainHandling::IfNew,
                    _ => RetainHandling::Never,
                },
                tag,
            };
            filters.push(SubscribeFilter { filter, options });
        }
        let correlation = u32::from(subscribe.packet_id);
        out.requests.push_back(Request::Subscribe(Box::new(Subscribe { correlation, filters })));
        Ok(())
    }

    fn unsubscribe(&mut self, unsubscribe: packet::Unsubscribe, out: &mut Out<'_>) -> Result<(), Close> {
        self.check_filter_count(unsubscribe.filters.len(), out)?;
        let to_filter = |text| Filter::new(text, &self.limits.topic).map_err(|_| Reason::TopicFilterInvalid);
        let filters = unsubscribe.filters.into_iter().map(to_filter).collect();
        let correlation = u32::from(unsubscribe.packet_id);
        out.requests.push_back(Request::Unsubscribe(Box::new(Unsubscribe { correlation, filters })));
        Ok(())
    }

    fn check_filter_count(&mut self, count: usize, out: &mut Out<'_>) -> Result<(), Close> {
        if count <= self.limits.filters_per_request_max {
            return Ok(());
        }
        Err(self.refuse(Refusal::new(Reason::QuotaExceeded, "more filters in one packet than allowed"), out))
    }

    /// The peer's goodbye. The request carries what only DISCONNECT can say; the close repeats the rest.
    fn disconnect(&mut self, disconnect: packet::Disconnect, out: &mut Out<'_>) -> Close {
        // §3.14.2.2.2: a session that was to end with the connection cannot be prolonged now.
        if self.session_ends && disconnect.session_expiry_s.is_some_and(|seconds| seconds > 0) {
            return self.protocol_error("DISCONNECT prolongs a session that was to end with its connection", out);
        }
        let (reason, text) = match disconnect.code {
            code::NORMAL_DISCONNECTION => (Reason::Normal, "the client disconnected"),
            code::DISCONNECT_WITH_WILL_MESSAGE => {
                (Reason::WithWill, "the client disconnected and wants its will published")
            }
            other => (from_code(other), "the client disconnected with an error"),
        };
        let publish_will = disconnect.code != code::NORMAL_DISCONNECTION;
        let session_expiry_s = disconnect.session_expiry_s.map(|seconds| seconds.min(self.limits.session_expiry_s_max));
        out.requests.push_back(Request::Disconnect(Disconnect { publish_will, session_expiry_s, reason }));
        let refusal = match disconnect.details.reason_string {
            Some(said) => Refusal::new(reason, format!("{text}: {said}")),
            None => Refusal::new(reason, text),
        };
        Close { refusal, publish_will }
    }
}
