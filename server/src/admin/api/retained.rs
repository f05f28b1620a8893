//! Last values: listing, looking at one, and removing those that a filter matches.

use super::Answer;
use crate::admin::Admin;
use crate::admin::gate::Caller;
use crate::admin::paging::{Field, Key, Page, PageQuery, VISITS_MAX, page};
use crate::admin::problem::{Asked, Problem};
use althing_core::{Filter, Message, Now, Topic};
use althing_net::Inside;
use axum::extract::State;
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Topics that an answer to a removal names.
const TOPICS_SHOWN_MAX: usize = 100;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(retained, remove)).routes(routes!(value))
}

/// The last value of one topic.
#[derive(Debug, Serialize, ToSchema)]
struct LastValue {
    topic: String,
    qos: u8,
    payload_bytes: usize,
    /// What it takes of the limits.
    size_bytes: usize,
    /// The client that published it.
    author: Option<String>,
    protocol: Option<&'static str>,
    /// Seconds until it ends; absent when it does not.
    expires_in_s: Option<u64>,
}

impl LastValue {
    fn new(message: &Message, now: Now) -> Self {
        let origin = message.origin.as_deref();
        let left_s = |expires_ns: u64| expires_ns.saturating_sub(now.mono_ns) / 1_000_000_000;
        Self {
            topic: message.topic.to_string(),
            qos: message.guarantee as u8,
            payload_bytes: message.payload.len(),
            size_bytes: message.size_bytes(),
            author: origin.map(|origin| origin.client.to_string()),
            protocol: origin.map(|origin| origin.protocol),
            expires_in_s: message.expires_ns.map(left_s),
        }
    }
}

/// Which last values.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct Wanted {
    /// A topic filter, `#` and `+` included; all topics but those under `$`, if not said.
    filter: Option<String>,
}

impl Wanted {
    fn parse(&self, admin: &Admin) -> Result<Filter, Problem> {
        let text = self.filter.as_deref().unwrap_or("#");
        let parsed = Filter::new(text.into(), &admin.config.limits.topic);
        parsed.map_err(|error| Problem::bad(format!("filter={text:?} is not a topic filter: {error}")))
    }
}

const FIELDS: &[Field<Arc<Message>>] = &[
    ("topic", |it| Key::Text(it.topic.text().clone())),
    ("payload_bytes", |it| it.payload.len().into()),
    ("size_bytes", |it| it.size_bytes().into()),
];

/// The last values that a filter matches.
#[utoipa::path(
    get, path = "/api/v1/retained", params(PageQuery, Wanted), responses((status = 200, body = Page<LastValue>))
)]
async fn retained(
    State(admin): State<Arc<Admin>>,
    Asked(query): Asked<PageQuery>,
    Asked(wanted): Asked<Wanted>,
) -> Answer<Page<LastValue>> {
    let filter = Arc::new(wanted.parse(&admin)?);
    let slice = move |inside: &Inside<'_>, from, visits_max| {
        inside.broker().inspect_retained(inside.now(), Some(&filter), from, visits_max)
    };
    let found = page(&admin.shard, &query, FIELDS, slice).await?;
    let now = admin.shard.run(|inside| inside.now()).await?;
    Ok(Json(found.map(|message| LastValue::new(&message, now))))
}

/// A last value with its payload.
#[derive(Debug, Serialize, ToSchema)]
struct WholeValue {
    #[serde(flatten)]
    about: LastValue,
    /// In base64.
    payload: String,
    /// The payload, when it is UTF-8.
    text: Option<String>,
}

/// Which topic.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct One {
    topic: String,
}

/// The last value of one topic, with its payload.
#[utoipa::path(
    get, path = "/api/v1/retained/value", params(One), responses((status = 200, body = WholeValue), (status = 404))
)]
async fn value(State(admin): State<Arc<Admin>>, Asked(One { topic }): Asked<One>) -> Answer<WholeValue> {
    let parsed = Topic::new(topic.as_str().into(), &admin.config.limits.topic);
    let parsed = parsed.map_err(|error| Problem::bad(format!("topic={topic:?} is not a topic: {error}")))?;
    let found =
        admin.shard.run(move |inside| (inside.broker().inspect_last_value(inside.now(), &parsed), inside.now()));
    let (message, now) = found.await?;
    let message = message.ok_or_else(|| Problem::missing(format!("{topic:?} has no last value")))?;
    Ok(Json(WholeValue {
        about: LastValue::new(&message, now),
        payload: STANDARD.encode(&message.payload),
        text: std::str::from_utf8(&message.payload).ok().map(str::to_owned),
    }))
}

/// What to remove.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Removal {
    /// A topic filter, `#` and `+` included.
    filter: String,
    /// Only says what would be removed.
    #[serde(default)]
    dry_run: bool,
    /// How many it was said to be: when the filter matches more by now, nothing is removed.
    count: Option<usize>,
}

/// What was removed, or would be.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Removed {
    /// How many last values the filter matches.
    matched: usize,
    /// How many of them are gone now.
    removed: usize,
    dry_run: bool,
    /// The first of their topics.
    topics: Vec<String>,
}

/// Removes the last values that a filter matches. What the broker says of itself, under `$`, stays.
#[utoipa::path(
    delete, path = "/api/v1/retained", params(Removal),
    responses((status = 200, body = Removed), (status = 409))
)]
async fn remove(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Asked(Removal { filter, dry_run, count }): Asked<Removal>,
) -> Answer<Removed> {
    let wanted = Arc::new(Wanted { filter: Some(filter.clone()) }.parse(&admin)?);
    if let Some(count) = count.filter(|_| !dry_run) {
        let matched = walk(&admin, &wanted, true).await?.matched;
        if matched > count {
            let text = format!("{filter:?} matches {matched} last values by now, and not {count}: nothing was removed");
            return Err(Problem::conflict(text));
        }
    }
    let all = walk(&admin, &wanted, dry_run).await?;
    if !dry_run {
        tracing::info!("{caller} has removed {} last values that {filter:?} matches", all.removed);
    }
    Ok(Json(all))
}

/// Removes what is wanted slice by slice, or only counts it.
async fn walk(admin: &Admin, wanted: &Arc<Filter>, dry_run: bool) -> Result<Removed, Problem> {
    let mut all = Removed { dry_run, ..Removed::default() };
    let mut from = Some(0);
    while let Some(place) = from {
        let wanted = Arc::clone(wanted);
        let (topics, removed, next) =
            admin.shard.run(move |inside| remove_slice(inside, &wanted, place, dry_run)).await?;
        all.matched += topics.len();
        all.removed += removed;
        let shown = TOPICS_SHOWN_MAX - all.topics.len();
        all.topics.extend(topics.iter().take(shown).map(ToString::to_string));
        from = next;
    }
    Ok(all)
}

fn remove_slice(
    inside: &mut Inside<'_>,
    filter: &Filter,
    from: u64,
    dry_run: bool,
) -> (Vec<Topic>, usize, Option<u64>) {
    let found = inside.broker().inspect_retained(inside.now(), Some(filter), from, VISITS_MAX);
    let topics = found.items.iter().map(|message| message.topic.clone());
    let topics: Vec<Topic> = topics.filter(|topic| !topic.is_reserved()).collect();
    let removed = match dry_run {
        true => 0,
        false => inside.change(|broker, _, effects| broker.forget_retained(&topics, effects)),
    };
    (topics, removed, found.next)
}
