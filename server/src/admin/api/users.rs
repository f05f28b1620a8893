//! Users of the users file, and logging in as one of them.

use super::{Answer, changed};
use crate::admin::Admin;
use crate::admin::connections::Peer;
use crate::admin::gate::{COOKIE, Caller, cookie};
use crate::admin::problem::{Named, Problem, Told};
use crate::identity::users::{User, Users, UsersError};
use crate::identity::users_file;
use althing_core::effects::{Verdict, Verify};
use althing_core::{Identity, Link, PeerId};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Who may log in here.
const ADMINISTRATORS: &str = "admin";

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(login, logout)).routes(routes!(users)).routes(routes!(put, remove))
}

/// A name and a password.
#[derive(Deserialize, ToSchema)]
struct Login {
    username: String,
    password: String,
}

/// Who has logged in.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedIn {
    pub username: String,
}

/// Logs in as a user of the group `admin`: the answer brings a cookie. Requests that change something by it must carry a
/// header `X-Althing`, with any value.
#[utoipa::path(
    post, path = "/api/v1/session", request_body = Login,
    responses((status = 200, body = LoggedIn), (status = 401))
)]
async fn login(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    Told(Login { username, password }): Told<Login>,
) -> Result<impl IntoResponse, Problem> {
    let address = peer.address();
    let identity = prove(&admin, peer, &username, password).await;
    let is_administrator = |identity: &Arc<Identity>| identity.groups.iter().any(|group| group == ADMINISTRATORS);
    if !identity.is_some_and(|identity| is_administrator(&identity)) {
        tracing::warn!("{username:?} could not log in as an administrator from {address:?}");
        tokio::time::sleep(admin.logins.failed(address)).await;
        let text = "wrong name or password, or not in the group `admin`";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, text));
    }
    let secret = admin.logins.begin(&username, address).map_err(|error| Problem::failed(error.to_string()))?;
    tracing::info!("the administrator {username:?} has logged in");
    Ok((set_cookie(&secret, "")?, Json(LoggedIn { username })))
}

/// Ends the login of the cookie.
#[utoipa::path(delete, path = "/api/v1/session", responses((status = 204)))]
async fn logout(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    if let Some(secret) = cookie(&headers) {
        admin.logins.end(secret);
    }
    Ok((StatusCode::NO_CONTENT, set_cookie("", "; Max-Age=0")?))
}

pub fn set_cookie(secret: &str, more: &str) -> Result<AppendHeaders<[(header::HeaderName, HeaderValue); 1]>, Problem> {
    let text = format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict{more}");
    let value = HeaderValue::from_str(&text).map_err(|error| Problem::failed(error.to_string()))?;
    Ok(AppendHeaders([(header::SET_COOKIE, value)]))
}

/// Asks the identity providers, like any language does.
async fn prove(admin: &Admin, peer: Peer, username: &str, password: String) -> Option<Arc<Identity>> {
    let remote = peer.address().map(|address| SocketAddr::new(address, 0));
    let verify = Verify {
        // Nobody's: no connection of a shard has such a place, and a password takes one step.
        peer: PeerId { shard: u16::MAX, generation: 0, slot: u32::MAX },
        link: Link::new(remote, "admin"),
        protocol: "http",
        client: "".into(),
        username: Some(username.into()),
        password: Some(password.into()),
        authentication: None,
        first: true,
    };
    let (sender, receiver) = oneshot::channel();
    let answer = move |verdict| {
        // Whoever asked may have gone.
        let _ = sender.send(verdict);
    };
    let verdict = match admin.identities.verify(verify, answer) {
        Some(verdict) => verdict,
        None => receiver.await.ok()?,
    };
    match verdict {
        Verdict::Accept { identity, .. } => Some(identity).filter(|identity| identity.name.is_some()),
        Verdict::Continue(_) | Verdict::Refuse { .. } => None,
    }
}

/// A user of the users file.
#[derive(Debug, Serialize, ToSchema)]
struct UserEntry {
    name: String,
    groups: Vec<String>,
    /// Whether it can prove itself by SCRAM.
    scram: bool,
}

impl From<&User> for UserEntry {
    fn from(user: &User) -> Self {
        let groups = user.groups.iter().map(ToString::to_string).collect();
        Self { name: user.name.to_string(), groups, scram: !user.scram.is_empty() }
    }
}

/// Everyone in the users file.
#[utoipa::path(get, path = "/api/v1/users", responses((status = 200, body = Vec<UserEntry>)))]
async fn users(State(admin): State<Arc<Admin>>) -> Answer<Vec<UserEntry>> {
    Ok(Json(read(&admin)?.iter().map(UserEntry::from).collect()))
}

/// What a user is to be.
#[derive(Deserialize, ToSchema)]
struct UserChange {
    /// A new password; needed for a new user.
    password: Option<String>,
    /// The only groups that it is in; those that it has, if not said.
    groups: Option<Vec<String>>,
    /// Whether it can prove itself by SCRAM with the new password; true, if not said.
    scram: Option<bool>,
}

/// Adds a user, or changes one: another password, other groups.
#[utoipa::path(
    put, path = "/api/v1/users/{name}", params(("name" = String, Path)), request_body = UserChange,
    responses((status = 200, body = UserEntry), (status = 409))
)]
async fn put(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named<String>,
    Told(change): Told<UserChange>,
) -> Answer<UserEntry> {
    let user = name.clone();
    let entry = write(&admin, move |users| {
        let (scram, groups) = (change.scram.unwrap_or(true), change.groups);
        if !users.iter().any(|it| it.name == user) {
            let password = change
                .password
                .ok_or_else(|| UsersError::Request(format!("there is no user {user:?}: a new one needs a password")))?;
            users.add(User::new(&user, &password, &groups.unwrap_or_default(), scram)?)?;
        } else {
            let known = users.get_mut(&user)?;
            if let Some(password) = &change.password {
                known.set_password(password, scram)?;
            }
            if let Some(groups) = &groups {
                known.set_groups(groups)?;
            }
        }
        Ok(UserEntry::from(&*users.get_mut(&user)?))
    });
    let entry = entry.await?;
    admin.logins.end_of(&name);
    changed(&admin, &caller, &format!("the user {name:?}")).await?;
    Ok(Json(entry))
}

/// Removes a user. Its sessions end.
#[utoipa::path(
    delete, path = "/api/v1/users/{name}", params(("name" = String, Path)),
    responses((status = 204), (status = 404))
)]
async fn remove(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named<String>,
) -> Result<StatusCode, Problem> {
    if !read(&admin)?.iter().any(|user| user.name == name) {
        return Err(Problem::missing(format!("there is no user {name:?}")));
    }
    let user = name.clone();
    write(&admin, move |users| users.remove(&user)).await?;
    admin.logins.end_of(&name);
    changed(&admin, &caller, &format!("the users: {name:?} is gone")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Everyone in the users file; nobody, when there is none.
pub fn read(admin: &Admin) -> Result<Users, Problem> {
    match Users::load(&users_file(&admin.config.identity, &admin.config.server.data)) {
        Err(UsersError::File { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(Users::default()),
        result => result.map_err(|error| Problem::failed(error.to_string())),
    }
}

/// Changes the users file. Hashing keeps a processor busy, so another thread does it.
pub async fn write<T: Send + 'static>(
    admin: &Admin,
    change: impl FnOnce(&mut Users) -> Result<T, UsersError> + Send + 'static,
) -> Result<T, Problem> {
    let path = users_file(&admin.config.identity, &admin.config.server.data);
    let written = spawn_blocking(move || Users::change(&path, change)).await;
    let written = written.map_err(|_| Problem::failed("a mistake in this broker; standard error has the details"))?;
    written.map_err(|error| match error {
        UsersError::Request(text) => Problem::conflict(text),
        error => Problem::failed(error.to_string()),
    })
}
