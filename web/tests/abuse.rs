//! What nobody with good intentions sends. Each case has the status that it gets, and the connection ends where the next
//! request could be read as another one than was meant.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure of any step fails the test")]

mod house;

use althing_core::Limits;
use althing_http::HttpConfig;
use house::{House, hear_head, house, house_with, say, status};
use tokio::io::AsyncReadExt;

/// A request of this body, with these lines, and one more behind it that nobody must answer as one.
fn smuggling(lines: &str, body: &str) -> String {
    format!(
        "POST /nowhere HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n{body}GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
}

#[test]
fn no_request_is_smuggled_behind_another() {
    house(async |house: House| {
        for (lines, body, expected) in [
            // RFC 9112 §6.1: carried out by its chunks, and the connection ends.
            ("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n", 404),
            ("Transfer-Encoding: chunked\r\nContent-Length: 4", "0\r\n\r\n", 404),
            // RFC 9112 §6.3
            ("Content-Length: 4\r\nContent-Length: 5", "abcd", 400),
            ("Content-Length: 4, 5", "abcd", 400),
            ("Content-Length: +4", "abcd", 400),
            ("Content-Length: -1", "", 400),
            ("Content-Length: 0x4", "abcd", 400),
            ("Content-Length: 99999999999999999999", "", 400),
            ("Transfer-Encoding: xchunked", "0\r\n\r\n", 400),
            ("Transfer-Encoding: chunked, identity", "0\r\n\r\n", 400),
            ("Transfer-Encoding:\u{b}chunked", "0\r\n\r\n", 400),
            // RFC 9112 §5.1, §5.2
            ("Transfer-Encoding : chunked", "0\r\n\r\n", 400),
            ("X: a\r\n Transfer-Encoding: chunked", "", 400),
            // RFC 9112 §7.1
            ("Transfer-Encoding: chunked", "fffffffffffffffff\r\n", 400),
            ("Transfer-Encoding: chunked", "zz\r\n", 400),
        ] {
            let heard = house.until_closed(smuggling(lines, body).as_bytes()).await;
            assert_eq!(status(&heard), expected, "{lines:?}: {heard}");
            assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "{lines:?}: {heard}");
        }
    });
}

#[test]
fn what_is_no_request_is_refused_and_ends() {
    house(async |house: House| {
        for (said, expected) in [
            ("GET /\r\n\r\n", 400),
            ("GET /\u{0} HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nX\u{0}: a\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{3}\u{3}", 400),
            ("GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 400),
            ("POST /x HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ] {
            let heard = house.until_closed(said.as_bytes()).await;
            assert_eq!(status(&heard), expected, "{said:?}: {heard}");
        }
    });
}

#[test]
fn a_request_has_one_host_and_it_is_ours() {
    house(async |house: House| {
        for (said, expected) in [
            ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\n\r\n", 421),
            ("GET http://evil.example/ HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n\r\n", 421),
            ("CONNECT evil.example:80 HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n\r\n", 501),
            ("GET http://localhost/ HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\n\r\n", 404),
            ("GET / HTTP/1.0\r\n\r\n", 404),
        ] {
            let heard = house.until_closed(said.as_bytes()).await;
            assert_eq!(status(&heard), expected, "{said:?}: {heard}");
        }
    });
}

#[test]
fn headers_have_an_end() {
    let config = HttpConfig { headers_max: 20, header_bytes_max: 8_192, ..HttpConfig::default() };
    house_with(Limits::default(), config, async |house: House| {
        for lines in ["X: a\r\n".repeat(30), format!("X: {}\r\n", "a".repeat(20_000))] {
            let heard =
                house.until_closed(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes()).await;
            assert_eq!(status(&heard), 431, "{heard}");
        }
        assert_eq!(house.status(&format!("GET / HTTP/1.1\r\n{}", "X: a\r\n".repeat(19))).await, 404);
    });
}

#[test]
fn bodies_have_an_end() {
    let config = HttpConfig { body_bytes_max: 1_000, ..HttpConfig::default() };
    house_with(Limits::default(), config, async |house: House| {
        for (lines, body) in [
            ("Content-Length: 1001", String::new()),
            ("Transfer-Encoding: chunked", format!("3e9\r\n{}\r\n", "a".repeat(1_001))),
        ] {
            let said = format!("POST /nowhere HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n{body}");
            let heard = house.until_closed(said.as_bytes()).await;
            assert_eq!(status(&heard), 413, "{heard}");
        }
    });
}

#[test]
fn who_is_slow_is_not_waited_for() {
    let config = HttpConfig { header_timeout_ms: 50, body_timeout_ms: 50, ..HttpConfig::default() };
    house_with(Limits::default(), config, async |house: House| {
        assert_eq!(house.until_closed(b"").await, "");
        assert_eq!(house.until_closed(b"GET / HT").await, "");
        assert_eq!(house.until_closed(b"PRI * HTTP/2.0\r\n\r\nSM").await, "");
        let heard =
            house.until_closed(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab").await;
        assert_eq!(status(&heard), 408, "{heard}");
    });
}

#[test]
fn who_is_idle_is_let_go() {
    let config = HttpConfig { keep_alive_timeout_ms: 50, header_timeout_ms: 50, ..HttpConfig::default() };
    house_with(Limits::default(), config, async |house: House| {
        let heard = house.until_closed(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(status(&heard), 404, "{heard}");
        let heard = house.until_closed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        assert!(!heard.is_empty());
    });
}

#[test]
fn a_stream_is_not_idle_though_nothing_is_asked() {
    let config = HttpConfig { keep_alive_timeout_ms: 50, event_heartbeat_s: 1, ..HttpConfig::default() };
    house_with(Limits::default(), config, async |house: House| {
        let mut stream = house.connect().await;
        say(&mut stream, "GET /topics/a HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n").await;
        assert_eq!(status(&hear_head(&mut stream).await), 200);
        let (mut heard, mut buffer) = (String::new(), [0; 512]);
        // Its second sign of life comes long after a connection would have been idle for too long.
        while heard.matches("\n:").count() < 2 {
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "closed after {heard:?}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    });
}

#[test]
fn pages_of_other_origins_are_kept_out() {
    let config = HttpConfig { origins: vec!["https://app.example".into()], ..HttpConfig::default() };
    house_with(Limits::default(), config, async |house: House| {
        let upgrade = "GET /json HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for (lines, expected) in [
            (upgrade.to_owned(), 101),
            (format!("{upgrade}Origin: http://{}\r\n", house.address), 101),
            (format!("{upgrade}Origin: https://app.example\r\n"), 101),
            (format!("{upgrade}Origin: http://evil.example\r\n"), 403),
            (format!("{upgrade}Origin: null\r\n"), 403),
            ("GET / HTTP/1.1\r\nOrigin: http://evil.example\r\n".into(), 403),
            ("GET / HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n".into(), 403),
            ("POST / HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n".into(), 403),
        ] {
            assert_eq!(house.status(&lines).await, expected, "{lines}");
        }
        let mut stream = house.connect().await;
        say(
            &mut stream,
            "OPTIONS /topics/a HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\n\
             Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization\r\n\r\n",
        )
        .await;
        let head = hear_head(&mut stream).await;
        assert_eq!(status(&head), 204);
        for line in [
            "access-control-allow-origin: https://app.example\r\n",
            "access-control-allow-headers: authorization\r\n",
            "vary: Origin\r\n",
        ] {
            assert!(head.contains(line), "{head}");
        }
        assert!(!head.contains("credentials"), "{head}");
    });
}

#[test]
fn passwords_are_not_guessed_by_the_thousand_in_one_connection() {
    house(async |house: House| {
        let guess = "GET /topics/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YTpi\r\n\r\n";
        let heard = house.until_closed(guess.repeat(20).as_bytes()).await;
        assert!((1..10).contains(&heard.matches("HTTP/1.1 401").count()), "{heard}");
        assert!(heard.contains("www-authenticate: Basic"), "{heard}");
        let right = "GET /topics/a HTTP/1.1\r\nAuthorization: Basic YTpzZWNyZXQ=\r\n";
        assert_eq!(house.status(right).await, 404);
    });
}

#[test]
fn paths_lead_nowhere() {
    house(async |house: House| {
        for path in ["/../../etc/passwd", "/%2e%2e/etc/passwd", "/topics/..%2f..%2fetc", "//evil.example/", "/ws/../x"]
        {
            let status = house.status(&format!("GET {path} HTTP/1.1\r\n")).await;
            assert!([400, 404].contains(&status), "{path}: {status}");
        }
    });
}

#[test]
fn streams_of_a_connection_that_are_reset_at_once_end_it() {
    house(async |house: House| {
        let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        for stream in (1..2_000_u32).step_by(2) {
            // HEADERS with everything from the static table (:method GET, :scheme http, :path /), then RST_STREAM.
            said.extend([0, 0, 3, 1, 5]);
            said.extend(stream.to_be_bytes());
            said.extend([0x82, 0x86, 0x84]);
            said.extend([0, 0, 4, 3, 0]);
            said.extend(stream.to_be_bytes());
            said.extend(8_u32.to_be_bytes());
        }
        let mut stream = house.connect().await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &said).await;
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        // GOAWAY, ENHANCE_YOUR_CALM (RFC 9113 §7).
        assert!(heard.windows(4).any(|code| code == [0, 0, 0, 11]), "{heard:?}");
    });
}
