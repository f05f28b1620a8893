//! How a command ends: the exit codes, and failures as one sentence that says what to do.

use std::fmt;

/// What the caller's shell learns. The numbers are part of the interface and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    Ok = 0,
    Runtime = 1,
    Usage = 2,
    CannotConnect = 3,
    Refused = 4,
    Protocol = 5,
    Timeout = 6,
    Partial = 7,
    StoreDamaged = 65,
    StoreFailed = 74,
    StoreInUse = 75,
    Interrupted = 130,
    Terminated = 143,
}

/// Every code with its meaning; help and man pages print this table.
const MEANINGS: [(ExitCode, &str); 13] = [
    (ExitCode::Ok, "done"),
    (ExitCode::Runtime, "something failed while running"),
    (ExitCode::Usage, "the command line or the configuration is wrong"),
    (ExitCode::CannotConnect, "no connection to the broker"),
    (ExitCode::Refused, "the broker refused: bad credentials, not authorised, a limit"),
    (ExitCode::Protocol, "one of the two sides broke the protocol"),
    (ExitCode::Timeout, "the time was up before what was waited for had come"),
    (ExitCode::Partial, "only a part was done: some messages were delivered, some settings carried over"),
    (ExitCode::StoreDamaged, "what is in the data directory is damaged, or a newer version's"),
    (ExitCode::StoreFailed, "the disk of the data directory failed"),
    (ExitCode::StoreInUse, "another process uses the data directory"),
    (ExitCode::Interrupted, "interrupted (SIGINT)"),
    (ExitCode::Terminated, "terminated (SIGTERM)"),
];

/// The table of exit codes as help text.
pub fn exit_codes_help() -> String {
    table_of_codes(&MEANINGS)
}

/// The same for commands that say more exactly what a code means, or know fewer.
pub fn table_of_codes(meanings: &[(ExitCode, &str)]) -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in meanings {
        text.push_str(&format!("  {:>3}  {meaning}\n", *code as u8));
    }
    text
}

/// Why a command ended early.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the shell learns.
    pub code: ExitCode,
    /// One sentence for stderr; empty when there is nothing to say, as after a closed pipe.
    pub text: String,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(code: ExitCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// A wrong command line.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, text)
    }

    /// Ends without a word.
    pub fn silent(code: ExitCode) -> Self {
        Self::new(code, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_code_once() {
        let help = exit_codes_help();
        for number in [0, 1, 2, 3, 4, 5, 6, 7, 130, 143] {
            assert_eq!(help.lines().filter(|line| line.trim().starts_with(&format!("{number}  "))).count(), 1);
        }
    }
}
