//! Sessions and those of them that are connected: listing, kicking, emptying queues.

use super::Answer;
use crate::admin::Admin;
use crate::admin::gate::Caller;
use crate::admin::paging::{Field, Key, Page, PageQuery, VISITS_MAX, page};
use crate::admin::problem::{Asked, Named, Problem};
use althing_core::broker::Pace;
use althing_core::inspect::{SessionQuery, SessionView};
use althing_core::verbs::Refusal;
use althing_core::{Now, Reason};
use althing_net::{ConnectionView, Inside};
use axum::extract::State;
use axum::{Extension, Json};
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new()
        .routes(routes!(clients))
        .routes(routes!(client, kick))
        .routes(routes!(sessions))
        .routes(routes!(session, end))
        .routes(routes!(purge))
}

/// A session, and its connection if it has one.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// The client id.
    client: String,
    /// The realm in which the id is unique; empty = the default one.
    realm: String,
    /// The proven name.
    user: Option<String>,
    /// Groups that the identity provider says the user is in.
    groups: Vec<String>,
    protocol: &'static str,
    listener: &'static str,
    /// Where the peer is; absent on unix sockets, and when nobody has connected since the start.
    address: Option<String>,
    /// What TLS has settled, if it is spoken.
    tls: Option<Tls>,
    connected: bool,
    /// How long it has been connected.
    connected_s: Option<u64>,
    /// How fast the peer reads: ready, slow or stalled.
    pace: &'static str,
    /// Bytes that are written and that the peer's socket has not taken.
    unsent_bytes: Option<usize>,
    /// Seconds that the session outlives its connection.
    expiry_s: u32,
    /// Seconds until it ends, while it is not connected.
    expires_in_s: Option<u64>,
    will: bool,
    subscriptions: usize,
    queue_messages: usize,
    queue_bytes: usize,
    inflight_messages: usize,
    /// The most messages that may be in flight.
    window: u16,
    /// Messages that were dropped on their way to it.
    drops: u64,
    /// Grows with each connection: the higher, the later it connected.
    epoch: u64,
}

/// What TLS has settled.
#[derive(Debug, Serialize, ToSchema)]
struct Tls {
    version: &'static str,
    cipher: &'static str,
    /// The subject of the client's certificate.
    certificate: Option<String>,
}

impl Session {
    fn new(view: SessionView, connection: Option<ConnectionView>, now: Now) -> Self {
        let principal = view.principal;
        let tls = principal.link.tls.as_deref().map(|tls| Tls {
            version: tls.version,
            cipher: tls.cipher,
            certificate: tls.certificate.as_ref().map(|certificate| certificate.subject.clone()),
        });
        Self {
            client: principal.client.to_string(),
            realm: view.realm.to_string(),
            user: principal.name().map(ToString::to_string),
            groups: principal.identity.groups.iter().map(ToString::to_string).collect(),
            protocol: principal.protocol,
            listener: principal.link.listener(),
            address: principal.link.remote.map(|remote| remote.to_string()),
            tls,
            connected: view.peer.is_some(),
            connected_s: connection.map(|it| now.mono_ns.saturating_sub(it.since_ns) / 1_000_000_000),
            pace: match view.pace {
                Pace::Ready => "ready",
                Pace::Slow => "slow",
                Pace::Stalled => "stalled",
            },
            unsent_bytes: connection.map(|it| it.unsent_bytes),
            expiry_s: view.expiry_s,
            expires_in_s: view.ends_ns.map(|ends_ns| ends_ns.saturating_sub(now.mono_ns) / 1_000_000_000),
            will: view.has_will,
            subscriptions: view.subscriptions,
            queue_messages: view.queue_messages,
            queue_bytes: view.queue_bytes,
            inflight_messages: view.inflight_messages,
            window: view.window,
            drops: view.drops,
            epoch: view.epoch,
        }
    }
}

/// Which sessions; a key that is absent does not matter.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct Filters {
    /// How the client id begins.
    prefix: String,
    realm: Option<String>,
    /// The proven name.
    user: Option<String>,
    protocol: Option<String>,
    listener: Option<String>,
}

/// Whether it is connected.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct Presence {
    connected: Option<bool>,
}

/// In which realm the client id is meant.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct Realm {
    /// Empty, if not said: the default one.
    realm: String,
}

const FIELDS: &[Field<SessionView>] = &[
    ("client", |it| Key::Text(it.principal.client.clone())),
    ("user", |it| Key::Text(it.principal.name().cloned().unwrap_or_default())),
    ("protocol", |it| Key::Text(ByteString::from_static(it.principal.protocol))),
    ("queue_bytes", |it| it.queue_bytes.into()),
    ("queue_messages", |it| it.queue_messages.into()),
    ("inflight_messages", |it| it.inflight_messages.into()),
    ("subscriptions", |it| it.subscriptions.into()),
    ("drops", |it| Key::Number(it.drops)),
    ("epoch", |it| Key::Number(it.epoch)),
];

/// The sessions that are connected.
#[utoipa::path(get, path = "/api/v1/clients", params(PageQuery, Filters), responses((status = 200, body = Page<Session>)))]
async fn clients(
    State(admin): State<Arc<Admin>>,
    Asked(query): Asked<PageQuery>,
    Asked(filters): Asked<Filters>,
) -> Answer<Page<Session>> {
    list(&admin, query, filters, Some(true)).await
}

/// All sessions, connected or not.
#[utoipa::path(
    get, path = "/api/v1/sessions", params(PageQuery, Filters, Presence),
    responses((status = 200, body = Page<Session>))
)]
async fn sessions(
    State(admin): State<Arc<Admin>>,
    Asked(query): Asked<PageQuery>,
    Asked(filters): Asked<Filters>,
    Asked(presence): Asked<Presence>,
) -> Answer<Page<Session>> {
    list(&admin, query, filters, presence.connected).await
}

async fn list(admin: &Admin, query: PageQuery, filters: Filters, connected: Option<bool>) -> Answer<Page<Session>> {
    let Filters { prefix, realm, user, protocol, listener } = filters;
    let text = |text: Option<String>| text.map(ByteString::from);
    let wanted = SessionQuery {
        prefix: prefix.into(),
        realm: text(realm),
        user: text(user),
        protocol: text(protocol),
        listener: text(listener),
        connected,
    };
    let wanted = Arc::new(wanted);
    let slice =
        move |inside: &Inside<'_>, from, visits_max| inside.broker().inspect_sessions(&wanted, from, visits_max);
    let found = page(&admin.shard, &query, FIELDS, slice).await?;
    let shown = admin.shard.run(move |inside| {
        let now = inside.now();
        found.map(|view| show(inside, view, now))
    });
    Ok(Json(shown.await?))
}

fn show(inside: &Inside<'_>, view: SessionView, now: Now) -> Session {
    let connection = view.peer.and_then(|peer| inside.connection(peer));
    Session::new(view, connection, now)
}

/// One session that is connected.
#[utoipa::path(
    get, path = "/api/v1/clients/{client}", params(("client" = String, Path), Realm),
    responses((status = 200, body = Session), (status = 404))
)]
async fn client(
    State(admin): State<Arc<Admin>>,
    Named(client): Named<String>,
    Asked(realm): Asked<Realm>,
) -> Answer<Session> {
    let found = find(&admin, realm.realm, client.clone()).await?.filter(|session| session.connected);
    found.map(Json).ok_or_else(|| Problem::missing(format!("client {client:?} is not connected")))
}

/// One session.
#[utoipa::path(
    get, path = "/api/v1/sessions/{client}", params(("client" = String, Path), Realm),
    responses((status = 200, body = Session), (status = 404))
)]
async fn session(
    State(admin): State<Arc<Admin>>,
    Named(client): Named<String>,
    Asked(realm): Asked<Realm>,
) -> Answer<Session> {
    let found = find(&admin, realm.realm, client.clone()).await?;
    found.map(Json).ok_or_else(|| no_session(&client))
}

async fn find(admin: &Admin, realm: String, client: String) -> Result<Option<Session>, Problem> {
    let find = move |inside: &mut Inside<'_>| {
        let view = inside.broker().inspect_session(&realm, &client)?;
        Some(show(inside, view, inside.now()))
    };
    Ok(admin.shard.run(find).await?)
}

fn no_session(client: &str) -> Problem {
    Problem::missing(format!("there is no session of client {client:?}"))
}

/// What has been ended.
#[derive(Debug, Serialize, ToSchema)]
struct Ended {
    client: String,
    /// Whether the session has ended too, and not only its connection.
    session: bool,
}

/// Ends a connection; the session stays as long as it was asked to.
#[utoipa::path(
    delete, path = "/api/v1/clients/{client}", params(("client" = String, Path), Realm),
    responses((status = 200, body = Ended), (status = 404))
)]
async fn kick(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Named(client): Named<String>,
    Asked(realm): Asked<Realm>,
) -> Answer<Ended> {
    end_one(&admin, &caller, realm.realm, client, false).await
}

/// Ends a session, with its connection, its subscriptions and everything that waits for it.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{client}", params(("client" = String, Path), Realm),
    responses((status = 200, body = Ended), (status = 404))
)]
async fn end(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Named(client): Named<String>,
    Asked(realm): Asked<Realm>,
) -> Answer<Ended> {
    end_one(&admin, &caller, realm.realm, client, true).await
}

async fn end_one(admin: &Admin, caller: &Caller, realm: String, client: String, session: bool) -> Answer<Ended> {
    let name = client.clone();
    let ended = admin.shard.run(move |inside| {
        inside.change(|broker, now, effects| {
            let why = Refusal::new(Reason::AdministrativeAction, "an administrator has ended this");
            broker.kick(now, (&realm, &name), why, session, effects)
        })
    });
    if !ended.await? {
        return Err(if session {
            no_session(&client)
        } else {
            Problem::missing(format!("client {client:?} is not connected"))
        });
    }
    tracing::info!("{caller} has ended the {} of client {client:?}", if session { "session" } else { "connection" });
    Ok(Json(Ended { client, session }))
}

/// What has been dropped.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dropped {
    /// Messages.
    pub messages: usize,
}

/// Drops what waits for a session.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{client}/queue", params(("client" = String, Path), Realm),
    responses((status = 200, body = Dropped), (status = 404))
)]
async fn purge(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Named(client): Named<String>,
    Asked(Realm { realm }): Asked<Realm>,
) -> Answer<Dropped> {
    let mut messages = 0;
    loop {
        let (realm, name) = (realm.clone(), client.clone());
        let dropped = admin.shard.run(move |inside| {
            inside.change(|broker, _, effects| broker.purge_session((&realm, &name), VISITS_MAX, effects))
        });
        match dropped.await? {
            None if messages == 0 => return Err(no_session(&client)),
            None | Some(0) => break,
            Some(dropped) => messages += dropped,
        }
    }
    tracing::info!("{caller} has dropped {messages} messages that waited for client {client:?}");
    Ok(Json(Dropped { messages }))
}
