//! `Idempotency-Key`: a request that is repeated because nobody heard the answer is answered again, and carried out once.
//!
//! Two things remember a key. This store knows the answer and what the request was, as long as the process lives. The
//! broker knows a session of the key's own ([`client_id`]) and in it the token of an `ExactlyOnce` publish, which outlives the
//! process: after a restart the message is still not published twice, though the body is not compared any more.

use crate::problem::Problem;
use crate::properties;
use bytestring::ByteString;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, StatusCode};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::VecDeque;
use std::hash::Hasher;

/// The request's header.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// In the answer: this is what an earlier request was answered.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Nobody needs longer ones; a UUID has 36.
const KEY_BYTES_MAX: usize = 255;

/// What may be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyLimits {
    /// Keys of everybody.
    pub keys_max: usize,
    /// Keys of one identity.
    pub keys_per_identity_max: usize,
    /// How long, in seconds, after the answer.
    pub remembered_s: u32,
}

impl Default for IdempotencyLimits {
    fn default() -> Self {
        Self { keys_max: 65_536, keys_per_identity_max: 16_384, remembered_s: 600 }
    }
}

/// Whose key it is, and which one: a digest of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(u128);

/// What a request is, as far as a repeat has to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestDigest(u128);

/// How a request with a key goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin<A> {
    /// Nobody has asked this before. [`IdempotencyStore::finish`] has to follow.
    New,
    /// This was the answer.
    Replay(A),
}

/// Answers by key. `A` is what is needed to give the same one again.
#[derive(Debug)]
pub struct IdempotencyStore<A> {
    limits: IdempotencyLimits,
    entries: HashMap<KeyId, Entry<A>, FixedState>,
    /// Answered keys, the oldest first, with the time when they are forgotten.
    answered: VecDeque<(u64, KeyId)>,
    /// How many keys each identity has.
    identities: HashMap<ByteString, usize, FixedState>,
}

#[derive(Debug)]
struct Entry<A> {
    identity: ByteString,
    request: RequestDigest,
    /// `None` while it is under way.
    answer: Option<A>,
}

/// The key of a request, when it has one.
///
/// # Errors
/// When it is empty, too long or repeated.
pub fn read_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(key) = properties::text(headers, &KEY)? else { return Ok(None) };
    // The draft wants a quoted string (RFC 8941); most people write none.
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Problem::bad_request(format!("{KEY} must have 1 to {KEY_BYTES_MAX} characters")));
    }
    Ok(Some(key))
}

impl KeyId {
    /// Of an identity (empty for those who have none) and its key.
    pub fn new(identity: &str, key: &str) -> Self {
        Self(digest([identity.as_bytes(), key.as_bytes()]))
    }

    /// The id of the session that remembers the key for the broker.
    pub fn client_id(self) -> ByteString {
        format!("http-key-{:032x}", self.0).into()
    }
}

impl RequestDigest {
    /// Of everything that a repeat has in common with its first.
    pub fn new<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(digest(parts))
    }
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u128 {
    let mut digest = SipHasher13::new();
    for part in parts {
        digest.write_usize(part.len());
        digest.write(part);
    }
    digest.finish128().as_u128()
}

impl<A: Clone> IdempotencyStore<A> {
    /// An empty one.
    pub fn new(limits: IdempotencyLimits) -> Self {
        Self { limits, entries: HashMap::default(), answered: VecDeque::new(), identities: HashMap::default() }
    }

    /// A request with a key.
    ///
    /// # Errors
    /// 409 when the same request is under way, 422 when the key belongs to another request, 429 when too many keys are known.
    pub fn begin(
        &mut self,
        now_ns: u64,
        identity: &str,
        key: KeyId,
        request: RequestDigest,
    ) -> Result<Begin<A>, Problem> {
        self.forget(now_ns);
        if let Some(entry) = self.entries.get(&key) {
            if entry.request != request {
                let detail = "this Idempotency-Key came with another request; a new request needs a new key";
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
            }
            let under_way = || {
                let detail = "a request with this Idempotency-Key is under way; ask again for its answer";
                Problem::new(StatusCode::CONFLICT, detail).retry_after_s(1)
            };
            return entry.answer.clone().map(Begin::Replay).ok_or_else(under_way);
        }
        let of_identity = self.identities.get(identity).copied().unwrap_or_default();
        if self.entries.len() >= self.limits.keys_max || of_identity >= self.limits.keys_per_identity_max {
            let detail = "as many Idempotency-Keys are remembered as may be; they are forgotten with time";
            let retry_after_s = self.answered.front().map_or(1, |(until_ns, _)| seconds_until(now_ns, *until_ns));
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after_s(retry_after_s));
        }
        *self.identities.entry(identity.into()).or_default() += 1;
        self.entries.insert(key, Entry { identity: identity.into(), request, answer: None });
        Ok(Begin::New)
    }

    /// The request was carried out and is answered; or (`None`) it was not, and may be tried again.
    pub fn finish(&mut self, now_ns: u64, key: KeyId, answer: Option<A>) {
        match answer {
            None => self.remove(key),
            Some(answer) => {
                let Some(entry) = self.entries.get_mut(&key) else { return };
                entry.answer = Some(answer);
                let until_ns =
                    now_ns.saturating_add(u64::from(self.limits.remembered_s) * althing_core::time::SECOND_NS);
                self.answered.push_back((until_ns, key));
            }
        }
    }

    fn forget(&mut self, now_ns: u64) {
        while let Some((_, key)) = self.answered.pop_front_if(|(until_ns, _)| *until_ns <= now_ns) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: KeyId) {
        let Some(entry) = self.entries.remove(&key) else { return };
        if let Some(count) = self.identities.get_mut(&entry.identity) {
            *count -= 1;
            if *count == 0 {
                self.identities.remove(&entry.identity);
            }
        }
    }
}

fn seconds_until(now_ns: u64, until_ns: u64) -> u32 {
    let seconds = until_ns.saturating_sub(now_ns).div_ceil(althing_core::time::SECOND_NS);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::time::SECOND_NS;

    const LIMITS: IdempotencyLimits = IdempotencyLimits { keys_max: 3, keys_per_identity_max: 2, remembered_s: 10 };

    fn request(body: &str) -> RequestDigest {
        RequestDigest::new([body.as_bytes()])
    }

    fn status<A: std::fmt::Debug>(begin: Result<Begin<A>, Problem>) -> u16 {
        begin.unwrap_err().status.as_u16()
    }

    #[test]
    fn a_repeat_is_answered_and_not_carried_out() {
        let mut store = IdempotencyStore::new(LIMITS);
        let key = KeyId::new("ada", "1");
        assert_eq!(store.begin(0, "ada", key, request("x")), Ok(Begin::New));
        assert_eq!(status(store.begin(0, "ada", key, request("x"))), 409);
        store.finish(0, key, Some("answer"));
        assert_eq!(store.begin(0, "ada", key, request("x")), Ok(Begin::Replay("answer")));
        assert_eq!(status(store.begin(0, "ada", key, request("y"))), 422);
        let of_another = KeyId::new("bob", "1");
        assert_eq!(store.begin(0, "bob", of_another, request("y")), Ok(Begin::New));
    }

    #[test]
    fn what_failed_may_be_tried_again() {
        let mut store = IdempotencyStore::<()>::new(LIMITS);
        let key = KeyId::new("", "1");
        assert_eq!(store.begin(0, "", key, request("x")), Ok(Begin::New));
        store.finish(0, key, None);
        assert_eq!(store.begin(0, "", key, request("y")), Ok(Begin::New));
    }

    #[test]
    fn keys_are_bounded_and_forgotten() {
        let mut store = IdempotencyStore::new(LIMITS);
        for key in ["1", "2"] {
            let key = KeyId::new("ada", key);
            assert_eq!(store.begin(0, "ada", key, request("x")), Ok(Begin::New));
            store.finish(0, key, Some(()));
        }
        let problem = store.begin(SECOND_NS, "ada", KeyId::new("ada", "3"), request("x")).unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.retry_after_s), (429, Some(9)));
        assert_eq!(store.begin(0, "bob", KeyId::new("bob", "1"), request("x")), Ok(Begin::New));
        assert_eq!(status(store.begin(0, "eve", KeyId::new("eve", "1"), request("x"))), 429);
        assert_eq!(store.begin(10 * SECOND_NS, "ada", KeyId::new("ada", "1"), request("x")), Ok(Begin::New));
        assert_eq!((store.entries.len(), store.identities.len()), (2, 2));
    }

    #[test]
    fn keys_are_words_of_a_bounded_length() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(KEY, value.parse().unwrap());
            read_key(&headers).map(|key| key.map(str::to_owned))
        };
        assert_eq!(read("abc"), Ok(Some("abc".into())));
        assert_eq!(read("\"abc\""), Ok(Some("abc".into())));
        assert!(read("").is_err() && read(&"x".repeat(256)).is_err());
        assert_eq!(KeyId::new("a", "bc").client_id().len(), 41);
        assert_ne!(KeyId::new("a", "bc"), KeyId::new("ab", "c"));
    }
}
