//! `althing`: the broker and its tools in one binary.

mod arguments;
mod connection;
mod derived;
mod exit;
mod format;
mod message;
mod output;
mod properties;
mod url;

use arguments::{Arguments, Command, ServeArguments, TableArguments};
use clap::Parser;
use exit::{ExitCode, Failure};

fn main() {
    let arguments = Arguments::parse();
    let code = run(arguments.command.unwrap_or(Command::Serve(ServeArguments::default()))).unwrap_or_else(|failure| {
        if !failure.text.is_empty() {
            output::write_stderr(&failure.text);
        }
        failure.code
    });
    // Leaves at once: a thread may still wait for a line of stdin.
    std::process::exit(code as i32);
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Completions { shell } => derived::completions(shell)?,
        Command::Man { out } => derived::man(out.as_deref())?,
        Command::Version(arguments) => version(&arguments)?,
        _ => {}
    }
    Ok(ExitCode::Ok)
}

fn version(arguments: &TableArguments) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let line = if arguments.json {
        serde_json::json!({ "name": "althing", "version": version }).to_string()
    } else {
        format!("althing {version}")
    };
    output::write_stdout(format!("{line}\n").as_bytes())
}
