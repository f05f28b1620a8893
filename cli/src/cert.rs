//! `althing cert`: makes certificates, and says what to do with them.

use crate::arguments::CertCommand;
use crate::exit::{ExitCode, Failure};
use crate::output::write_stdout;
use althing_server::issue::{Authority, Existing, Files, IssueError, Issued};
use jiff::{Timestamp, tz::TimeZone};
use std::path::Path;
use std::time::SystemTime;

/// Does what the command says.
pub fn run(command: &CertCommand) -> Result<(), Failure> {
    match command {
        CertCommand::Ca { directory, name, days, force } => {
            let (_, issued) = Authority::new(name, *days).map_err(failure)?;
            write(&issued, directory, *force)?;
            next(&[format!("althing cert server {} --name localhost", quoted(directory))])
        }
        CertCommand::Server { directory, name, ip, days, force } => {
            let issued = open(directory)?.server(name, ip, *days).map_err(failure)?;
            let Files { certificate, key } = write(&issued, directory, *force)?;
            let host = name.first().cloned().unwrap_or_else(|| ip.first().map_or_else(String::new, url_address));
            let options = format!("--set tls.certificate={} --set tls.key={}", quoted(&certificate), quoted(&key));
            next(&[
                format!("althing serve {options}"),
                format!("althing sub -L mqtts://{host} --cafile {} '#'", quoted(&directory.join("ca.crt"))),
            ])
        }
        CertCommand::Client { directory, name, days, force } => {
            let issued = open(directory)?.client(name, *days).map_err(failure)?;
            let Files { certificate, key } = write(&issued, directory, *force)?;
            let ca = quoted(&directory.join("ca.crt"));
            let options = format!("--cafile {ca} --cert {} --key {}", quoted(&certificate), quoted(&key));
            next(&[format!("althing pub -L mqtts://localhost {options} -t test -m hello")])
        }
    }
}

/// The CA in a directory.
fn open(directory: &Path) -> Result<Authority, Failure> {
    Authority::open(directory).map_err(|error| match &error {
        IssueError::NoAuthority(_) => {
            Failure::usage(format!("{error}: make one with `althing cert ca {}`", quoted(directory)))
        }
        _ => failure(error),
    })
}

/// Writes the files, and says what they are.
fn write(issued: &Issued, directory: &Path, force: bool) -> Result<Files, Failure> {
    let existing = if force { Existing::Replace } else { Existing::Keep };
    let files = issued.write(directory, existing).map_err(failure)?;
    let text = format!(
        "certificate  {}\nkey          {}\nvalid until  {}\nSHA-256      {}\n",
        files.certificate.display(),
        files.key.display(),
        day(issued.not_after),
        issued.fingerprint,
    );
    write_stdout(text.as_bytes())?;
    Ok(files)
}

fn next(commands: &[String]) -> Result<(), Failure> {
    let text: String = commands.iter().map(|command| format!("  {command}\n")).collect();
    write_stdout(format!("Next:\n{text}").as_bytes())
}

fn failure(error: IssueError) -> Failure {
    match &error {
        IssueError::Exists(_) => Failure::usage(format!("{error}: --force replaces it")),
        IssueError::NoAuthority(_) | IssueError::BadAuthority { .. } | IssueError::Name { .. } => {
            Failure::usage(error.to_string())
        }
        IssueError::File { .. } | IssueError::Make(_) => Failure::new(ExitCode::Runtime, error.to_string()),
    }
}

/// A path as a shell wants it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// An address as the host of a URL.
fn url_address(address: &std::net::IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

/// The day, in UTC as certificates have it.
fn day(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string(),
        Err(_) => "?".to_owned(),
    }
}
