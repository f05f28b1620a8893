//! One login on its way through the workers.

use super::chain::{Chain, Checked, Outcome};
use super::workers::{Job, Source};
use super::{Identities, refused};
use althing_core::Reason;
use althing_core::effects::{Verdict, Verify};
use althing_core::verbs::Refusal;
use std::sync::Arc;

/// A login that waits for its verdict.
pub struct Login {
    identities: Arc<Identities>,
    verify: Verify,
    stage: Stage,
    answer: Answer,
}

/// How far it has come.
enum Stage {
    /// Nobody has been asked yet.
    New,
    /// It is this provider's turn, which calls out.
    Until(Arc<Chain>, usize),
    /// It only has to wait for its turn to be told.
    Decided(Verdict),
}

impl Login {
    /// To be checked.
    pub fn new(identities: Arc<Identities>, verify: Verify, answer: impl FnOnce(Verdict) + Send + 'static) -> Self {
        Self { identities, verify, stage: Stage::New, answer: Answer(Some(Box::new(answer))) }
    }

    /// To be told this verdict.
    pub fn decided(
        identities: Arc<Identities>,
        verify: Verify,
        verdict: Verdict,
        answer: impl FnOnce(Verdict) + Send + 'static,
    ) -> Self {
        Self { stage: Stage::Decided(verdict), ..Self::new(identities, verify, answer) }
    }

    /// Where it comes from.
    pub fn source(&self) -> Source {
        Source::new(self.verify.link.remote.map(|remote| remote.ip()))
    }

    /// The verdict; `None` when it has to go on where others may be called.
    fn check(&mut self) -> Option<Verdict> {
        let (mut chain, mut from, may_call) = match std::mem::replace(&mut self.stage, Stage::New) {
            Stage::New => (self.identities.chain(), 0, false),
            Stage::Until(chain, from) => (chain, from, true),
            Stage::Decided(verdict) => return Some(verdict),
        };
        loop {
            let checked = chain.check(&self.verify, from, may_call);
            let current = self.identities.chain();
            // Whoever was deleted meanwhile does not come in any more.
            if !Arc::ptr_eq(&chain, &current) {
                (chain, from) = (current, 0);
                continue;
            }
            match checked {
                Checked::Decided(Outcome::NotMine) => {
                    let name = self.verify.username.as_deref().unwrap_or_default();
                    return Some(refused(format!("no identity provider knows {name:?}")));
                }
                Checked::Decided(outcome) => return Some(outcome.verdict()),
                Checked::Until(index) => {
                    self.stage = Stage::Until(chain, index);
                    return None;
                }
            }
        }
    }
}

impl Job for Login {
    fn run(mut self) -> bool {
        let verdict = match self.check() {
            Some(verdict) => verdict,
            None => {
                let identities = Arc::clone(&self.identities);
                identities.calling.submit(self.source(), self);
                return false;
            }
        };
        let failed = matches!(&verdict, Verdict::Refuse { refusal, .. } if refusal.reason == Reason::BadCredentials);
        self.answer.give(verdict);
        failed
    }

    fn turn_away(mut self) {
        let refusal = Refusal::new(Reason::ServerBusy, "too many log in at once; try again later");
        self.answer.give(Verdict::Refuse { refusal, why: None });
    }
}

/// Is given in any case, or the peer would wait for ever.
struct Answer(Option<Box<dyn FnOnce(Verdict) + Send>>);

impl Answer {
    fn give(&mut self, verdict: Verdict) {
        if let Some(answer) = self.0.take() {
            answer(verdict);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let refusal = Refusal::new(Reason::ServerUnavailable, "who you are cannot be checked now");
        self.give(Verdict::Refuse { refusal, why: Some("the check of a password was broken off".into()) });
    }
}
