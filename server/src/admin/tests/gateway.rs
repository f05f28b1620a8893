//! Administrators who come in by the HTTP port of everybody.

use super::world::{Answer, World, answer};
use std::io::{Read, Write};
use std::net::TcpStream;

/// A request with these header lines, by the HTTP port.
fn ask(world: &World, line: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(world.web).unwrap();
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", world.web) };
    write!(stream, "{line} HTTP/1.1\r\nConnection: close\r\n{host}{headers}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    answer(&text)
}

#[test]
fn who_comes_by_the_http_port_is_judged_like_everybody() {
    let world = World::start();
    let token = format!("Authorization: Bearer {}\r\n", world.token);
    for (line, headers, expected) in [
        ("GET /healthz", String::new(), 200),
        ("GET /metrics", String::new(), 200),
        ("GET /", String::new(), 200),
        ("GET /api/v1/server", String::new(), 401),
        ("GET /api/v1/server", token.clone(), 200),
        ("GET /api/v1/server", format!("{token}Origin: http://{}\r\n", world.web), 200),
        ("GET /api/v1/server", format!("{token}Origin: http://evil.example\r\n"), 403),
        ("GET /api/v1/server", format!("{token}Sec-Fetch-Site: cross-site\r\n"), 403),
        ("GET /api/v1/server", format!("{token}Host: evil.example\r\n"), 421),
        ("GET /api/v1/nothing", token.clone(), 404),
    ] {
        assert_eq!(ask(&world, line, &headers).status, expected, "{line} {headers}");
    }
}

#[test]
fn a_login_by_the_http_port_lasts() {
    let world = World::start();
    let body = r#"{"username":"ann","password":"secret"}"#;
    let lines = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let login = ask(&world, "POST /api/v1/session", &lines);
    assert_eq!(login.status, 200, "{login:?}");
    let cookie = login.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && !cookie.contains("Secure"), "{cookie}");
    let secret = cookie.split(';').next().unwrap();
    assert_eq!(ask(&world, "GET /api/v1/server", &format!("Cookie: {secret}\r\n")).status, 200);
}

#[test]
fn a_response_that_goes_on_ends_when_nobody_reads_it() {
    let world = World::start();
    let mut stream = TcpStream::connect(world.web).unwrap();
    let (web, token) = (world.web, &world.token);
    write!(stream, "GET /api/v1/feed HTTP/1.1\r\nHost: {web}\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    let mut first = [0; 15];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    drop(stream);
    // The thread ends when nothing is left to do; a stream that nobody reads would hold it.
    drop(world);
}
