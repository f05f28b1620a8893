//! Everything that was defined at run time as one document, out and in.

use super::{Answer, changed, rules, users};
use crate::admin::Admin;
use crate::admin::gate::Caller;
use crate::admin::problem::{Problem, Told};
use crate::authorisation::bans::{self, Bans};
use crate::config::{Config, keys};
use crate::identity::users::{User, Users};
use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Of the document's form.
const VERSION: u32 = 1;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(export, import))
}

/// Users, rules and bans. A part that is absent stays as it is when the document is brought in.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
struct Definitions {
    version: u32,
    /// Lines of the users file: names, hashes, groups and keys, but no passwords.
    users: Option<Vec<String>>,
    /// Those that are written at run time.
    rules: Option<Vec<Value>>,
    /// Those that are written at run time.
    bans: Option<Bans>,
    /// Keys of the configuration that set quotas, to read: they are changed in the configuration.
    #[serde(default)]
    quotas: BTreeMap<String, Value>,
}

/// Everything that was defined at run time. Whoever has it can try to guess passwords: keep it like the users file.
#[utoipa::path(get, path = "/api/v1/definitions", responses((status = 200, body = Definitions)))]
async fn export(State(admin): State<Arc<Admin>>) -> Answer<Definitions> {
    Ok(Json(Definitions {
        version: VERSION,
        users: Some(users::read(&admin)?.iter().map(ToString::to_string).collect()),
        rules: Some(rules::managed(&admin)?),
        bans: Some(bans::read(&admin.config).map_err(|error| Problem::failed(error.to_string()))?),
        quotas: quotas(&admin.config),
    }))
}

fn quotas(config: &Config) -> BTreeMap<String, Value> {
    let entries = keys::entries(config, &Config::new(0)).into_iter();
    let quotas = entries.filter(|entry| entry.name.starts_with("quotas."));
    quotas.filter_map(|entry| Some((entry.name, serde_json::to_value(entry.value?).ok()?))).collect()
}

/// What was brought in.
#[derive(Debug, Serialize, ToSchema)]
struct Imported {
    users: Option<usize>,
    rules: Option<usize>,
    bans: bool,
}

/// Replaces what is defined at run time by what the document has. It is checked first: a mistake changes nothing.
#[utoipa::path(
    put, path = "/api/v1/definitions", request_body = Definitions,
    responses((status = 200, body = Imported), (status = 400))
)]
async fn import(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Told(definitions): Told<Definitions>,
) -> Answer<Imported> {
    let Definitions { version, users, rules, bans, quotas: _ } = definitions;
    if version != VERSION {
        return Err(Problem::bad(format!("version {version} of definitions is not known here: {VERSION} is")));
    }
    let new_users = users.as_deref().map(parse).transpose()?;
    bans.iter().try_for_each(Bans::check).map_err(Problem::bad)?;
    let imported =
        Imported { users: users.map(|users| users.len()), rules: rules.as_ref().map(Vec::len), bans: bans.is_some() };
    // The rules are checked by their writing, before anything else is written.
    if let Some(rules) = &rules {
        rules::write(&admin, rules)?;
    }
    if let Some(bans) = &bans {
        bans::write(&admin.config, bans).map_err(|error| Problem::failed(error.to_string()))?;
    }
    if let Some(new_users) = new_users {
        users::write(&admin, move |users| {
            *users = new_users;
            Ok(())
        })
        .await?;
    }
    changed(&admin, &caller, "the definitions").await?;
    Ok(Json(imported))
}

fn parse(lines: &[String]) -> Result<Users, Problem> {
    let mut users = Users::default();
    for (index, line) in lines.iter().enumerate() {
        let user = line.parse::<User>();
        let user = user.map_err(|expected| Problem::bad(format!("user {}: {expected}", index + 1)))?;
        users.add(user).map_err(|error| Problem::bad(error.to_string()))?;
    }
    Ok(users)
}
