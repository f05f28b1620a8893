//! The way of verdicts from other threads to that of the shard.

use althing_core::PeerId;
use althing_core::effects::Verdict;
use althing_net::local;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// The end on other threads.
#[derive(Clone, Debug)]
pub struct Sender(UnboundedSender<(PeerId, Verdict)>);

/// The end on the shard's thread.
#[derive(Debug)]
pub struct Receiver(UnboundedReceiver<(PeerId, Verdict)>);

/// Both ends. As many verdicts are on the way as logins may wait, and no more.
pub fn line() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Sender(sender), Receiver(receiver))
}

impl Sender {
    /// Tells a verdict. A shard that has ended needs none.
    pub fn send(&self, peer: PeerId, verdict: Verdict) {
        let _ = self.0.send((peer, verdict));
    }
}

impl Receiver {
    /// Tells the shard of this thread all of them.
    pub async fn deliver(mut self) {
        while let Some((peer, verdict)) = self.0.recv().await {
            local::verified(peer, verdict);
        }
    }
}
