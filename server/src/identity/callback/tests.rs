//! Against services that are slow, break off, or talk nonsense.

use super::super::testing::question;
use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// A service that answers each connection with the next of these, `None` = not at all, and tells what it was asked.
fn service(answers: Vec<Option<String>>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/login", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = sender.send(read_question(&stream));
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).unwrap(),
                // Stays open: whoever waits for an answer goes on waiting.
                None => std::mem::forget(stream),
            }
        }
    });
    (url, receiver)
}

/// The body of one request.
fn read_question(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

fn ok(body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()))
}

fn callback(url: &str, change: impl FnOnce(&mut CallbackConfig)) -> Callback {
    let mut config = CallbackConfig { url: Some(url.to_owned()), ..CallbackConfig::default() };
    change(&mut config);
    Callback::new(&config).unwrap().unwrap()
}

fn ask(callback: &Callback, username: Option<&str>, password: &str) -> Outcome {
    let verify = question(username, Some(password));
    callback.check(&Credentials::of(&verify).unwrap())
}

#[test]
fn the_service_decides_and_its_answer_is_remembered() {
    let answers =
        [r#"{"result":"allow","groups":["floor"],"more":1}"#, r#"{"result":"deny"}"#, r#"{"result":"ignore"}"#];
    let (url, asked) = service(answers.iter().map(|answer| ok(answer)).collect());
    let callback = callback(&url, |_| ());
    for _ in 0..3 {
        let Outcome::Accept(identity) = ask(&callback, Some("joe"), "a") else { panic!("it was allowed") };
        assert_eq!((identity.name.as_deref(), identity.groups.len()), (Some("joe"), 1));
        assert!(matches!(ask(&callback, Some("joe"), "b"), Outcome::Refuse(_)));
        assert!(matches!(ask(&callback, Some("joe"), "c"), Outcome::NotMine));
    }
    let question: serde_json::Value = serde_json::from_str(&asked.recv().unwrap()).unwrap();
    let expected = serde_json::json!({
        "username": "joe", "password": "a", "client": "c", "address": null, "protocol": "mqtt", "listener": ""
    });
    assert_eq!(question, expected);
}

#[test]
fn the_service_may_say_who_it_is() {
    let (url, _asked) = service(vec![ok(r#"{"result":"allow","username":"jim"}"#), ok(r#"{"result":"allow"}"#)]);
    let callback = callback(&url, |config| config.cache_s = 0);
    let Outcome::Accept(identity) = ask(&callback, None, "a") else { panic!("it was allowed") };
    assert_eq!(identity.name.as_deref(), Some("jim"));
    assert!(matches!(ask(&callback, None, "a"), Outcome::Refuse(_)), "nobody is no name");
}

#[test]
fn without_an_answer_nobody_is_let_in() {
    let redirect =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let huge = format!(r#"{{"result":"allow","groups":["{}"]}}"#, "x".repeat(REPLY_BYTES_MAX as usize));
    let answers = vec![
        Some("HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()),
        Some(redirect.to_owned()),
        Some("nonsense\r\n\r\n".to_owned()),
        Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned()),
        ok("allow"),
        ok(r#"{"result":"perhaps"}"#),
        ok(r#"{"groups":[]}"#),
        ok(&huge),
        None,
    ];
    let count = answers.len();
    let (url, _asked) = service(answers);
    let callback = callback(&url, |config| {
        config.failures_max = u32::MAX;
        config.timeout_ms = 200;
    });
    for number in 0..count {
        let outcome = ask(&callback, Some("joe"), "a");
        assert!(matches!(outcome, Outcome::Unavailable(_)), "answer {number}: {outcome:?}");
    }
}

#[test]
fn a_service_that_keeps_failing_is_left_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let callback = callback(&url, |config| config.failures_max = 2);
    let why = |outcome| match outcome {
        Outcome::Unavailable(why) => why,
        outcome => panic!("{outcome:?}"),
    };
    assert!(why(ask(&callback, Some("joe"), "a")).contains("could not be asked"));
    assert!(why(ask(&callback, Some("joe"), "a")).contains("could not be asked"));
    assert!(why(ask(&callback, Some("joe"), "a")).contains("left alone"));
}

#[test]
fn an_address_that_is_none_is_refused_and_one_in_the_clear_is_warned_of() {
    let config = |url: &str| CallbackConfig { url: Some(url.to_owned()), ..CallbackConfig::default() };
    assert!(Callback::new(&config("login.example")).unwrap_err().contains("must begin with https://"));
    assert!(Callback::new(&CallbackConfig::default()).unwrap().is_none());
    assert!(Callback::warning(&config("http://login.example/")).is_some());
    assert!(Callback::warning(&config("http://127.0.0.1:1/")).is_none());
    assert!(Callback::warning(&config("https://login.example/")).is_none());
}
