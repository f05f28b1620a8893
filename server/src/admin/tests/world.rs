//! A running broker with its administration, and a client that says HTTP by hand.

use crate::admin::{Admin, Bound, Gateway, Serving, Token};
use crate::config::Config;
use crate::host::{Keeping, ShardHost};
use crate::identity::users::{User, Users};
use crate::identity::{Identities, late};
use crate::protocols::Makings;
use crate::serve::ServeOptions;
use crate::{events, listening};
use althing_core::authorisation::Policy;
use althing_core::broker::Broker;
use althing_core::{Entropy, Limits};
use althing_net::{Address, Clock, Shard};
use althing_store::Memory;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use tokio::sync::oneshot;

pub struct World {
    pub admin: Arc<Admin>,
    pub http: SocketAddr,
    pub web: SocketAddr,
    pub mqtt: SocketAddr,
    pub token: String,
    pub directory: PathBuf,
    serving: Option<Serving>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An answer: its status, its head, its body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl World {
    /// A broker that keeps everything in memory, with one user `ann` (password `secret`, group `admin`) and `bob`.
    pub fn start() -> Self {
        Self::start_with(&["stomp.enabled=false", "coap.enabled=false", "coap-tcp.enabled=false"])
    }

    /// The same with these settings.
    pub fn start_with(settings: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("althing-admin-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let here = ["mqtt.bind=127.0.0.1:0", "http.bind=127.0.0.1:0", "admin.bind=127.0.0.1:0"];
        let set = [&here, settings].concat();
        let options = ServeOptions {
            data: Some(directory.clone()),
            set: set.into_iter().map(str::to_owned).collect(),
            ..ServeOptions::default()
        };
        Users::change(&directory.join("users"), |users| {
            users.add(User::new("ann", "secret", &["admin".into()], false)?)?;
            users.add(User::new("bob", "secret", &[], false)?)
        })
        .unwrap();
        let config = Arc::new(Config::load(&options).unwrap());
        let prepared = Identities::prepare(&config.identity, &directory).unwrap();
        let identities = Identities::start(&config.identity, prepared).unwrap();
        let (sender, receiver) = channel();
        let (stop, stopped) = oneshot::channel();
        let (gateway, jobs) = Gateway::new();
        let thread = thread::spawn({
            let (config, identities) = (Arc::clone(&config), Arc::clone(&identities));
            move || {
                let limits = Arc::new(Limits::default());
                let broker = Broker::new(0, 1, Arc::clone(&limits), Arc::new(Policy::open()), Entropy::new(7));
                let (late, verdicts) = late::line();
                let (presences, _events) = events::line();
                let (tally, why) = (Arc::default(), crate::why::Why::default());
                let keeping = Keeping::Memory(Memory::default());
                let asked = (Arc::clone(&identities), late);
                let host = ShardHost::new(keeping, asked, Arc::clone(&tally), why.clone(), presences);
                let shard = Shard::new(0, Clock::default(), broker, limits, Box::new(host));
                let (token, text) = Token::of(&config.server.data).unwrap();
                let admin = Admin::new(shard.handle(), Arc::clone(&config), None, identities, (tally, why), token);
                let run = async move {
                    tokio::spawn(verdicts.deliver());
                    let mut admin = admin;
                    let makings = Makings::new(&config, &gateway, Arc::default());
                    let (listening, _accepting) = listening::listen(&makings, &admin.tls).unwrap();
                    admin.listeners = listening;
                    sender.send((admin, text.unwrap())).unwrap();
                    let _ = stopped.await;
                };
                althing_net::run(shard, run).unwrap();
            }
        });
        let (admin, token) = receiver.recv().unwrap();
        let bound = Bound::new(&admin.config).unwrap();
        let http = bound.addresses().iter().find_map(tcp).unwrap();
        let mqtt = tcp(&admin.listeners[0].address).unwrap();
        let web = tcp(&admin.listeners[1].address).unwrap();
        let admin = Arc::new(admin);
        let serving = Some(bound.serve(Arc::clone(&admin), jobs).unwrap());
        Self { admin, http, web, mqtt, token, directory, serving, stop: Some(stop), thread: Some(thread) }
    }

    /// Sends these bytes and reads to the end of the connection.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        // What refuses early may close before everything is sent.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A request with these header lines, from this machine.
    pub fn request(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let host = format!("Host: {}", self.http);
        let host = if headers.iter().any(|line| line.starts_with("Host:")) { "X-Host: other" } else { &host };
        let length = body.len();
        let headers = headers.join("\r\n");
        let sent = format!(
            "{method} {path} HTTP/1.1\r\n{host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{headers}{}\r\n{body}",
            if headers.is_empty() { "" } else { "\r\n" }
        );
        answer(&self.raw(sent.as_bytes()))
    }

    /// The same with the token.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.request(method, path, &[&format!("Authorization: Bearer {}", self.token)], body)
    }

    /// The same through the socket in the data directory, with nothing to prove.
    pub fn ask_by_socket(&self, path: &str) -> Answer {
        let mut stream = UnixStream::connect(self.directory.join("admin.sock")).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        answer(&text)
    }

    /// Logs `ann` in; the cookie's line.
    pub fn log_in(&self) -> String {
        let login = self.request("POST", "/api/v1/session", &[], r#"{"username":"ann","password":"secret"}"#);
        assert_eq!(login.status, 200, "{login:?}");
        let cookie = login.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        format!("Cookie: {}", cookie.split(';').next().unwrap())
    }

    /// An MQTT 5 client with a lasting session; `packets` follow the CONNECT, and `answers` bytes are read.
    pub fn mqtt(&self, client: &str, packets: &[u8], answers: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.mqtt).unwrap();
        let mut connect = b"\x00\x04MQTT\x05\x00\x00\x3c\x05\x11\x00\x00\x0e\x10".to_vec();
        connect.extend_from_slice(&(client.len() as u16).to_be_bytes());
        connect.extend_from_slice(client.as_bytes());
        stream.write_all(&[0x10, connect.len() as u8]).unwrap();
        stream.write_all(&connect).unwrap();
        let mut head = [0; 2];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 0x20, "CONNACK");
        let mut rest = vec![0; usize::from(head[1])];
        stream.read_exact(&mut rest).unwrap();
        assert_eq!(rest[1], 0, "success");
        stream.write_all(packets).unwrap();
        stream.read_exact(&mut vec![0; answers]).unwrap();
        stream
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving = None;
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn tcp(address: &Address) -> Option<SocketAddr> {
    match address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    }
}

pub fn answer(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
