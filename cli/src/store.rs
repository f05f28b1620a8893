//! `althing store`: what is done with a store from outside.

use crate::arguments::StoreCommand;
use crate::exit::{ExitCode, Failure};
use crate::output::{write_stderr, write_stdout};
use althing_core::Now;
use althing_server::protocols::NAMES;
use althing_store::disk::Disk;
use althing_store::tools::{self, Damage, Ended, Inspection, Progress, Repaired, Summary, ToolError};
use althing_store::{Files, OpenError, Options};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::json;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Does what the command says.
pub fn run(command: &StoreCommand) -> Result<ExitCode, Failure> {
    let bar = Bar::new();
    match command {
        StoreCommand::Check { directory, json } => check(directory, *json, bar),
        StoreCommand::Repair { directory, accept_loss: true } => repair(directory, bar),
        StoreCommand::Repair { directory, accept_loss: false } => ask_for_consent(directory, bar),
        StoreCommand::Backup { directory, target } => {
            let summary = tools::backup(directory, target, &NAMES, now(), &mut |progress| bar.step(progress));
            copied(target, summary, &bar)
        }
        StoreCommand::Restore { backup, directory } => {
            let summary = tools::restore(backup, directory, &NAMES, now(), &mut |progress| bar.step(progress));
            copied(directory, summary, &bar)
        }
        StoreCommand::Export { directory } => export(directory, &bar),
    }
}

fn check(directory: &Path, json: bool, bar: Bar) -> Result<ExitCode, Failure> {
    let mut inspection = look(directory, &bar)?;
    inspection.check(&mut |progress| bar.tell(progress));
    bar.clear();
    let (damages, more) = (inspection.damages(), inspection.damages_more());
    let text = if json {
        json_report(&inspection.summary(), damages, more)
    } else {
        let verdict = if damages.is_empty() { "no damage" } else { "DAMAGED" };
        let mut text = format!("{}: {verdict}\n{}", directory.display(), summary_text(&inspection.summary()));
        text.push_str(&damage_text(damages, more));
        text
    };
    write_stdout(text.as_bytes())?;
    Ok(if damages.is_empty() { ExitCode::Ok } else { ExitCode::Runtime })
}

fn repair(directory: &Path, bar: Bar) -> Result<ExitCode, Failure> {
    let options =
        Options { protocols: &NAMES, seed: RandomState::new().hash_one(std::process::id()), ..Options::default() };
    let repaired = tools::repair(directory, options, now(), &mut |progress| bar.step(progress));
    bar.clear();
    let Repaired { summary, damages, damages_more, kept } = repaired.map_err(|error| failed(directory, &error))?;
    let text = match kept {
        None => format!("{}: no damage, nothing was changed\n", directory.display()),
        Some(kept) => format!(
            "{}: repaired; the damaged files are in {}\n{}{}",
            directory.display(),
            kept.display(),
            holds_text(&summary),
            damage_text(&damages, damages_more)
        ),
    };
    write_stdout(text.as_bytes())?;
    Ok(ExitCode::Ok)
}

fn ask_for_consent(directory: &Path, bar: Bar) -> Result<ExitCode, Failure> {
    if check(directory, false, bar)? == ExitCode::Ok {
        return Ok(ExitCode::Ok);
    }
    let text =
        "nothing was changed: with --accept-loss all that holds goes into a new store, and what is told above is lost";
    Err(Failure::new(ExitCode::Runtime, text))
}

fn copied(target: &Path, summary: Result<Summary, ToolError>, bar: &Bar) -> Result<ExitCode, Failure> {
    bar.clear();
    let summary = summary.map_err(|error| failed(target, &error))?;
    write_stdout(format!("{}: written and read back\n{}", target.display(), holds_text(&summary)).as_bytes())?;
    Ok(ExitCode::Ok)
}

fn export(directory: &Path, bar: &Bar) -> Result<ExitCode, Failure> {
    let mut inspection = look(directory, bar)?;
    bar.clear();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = tools::export(&mut inspection, &mut out, &mut |_| {}).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        // A reader that has gone away, as `head` does, ends the command without a word.
        ErrorKind::BrokenPipe => Failure::silent(ExitCode::Ok),
        _ => Failure::new(ExitCode::Runtime, format!("stdout cannot be written: {error}")),
    })?;
    let damages = inspection.damages();
    damages.iter().for_each(|damage| write_stderr(&damage.to_string()));
    Ok(if damages.is_empty() { ExitCode::Ok } else { ExitCode::Runtime })
}

fn look(directory: &Path, bar: &Bar) -> Result<Inspection<impl Disk + use<>>, Failure> {
    let inspected = Files::open_read_only(directory)
        .map_err(ToolError::from)
        .and_then(|files| tools::inspect(files, &NAMES, now(), &mut |progress| bar.tell(progress)));
    inspected.map_err(|error| failed(directory, &error))
}

/// What the caller can do about it decides the exit code.
fn failed(directory: &Path, error: &ToolError) -> Failure {
    let code = match error {
        ToolError::Open(OpenError::InUse { .. }) | ToolError::NoStore(_) | ToolError::NotEmpty(_) => ExitCode::Usage,
        ToolError::Open(OpenError::Io { error, .. }) | ToolError::Io { error, .. }
            if error.kind() == ErrorKind::NotFound =>
        {
            ExitCode::Usage
        }
        _ => ExitCode::Runtime,
    };
    let text = match error {
        ToolError::NoStore(_) => format!("there is no store in {}", directory.display()),
        other => other.to_string(),
    };
    Failure::new(code, text)
}

/// The clocks. The monotonic one stands so high that what was due long ago has a reading, too.
fn now() -> Now {
    const LONG_AGO_NS: u64 = 1 << 60;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono_ns: LONG_AGO_NS, wall_ms: wall.as_millis() as u64 }
}

fn summary_text(summary: &Summary) -> String {
    let ended = match summary.ended {
        Some(Ended::Closed) => "it was closed in order",
        Some(Ended::Killed) => {
            "it was killed or lost power: what was under way is not there, and nobody was promised it"
        }
        None => "how it ended is damaged",
    };
    let replay = match summary.checkpoint {
        0 => "there is no checkpoint".to_owned(),
        segment => format!("a checkpoint lets replay begin with segment {segment}"),
    };
    let Summary { segments, frames, disk_bytes, live_bytes, .. } = summary;
    format!(
        "{}  {} with {}; {replay}\n  {} on disk; what is stored refers to {}\n  {ended}\n",
        holds_text(summary),
        count(*segments, "segment", "segments"),
        count(*frames, "frame", "frames"),
        HumanBytes(*disk_bytes),
        HumanBytes(*live_bytes),
    )
}

fn holds_text(summary: &Summary) -> String {
    let Summary { sessions, subscriptions, tokens, retained, queues, entries, .. } = summary;
    format!(
        "  {} with {} and {}\n  {} in {}\n  {}\n",
        count(*sessions, "session", "sessions"),
        count(*subscriptions, "subscription", "subscriptions"),
        count(*tokens, "token", "tokens"),
        count(*entries, "entry", "entries"),
        count(*queues, "queue", "queues"),
        count(*retained, "retained message", "retained messages"),
    )
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn damage_text(damages: &[Damage], more: u64) -> String {
    let mut text = String::new();
    for damage in damages {
        let _ = writeln!(text, "damage: {damage}");
    }
    if more > 0 {
        let _ = writeln!(text, "damage: and {more} more");
    }
    text
}

fn json_report(summary: &Summary, damages: &[Damage], more: u64) -> String {
    let damages: Vec<_> = damages
        .iter()
        .map(|Damage { file, offset, what, affected }| {
            json!({ "file": file, "offset": offset, "what": what, "affected": affected })
        })
        .collect();
    let report = json!({
        "sessions": summary.sessions,
        "subscriptions": summary.subscriptions,
        "tokens": summary.tokens,
        "retained": summary.retained,
        "queues": summary.queues,
        "entries": summary.entries,
        "segments": summary.segments,
        "frames": summary.frames,
        "disk_bytes": summary.disk_bytes,
        "live_bytes": summary.live_bytes,
        "checkpoint": summary.checkpoint,
        "age_ms": summary.age_ms,
        "wall_ms": summary.wall_ms,
        "closed": summary.ended.map(|ended| ended == Ended::Closed),
        "damages": damages,
        "damages_more": more,
    });
    format!("{report}\n")
}

/// A progress bar on stderr, when that is a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(1);
        // A template that is not one would be found by the first test.
        if let Ok(style) = ProgressStyle::with_template("{msg:8} [{bar:40}] {percent:>3} % {eta}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn tell(&self, progress: Progress) {
        let Progress { action, done, total } = progress;
        self.0.update(|state| {
            state.set_len(total);
            state.set_pos(done);
        });
        if self.0.message() != action {
            self.0.reset_eta();
            self.0.set_message(action);
        }
    }

    fn step(&self, progress: Progress) -> ControlFlow<()> {
        self.tell(progress);
        ControlFlow::Continue(())
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}
