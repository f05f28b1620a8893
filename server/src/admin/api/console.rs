//! The way into the console: an address that lets a browser in, and who is in.

use super::Answer;
use super::users::{LoggedIn, set_cookie};
use crate::admin::Admin;
use crate::admin::connections::Peer;
use crate::admin::gate::Caller;
use crate::admin::problem::{Problem, Told};
use crate::console;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The name of those who came in by a code.
const BY_CODE: &str = "console";

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(address)).routes(routes!(exchange)).routes(routes!(whoami))
}

/// Where the console is.
#[derive(Debug, Serialize, ToSchema)]
struct ConsoleAddress {
    /// With a code that lets a browser in once, within an hour.
    url: String,
}

/// Makes an address of the console that lets a browser in once.
#[utoipa::path(post, path = "/api/v1/console", responses((status = 200, body = ConsoleAddress), (status = 409)))]
async fn address(State(admin): State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Answer<ConsoleAddress> {
    let place = console::address(&admin.listeners).ok_or_else(|| {
        Problem::conflict(
            "the console needs an HTTP listener on loopback or inside TLS: set http.bind or http.tls_bind",
        )
    })?;
    let code = admin.codes.issue().map_err(|error| Problem::failed(error.to_string()))?;
    tracing::info!("{caller} has asked for an address of the console");
    Ok(Json(ConsoleAddress { url: console::with_code(&place, &code) }))
}

/// A code from the console's address.
#[derive(Deserialize, ToSchema)]
struct Code {
    code: String,
}

/// Logs in with the code of an address: the answer brings a cookie, as the login with a password does. A code works once.
#[utoipa::path(
    post, path = "/api/v1/session/code", request_body = Code,
    responses((status = 200, body = LoggedIn), (status = 401))
)]
async fn exchange(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    Told(Code { code }): Told<Code>,
) -> Result<impl IntoResponse, Problem> {
    let address = peer.address();
    if !admin.codes.redeem(&code) {
        tracing::warn!("somebody at {address:?} came with a code for the console that is none");
        tokio::time::sleep(admin.logins.failed(address)).await;
        let text = "this address of the console was used before, or is over: `althing console` prints another";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, text));
    }
    let secret = admin.logins.begin(BY_CODE, address).map_err(|error| Problem::failed(error.to_string()))?;
    tracing::info!("an administrator has opened the console");
    Ok((set_cookie(&secret, "")?, Json(LoggedIn { username: BY_CODE.into() })))
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
struct Whoami {
    /// owner (by the socket in the data directory), token, or user (after a login).
    by: &'static str,
    /// The name that was logged in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
}

/// Says who is logged in.
#[utoipa::path(get, path = "/api/v1/session", responses((status = 200, body = Whoami), (status = 401)))]
async fn whoami(Extension(caller): Extension<Caller>) -> Json<Whoami> {
    Json(match caller {
        Caller::Owner => Whoami { by: "owner", username: None },
        Caller::Token => Whoami { by: "token", username: None },
        Caller::User(name) => Whoami { by: "user", username: Some(name) },
    })
}
