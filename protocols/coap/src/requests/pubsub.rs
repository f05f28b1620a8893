//! What a request about topics with a configuration does, answer by answer of the broker.
//!
//! The last values are what holds; the collection follows them. Whoever creates or changes a topic holds its reservation
//! meanwhile, so that of two who do it at once one is refused.

use super::{Conversation, Goal, Hall, Pending, RequestId};
use crate::format;
use crate::message::{Code, number};
use crate::resources::Response;
use crate::resources::pubsub::{Act, Entry, LinksTo, Properties, Reservation, local_path};
use althing_core::verbs::{Publish, Refusal};
use althing_core::{Guarantee, Message, Request, Topic};
use bytes::Bytes;
use std::sync::Arc;

/// What waits for the broker's next answer.
#[derive(Debug)]
pub(super) struct Task {
    step: Step,
    /// Held until the end.
    _reservation: Option<Reservation>,
}

#[derive(Debug)]
enum Step {
    /// Whether the client may read the last one of `rest`, and so on.
    List {
        rest: Vec<Entry>,
        links_to: LinksTo,
        links: String,
    },
    /// Whether there is one already.
    Look(Box<Entry>),
    /// The first data.
    Initialize(Box<Entry>),
    /// The configuration, new or changed; `before` is what it was.
    Write {
        entry: Box<Entry>,
        before: Option<Box<Entry>>,
    },
    Select(Vec<u64>),
    /// Whether there is data.
    LookAtData(Box<Entry>, Box<Message>),
    Publish(Box<Entry>, Code),
    DeleteData(Box<Entry>),
    /// The configuration as it is: whoever may not write it may not delete the topic, and so not empty it.
    Confirm(Box<Entry>),
    /// The data, before the configuration.
    Empty(Box<Entry>),
    Delete(Box<Entry>),
}

/// How it goes on.
pub(super) enum Next {
    Ask(Task, Request),
    Respond(Response),
}

/// The broker's answer to a step: what was read, or nothing.
type Outcome = Result<Option<Arc<Message>>, Refusal>;

/// Begins what a request wants.
pub(super) fn begin(act: Act, correlation: RequestId, hall: &Hall<'_>) -> Next {
    let collection = &hall.site.common.collection;
    let ask = |step, reservation, request| Next::Ask(Task { step, _reservation: reservation }, request);
    match act {
        Act::List(mut rest, links_to) => {
            // The next one is the last of the rest.
            rest.reverse();
            list(Step::List { rest, links_to, links: String::new() }, correlation)
        }
        Act::Create(entry) => {
            let is_used = collection.get(hall.now, entry.id).is_some();
            let Some(reservation) = collection.reserve(entry.id).filter(|_| !is_used) else { return in_use() };
            if collection.len() >= hall.site.common.config.topics_max {
                let text = "there are as many topics as may be";
                return Next::Respond(Response::error(Code::SERVICE_UNAVAILABLE, text));
            }
            let request = fetch(correlation, &entry.configuration);
            ask(Step::Look(entry), Some(reservation), request)
        }
        Act::Change { entry, properties } => {
            let Some(reservation) = collection.reserve(entry.id) else { return is_changing() };
            let changed = Entry { properties: *properties, ..(*entry).clone() };
            // At once, so that nobody joins who would be one too many.
            collection.insert(changed.clone());
            let request = configure(correlation, &changed, changed.properties.encode());
            ask(Step::Write { entry: Box::new(changed), before: Some(entry) }, Some(reservation), request)
        }
        Act::Select(entry, keys) => ask(Step::Select(keys), None, fetch(correlation, &entry.configuration)),
        Act::Delete(entry) => {
            let Some(reservation) = collection.reserve(entry.id) else { return is_changing() };
            let (step, payload): (fn(_) -> _, _) = match entry.data_path() {
                Some(_) => (Step::Confirm, entry.properties.encode()),
                None => (Step::Delete, Bytes::new()),
            };
            let request = configure(correlation, &entry, payload);
            ask(step(entry), Some(reservation), request)
        }
        Act::Publish(entry, message) => {
            match collection.take_turn(hall.now, entry.id, hall.site.common.config.topic_publishes_per_s) {
                Err(wait_s) => Next::Respond(too_fast(wait_s)),
                Ok(()) => {
                    let request = fetch(correlation, &entry.topic);
                    ask(Step::LookAtData(entry, message), None, request)
                }
            }
        }
        Act::DeleteData(entry, message) => ask(Step::DeleteData(entry), None, publish(correlation, *message)),
    }
}

impl Task {
    fn go_on(self, outcome: Outcome, correlation: RequestId, hall: &Hall<'_>) -> Next {
        let collection = &hall.site.common.collection;
        let Self { step, _reservation: reservation } = self;
        let ask = |step, request| Next::Ask(Self { step, _reservation: reservation }, request);
        match (step, outcome) {
            (Step::List { mut rest, links_to, mut links }, outcome) => {
                if let (Some(entry), Ok(Some(_))) = (rest.pop(), outcome) {
                    add_link(&mut links, &entry, links_to);
                }
                list(Step::List { rest, links_to, links }, correlation)
            }
            (Step::Look(_), Ok(Some(_))) => in_use(),
            // Whoever may not read it may create it all the same.
            (Step::Look(mut entry), _) => match entry.properties.initialize.take() {
                Some(payload) => {
                    let message = data(&entry.topic, payload, entry.properties.topic_content_format);
                    ask(Step::Initialize(entry), publish(correlation, message))
                }
                None => write(entry, correlation, ask),
            },
            (Step::Initialize(entry), Ok(_)) => write(entry, correlation, ask),
            (Step::Write { entry, before }, Ok(_)) => {
                if before.is_none() {
                    collection.insert((*entry).clone());
                }
                Next::Respond(written(&entry, before.is_none()))
            }
            (Step::Write { before, .. }, Err(refusal)) => {
                before.into_iter().for_each(|before| collection.insert(*before));
                Next::Respond(Response::refusal(&refusal))
            }
            (Step::Select(keys), Ok(Some(message))) => match Properties::decode(&message.payload) {
                Ok(properties) => Next::Respond(with_map(Code::CONTENT, properties.encode_selected(&keys))),
                Err(wrong) => Next::Respond(Response::error(Code::INTERNAL_SERVER_ERROR, wrong.to_string())),
            },
            (Step::Select(_), Ok(None)) => {
                Next::Respond(Response::error(Code::NOT_FOUND, "this topic has been deleted"))
            }
            (Step::LookAtData(entry, message), outcome) => {
                let is_first = match outcome {
                    Ok(value) => value.is_none(),
                    Err(_) => !collection.is_published(entry.id),
                };
                let code = if is_first { Code::CREATED } else { Code::CHANGED };
                ask(Step::Publish(entry, code), publish(correlation, *message))
            }
            (Step::Publish(entry, code), Ok(_)) => {
                collection.note_published(entry.id, true);
                Next::Respond(Response::new(code))
            }
            (Step::DeleteData(entry), Ok(_)) => {
                collection.note_published(entry.id, false);
                Next::Respond(Response::new(Code::DELETED))
            }
            (Step::Confirm(entry), Ok(_)) => {
                let message = data(&entry.topic, Bytes::new(), None);
                ask(Step::Empty(entry), publish(correlation, message))
            }
            (Step::Empty(entry), Ok(_)) => {
                let request = configure(correlation, &entry, Bytes::new());
                ask(Step::Delete(entry), request)
            }
            (Step::Delete(entry), Ok(_)) => {
                collection.remove(entry.id);
                Next::Respond(Response::new(Code::DELETED))
            }
            (_, Err(refusal)) => Next::Respond(Response::refusal(&refusal)),
        }
    }
}

impl Conversation {
    /// The broker has answered a step.
    pub(super) fn go_on(&mut self, mut pending: Pending, outcome: Outcome, hall: &mut Hall<'_>) {
        let goal = std::mem::replace(&mut pending.goal, Goal::Publish(Code::EMPTY));
        let Goal::Pubsub(task) = goal else { return };
        match task.go_on(outcome, pending.request, hall) {
            Next::Ask(task, asked) => {
                hall.asked.push_back(asked);
                pending.goal = Goal::Pubsub(Box::new(task));
                self.pending.push(pending);
            }
            Next::Respond(response) => self.respond(pending, response, hall),
        }
    }
}

fn write(entry: Box<Entry>, correlation: RequestId, ask: impl FnOnce(Step, Request) -> Next) -> Next {
    let request = configure(correlation, &entry, entry.properties.encode());
    ask(Step::Write { entry, before: None }, request)
}

/// Asks whether the client may read the next one, or responds.
fn list(step: Step, correlation: RequestId) -> Next {
    let Step::List { rest, links, .. } = &step else { return in_use() };
    match rest.last() {
        Some(entry) => {
            let request = fetch(correlation, &entry.configuration);
            Next::Ask(Task { step, _reservation: None }, request)
        }
        None => {
            let mut response = Response::new(Code::CONTENT);
            response.options.add_uint(number::CONTENT_FORMAT, format::LINK_FORMAT.into());
            response.payload = links.clone().into();
            Next::Respond(response)
        }
    }
}

fn add_link(links: &mut String, entry: &Entry, links_to: LinksTo) {
    if !links.is_empty() {
        links.push(',');
    }
    let link = match (links_to, entry.properties.topic_data.as_deref()) {
        (LinksTo::Data, Some(reference)) => {
            let reference = local_path(reference).unwrap_or_else(|| reference.to_owned());
            format!("<{reference}>;rt=\"core.ps.data\";obs")
        }
        _ => format!("<{}>;rt=\"core.ps.conf\"", entry.path()),
    };
    links.push_str(&link);
}

fn in_use() -> Next {
    Next::Respond(Response::error(Code::BAD_REQUEST, "topic-name: there is a topic of this name already"))
}

fn is_changing() -> Next {
    let mut response = Response::error(Code::SERVICE_UNAVAILABLE, "somebody else changes this topic; try again");
    response.options.add_uint(number::MAX_AGE, 1);
    Next::Respond(response)
}

fn too_fast(wait_s: u32) -> Response {
    let mut response = Response::error(Code::TOO_MANY_REQUESTS, "this topic is published to too fast");
    response.options.add_uint(number::MAX_AGE, wait_s);
    response
}

/// A configuration was created or changed.
fn written(entry: &Entry, is_new: bool) -> Response {
    let mut response = with_map(if is_new { Code::CREATED } else { Code::CHANGED }, entry.properties.encode());
    if is_new {
        for segment in entry.path().split('/').skip(1) {
            response.options.add(number::LOCATION_PATH, Bytes::copy_from_slice(segment.as_bytes()));
        }
    }
    response
}

fn with_map(code: Code, payload: Bytes) -> Response {
    let mut response = Response::new(code);
    response.options.add_uint(number::CONTENT_FORMAT, format::CORE_PUBSUB.into());
    response.payload = payload;
    response
}

fn fetch(correlation: RequestId, topic: &Topic) -> Request {
    Request::Fetch { correlation, topic: topic.clone() }
}

fn publish(correlation: RequestId, message: Message) -> Request {
    Request::Publish(Publish { message, token: Some(correlation), correlation })
}

/// The configuration as the last value of `$ps/NAME`; empty, it is gone.
fn configure(correlation: RequestId, entry: &Entry, payload: Bytes) -> Request {
    let message = data(&entry.configuration, payload, Some(format::CORE_PUBSUB));
    Request::Configure(Publish { message, token: None, correlation })
}

/// A last value, durable before it is answered.
fn data(topic: &Topic, payload: Bytes, format: Option<u16>) -> Message {
    let mut message = Message::new(topic.clone(), payload);
    (message.guarantee, message.retain) = (Guarantee::AtLeastOnce, true);
    message.properties = format.map(|format| Arc::new(format::properties(format)));
    message
}
