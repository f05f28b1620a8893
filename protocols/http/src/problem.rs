//! Errors as problem details (RFC 9457), and the status codes of the broker's refusals.

use althing_core::verbs::{Reason, Refusal};
use http::StatusCode;
use serde_json::json;
use std::borrow::Cow;

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem, for programs.
    pub status: StatusCode,
    /// For people: what was wrong and, where possible, what would be right.
    pub detail: Cow<'static, str>,
    /// When it makes sense to try again.
    pub retry_after_s: Option<u32>,
    /// With 405: the methods that there are (RFC 9110 §15.5.6).
    pub allow: Option<&'static str>,
}

impl Problem {
    /// A problem with its sentence.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), retry_after_s: None, allow: None }
    }

    /// A request that is wrong in itself.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// A method that this resource does not know.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this resource knows {allow}"));
        Self { allow: Some(allow), ..problem }
    }

    /// The same, with the time after which another attempt makes sense.
    #[must_use]
    pub fn retry_after_s(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// The body (RFC 9457 §3.1). `about:blank` says that the problem is what its status code says.
    pub fn body(&self) -> String {
        let title = self.status.canonical_reason().unwrap_or("Error");
        json!({"type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail})
            .to_string()
    }
}

/// What the broker refused.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, retry_after_s) = status_of(refusal.reason);
        Self { status, detail: refusal.text, retry_after_s, allow: None }
    }
}

/// The status code of a refusal, and after how many seconds another attempt makes sense.
fn status_of(reason: Reason) -> (StatusCode, Option<u32>) {
    match reason {
        Reason::BadCredentials | Reason::BadAuthenticationMethod => (StatusCode::UNAUTHORIZED, None),
        Reason::NotAuthorised | Reason::Banned | Reason::AdministrativeAction => (StatusCode::FORBIDDEN, None),
        Reason::TopicNameInvalid
        | Reason::TopicFilterInvalid
        | Reason::PayloadFormatInvalid
        | Reason::Malformed
        | Reason::ProtocolError
        | Reason::ClientIdInvalid => (StatusCode::BAD_REQUEST, None),
        Reason::PacketTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
        Reason::MessageRateTooHigh | Reason::ConnectionRateExceeded => (StatusCode::TOO_MANY_REQUESTS, Some(1)),
        Reason::StoreFull => (StatusCode::INSUFFICIENT_STORAGE, Some(10)),
        Reason::QuotaExceeded => (StatusCode::TOO_MANY_REQUESTS, Some(10)),
        Reason::RetainNotSupported
        | Reason::GuaranteeNotSupported
        | Reason::SharedSubscriptionsNotSupported
        | Reason::WildcardSubscriptionsNotSupported => (StatusCode::NOT_IMPLEMENTED, None),
        Reason::ServerUnavailable
        | Reason::ServerBusy
        | Reason::ShuttingDown
        | Reason::UseAnotherServer
        | Reason::ServerMoved
        | Reason::SessionTakenOver => (StatusCode::SERVICE_UNAVAILABLE, Some(5)),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_sentence() {
        let problem = Problem::from(Refusal::new(Reason::NotAuthorised, "a \"quoted\" reason"));
        assert_eq!(problem.status, StatusCode::FORBIDDEN);
        let body: serde_json::Value = serde_json::from_str(&problem.body()).unwrap();
        assert_eq!(body["status"], 403);
        assert_eq!(body["title"], "Forbidden");
        assert_eq!(body["detail"], "a \"quoted\" reason");
    }

    #[test]
    fn what_passes_says_when_to_come_back() {
        for (reason, status) in
            [(Reason::MessageRateTooHigh, 429), (Reason::QuotaExceeded, 429), (Reason::ShuttingDown, 503)]
        {
            let problem = Problem::from(Refusal::new(reason, ""));
            assert_eq!(problem.status.as_u16(), status);
            assert!(problem.retry_after_s.is_some());
        }
    }
}
