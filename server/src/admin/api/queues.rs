//! Queues: those of shared subscriptions, and those that stand (`$queue/NAME`).

use super::Answer;
use super::sessions::Dropped;
use crate::admin::Admin;
use crate::admin::gate::Caller;
use crate::admin::paging::{Field, Key, Page, PageQuery, VISITS_MAX, page};
use crate::admin::problem::{Asked, Problem};
use althing_core::inspect::QueueView;
use althing_net::Inside;
use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(queues)).routes(routes!(purge))
}

/// One queue.
#[derive(Debug, Serialize, ToSchema)]
struct Queue {
    /// `$share/GROUP/FILTER` or `$queue/NAME`.
    name: String,
    /// Whether it keeps what comes although nobody is subscribed.
    stands: bool,
    messages: usize,
    bytes: usize,
    /// Messages that were dropped on their way into it.
    drops: u64,
    members_total: usize,
    /// The first hundred.
    members: Vec<Member>,
}

/// One member of a queue.
#[derive(Debug, Serialize, ToSchema)]
struct Member {
    client: Option<String>,
    /// Unsettled messages that it takes at once; 0 while it is away or slow.
    window: u32,
    /// Those that it has.
    outstanding: u32,
    /// Whether its session outlives its connection.
    lasts: bool,
}

impl From<QueueView> for Queue {
    fn from(view: QueueView) -> Self {
        let members = view.members.into_iter().map(|member| Member {
            client: member.client.map(|client| client.to_string()),
            window: member.window,
            outstanding: member.outstanding,
            lasts: member.lasts,
        });
        Self {
            name: view.filter.text().to_string(),
            stands: view.stands,
            messages: view.messages,
            bytes: view.bytes,
            drops: view.drops,
            members_total: view.members_total,
            members: members.collect(),
        }
    }
}

/// Which queues.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct Filters {
    /// How the name begins.
    prefix: String,
}

const FIELDS: &[Field<QueueView>] = &[
    ("name", |it| Key::Text(it.filter.text().clone())),
    ("messages", |it| it.messages.into()),
    ("bytes", |it| it.bytes.into()),
    ("drops", |it| Key::Number(it.drops)),
    ("members", |it| it.members_total.into()),
];

/// All queues. What waits for one session alone is in its entry under `/api/v1/sessions`.
#[utoipa::path(get, path = "/api/v1/queues", params(PageQuery, Filters), responses((status = 200, body = Page<Queue>)))]
async fn queues(
    State(admin): State<Arc<Admin>>,
    Asked(query): Asked<PageQuery>,
    Asked(Filters { prefix }): Asked<Filters>,
) -> Answer<Page<Queue>> {
    let slice = move |inside: &Inside<'_>, from, visits_max| inside.broker().inspect_queues(&prefix, from, visits_max);
    let found = page(&admin.shard, &query, FIELDS, slice).await?;
    Ok(Json(found.map(Queue::from)))
}

/// Which queue.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct One {
    /// `$share/GROUP/FILTER` or `$queue/NAME`.
    name: String,
}

/// Drops what waits in a queue. What its members have taken stays with them.
#[utoipa::path(
    delete, path = "/api/v1/queues/messages", params(One), responses((status = 200, body = Dropped), (status = 404))
)]
async fn purge(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Asked(One { name }): Asked<One>,
) -> Answer<Dropped> {
    let (mut messages, mut is_there) = (0, false);
    loop {
        let queue = name.clone();
        let dropped = admin
            .shard
            .run(move |inside| inside.change(|broker, _, effects| broker.purge_queue(&queue, VISITS_MAX, effects)));
        let Some(dropped) = dropped.await? else { break };
        is_there = true;
        messages += dropped;
        if dropped < VISITS_MAX {
            break;
        }
    }
    if !is_there {
        return Err(Problem::missing(format!("there is no queue {name:?}")));
    }
    tracing::info!("{caller} has dropped {messages} messages from {name:?}");
    Ok(Json(Dropped { messages }))
}
