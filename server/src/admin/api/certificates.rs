//! The certificates of the listeners, and when they end.

use super::Answer;
use crate::admin::Admin;
use crate::tls::CertificateStatus;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(certificates))
}

/// A certificate, an authority or a revocation list in use.
#[derive(Debug, Serialize, ToSchema)]
struct CertificateEntry {
    /// The file that it was read from.
    file: String,
    subject: String,
    /// What it is for.
    role: &'static str,
    /// When it ends, in seconds since 1970.
    not_after_s: i64,
    /// Seconds until then; negative when it is over.
    expires_in_s: i64,
    /// The DNS names and addresses that it speaks for.
    names: Vec<String>,
    /// SHA-256, in hexadecimal.
    fingerprint: String,
    /// The listeners that use it.
    listeners: Vec<&'static str>,
}

impl CertificateEntry {
    fn new(status: CertificateStatus, now_s: i64) -> Self {
        Self {
            file: status.file.display().to_string(),
            subject: status.subject,
            role: status.role.name(),
            not_after_s: status.not_after_s,
            expires_in_s: status.not_after_s - now_s,
            names: status.names,
            fingerprint: status.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect(),
            listeners: status.listeners,
        }
    }
}

/// The certificates that are in use now.
#[utoipa::path(get, path = "/api/v1/certificates", responses((status = 200, body = Vec<CertificateEntry>)))]
async fn certificates(State(admin): State<Arc<Admin>>) -> Answer<Vec<CertificateEntry>> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    Ok(Json(admin.tls.certificates().into_iter().map(|status| CertificateEntry::new(status, now_s)).collect()))
}
