//! One login on its way through the workers.

use super::chain::Outcome;
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
    /// What is already known, and only has to wait for its turn.
    verdict: Option<Verdict>,
    answer: Answer,
}

impl Login {
    /// To be checked.
    pub fn new(identities: Arc<Identities>, verify: Verify, answer: impl FnOnce(Verdict) + Send + 'static) -> Self {
        Self { identities, verify, verdict: None, answer: Answer(Some(Box::new(answer))) }
    }

    /// To be told this verdict.
    pub fn decided(
        identities: Arc<Identities>,
        verify: Verify,
        verdict: Verdict,
        answer: impl FnOnce(Verdict) + Send + 'static,
    ) -> Self {
        Self { verdict: Some(verdict), ..Self::new(identities, verify, answer) }
    }

    /// Where it comes from.
    pub fn source(&self) -> Source {
        Source::new(self.verify.link.remote.map(|remote| remote.ip()))
    }
}

impl Job for Login {
    fn run(mut self) -> bool {
        let verdict = self.verdict.take().unwrap_or_else(|| {
            loop {
                let chain = self.identities.chain();
                let outcome = chain.check(&self.verify);
                // Whoever was deleted meanwhile does not come in any more.
                if Arc::ptr_eq(&chain, &self.identities.chain()) {
                    break match outcome {
                        Outcome::NotMine => {
                            let name = self.verify.username.as_deref().unwrap_or_default();
                            refused(format!("no identity provider knows {name:?}"))
                        }
                        outcome => outcome.verdict(),
                    };
                }
            }
        });
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
