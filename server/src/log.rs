//! The log: lines on standard error or in a file, and a dam against floods of the same line.

use crate::config::LogFormat;
use crate::config::sections::Log;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// The log of this process, once it has been started.
static RUNNING: OnceLock<Running> = OnceLock::new();

struct Running {
    level: reload::Handle<LevelFilter, Registry>,
    file: Option<Arc<LogFile>>,
}

/// Starts the log of this process. A second call changes nothing: the first one's log goes on.
///
/// # Errors
/// When the file of the log cannot be opened.
pub fn start(log: &Log) -> io::Result<()> {
    if RUNNING.get().is_some() {
        return Ok(());
    }
    let file = log.file.as_deref().map(LogFile::open).transpose()?.map(Arc::new);
    let (filter, level) = reload::Layer::new(LevelFilter::from_level(log.level));
    let lines = match &file {
        Some(file) => {
            let file = Arc::clone(file);
            lines(log.format, false, move || Sink::File(Arc::clone(&file)))
        }
        None => lines(log.format, io::stderr().is_terminal(), || Sink::Stderr),
    };
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = RUNNING.set(Running { level, file });
    }
    Ok(())
}

type Lines =
    Box<dyn Layer<tracing_subscriber::layer::Layered<reload::Layer<LevelFilter, Registry>, Registry>> + Send + Sync>;

fn lines(format: LogFormat, colours: bool, sink: impl Fn() -> Sink + Send + Sync + 'static) -> Lines {
    let layer = tracing_subscriber::fmt::layer().with_writer(sink).with_target(false).with_ansi(colours);
    match format {
        LogFormat::Text => layer.compact().boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// What is important enough now.
pub fn level() -> Level {
    let level = RUNNING.get().and_then(|running| running.level.with_current(|filter| filter.into_level()).ok());
    level.flatten().unwrap_or(Level::INFO)
}

/// From now on this is important enough.
pub fn set_level(level: Level) {
    let Some(running) = RUNNING.get() else { return };
    // Fails only when there is no log any more.
    let _ = running.level.reload(LevelFilter::from_level(level));
}

/// Opens the file of the log anew: somebody has moved it away. Without a file nothing happens.
///
/// # Errors
/// When it cannot be opened; the old one is written on then.
pub fn reopen() -> io::Result<()> {
    match RUNNING.get().and_then(|running| running.file.as_ref()) {
        Some(file) => file.reopen(),
        None => Ok(()),
    }
}

/// Opens the file of the log anew at each SIGUSR1, as who rotates files asks for it.
///
/// # Errors
/// When the system gives us no signals.
pub fn reopen_when_asked() -> io::Result<impl Future<Output = ()>> {
    let mut asked = signal(SignalKind::user_defined1())?;
    Ok(async move {
        while asked.recv().await.is_some() {
            match reopen() {
                Ok(()) => tracing::info!("SIGUSR1: the log goes on here"),
                Err(error) => {
                    tracing::error!("SIGUSR1: the file of the log cannot be opened: {error}; the old one is kept")
                }
            }
        }
    })
}

/// A file that lines are added to.
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Mutex::new(append_to(path)?) })
    }

    fn reopen(&self) -> io::Result<()> {
        let file = append_to(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Lines tell who is connected from where: nobody else's business.
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Where a line goes. A line is one write.
enum Sink {
    Stderr,
    File(Arc<LogFile>),
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr => io::stderr().write(line),
            Self::File(file) => file.file.lock().unwrap_or_else(PoisonError::into_inner).write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
