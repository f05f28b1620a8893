//! `althing`: the broker and its tools in one binary.

mod acl;
mod admin;
mod arguments;
mod cert;
mod coap;
mod collection;
mod config;
mod connection;
mod credentials;
mod decode;
mod demo;
mod derived;
mod exit;
mod foreign;
mod format;
mod link;
mod message;
mod output;
mod payload;
mod properties;
mod protocols;
mod publish;
mod refusal;
mod reply;
mod request;
mod run;
mod socket;
mod stop;
mod store;
mod subscribe;
mod subscriber;
mod tls;
mod trust;
mod url;
mod users;
mod websocket;

use arguments::{AclCommand, Arguments, BenchCommand, Command, ServeArguments, TableArguments};
use clap::Parser;
use exit::{ExitCode, Failure};
use std::io::ErrorKind;

fn main() {
    let command = Arguments::parse().command.unwrap_or(Command::Serve(ServeArguments::default()));
    let quiet = command.is_quiet();
    let code = run(command).unwrap_or_else(|failure| {
        if !quiet && !failure.text.is_empty() {
            output::write_stderr(&failure.text);
        }
        failure.code
    });
    // Leaves at once: a thread may still wait for a line of stdin.
    std::process::exit(code as i32);
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(arguments) => serve(arguments)?,
        Command::Bench(BenchCommand::Mqtt(arguments)) => return bench(&arguments),
        Command::Bench(BenchCommand::Coap(arguments)) => return bench_coap(&arguments),
        Command::Bench(BenchCommand::WebVsPolling(arguments)) => return web_vs_polling(&arguments),
        Command::Pub(arguments) => return block_on(publish::run(&arguments)),
        Command::Sub(arguments) => return block_on(subscribe::run(&arguments)),
        Command::Run(arguments) => return block_on(run::run(&arguments)),
        Command::Request(arguments) => return block_on(request::run(&arguments)),
        Command::Reply(arguments) => return block_on(reply::run(&arguments)),
        Command::Demo(arguments) => return block_on(demo::run(&arguments)),
        Command::Decode(arguments) => return decode::run(&arguments),
        Command::Cert(command) => cert::run(&command)?,
        Command::Users(command) => return users::run(&command),
        Command::Admin(command) => return block_on(admin::run(&command)),
        Command::Coap(command) => return block_on(coap::run(&command)),
        Command::Store(command) => return store::run(&command),
        Command::Config(command) => return config::run(command),
        Command::Acl(AclCommand::Explain(arguments)) => return acl::explain(&arguments),
        Command::Completions { shell } => derived::completions(shell)?,
        Command::Man { out } => derived::man(out.as_deref())?,
        Command::Protocols(arguments) => {
            let rows: Vec<_> = althing_server::protocols::PROTOCOLS.iter().map(|protocol| *protocol.row).collect();
            protocols::print(&rows, arguments.json)?;
        }
        Command::Version(arguments) => version(&arguments)?,
    }
    Ok(ExitCode::Ok)
}

/// Runs the broker until it is told to stop.
fn serve(arguments: ServeArguments) -> Result<(), Failure> {
    let ServeArguments { config, data, port_offset, lan, console_dir, set } = arguments;
    let options = althing_server::ServeOptions { config, data, port_offset, set, lan, console_dir };
    althing_server::serve(&options).map_err(|error| {
        let codes = [ExitCode::Usage, ExitCode::StoreDamaged, ExitCode::StoreFailed, ExitCode::StoreInUse];
        let code = codes.into_iter().find(|code| *code as u8 == error.exit_code()).unwrap_or(ExitCode::Runtime);
        Failure::new(code, error.to_string())
    })
}

/// Runs a load and prints its report; what was lost, doubled or swapped makes the exit code.
fn bench(arguments: &althing_bench::BenchArguments) -> Result<ExitCode, Failure> {
    let report = althing_bench::run(arguments).map_err(|error| Failure::new(bench_code(&error), error.to_string()))?;
    let text = if arguments.common.json { format!("{}\n", report.json()) } else { report.to_string() };
    output::write_stdout(text.as_bytes())?;
    Ok(if report.is_clean() { ExitCode::Ok } else { ExitCode::Partial })
}

fn bench_coap(arguments: &althing_bench::CoapBenchArguments) -> Result<ExitCode, Failure> {
    let resource = coap::bench_resource(&arguments.url)?;
    let report = althing_bench::coap(arguments, &resource);
    let report = report.map_err(|error| Failure::new(bench_code(&error), error.to_string()))?;
    let text = if arguments.json { format!("{}\n", report.json()) } else { report.to_string() };
    output::write_stdout(text.as_bytes())?;
    Ok(if report.is_clean() { ExitCode::Ok } else { ExitCode::Partial })
}

fn web_vs_polling(arguments: &althing_bench::WebVsPollingArguments) -> Result<ExitCode, Failure> {
    let table = althing_bench::web_vs_polling(arguments);
    let table = table.map_err(|error| Failure::new(bench_code(&error), error.to_string()))?;
    let text = if arguments.json { format!("{}\n", table.json()) } else { table.to_string() };
    output::write_stdout(text.as_bytes())?;
    Ok(ExitCode::Ok)
}

fn bench_code(error: &althing_bench::BenchError) -> ExitCode {
    use althing_bench::BenchError;
    match error {
        BenchError::Resolve { .. } | BenchError::Unix { .. } | BenchError::Session { .. } => ExitCode::CannotConnect,
        BenchError::Tls { .. } => ExitCode::Usage,
        BenchError::Socket { source, .. } if source.kind() == ErrorKind::ConnectionRefused => ExitCode::CannotConnect,
        BenchError::Refused { .. } | BenchError::ErrorResponse { .. } | BenchError::NotObserved => ExitCode::Refused,
        BenchError::Rejected => ExitCode::CannotConnect,
        BenchError::Malformed { .. } | BenchError::WebSocket { .. } => ExitCode::Protocol,
        BenchError::Silent { .. } => ExitCode::Timeout,
        _ => ExitCode::Runtime,
    }
}

/// Runs a client command on this thread.
fn block_on(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(ExitCode::Runtime, format!("the event loop cannot start: {error}")))?;
    let result = runtime.block_on(command);
    // A thread that waits for stdin would hold the end up.
    runtime.shutdown_background();
    result
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
