//! What leaves on stdout and stderr: data on the one, one-sentence diagnostics on the other.

use crate::arguments::OutputArguments;
use crate::exit::{ExitCode, Failure};
use crate::format::Format;
use crate::message::Received;
use std::io::{self, ErrorKind, Write};

/// Prints received messages, each at once.
#[derive(Debug)]
pub struct Printer {
    form: Form,
    newline: bool,
    line: Vec<u8>,
}

#[derive(Debug)]
enum Form {
    Payload,
    /// Topic, space, payload.
    Verbose,
    Format(Format),
    Json,
}

impl Printer {
    /// Checks the format; errors are usage errors.
    pub fn new(arguments: &OutputArguments) -> Result<Self, Failure> {
        let form = match &arguments.format {
            Some(format) => Form::Format(Format::parse(format)?),
            None if arguments.json => Form::Json,
            None if arguments.verbose => Form::Verbose,
            None => Form::Payload,
        };
        Ok(Self { form, newline: !arguments.no_newline, line: Vec::new() })
    }

    /// Writes one message and flushes it.
    pub fn print(&mut self, message: &Received, log: Log) -> Result<(), Failure> {
        self.line.clear();
        match &self.form {
            Form::Payload => self.line.extend_from_slice(&message.publish.payload),
            Form::Verbose => {
                self.line.extend_from_slice(message.topic().as_bytes());
                self.line.push(b' ');
                let payload = &message.publish.payload;
                self.line.extend_from_slice(if payload.is_empty() { b"(null)" } else { payload });
            }
            Form::Format(format) => {
                if format.render(message, &mut self.line).is_err() {
                    log.warn(&format!("the payload on {} is not JSON, as %J needs: use %j", message.topic()));
                    return Ok(());
                }
            }
            Form::Json => self.line.extend_from_slice(message.json().as_bytes()),
        }
        if self.newline {
            self.line.push(b'\n');
        }
        write_stdout(&self.line)
    }
}

/// Writes and flushes. A reader that has gone away, as `head` does, ends the command without a word.
pub fn write_stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::silent(ExitCode::Ok),
        _ => Failure::new(ExitCode::Runtime, format!("stdout cannot be written: {error}")),
    })
}

/// How much stderr says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Log {
    Quiet,
    Normal,
    Debug,
}

impl Log {
    /// What `--quiet` and `--debug` ask for.
    pub fn new(quiet: bool, debug: bool) -> Self {
        match (quiet, debug) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Debug,
            (false, false) => Self::Normal,
        }
    }

    /// Something went wrong, or will.
    pub fn warn(self, text: &str) {
        if self >= Self::Normal {
            write_stderr(text);
        }
    }

    /// Something happened.
    pub fn debug(self, text: &str) {
        if self >= Self::Debug {
            write_stderr(text);
        }
    }
}

/// One line. Who has closed stderr does not want to read, so errors are nobody's concern.
pub fn write_stderr(text: &str) {
    let _ = writeln!(io::stderr().lock(), "althing: {text}");
}
