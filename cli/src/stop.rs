//! What ends a command from outside: signals and `-W`.

use crate::exit::{ExitCode, Failure};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep_until;

/// Waits for SIGINT, SIGTERM or the end of the time.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
}

impl Stop {
    /// Starts to listen; the time runs from here.
    pub fn new(timeout: Option<Duration>) -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(ExitCode::Runtime, format!("signals cannot be heard: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            // A time beyond what the clock can say is no limit.
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        })
    }

    /// `Interrupted`, `Terminated` or `Timeout`, whichever comes first.
    pub async fn requested(&mut self) -> ExitCode {
        let deadline = self.deadline.unwrap_or_else(Instant::now);
        tokio::select! {
            _ = self.interrupt.recv() => ExitCode::Interrupted,
            _ = self.terminate.recv() => ExitCode::Terminated,
            () = sleep_until(deadline.into()), if self.deadline.is_some() => ExitCode::Timeout,
        }
    }
}
