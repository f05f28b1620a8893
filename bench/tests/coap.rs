//! The CoAP generator against a server that is honest, or loses, garbles or refuses.

use althing_bench::{BenchError, CoapBenchArguments, CoapReport, CoapResource};
use althing_coap::codec::{decode, encode};
use althing_coap::message::{Code, Kind, Message, Options, number};
use bytes::Bytes;
use clap::Parser;
use std::net::{SocketAddr, UdpSocket};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: CoapBenchArguments,
}

/// What the server does to one message in ten.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Drops it.
    Loses,
    /// Answers with another payload.
    Garbles,
    /// Answers with an error.
    Refuses,
    /// Tells observers an older state after a newer one.
    Reorders,
}

fn run(fault: Fault, words: &str) -> Result<CoapReport, BenchError> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("an address").port();
    std::thread::spawn(move || serve(&socket, fault));
    let mut options = Options::default();
    options.add(number::URI_PATH, "x");
    let words = ["coap", "coap://127.0.0.1/x"].into_iter().chain(words.split_whitespace());
    // Nothing is sent again but what is lost.
    let ack_timeout = if fault == Fault::Loses { "0.05" } else { "20" };
    let arguments = Command::parse_from(words.chain(["--ack-timeout-s", ack_timeout])).arguments;
    althing_bench::coap(&arguments, &CoapResource { host: "127.0.0.1".into(), port, options })
}

/// One resource and its observers, until the test ends.
fn serve(socket: &UdpSocket, fault: Fault) {
    let (mut value, mut before) = (Bytes::from_static(b"there"), Bytes::new());
    let mut observers: Vec<(SocketAddr, Message)> = Vec::new();
    let (mut buffer, mut count, mut sequence) = ([0; 2_048], 0, 1);
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let Ok(request) = decode(&Bytes::copy_from_slice(&buffer[..length])) else { continue };
        if !request.code.is_request() {
            continue;
        }
        count += 1;
        let is_struck = count % 10 == 0;
        if is_struck && fault == Fault::Loses {
            continue;
        }
        let kind = if request.kind == Kind::Confirmable { Kind::Acknowledgement } else { Kind::NonConfirmable };
        let mut response = Message::new(kind, Code::CONTENT, request.id);
        response.token = request.token;
        match request.options.uint(number::OBSERVE) {
            Some(0) => {
                response.options.add_uint(number::OBSERVE, sequence);
                observers.push((from, request.clone()));
            }
            Some(_) => observers.retain(|(_, registration)| registration.token != request.token),
            None => {}
        }
        match request.code {
            Code::GET => response.payload = value.clone(),
            _ => {
                response.code = Code::CHANGED;
                before = std::mem::replace(&mut value, request.payload.clone());
            }
        }
        match fault {
            Fault::Garbles if is_struck => response.payload = Bytes::from_static(b"else"),
            Fault::Refuses if is_struck => response.code = Code::FORBIDDEN,
            _ => {}
        }
        say(socket, from, &response);
        if request.code == Code::PUT {
            let states = if fault == Fault::Reorders { vec![&value, &before] } else { vec![&value] };
            for (state, (to, registration)) in
                states.iter().flat_map(|state| observers.iter().map(move |it| (state, it)))
            {
                sequence += 1;
                let mut notification = Message::new(Kind::NonConfirmable, Code::CONTENT, sequence as u16);
                notification.token = registration.token;
                notification.options.add_uint(number::OBSERVE, sequence);
                notification.payload = (*state).clone();
                say(socket, *to, &notification);
            }
        }
    }
}

fn say(socket: &UdpSocket, to: SocketAddr, message: &Message) {
    let mut datagram = Vec::new();
    encode(message, &mut datagram);
    let _ = socket.send_to(&datagram, to);
}

#[test]
fn an_honest_server_is_clean_in_every_shape() {
    for words in [
        "--count 100",
        "--count 500 --endpoints 5 --window 8 --non",
        "--count 100 --payload-bytes 200",
        "--method put --count 300 --window 4",
        "--method post --non --count 100",
        "--count 50 --rate 5000 --endpoints 3",
        "--method put --duration-s 0.1 --warm-up-s 0",
        "--method observe --endpoints 5 --count 50",
        "--method observe --endpoints 3 --window 4 --non --count 50",
    ] {
        let report = run(Fault::None, words).expect(words);
        assert!(report.is_clean() && report.duplicated == 0, "{words}: {report}");
        let latency = report.latency_us.expect("something was measured");
        assert!(latency.p50 <= latency.p90 && latency.p90 <= latency.p99 && latency.p99 <= latency.max, "{report}");
    }
    assert_eq!(run(Fault::None, "--count 100 --endpoints 3").expect("a report").completed, 100);
    assert_eq!(run(Fault::None, "--method observe --endpoints 5 --count 50").expect("a report").completed, 250);
}

#[test]
fn what_is_lost_is_sent_again_or_counted() {
    let report = run(Fault::Loses, "--count 100").expect("a report");
    assert!(report.is_clean() && report.retransmissions >= 9, "{report}");
    let report = run(Fault::Loses, "--count 100 --non").expect("a report");
    assert!(!report.is_clean() && report.retransmissions == 0 && report.lost >= 9, "{report}");
    assert_eq!(report.lost + report.completed, 100, "{report}");
}

#[test]
fn what_is_wrong_is_counted_and_a_refusal_ends_it() {
    assert_eq!(run(Fault::Garbles, "--count 100").expect("a report").wrong, 10);
    let report = run(Fault::Reorders, "--method observe --endpoints 2 --count 20").expect("a report");
    assert!(report.wrong > 0, "{report}");
    match run(Fault::Refuses, "--count 100") {
        Err(BenchError::ErrorResponse { code, .. }) => assert_eq!(code, "4.03"),
        other => panic!("{other:?}"),
    }
}
