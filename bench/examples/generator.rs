//! The generator without the rest of `althing`: `cargo run --release -p althing-bench --example generator -- p2p`.
//! Small to build, so that it can be profiled and changed against any broker.

use althing_bench::BenchArguments;
use clap::Parser;

#[derive(Parser)]
#[command(name = "generator")]
struct Command {
    #[command(flatten)]
    arguments: BenchArguments,
}

fn main() -> std::process::ExitCode {
    althing_bench::main(&Command::parse().arguments)
}
