//! Every documented exit code, most of them against brokers made of fixed bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

#[test]
fn usage_errors_end_with_2() {
    for line in [
        &["sub"][..],
        &["sub", "--port", "x", "-t", "a"],
        &["sub", "a/#/b"],
        &["pub", "-t", "a/+", "-m", "x"],
        &["pub", "-m", "x"],
        &["pub", "-t", "a", "-f", "/nowhere/at/all"],
        &["pub", "-t", "a", "-m", "x", "-D", "publish", "content_type", "x"],
        &["sub", "-t", "a", "-F", "%y"],
        &["sub", "-L", "wss://h/a"],
        &["sub", "-L", "mqtt://h/a", "--cafile", "ca.crt"],
        &["sub", "-L", "coap://h/a", "--insecure"],
        &["sub", "-t", "a", "--unix", "socket", "--insecure"],
        &["sub", "-t", "a", "--cafile", "/nowhere/at/all"],
        &["sub", "-t", "a", "--cert", "a.crt"],
        &["request", "-m", "x"],
        &["reply", "-t", "a", "--echo", "-V", "311"],
        &["nonsense"],
    ] {
        let output = run(line);
        assert_exit(&output, 2);
        assert!(stdout(&output).is_empty() && !stderr(&output).is_empty(), "{line:?}");
    }
}

#[test]
fn no_listener_ends_with_3() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let output = run(&["pub", "-h", "127.0.0.1", "-p", &port, "-t", "a", "-m", "x"]);
    assert_exit(&output, 3);
    assert!(stderr(&output).contains("nothing listens there"), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().count(), 1);
    let output = run(&["pub", "-h", "127.0.0.1", "-p", &port, "-t", "a", "-m", "x", "--quiet"]);
    assert_exit(&output, 3);
    assert_eq!(stderr(&output), "");
    assert_exit(&run(&["sub", "--unix", "/nowhere/socket", "-t", "a"]), 3);
}

#[test]
fn a_broker_that_never_answers_ends_with_3() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    assert_exit(&run(&["sub", "-h", "127.0.0.1", "-p", &port, "-t", "a", "--connect-timeout", "50ms"]), 3);
}

#[test]
fn a_refusal_ends_with_4_in_both_versions() {
    for (version, connack) in [("5", &[0x20, 3, 0, 0x86, 0][..]), ("311", &[0x20, 2, 0, 4])] {
        let broker = Scripted::start(move |listener| {
            let mut stream = accept(listener);
            expect_packet(&mut stream, CONNECT);
            stream.write_all(connack).unwrap();
        });
        let output = run(&["sub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a", "-V", version]);
        assert_exit(&output, 4);
        assert!(stderr(&output).contains("check -u and -P"), "{}", stderr(&output));
        broker.finish();
    }
}

#[test]
fn refused_subscriptions_end_with_4() {
    let broker = Scripted::start(|listener| {
        let mut stream = accept(listener);
        expect_packet(&mut stream, CONNECT);
        stream.write_all(CONNACK).unwrap();
        expect_packet(&mut stream, SUBSCRIBE);
        stream.write_all(&[0x90, 4, 0, 1, 0, 0x87]).unwrap();
        expect_packet(&mut stream, DISCONNECT);
    });
    let output = run(&["sub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a"]);
    assert_exit(&output, 4);
    assert!(stderr(&output).contains("subscription to a: Not authorized"), "{}", stderr(&output));
    broker.finish();
}

#[test]
fn what_is_no_mqtt_ends_with_5() {
    let broker = Scripted::start(|listener| {
        let mut stream = accept(listener);
        expect_packet(&mut stream, CONNECT);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    assert_exit(&run(&["pub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a", "-m", "x"]), 5);
    broker.finish();
}

#[test]
fn a_packet_that_only_clients_send_ends_with_5_and_the_broker_hears_why() {
    let broker = Scripted::start(|listener| {
        let mut stream = accept(listener);
        expect_packet(&mut stream, CONNECT);
        stream.write_all(CONNACK).unwrap();
        expect_packet(&mut stream, SUBSCRIBE);
        stream.write_all(&[0xc0, 0]).unwrap();
        assert_eq!(expect_packet(&mut stream, DISCONNECT)[0], 0x82);
    });
    assert_exit(&run(&["sub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a"]), 5);
    broker.finish();
}

#[test]
fn silence_until_the_time_is_up_ends_with_6() {
    let broker = Broker::ours("127.0.0.1:0");
    assert_exit(&broker.run("sub", &["-t", "a", "-W", "100ms"]), 6);
}

#[test]
fn some_messages_acknowledged_ends_with_7() {
    let broker = Scripted::start(|listener| {
        let mut stream = accept(listener);
        expect_packet(&mut stream, CONNECT);
        stream.write_all(CONNACK).unwrap();
        expect_packet(&mut stream, PUBLISH_QOS_1);
        expect_packet(&mut stream, PUBLISH_QOS_1);
        stream.write_all(&[0x40, 2, 0, 1]).unwrap();
    });
    let output = run(&["pub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a", "-m", "x", "-q", "1", "--repeat", "2"]);
    assert_exit(&output, 7);
    assert!(stderr(&output).contains("1 of 2 messages were delivered"), "{}", stderr(&output));
    broker.finish();
}

#[test]
fn no_message_acknowledged_ends_with_1_and_all_refused_with_4() {
    for (puback, code) in [(&[][..], 1), (&[0x40, 3, 0, 1, 0x87], 4)] {
        let broker = Scripted::start(move |listener| {
            let mut stream = accept(listener);
            expect_packet(&mut stream, CONNECT);
            stream.write_all(CONNACK).unwrap();
            expect_packet(&mut stream, PUBLISH_QOS_1);
            stream.write_all(puback).unwrap();
        });
        assert_exit(&run(&["pub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a", "-m", "x", "-q", "1"]), code);
        broker.finish();
    }
}

#[test]
fn a_goodbye_ends_endless_input_with_the_brokers_reason() {
    let broker = Scripted::start(|listener| {
        let mut stream = accept(listener);
        expect_packet(&mut stream, CONNECT);
        stream.write_all(CONNACK).unwrap();
        expect_packet(&mut stream, PUBLISH_QOS_0);
        stream.write_all(&[0xe0, 2, 0x87, 0]).unwrap();
    });
    let line = ["pub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a", "-l"];
    let mut child = althing(&line).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"first\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 4);
    assert!(stderr(&output).contains("Not authorized"), "{}", stderr(&output));
    drop(input);
    broker.finish();
}

#[test]
fn signals_say_goodbye_and_end_with_their_codes() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let broker = Scripted::start(|listener| {
            let mut stream = accept(listener);
            expect_packet(&mut stream, CONNECT);
            stream.write_all(CONNACK).unwrap();
            expect_packet(&mut stream, SUBSCRIBE);
            stream.write_all(SUBACK).unwrap();
            expect_packet(&mut stream, DISCONNECT);
        });
        let mut sub = Running::subscribed(&["sub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a"]);
        sub.signal(signal);
        assert_eq!(sub.finish().status.code(), Some(code));
        broker.finish();
    }
}

#[test]
fn a_lost_connection_is_opened_again_with_its_subscriptions() {
    let broker = Scripted::start(|listener| {
        let subscribed = || {
            let mut stream = accept(listener);
            expect_packet(&mut stream, CONNECT);
            stream.write_all(CONNACK).unwrap();
            let subscribe = expect_packet(&mut stream, SUBSCRIBE);
            stream.write_all(&[0x90, 4, subscribe[0], subscribe[1], 0, 0]).unwrap();
            stream
        };
        drop(subscribed());
        let mut stream = subscribed();
        stream.write_all(&[0x30, 6, 0, 1, b'a', 0, b'h', b'i']).unwrap();
        expect_packet(&mut stream, DISCONNECT);
    });
    let mut sub = Running::subscribed(&["sub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a", "-C", "1"]);
    sub.await_stderr("trying again");
    let output = sub.finish();
    assert_exit(&output, 0);
    assert_eq!(stdout(&output), "hi\n");
    broker.finish();
}

#[test]
fn no_reconnect_and_a_takeover_end_the_command() {
    for (arguments, last_bytes, code) in [(&["--no-reconnect"][..], &[][..], 1), (&[], &[0xe0, 2, 0x8e, 0], 1)] {
        let broker = Scripted::start(move |listener| {
            let mut stream = accept(listener);
            expect_packet(&mut stream, CONNECT);
            stream.write_all(CONNACK).unwrap();
            expect_packet(&mut stream, SUBSCRIBE);
            stream.write_all(SUBACK).unwrap();
            stream.write_all(last_bytes).unwrap();
        });
        let mut line = vec!["sub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a"];
        line.extend_from_slice(arguments);
        assert_exit(&run(&line), code);
        broker.finish();
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let broker = Scripted::start(|listener| {
        let mut stream = accept(listener);
        expect_packet(&mut stream, CONNECT);
        stream.write_all(CONNACK).unwrap();
        expect_packet(&mut stream, SUBSCRIBE);
        stream.write_all(SUBACK).unwrap();
        // Goes on until the client leaves.
        let message = [0x30, 6, 0, 1, b'a', 0, b'h', b'i'];
        while stream.write_all(&message).is_ok() {}
    });
    let mut child = althing(&["sub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a"]).spawn().unwrap();
    let mut first = [0; 3];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(&first, b"hi\n");
    assert_exit(&output, 0);
    assert_eq!(stderr(&output), "");
    broker.finish();
}

#[test]
fn help_to_a_closed_pipe_is_quiet_too() {
    for line in [&["--help"][..], &["man"], &["completions", "zsh"], &["protocols"], &["version"]] {
        let mut child = althing(line).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_exit(&output, 0);
        assert_eq!(stderr(&output), "", "{line:?}");
    }
}
