//! A password from wherever it comes, if possible not from the command line.

use super::arguments::PasswordArguments;
use crate::exit::{ExitCode, Failure};
use crate::output::write_stderr;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

/// A longer line is none: a file was taken for another one.
const LINE_BYTES_MAX: u64 = 4_096;

/// The password that the arguments lead to.
pub fn read(arguments: &PasswordArguments) -> Result<String, Failure> {
    let password = if let Some(password) = &arguments.password {
        write_stderr("warning: other users of this machine can see --password in the process list");
        password.clone()
    } else if let Some(path) = &arguments.password_file {
        let failed = |error| Failure::new(ExitCode::Usage, format!("{}: {error}", path.display()));
        first_line(File::open(path).map_err(failed)?).map_err(failed)?
    } else if io::stdin().is_terminal() {
        ask_twice()?
    } else {
        first_line(io::stdin().lock()).map_err(unreadable)?
    };
    if password.is_empty() {
        return Err(Failure::usage("an empty password is none"));
    }
    Ok(password)
}

fn first_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(from.take(LINE_BYTES_MAX)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn ask_twice() -> Result<String, Failure> {
    let first = ask("Password: ")?;
    if ask("Once more: ")? != first {
        return Err(Failure::usage("the two passwords are not the same"));
    }
    Ok(first)
}

fn ask(prompt: &str) -> Result<String, Failure> {
    let _ = write!(io::stderr(), "{prompt}");
    let hidden = Hidden::new().map_err(unreadable)?;
    let line = first_line(io::stdin().lock()).map_err(unreadable)?;
    drop(hidden);
    if line.contains(INTERRUPT) {
        return Err(Failure::silent(ExitCode::Interrupted));
    }
    Ok(line)
}

fn unreadable(error: io::Error) -> Failure {
    Failure::new(ExitCode::Runtime, format!("stdin cannot be read: {error}"))
}

/// What Ctrl-C types where it sends no signal.
const INTERRUPT: char = '\u{3}';

/// The terminal while it shows nothing. Ctrl-C sends no signal meanwhile, or the shell would be left like that.
struct Hidden(Termios);

impl Hidden {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line_without_its_end() {
        for (text, expected) in [("secret\n", "secret"), ("secret\r\nmore", "secret"), (" a b ", " a b "), ("", "")] {
            assert_eq!(first_line(text.as_bytes()).unwrap(), expected);
        }
    }
}
