//! The generator against a relay that is honest, or loses, doubles, swaps or misroutes one message in a hundred.

mod relay;

use althing_bench::{BenchArguments, BenchError, Report};
use clap::Parser;
use relay::{Fault, Relay};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: BenchArguments,
}

fn run(fault: Fault, scenario: &str) -> Result<Report, BenchError> {
    let relay = Relay::bind(([127, 0, 0, 1], 0).into(), fault).expect("a port");
    let port = relay.port().to_string();
    std::thread::spawn(move || relay.run());
    let words = ["bench"].into_iter().chain(scenario.split(' ')).chain(["--port", &port]);
    let short =
        ["--duration-s", "0.1", "--warm-up-s", "0", "--silence-s", if fault == Fault::None { "10" } else { "1" }];
    althing_bench::run(&Command::parse_from(words.chain(short)).arguments)
}

#[test]
fn an_honest_relay_is_clean_in_every_shape_and_qos() {
    for scenario in [
        "p2p --clients 5",
        "p2p --clients 5 --qos 1",
        "p2p --clients 5 --qos 2",
        "fanout --clients 20",
        "fanin --clients 5",
        "latency --clients 5 --rate 1000",
        "churn --clients 5",
        "idle --clients 200",
    ] {
        let report = run(Fault::None, scenario).expect(scenario);
        assert!(report.is_clean(), "{report}");
        assert!(report.deliveries > 0 || report.scenario == "idle", "{report}");
        assert_eq!(report.latency_us.is_some(), report.deliveries > 0, "{report}");
    }
}

#[test]
fn a_doubled_message_is_reported() {
    let report = run(Fault::Double, "p2p --clients 5 --qos 1").expect("a report");
    assert!(report.duplicated > 0 && report.lost == 0 && report.reordered == 0, "{report}");
}

#[test]
fn a_swapped_message_is_reported() {
    let report = run(Fault::Swap, "p2p --clients 2").expect("a report");
    assert!(report.reordered > 0 && report.duplicated == 0, "{report}");
}

#[test]
fn a_misrouted_message_is_reported() {
    let report = run(Fault::Misroute, "p2p --clients 2 --window 200").expect("a report");
    assert!(report.unexpected > 0 && report.lost > 0, "{report}");
}

#[test]
fn a_lost_message_is_reported_and_stops_its_publisher() {
    let report = run(Fault::Lose, "fanout --clients 3 --window 5").expect("a report");
    assert!(report.lost > 0 && report.duplicated == 0 && report.reordered == 0, "{report}");
    assert!(report.sent < 200, "the window closed: {report}");
}

#[test]
fn nobody_listening_is_an_error_that_names_the_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    drop(listener);
    let command = Command::parse_from(["bench", "p2p", "--port", &port]);
    let outcome = althing_bench::run(&command.arguments);
    assert!(matches!(outcome, Err(BenchError::Socket { connection: 0, .. })), "{outcome:?}");
}

#[test]
fn acknowledgements_are_timed_and_counted() {
    let report = run(Fault::None, "durable --clients 5 --live").expect("a report");
    assert!(report.is_clean() && report.figures["acknowledged_per_s"] > 0.0, "{report}");
    assert!(report.figures["acknowledgement_us_p99"] >= report.figures["acknowledgement_us_p50"], "{report}");
}
