//! From objects to requests: what the peer may ask for.

use super::fields::{Fields, malformed, nearest, shown};
use super::publication;
use super::writing::{Id, Writer};
use super::{Asked, Credentials, JsonAdaptor, PROTOCOL_NAME, Pending, Phase, Refused};
use althing_core::verbs::{
    Connect, Disconnect, Outcome, Publish, Reason, Refusal, RetainHandling, Subscribe, SubscribeFilter,
    SubscriptionOptions, Unsubscribe,
};
use althing_core::{Close, Filter, Guarantee, MessageOut, Now, Request};
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::value::RawValue;

/// Every `type` that a peer may send.
const TYPES: [&str; 9] =
    ["connect", "publish", "release", "subscribe", "unsubscribe", "fetch", "ack", "ping", "disconnect"];

/// De-duplication tokens are those that MQTT can say: a session holds no more of them.
const TOKEN: &str = "the `id` of a message at `qos` 2 is a whole number from 1 to 65535";

/// Numbers of one `ack`.
const NUMBERS_MAX: usize = 65_535;

impl JsonAdaptor {
    pub(super) fn handle(
        &mut self,
        now: Now,
        fields: &mut Fields<'_>,
        id: Option<Id>,
        payload: Option<Bytes>,
        out: &mut MessageOut<'_>,
    ) -> Result<(), Refused> {
        let kind = fields.kind().to_owned();
        let has_payload = payload.as_ref().is_some_and(|payload| !payload.is_empty());
        if has_payload && kind != "publish" {
            return Err(malformed("only a `publish` has a payload behind its object").into());
        }
        match &kind[..] {
            "connect" if self.phase == Phase::Connected => {
                let text = "the session stands already; `connect` is the first message or none";
                Err(Refusal::new(Reason::ProtocolError, text).into())
            }
            "connect" => Ok(self.connect(fields, id, out)?),
            "publish" => Ok(self.publish(now, fields, id, payload, out)?),
            "release" => Ok(release(fields, id.as_ref(), out)?),
            "subscribe" => Ok(self.subscribe(fields, id, out)?),
            "unsubscribe" => Ok(self.unsubscribe(fields, id, out)?),
            "fetch" => Ok(self.fetch(fields, id, out)?),
            "ack" => Ok(self.acknowledge(fields, out)?),
            "ping" => {
                fields.finish()?;
                Writer::new("pong").id(id.as_ref()).send(out);
                Ok(())
            }
            "disconnect" => Err(self.disconnect(fields, out)?),
            _ => Err(unknown_type(&kind).into()),
        }
    }

    /// Opens a session that ends with its connection, for whoever has not said more.
    pub(super) fn open(&mut self, out: &mut MessageOut<'_>) {
        let Credentials { username, password } = std::mem::take(&mut self.credentials);
        let connect = Connect { window: self.limits.inflight_max, username, password, ..Connect::new(PROTOCOL_NAME) };
        self.phase = Phase::AwaitBroker;
        out.requests.push_back(Request::Connect(Box::new(connect)));
    }

    fn connect(&mut self, fields: &mut Fields<'_>, id: Option<Id>, out: &mut MessageOut<'_>) -> Result<(), Refusal> {
        let client = fields.text("client")?;
        let clean_start = fields.take("clean", "true or false")?.unwrap_or(true);
        let session_expiry_s: u32 = fields.take("session_expiry_s", "a number of seconds")?.unwrap_or(0);
        let window: u16 = fields.take("window", "a number from 1 to 65535")?.unwrap_or(self.limits.inflight_max);
        let manual_ack = match fields.string("ack")?.as_deref() {
            None | Some("automatic") => false,
            Some("manual") => true,
            Some(_) => return Err(malformed("`ack` is \"automatic\" or \"manual\"")),
        };
        let binary = fields.flag("binary")?;
        let will = fields.raw("will").map(|will| publication::read_will(will, &self.limits.topic)).transpose()?;
        let credentials = read_credentials(fields)?.unwrap_or_else(|| std::mem::take(&mut self.credentials));
        fields.finish()?;
        if window == 0 {
            return Err(malformed("`window` is a number from 1 to 65535"));
        }
        if client.is_none() && (session_expiry_s > 0 || !clean_start) {
            return Err(Refusal::new(Reason::ClientIdInvalid, "a session that lasts needs a name: its `client`"));
        }
        let connect = Connect {
            client,
            clean_start,
            session_expiry_s,
            window: window.min(self.limits.inflight_max),
            will,
            username: credentials.username,
            password: credentials.password,
            ..Connect::new(PROTOCOL_NAME)
        };
        (self.manual_ack, self.binary, self.connect_id) = (manual_ack, binary, id);
        self.phase = Phase::AwaitBroker;
        out.requests.push_back(Request::Connect(Box::new(connect)));
        Ok(())
    }

    fn publish(
        &mut self,
        now: Now,
        fields: &mut Fields<'_>,
        id: Option<Id>,
        payload: Option<Bytes>,
        out: &mut MessageOut<'_>,
    ) -> Result<(), Refusal> {
        let message = publication::read(fields, payload, now, &self.limits.topic)?;
        fields.finish()?;
        let token = match message.guarantee {
            Guarantee::ExactlyOnce => Some(token(id.as_ref())?),
            Guarantee::AtLeastOnce => None,
            // Any token asks for an answer, so that a refusal is heard.
            Guarantee::AtMostOnce => Some(0),
        };
        let correlation = self.await_answer(id, Asked::Publish);
        out.requests.push_back(Request::Publish(Publish { message, token, correlation }));
        Ok(())
    }

    fn subscribe(&mut self, fields: &mut Fields<'_>, id: Option<Id>, out: &mut MessageOut<'_>) -> Result<(), Refusal> {
        let defaults = read_options(fields, SubscriptionOptions::default())?;
        let mut filters = Vec::new();
        for raw in self.filters(fields)? {
            filters.push(match raw.get().starts_with('{') {
                true => {
                    let mut part = Fields::of_part(raw, "filter")?;
                    let options = read_options(&mut part, defaults)?;
                    let text = part.string("filter")?.ok_or_else(|| malformed("a filter's text is its `filter`"))?;
                    part.finish()?;
                    (self.filter(&text)?, options)
                }
                false => (self.filter(&filter_text(raw)?)?, defaults),
            });
        }
        fields.finish()?;
        let names = filters.iter().map(|(filter, _)| filter.text().clone()).collect();
        let correlation = self.await_answer(id, Asked::Subscribe(names));
        let filters = filters.into_iter().map(|(filter, options)| SubscribeFilter { filter: Ok(filter), options });
        let filters = filters.collect();
        out.requests.push_back(Request::Subscribe(Box::new(Subscribe { correlation, filters })));
        Ok(())
    }

    fn unsubscribe(
        &mut self,
        fields: &mut Fields<'_>,
        id: Option<Id>,
        out: &mut MessageOut<'_>,
    ) -> Result<(), Refusal> {
        let filters: Result<Vec<_>, Refusal> =
            self.filters(fields)?.into_iter().map(|raw| self.filter(&filter_text(raw)?)).collect();
        let filters = filters?;
        fields.finish()?;
        let names = filters.iter().map(|filter| filter.text().clone()).collect();
        let correlation = self.await_answer(id, Asked::Unsubscribe(names));
        let filters = filters.into_iter().map(Ok).collect();
        out.requests.push_back(Request::Unsubscribe(Box::new(Unsubscribe { correlation, filters })));
        Ok(())
    }

    /// `filter` for one, `filters` for several.
    fn filters<'a>(&self, fields: &mut Fields<'a>) -> Result<Vec<&'a RawValue>, Refusal> {
        let many: Option<Vec<&'a RawValue>> = fields.take("filters", "an array of filters")?;
        let all: Vec<_> = many.into_iter().flatten().chain(fields.raw("filter")).collect();
        if all.is_empty() {
            return Err(malformed(format!("`{}` names at least one of its `filters`", fields.kind())));
        }
        let filters_max = self.limits.filters_per_request_max;
        if all.len() > filters_max {
            let text = format!("`{}` names at most {filters_max} filters", fields.kind());
            return Err(Refusal::new(Reason::QuotaExceeded, text));
        }
        Ok(all)
    }

    fn filter(&self, text: &str) -> Result<Filter, Refusal> {
        Filter::new(text.into(), &self.limits.topic).map_err(|error| {
            let text = format!("`{}` is no filter: {error}", shown(text));
            Refusal::new(Reason::TopicFilterInvalid, text)
        })
    }

    fn fetch(&mut self, fields: &mut Fields<'_>, id: Option<Id>, out: &mut MessageOut<'_>) -> Result<(), Refusal> {
        let topic = publication::topic(fields, &self.limits.topic)?;
        fields.finish()?;
        let correlation = self.await_answer(id, Asked::Fetch);
        out.requests.push_back(Request::Fetch { correlation, topic });
        Ok(())
    }

    /// `number` for one, `numbers` for several.
    fn acknowledge(&mut self, fields: &mut Fields<'_>, out: &mut MessageOut<'_>) -> Result<(), Refusal> {
        let one: Option<u32> = fields.take("number", "the number of a message")?;
        let many: Option<Vec<u32>> = fields.take("numbers", "an array of numbers of messages")?;
        let outcome = match fields.string("outcome")?.as_deref() {
            None | Some("accept") => Outcome::Accept,
            Some("reject") => Outcome::Reject,
            Some("release") => Outcome::Release,
            Some(_) => return Err(malformed("`outcome` is \"accept\", \"reject\" or \"release\"")),
        };
        fields.finish()?;
        let numbers: Vec<u32> = one.into_iter().chain(many.into_iter().flatten()).collect();
        if numbers.is_empty() || numbers.len() > NUMBERS_MAX {
            return Err(malformed("an `ack` has the `number` of a message, or its `numbers`"));
        }
        if !self.manual_ack {
            let text = "messages are acknowledged as they are sent here; to do it yourself, begin with a `connect` of \
                        `\"ack\": \"manual\"`";
            return Err(Refusal::new(Reason::ProtocolError, text));
        }
        for number in numbers {
            self.settle(number, outcome, out);
        }
        Ok(())
    }

    /// What the peer says of a delivery; at `ExactlyOnce` that it has it is said first, durably.
    pub(super) fn settle(&mut self, number: u32, outcome: Outcome, out: &mut MessageOut<'_>) {
        let place = self.exactly_once.binary_search(&number);
        if let Ok(place) = place {
            self.exactly_once.remove(place);
        }
        let outcome = if place.is_ok() && outcome == Outcome::Accept { Outcome::Received } else { outcome };
        out.requests.push_back(Request::Settle { number, outcome });
    }

    fn disconnect(&self, fields: &mut Fields<'_>, out: &mut MessageOut<'_>) -> Result<Refused, Refusal> {
        let publish_will = fields.flag("publish_will")?;
        let session_expiry_s: Option<u32> = fields.take("session_expiry_s", "a number of seconds")?;
        fields.finish()?;
        let reason = if publish_will { Reason::WithWill } else { Reason::Normal };
        let session_expiry_s = session_expiry_s.map(|seconds| seconds.min(self.limits.session_expiry_s_max));
        out.requests.push_back(Request::Disconnect(Disconnect { publish_will, session_expiry_s, reason }));
        let refusal = Refusal::new(reason, "the client disconnected");
        Ok(Refused::Goodbye(Close { refusal, publish_will }))
    }

    /// A place in the line of those that the broker answers; returns its correlation.
    fn await_answer(&mut self, id: Option<Id>, what: Asked) -> u32 {
        self.last_correlation = self.last_correlation.wrapping_add(1);
        self.pending.push_back(Pending { correlation: self.last_correlation, id, what });
        self.last_correlation
    }
}

fn read_credentials(fields: &mut Fields<'_>) -> Result<Option<Credentials>, Refusal> {
    let username = fields.text("username")?;
    let password = fields.string("password")?.map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let token = fields.string("token")?.map(|text| Bytes::copy_from_slice(text.as_bytes()));
    match (username, password, token) {
        (None, None, None) => Ok(None),
        (_, Some(_), Some(_)) => Err(malformed("a `connect` has a `password` or a `token`")),
        (username, password, token) => Ok(Some(Credentials { username, password: password.or(token) })),
    }
}

fn read_options(fields: &mut Fields<'_>, defaults: SubscriptionOptions) -> Result<SubscriptionOptions, Refusal> {
    const RETAINED: &str = "\"always\", \"if_new\" or \"never\"";
    const ID: &str = "a whole number from 1 to 268435455";
    const ID_MAX: u32 = 268_435_455;
    let mut options = defaults;
    if let Some(qos) = fields.take("qos", "0, 1 or 2")? {
        options.guarantee = Guarantee::from_qos(qos).ok_or_else(|| malformed("`qos` is 0, 1 or 2"))?;
    }
    options.no_local = fields.take("no_local", "true or false")?.unwrap_or(defaults.no_local);
    options.retain_as_published =
        fields.take("retain_as_published", "true or false")?.unwrap_or(defaults.retain_as_published);
    match fields.string("retained")?.as_deref() {
        None => {}
        Some("always") => options.retain_handling = RetainHandling::Always,
        Some("if_new") => options.retain_handling = RetainHandling::IfNew,
        Some("never") => options.retain_handling = RetainHandling::Never,
        Some(_) => return Err(malformed(format!("`retained` is {RETAINED}"))),
    }
    if let Some(tag) = fields.take("subscription_id", ID)? {
        if !(1..=ID_MAX).contains(&tag) {
            return Err(malformed(format!("`subscription_id` is {ID}")));
        }
        options.tag = tag;
    }
    Ok(options)
}

fn filter_text(raw: &RawValue) -> Result<ByteString, Refusal> {
    let text: Result<String, _> = serde_json::from_str(raw.get());
    text.map(ByteString::from).map_err(|_| malformed("a filter is a string, `sensors/#` for one"))
}

fn release(fields: &mut Fields<'_>, id: Option<&Id>, out: &mut MessageOut<'_>) -> Result<(), Refusal> {
    fields.finish()?;
    out.requests.push_back(Request::Release { token: token(id)? });
    Ok(())
}

fn token(id: Option<&Id>) -> Result<u32, Refusal> {
    let number = id.and_then(|id| id.0.get().parse::<u16>().ok()).filter(|number| *number > 0);
    number.map(u32::from).ok_or_else(|| malformed(TOKEN))
}

fn unknown_type(kind: &str) -> Refusal {
    let text = match nearest(kind, &TYPES) {
        Some(known) => format!("there is no `type` `{}`; did you mean `{known}`?", shown(kind)),
        None => format!("there is no `type` `{}`; there are {}", shown(kind), TYPES.join(", ")),
    };
    Refusal::new(Reason::ProtocolError, text)
}
