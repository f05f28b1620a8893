//! Rules and bans: what holds, what is written at run time, and what decides.

use super::{Answer, changed};
use crate::admin::Admin;
use crate::admin::gate::Caller;
use crate::admin::problem::{Asked, Problem, Told};
use crate::authorisation::bans::{self, Bans};
use crate::authorisation::{self, rules};
use althing_core::authorisation::{Action, Policy, Principal, Rule};
use althing_core::{Filter, Guarantee, Identity, Link, Topic};
use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use toml::Table;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(list, replace)).routes(routes!(explain)).routes(routes!(banned, ban))
}

/// A rule that holds.
#[derive(Debug, Serialize, ToSchema)]
struct RuleEntry {
    /// Where it is written, and how it reads.
    source: String,
    /// Its fields.
    rule: Value,
}

/// Everything that decides who may do what.
#[derive(Debug, Serialize, ToSchema)]
struct Rules {
    /// In the order in which they are asked: the first that speaks of an action decides.
    rules: Vec<RuleEntry>,
    /// Whether it is allowed what no rule speaks of.
    otherwise_allow: bool,
    /// Those of `rules` that are written at run time; a PUT replaces these.
    managed: Vec<Value>,
}

/// The rules that hold now.
#[utoipa::path(get, path = "/api/v1/rules", responses((status = 200, body = Rules)))]
async fn list(State(admin): State<Arc<Admin>>) -> Answer<Rules> {
    let policy = policy(&admin).await?;
    let entry = |rule: &Rule| RuleEntry { source: rule.source.to_string(), rule: json(rules::write(rule)) };
    Ok(Json(Rules {
        rules: policy.rules.iter().map(entry).collect(),
        otherwise_allow: policy.otherwise_allow,
        managed: managed(&admin)?,
    }))
}

/// The rules that are written at run time.
#[derive(Debug, Deserialize, ToSchema)]
struct NewRules {
    /// Each with any of user, group, client, protocol, listener, network (whom it is for), actions, topic, qos_max, allow.
    rules: Vec<Value>,
}

/// Replaces the rules that are written at run time. Those of the configuration are asked before them.
#[utoipa::path(put, path = "/api/v1/rules", request_body = NewRules, responses((status = 200, body = Rules), (status = 400)))]
async fn replace(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Told(NewRules { rules }): Told<NewRules>,
) -> Answer<Rules> {
    write(&admin, &rules)?;
    changed(&admin, &caller, "the rules").await?;
    list(State(admin)).await
}

/// The rules that are written at run time.
pub fn managed(admin: &Admin) -> Result<Vec<Value>, Problem> {
    let path = authorisation::rules_path(&admin.config);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let read = authorisation::read_file(&path).map_err(|error| Problem::failed(error.to_string()))?;
    Ok(read.iter().map(|rule| json(rules::write(rule))).collect())
}

/// Writes the file of the rules that are written at run time, when all of them are right.
pub fn write(admin: &Admin, rules: &[Value]) -> Result<(), Problem> {
    let mut tables = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let table = toml::Value::try_from(rule).map_err(|error| error.to_string());
        let table = table.and_then(|table| rules::read(&table, "").map(|rule| rules::write(&rule)));
        tables.push(table.map_err(|error| Problem::bad(format!("rule {}: {error}", index + 1)))?);
    }
    let path = authorisation::rules_path(&admin.config);
    let text = "# Rules of Althing; written by its administration\n";
    bans::save(&path, text, Table::from_iter([("rules".to_owned(), tables.into())]))
        .map_err(|error| Problem::failed(format!("{}: {error}", path.display())))
}

fn json(table: Table) -> Value {
    // Every table of a rule is made of texts, numbers and switches.
    serde_json::to_value(table).unwrap_or_default()
}

async fn policy(admin: &Admin) -> Result<Policy, Problem> {
    Ok(admin.shard.run(|inside| inside.broker().policy().clone()).await?)
}

/// Who wants to do what.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Question {
    /// publish, retain, will, subscribe or receive.
    action: String,
    /// The topic, or the filter of a subscription.
    topic: String,
    /// The proven name; nobody's, if not said.
    user: Option<String>,
    #[serde(default)]
    client: String,
    /// An IP address.
    #[param(value_type = Option<String>)]
    address: Option<IpAddr>,
    listener: Option<String>,
    protocol: Option<String>,
    /// What is asked for: 0, if not said.
    #[serde(default)]
    qos: u8,
}

/// What is decided, and why.
#[derive(Debug, Serialize, ToSchema)]
struct Decided {
    allowed: bool,
    /// The most that a subscription is granted.
    qos_max: u8,
    /// The rule that decides, or why there is none.
    because: String,
}

/// Names what decides whether somebody may do something.
#[utoipa::path(
    get, path = "/api/v1/rules/explain", params(Question), responses((status = 200, body = Decided), (status = 400))
)]
async fn explain(State(admin): State<Arc<Admin>>, Asked(question): Asked<Question>) -> Answer<Decided> {
    let policy = policy(&admin).await?;
    let listen = admin.listeners.iter().find(|it| question.listener.as_deref().is_none_or(|name| it.name == name));
    let listen = listen.ok_or_else(|| Problem::bad("there is no such listener: /api/v1/listeners has them all"))?;
    let mut link = Link::new(question.address.map(|address| SocketAddr::new(address, 0)), listen.name);
    link.entrance = Arc::clone(&listen.entrance);
    let protocol = crate::protocols::NAMES.iter().find(|name| Some(**name) == question.protocol.as_deref());
    let principal = Principal {
        identity: Arc::new(question.user.as_deref().map_or_else(Identity::default, Identity::named)),
        client: question.client.as_str().into(),
        protocol: protocol.copied().unwrap_or(listen.protocol.row.language),
        link,
    };
    let limits = &admin.config.limits.topic;
    let guarantee = Guarantee::from_qos(question.qos).ok_or_else(|| Problem::bad("qos is 0, 1 or 2"))?;
    let topic = || {
        let parsed = Topic::new(question.topic.as_str().into(), limits);
        parsed.map_err(|error| Problem::bad(format!("topic={:?} is not a topic: {error}", question.topic)))
    };
    let decided = |action: Action<'_>| {
        let decision = policy.decide(&principal, action);
        Decided {
            allowed: decision.allowed,
            qos_max: decision.guarantee_max as u8,
            because: decision.because.to_string(),
        }
    };
    let (retain, will) = (question.action == "retain", question.action == "will");
    Ok(Json(match &question.action[..] {
        "publish" | "retain" | "will" => decided(Action::Publish { topic: &topic()?, guarantee, retain, will }),
        "receive" => decided(Action::Receive(&topic()?)),
        "subscribe" => {
            let filter = Filter::new(question.topic.as_str().into(), limits);
            let filter = filter.map_err(|error| Problem::bad(format!("topic is not a filter: {error}")))?;
            decided(Action::Subscribe(&filter))
        }
        _ => return Err(Problem::bad("action is publish, retain, will, subscribe or receive")),
    }))
}

/// Who is shut out by what was written at run time.
#[utoipa::path(get, path = "/api/v1/bans", responses((status = 200, body = Bans)))]
async fn banned(State(admin): State<Arc<Admin>>) -> Answer<Bans> {
    Ok(Json(bans::read(&admin.config).map_err(|error| Problem::failed(error.to_string()))?))
}

/// Replaces the bans that are written at run time. Whoever is banned has no rights any more, and its sessions end.
#[utoipa::path(put, path = "/api/v1/bans", request_body = Bans, responses((status = 200, body = Bans), (status = 400)))]
async fn ban(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Told(bans): Told<Bans>,
) -> Answer<Bans> {
    bans.check().map_err(Problem::bad)?;
    bans::write(&admin.config, &bans).map_err(|error| Problem::failed(error.to_string()))?;
    changed(&admin, &caller, "the bans").await?;
    Ok(Json(bans))
}
