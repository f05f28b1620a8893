//! What somebody with bad intentions may send. Each of these ends, and ends well.

use super::world::{World, answer};
use crate::admin::api;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Every documented operation: method and path, with something in the places of variables.
fn operations() -> Vec<(String, String)> {
    let document = serde_json::to_value(api::routes().split_for_parts().1).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, methods)| {
        let path = path.replace("{client}", "x").replace("{name}", "x");
        methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

#[test]
fn nothing_but_health_and_metrics_is_open_from_the_first_start_on() {
    let world = World::start();
    for (method, path) in operations() {
        if method == "POST" && ["/api/v1/session", "/api/v1/session/code"].contains(&&path[..]) {
            continue;
        }
        for headers in
            [&[][..], &["Authorization: Bearer "], &["Authorization: Bearer public"], &["Cookie: althing-session="]]
        {
            assert_eq!(world.request(&method, &path, headers, "").status, 401, "{method} {path} {headers:?}");
        }
    }
    for user in ["admin:public", "admin:admin", "admin:"] {
        let (username, password) = user.split_once(':').unwrap();
        let body = format!(r#"{{"username":"{username}","password":"{password}"}}"#);
        assert_eq!(world.request("POST", "/api/v1/session", &[], &body).status, 401, "{user}");
        // The failures of one address slow it down; this test is no attacker.
        world.admin.logins.begin("ann", Some([127, 0, 0, 1].into())).unwrap();
    }
    for path in ["/healthz", "/livez", "/readyz", "/metrics"] {
        assert_eq!(world.request("GET", path, &[], "").status, 200, "{path}");
    }
}

#[test]
fn a_user_who_is_no_administrator_stays_outside() {
    let world = World::start();
    let login = world.request("POST", "/api/v1/session", &[], r#"{"username":"bob","password":"secret"}"#);
    assert_eq!(login.status, 401);
    assert_eq!(world.admin.logins.failed_total(), 1);
}

#[test]
fn a_cookie_alone_changes_nothing() {
    let world = World::start();
    let cookie = world.log_in();
    let read = |headers: &[&str]| world.request("GET", "/api/v1/server", headers, "").status;
    let write = |headers: &[&str]| world.request("DELETE", "/api/v1/retained?filter=x", headers, "").status;
    assert_eq!((read(&[&cookie]), write(&[&cookie])), (200, 401));
    assert_eq!(write(&[&cookie, "X-Althing: 1"]), 200);
    let own = format!("Origin: http://{}", world.http);
    assert_eq!(write(&[&cookie, "X-Althing: 1", &own]), 200);
    for foreign in
        ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"]
    {
        assert_eq!((read(&[&cookie, foreign]), write(&[&cookie, "X-Althing: 1", foreign])), (403, 403), "{foreign}");
    }
    assert_eq!(world.request("DELETE", "/api/v1/session", &[&cookie, "X-Althing: 1"], "").status, 204);
    assert_eq!(read(&[&cookie]), 401, "it has logged out");
}

#[test]
fn no_answer_lets_another_origin_read() {
    let world = World::start();
    let preflight = ["Origin: http://evil.example", "Access-Control-Request-Method: DELETE"];
    let answer = world.request("OPTIONS", "/api/v1/retained", &preflight, "");
    assert!(answer.status >= 400 && !answer.head.to_lowercase().contains("access-control"), "{answer:?}");
}

#[test]
fn a_name_that_was_rebound_to_our_address_is_not_ours() {
    let world = World::start();
    let bearer = format!("Authorization: Bearer {}", world.token);
    for host in [
        "Host: evil.example",
        "Host: evil.example:8080",
        "Host: localhost.evil.example",
        "Host: ",
        "Host: 127.0.0.1.evil",
    ] {
        for path in ["/api/v1/server", "/metrics"] {
            assert_eq!(world.request("GET", path, &[&bearer, host], "").status, 421, "{host} {path}");
        }
    }
    for host in ["Host: localhost", "Host: localhost:1", "Host: [::1]:80", "Host: 127.0.0.1"] {
        assert_eq!(world.request("GET", "/api/v1/server", &[&bearer, host], "").status, 200, "{host}");
    }
    // Two of them: whom should one believe?
    let two = format!(
        "GET /api/v1/server HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n{bearer}\r\nConnection: close\r\n\r\n"
    );
    assert!(answer(&world.raw(two.as_bytes())).status >= 400);
}

#[test]
fn slow_headers_end_with_the_connection() {
    let world = World::start();
    let mut stream = TcpStream::connect(world.http).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").unwrap();
    let mut rest = Vec::new();
    // Ends because the other side closes.
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[test]
fn a_connection_that_says_nothing_ends() {
    let world = World::start();
    let mut stream = TcpStream::connect(world.http).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn ten_thousand_headers_are_refused() {
    let world = World::start();
    let headers: String = (0..10_000).map(|number| format!("X-{number}: y\r\n")).collect();
    let sent = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let text = world.raw(sent.as_bytes());
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    assert_eq!(world.request("GET", "/healthz", &[], "").status, 200);
}

#[test]
fn a_huge_body_is_refused_before_it_is_kept() {
    let world = World::start();
    let bearer = format!("Authorization: Bearer {}", world.token);
    let sent = format!(
        "PUT /api/v1/rules HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(world.http).unwrap();
    stream.write_all(sent.as_bytes()).unwrap();
    let block = [b'x'; 65_536];
    // It stops reading at some point: then we cannot write on.
    while stream.write_all(&block).is_ok() {}
    assert_eq!(world.request("GET", "/healthz", &[], "").status, 200);
}

#[test]
fn a_length_beside_chunks_smuggles_nothing() {
    let world = World::start();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for headers in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", 5 + inner.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", 5 + inner.len()),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Content-Length: 3\r\nContent-Length: 30\r\n".to_owned(),
        "Content-Length: +5\r\n".to_owned(),
    ] {
        let sent = format!(
            "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n0\r\n\r\n{inner}"
        );
        let text = world.raw(sent.as_bytes());
        assert!(text.matches("HTTP/1.1 ").count() <= 1, "{headers}: {text}");
        assert!(!text.contains("200 OK"), "{headers}: {text}");
    }
}

#[test]
fn no_path_leads_to_a_file() {
    let world = World::start();
    for path in [
        "/../../etc/passwd",
        "/api/v1/../../../etc/passwd",
        "/api/v1/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/clients/..%2f..%2fadmin-token",
        "/admin-token",
        "/users",
        "//etc/passwd",
    ] {
        let answer = world.ask("GET", path, "");
        // The console may have a page of that name, which is the same file for all of them.
        let is_page = answer.body.starts_with("<!doctype html>");
        assert!(answer.status == 404 || is_page, "{path}: {answer:?}");
        assert!(!answer.body.contains("root:") && !answer.body.contains("$argon2"), "{path}");
    }
}

#[test]
fn what_is_no_http_is_refused() {
    let world = World::start();
    for bytes in [
        &b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a"[..],
        b"\x16\x03\x01\x00\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        &[0; 4_096],
    ] {
        let text = world.raw(bytes);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(world.request("GET", "/healthz", &[], "").status, 200);
}

#[test]
fn there_are_never_more_connections_than_places() {
    let world = World::start();
    let mut idle: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(world.http).unwrap()).collect();
    // Each one ends: at once when there is no place, or after its time.
    for stream in &mut idle {
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(world.request("GET", "/healthz", &[], "").status, 200);
}
