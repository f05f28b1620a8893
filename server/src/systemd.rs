//! What the service manager hears (`sd_notify`): ready, reloading, stopping, and that the event loop is alive.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is said.

use sd_notify::NotifyState;
use std::time::Duration;

/// The service manager, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Manager {
    /// The longest silence that it bears; `None`: it does not watch.
    silence_max: Option<Duration>,
}

impl Manager {
    /// The one that has started us, from its variables in the environment.
    pub fn from_environment() -> Self {
        let mut silence_us = 0;
        let watches = sd_notify::watchdog_enabled(false, &mut silence_us);
        Self { silence_max: watches.then(|| Duration::from_micros(silence_us)) }
    }

    /// Everyone is served.
    pub fn ready(self, listeners: usize) {
        say(&[NotifyState::Ready, NotifyState::Status(&format!("serving on {listeners} addresses"))]);
    }

    /// The configuration is being read anew; [`Self::ready`] ends it (`Type=notify-reload`).
    pub fn reloading(self) {
        // The manager takes a READY=1 for ours only when it comes after this moment of its own clock.
        match NotifyState::monotonic_usec_now() {
            Ok(moment) => say(&[NotifyState::Reloading, moment]),
            Err(error) => tracing::debug!("the service manager is not told of the reload: {error}"),
        }
    }

    /// The end has begun and takes so long at most, and a moment for the store.
    pub fn stopping(self, deadline: Duration) {
        let limit = deadline + FOR_THE_STORE;
        let limit_us = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
        say(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(limit_us),
            NotifyState::Status("saying goodbye to everyone"),
        ]);
    }

    /// Says that we are alive, for as long as we are: this runs on the event loop itself, so that a loop that hangs is
    /// silent, and the manager starts the broker again.
    pub async fn watchdog(self) {
        let Some(silence_max) = self.silence_max else { return };
        let mut interval = tokio::time::interval(silence_max / 2);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            say(&[NotifyState::Watchdog]);
        }
    }
}

/// What closing the store may take after the last goodbye.
const FOR_THE_STORE: Duration = Duration::from_secs(10);

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!("the service manager does not hear us: {error}");
    }
}
