//! What derives from the table of arguments besides parsing: completions and man pages.

use crate::arguments::Arguments;
use crate::exit::{ExitCode, Failure};
use crate::output::write_stdout;
use clap::CommandFactory;
use clap_complete::Shell;
use std::fs;
use std::path::Path;

/// Prints the completions of `shell`.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "althing", &mut script);
    write_stdout(&script)
}

/// Prints the main page, or writes `althing.1`, `althing-pub.1`, … to `directory`.
pub fn man(directory: Option<&Path>) -> Result<(), Failure> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Arguments::command())
            .render(&mut page)
            .map_err(|error| cannot_write("the man page", &error))?;
        return write_stdout(&page);
    };
    let cannot_write = |error| cannot_write(&directory.display().to_string(), &error);
    fs::create_dir_all(directory).map_err(cannot_write)?;
    clap_mangen::generate_to(Arguments::command(), directory).map_err(cannot_write)
}

fn cannot_write(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(ExitCode::Runtime, format!("{what} cannot be written: {error}"))
}
