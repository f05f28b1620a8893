//! Subscriptions, one entry each.

use super::Answer;
use crate::admin::Admin;
use crate::admin::paging::{Field, Key, Page, PageQuery, page};
use crate::admin::problem::Asked;
use althing_core::inspect::{SubscriptionQuery, SubscriptionView};
use althing_net::Inside;
use axum::Json;
use axum::extract::State;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(subscriptions))
}

/// One subscription of one session.
#[derive(Debug, Serialize, ToSchema)]
struct Subscription {
    client: String,
    realm: String,
    /// With `$share/GROUP/` before a shared one.
    filter: String,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    /// MQTT's subscription identifier; 0 = none.
    identifier: u32,
}

impl From<SubscriptionView> for Subscription {
    fn from(view: SubscriptionView) -> Self {
        Self {
            client: view.client.to_string(),
            realm: view.realm.to_string(),
            filter: view.filter.to_string(),
            qos: view.options.guarantee as u8,
            no_local: view.options.no_local,
            retain_as_published: view.options.retain_as_published,
            identifier: view.options.tag,
        }
    }
}

/// Which subscriptions; a key that is absent does not matter.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct Filters {
    /// The client id.
    client: Option<String>,
    /// How the filter begins.
    prefix: String,
}

const FIELDS: &[Field<SubscriptionView>] =
    &[("client", |it| Key::Text(it.client.clone())), ("filter", |it| Key::Text(it.filter.clone()))];

/// All subscriptions.
#[utoipa::path(
    get, path = "/api/v1/subscriptions", params(PageQuery, Filters),
    responses((status = 200, body = Page<Subscription>))
)]
async fn subscriptions(
    State(admin): State<Arc<Admin>>,
    Asked(query): Asked<PageQuery>,
    Asked(filters): Asked<Filters>,
) -> Answer<Page<Subscription>> {
    let wanted =
        Arc::new(SubscriptionQuery { client: filters.client.map(ByteString::from), prefix: filters.prefix.into() });
    let slice =
        move |inside: &Inside<'_>, from, visits_max| inside.broker().inspect_subscriptions(&wanted, from, visits_max);
    let found = page(&admin.shard, &query, FIELDS, slice).await?;
    Ok(Json(found.map(Subscription::from)))
}
