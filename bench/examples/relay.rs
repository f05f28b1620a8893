//! The bare relay of the tests as a process, to measure the generator against the fastest thing there can be:
//! `bench/compare --broker 'target/release/examples/relay {port}' --name relay --only p2p-qos0`.

#[path = "../tests/relay/mod.rs"]
mod relay;

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(1883);
    relay::Relay::bind(([127, 0, 0, 1], port).into(), relay::Fault::None)?.run()
}
