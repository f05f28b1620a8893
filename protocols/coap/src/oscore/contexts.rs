//! The contexts that a server knows, found by what a request says.

use super::context::Context;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// All contexts of a process; exchanged as a whole when the configuration is read again.
#[derive(Debug, Default)]
pub struct Contexts(RwLock<Arc<ByRecipient>>);

/// Contexts by the other end's ID.
type ByRecipient = BTreeMap<Bytes, Vec<Arc<Context>>>;

impl Contexts {
    /// From now on these are known. A context that stays is the same value, with what it has counted.
    pub fn replace(&self, contexts: impl IntoIterator<Item = Arc<Context>>) {
        let mut by_recipient = ByRecipient::new();
        for context in contexts {
            by_recipient.entry(context.credentials.recipient_id.clone()).or_default().push(context);
        }
        let is_known = |context: &Arc<Context>| by_recipient.values().flatten().any(|it| Arc::ptr_eq(it, context));
        self.all().iter().filter(|context| !is_known(context)).for_each(|gone| gone.revoke());
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(by_recipient);
    }

    /// Whose request this is by its kid and kid context (§8.2, step 2). A request without the latter means the context
    /// without one, or the only one.
    pub fn find(&self, kid: &[u8], kid_context: Option<&[u8]>) -> Option<Arc<Context>> {
        let by_recipient = self.by_recipient();
        let named = by_recipient.get(kid)?;
        let exact = named.iter().find(|it| it.credentials.id_context.as_deref() == kid_context);
        let found = match (exact, kid_context, &named[..]) {
            (Some(exact), ..) => exact,
            (None, None, [only]) => only,
            _ => return None,
        };
        Some(Arc::clone(found))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_recipient().is_empty()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Context>> {
        self.by_recipient().values().flatten().cloned().collect()
    }

    fn by_recipient(&self) -> Arc<ByRecipient> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
