//! The end in order: nobody is let in any more, everyone hears goodbye, what was written leaves, a deadline holds.

use crate::config::Config;
use althing_core::Reason;
use althing_core::verbs::Refusal;
use althing_net::local;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a broker says goodbye.
#[derive(Debug)]
pub struct Drain {
    /// What everyone is told.
    refusal: Refusal,
    /// The time over which the goodbyes are spread, so that not everyone comes back in the same moment, to the next
    /// broker as well.
    spread: Duration,
    /// How long the last ones may take to read what is theirs and to close their side.
    patience: Duration,
}

/// Who wants the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM: in order, as configured.
    Terminate,
    /// SIGINT: somebody sits before it and waits.
    Interrupt,
}

impl Asked {
    /// The signal's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }
}

/// Whoever presses Ctrl-C does not want to wait for peers that do not read.
const PATIENCE_OF_A_PERSON: Duration = Duration::from_secs(1);

/// Goodbyes are said in slices this far apart at least: a slice costs a wakeup.
const SLICE: Duration = Duration::from_millis(20);

impl Drain {
    /// What holds for this kind of end.
    pub fn new(asked: Asked, config: &Config) -> Self {
        let refusal = match &config.mqtt.server_reference {
            Some(_) => Refusal::new(Reason::UseAnotherServer, "the broker is stopping: use the other one"),
            None => Refusal::new(Reason::ShuttingDown, "the broker is stopping"),
        };
        let patience = Duration::from_millis(config.server.drain_timeout_ms);
        match asked {
            Asked::Terminate => Self { refusal, spread: Duration::from_millis(config.server.drain_ms), patience },
            Asked::Interrupt => Self { refusal, spread: Duration::ZERO, patience: patience.min(PATIENCE_OF_A_PERSON) },
        }
    }

    /// How long all of it takes at most.
    pub fn deadline(&self) -> Duration {
        self.spread + self.patience
    }

    /// Says goodbye to everyone and waits until the last one has gone, as long as there is patience. The listeners
    /// have to be closed by then.
    pub async fn run(self) {
        let peers = local::peers();
        tracing::info!("saying goodbye to {} connections{}", peers.len(), self.manner());
        let (size, pause) = slices(peers.len(), self.spread);
        for slice in peers.chunks(size) {
            local::close(slice, &self.refusal);
            if !self.spread.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        // The peers of datagram languages, and whoever has no session yet.
        local::close_all(self.refusal.reason);
        if tokio::time::timeout(self.patience, local::drained()).await.is_err() {
            tracing::warn!("{} connections did not close their side in time", local::counters().connections);
        }
    }

    fn manner(&self) -> String {
        let spread =
            if self.spread.is_zero() { String::new() } else { format!(", over {} ms", self.spread.as_millis()) };
        let where_to =
            if self.refusal.reason == Reason::UseAnotherServer { ", with the other server's name" } else { "" };
        format!("{spread}{where_to}")
    }
}

/// How many are told at once, and the pause after them: together the pauses take `spread`.
fn slices(peers: usize, spread: Duration) -> (usize, Duration) {
    let slices = (spread.as_millis() / SLICE.as_millis()).clamp(1, peers.max(1) as u128) as usize;
    let size = peers.div_ceil(slices).max(1);
    let slices = peers.div_ceil(size).max(1);
    (size, spread / slices as u32)
}

/// The signals that end the broker.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system gives us no signals.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Interrupt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_everyone_within_the_time() {
        let spread = Duration::from_millis(1_000);
        for peers in [0, 1, 2, 49, 50, 51, 1_000, 12_345] {
            let (size, pause) = slices(peers, spread);
            let slices = peers.div_ceil(size);
            assert!(size * slices >= peers && pause * slices as u32 <= spread, "{peers}: {size} {pause:?}");
            assert!(pause >= SLICE, "{peers}: {pause:?}");
        }
        assert_eq!(slices(500, Duration::ZERO), (500, Duration::ZERO));
    }

    #[test]
    fn a_person_is_not_kept_waiting() {
        let mut config = Config::new(0);
        config.server.drain_ms = 60_000;
        assert_eq!(Drain::new(Asked::Interrupt, &config).deadline(), PATIENCE_OF_A_PERSON);
        let orderly = Drain::new(Asked::Terminate, &config);
        assert_eq!(orderly.deadline(), Duration::from_millis(60_000 + config.server.drain_timeout_ms));
        assert_eq!(orderly.refusal.reason, Reason::ShuttingDown);
        config.mqtt.server_reference = Some("other:1883".into());
        assert_eq!(Drain::new(Asked::Terminate, &config).refusal.reason, Reason::UseAnotherServer);
    }
}
