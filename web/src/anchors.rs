//! The sessions of one connection: one for each of the credentials that its requests bear, as a proxy's do.

use crate::anchor::Anchor;
use crate::credentials::Credentials;
use althing_core::Link;
use althing_core::verbs::{Reason, Refusal};
use althing_http::Problem;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those that were used last are in front.
#[derive(Debug)]
pub struct Anchors {
    most: usize,
    /// Only ever locked by this thread, and for moments.
    open: Mutex<Vec<(Option<HeaderValue>, Arc<Anchor>)>>,
}

impl Anchors {
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), open: Mutex::default() }
    }

    /// The session for these headers; one is opened where there is none.
    pub async fn find(&self, link: &Link, headers: &HeaderMap) -> Result<Arc<Anchor>, Problem> {
        let key = headers.get(header::AUTHORIZATION);
        let found = self.known(key);
        let anchor = match found {
            Some(anchor) => anchor,
            None => {
                let connect = Credentials::of(headers)?.into_connect();
                let anchor = Arc::new(Anchor::open(link, connect)?);
                let mut open = self.lock();
                // Who uses one that has to go keeps it as long as it takes.
                open.truncate(self.most - 1);
                open.insert(0, (key.cloned(), Arc::clone(&anchor)));
                anchor
            }
        };
        match anchor.stands().await {
            Ok(()) => Ok(anchor),
            Err(refusal) => {
                self.lock().retain(|(_, open)| !Arc::ptr_eq(open, &anchor));
                Err(refused(refusal, headers))
            }
        }
    }

    fn known(&self, key: Option<&HeaderValue>) -> Option<Arc<Anchor>> {
        let mut open = self.lock();
        let place = open.iter().position(|(known, _)| known.as_ref() == key)?;
        if open[place].1.is_over() {
            open.remove(place);
            return None;
        }
        open[..=place].rotate_right(1);
        Some(Arc::clone(&open[0].1))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Option<HeaderValue>, Arc<Anchor>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has not said who it is may do so now: a browser asks its user then (RFC 9110 §15.5.2).
pub fn refused(refusal: Refusal, headers: &HeaderMap) -> Problem {
    let is_nobody = refusal.reason == Reason::NotAuthorised && !headers.contains_key(header::AUTHORIZATION);
    let problem = Problem::from(refusal);
    if is_nobody { Problem { status: StatusCode::UNAUTHORIZED, ..problem } } else { problem }
}
