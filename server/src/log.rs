//! The log: lines on standard error, and a dam against floods of the same line.

use crate::config::LogFormat;
use crate::config::sections::Log;
use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Starts the log of this process. A second call changes nothing: the first one's log goes on.
pub fn start(log: &Log) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(log.level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match log.format {
        LogFormat::Text => builder.compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .is_ok();
}

/// Lets the first few lines of each kind through and counts the others.
#[derive(Debug, Default)]
pub struct Dam {
    kinds: HashMap<Kind, Window>,
}

/// What makes two lines the same: a place in the program and a reason.
pub type Kind = (&'static str, Option<althing_core::Reason>);

#[derive(Debug)]
struct Window {
    start: Instant,
    count: u64,
}

const WINDOW: Duration = Duration::from_secs(10);
const LINES_A_WINDOW: u64 = 20;

impl Dam {
    /// `None`: not this one. `Some(n)`: yes, and `n` like it were held back since the last one.
    pub fn admit(&mut self, kind: Kind, now: Instant) -> Option<u64> {
        let window = self.kinds.entry(kind).or_insert(Window { start: now, count: 0 });
        let mut held_back = 0;
        if now.duration_since(window.start) >= WINDOW {
            held_back = window.count.saturating_sub(LINES_A_WINDOW);
            *window = Window { start: now, count: 0 };
        }
        window.count += 1;
        (window.count <= LINES_A_WINDOW).then_some(held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_instead_of_written() {
        let mut dam = Dam::default();
        let start = Instant::now();
        let admitted = (0..1_000).filter(|_| dam.admit(("a", None), start).is_some()).count();
        assert_eq!(admitted as u64, LINES_A_WINDOW);
        assert_eq!(dam.admit(("b", None), start), Some(0));
        assert_eq!(dam.admit(("a", None), start + WINDOW), Some(1_000 - LINES_A_WINDOW));
        assert_eq!(dam.admit(("a", None), start + WINDOW), Some(0));
    }
}
