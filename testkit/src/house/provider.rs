//! The identity provider of a simulated world.

use althing_core::Identity;
use althing_core::effects::{Verdict, Verify};
use althing_core::verbs::{Reason, Refusal};
use bytes::Bytes;
use std::sync::Arc;

/// The one method of enhanced authentication: the peer sends the challenge back.
pub const METHOD_ECHO: &str = "ECHO";
/// What the peer has to send back.
pub const CHALLENGE: &[u8] = b"say this again";
/// The password that nobody has.
pub const WRONG_PASSWORD: &[u8] = b"wrong";

/// How the password of a proof that ends begins.
const EXPIRES: &str = "expires ";

/// The password of a proof that ends at this moment of the wall clock.
pub fn expiring(wall_ms: u64) -> Bytes {
    format!("{EXPIRES}{wall_ms}").into()
}

/// Every user name is proven by any password but the wrong one; no user name makes an anonymous peer.
pub(crate) fn judge(question: &Verify) -> Verdict {
    let password = question.password.as_deref().and_then(|password| str::from_utf8(password).ok());
    let expires_wall_ms = password.and_then(|password| password.strip_prefix(EXPIRES)?.parse().ok());
    let identity = Arc::new(Identity { name: question.username.clone(), expires_wall_ms, ..Identity::default() });
    let Some(step) = &question.authentication else {
        return match question.password.as_deref() {
            Some(WRONG_PASSWORD) => refuse(Reason::BadCredentials, "wrong user name or password"),
            _ => Verdict::Accept { identity, data: None },
        };
    };
    if &step.method[..] != METHOD_ECHO {
        return refuse(Reason::BadAuthenticationMethod, "the only method here is ECHO");
    }
    match (question.first, step.data.as_deref()) {
        (true, _) => Verdict::Continue(Some(Bytes::from_static(CHALLENGE))),
        (false, Some(CHALLENGE)) => Verdict::Accept { identity, data: None },
        (false, _) => refuse(Reason::NotAuthorised, "that was not the challenge"),
    }
}

fn refuse(reason: Reason, text: &'static str) -> Verdict {
    Verdict::Refuse { refusal: Refusal::new(reason, text), why: None }
}
