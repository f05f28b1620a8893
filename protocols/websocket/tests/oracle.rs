//! Tungstenite as the other side, in both directions: what it sends is heard, what it hears was sent.

use althing_core::{Adaptor, Entropy, Now, Out, OutBuffer, WholeMessage};
use althing_websocket::client::{Client, Event, Options};
use althing_websocket::close::CloseWords;
use althing_websocket::{CloseCode, EchoAdaptor, Inner, WebSocketAdaptor, WebSocketConfig, handshake};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding;
use tungstenite::{Message, WebSocket};

/// One end of a connection; the other end is moved by the test.
#[derive(Clone, Debug, Default)]
struct Pipe(Rc<RefCell<Ends>>);

#[derive(Debug, Default)]
struct Ends {
    to_oracle: BytesMut,
    from_oracle: BytesMut,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ends = self.0.borrow_mut();
        let count = ends.to_oracle.len().min(buffer.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&ends.to_oracle.split_to(count));
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().from_oracle.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Our adaptor with the echo inside.
struct Echo {
    adaptor: WebSocketAdaptor,
    out: OutBuffer,
    closed: bool,
}

impl Echo {
    fn new() -> Self {
        let config = WebSocketConfig { message_bytes_before_connect_max: 1 << 20, ..WebSocketConfig::default() };
        let inner = Inner::Messages(Box::new(EchoAdaptor));
        Self { adaptor: WebSocketAdaptor::new(config.into(), inner, None), out: OutBuffer::default(), closed: false }
    }

    fn answer(&mut self, pipe: &Pipe) {
        let mut ends = pipe.0.borrow_mut();
        let mut requests = VecDeque::new();
        let mut out = Out { bytes: &mut self.out, requests: &mut requests };
        self.closed |= self.adaptor.receive(Now::default(), &mut ends.from_oracle, &mut out).is_err();
        ends.to_oracle.extend_from_slice(&self.out.take_all());
    }
}

/// A client of the oracle that stands, its request checked and answered by our handshake.
fn oracle_client() -> (WebSocket<Pipe>, Pipe) {
    let pipe = Pipe::default();
    let request =
        tungstenite::ClientRequestBuilder::new("ws://althing/ws".parse().expect("a URI")).with_sub_protocol("mqtt");
    let Err(HandshakeError::Interrupted(waiting)) = tungstenite::client(request, pipe.clone()) else {
        panic!("it waits for the response")
    };
    let request = String::from_utf8(pipe.0.borrow_mut().from_oracle.split().to_vec()).expect("text");
    let mut lines = request.split("\r\n");
    assert_eq!(lines.next(), Some("GET /ws HTTP/1.1"));
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let offer =
        handshake::check("GET", true, headers.iter().map(|(name, value)| (*name, value.as_bytes()))).expect("valid");
    assert_eq!(offer.subprotocols, ["mqtt"]);
    let mut response = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
    for (name, value) in offer.response(Some("mqtt"), None) {
        response.push_str(&format!("{name}: {value}\r\n"));
    }
    pipe.0.borrow_mut().to_oracle.extend_from_slice(format!("{response}\r\n").as_bytes());
    let (socket, _) = waiting.handshake().expect("our response is accepted");
    (socket, pipe)
}

/// A server of the oracle, and a client of ours that is connected to it.
fn our_client() -> (WebSocket<Pipe>, Pipe, Client) {
    let options = Options { subprotocols: vec!["mqtt".to_owned()], path: "/mqtt?x=1".to_owned(), ..Options::default() };
    let mut client = Client::new(options, Entropy::new(7));
    client.connect();
    let pipe = Pipe::default();
    pipe.0.borrow_mut().to_oracle.extend_from_slice(&client.output().take_all());
    #[allow(clippy::result_large_err, reason = "the oracle's signature")]
    let choose = |request: &Request, mut response: Response| {
        assert_eq!(request.uri(), "/mqtt?x=1");
        response.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().expect("a value"));
        Ok(response)
    };
    let socket = tungstenite::accept_hdr(pipe.clone(), choose).expect("our request is accepted");
    assert_eq!(hear(&mut client, &pipe), [Event::Open { subprotocol: Some("mqtt".to_owned()) }]);
    (socket, pipe, client)
}

/// Our client takes what has come, and its answers leave.
fn hear(client: &mut Client, pipe: &Pipe) -> Vec<Event> {
    let mut ends = pipe.0.borrow_mut();
    let mut events = Vec::new();
    client.receive(&mut ends.from_oracle, &mut events).expect("the oracle keeps the rules");
    ends.to_oracle.extend_from_slice(&client.output().take_all());
    events
}

#[test]
fn the_oracle_s_client_closes_and_hears_our_close() {
    let (mut socket, pipe) = oracle_client();
    let mut echo = Echo::new();
    socket.close(Some(CloseFrame { code: coding::CloseCode::Library(3333), reason: "done".into() })).unwrap();
    echo.answer(&pipe);
    assert!(echo.closed);
    let Message::Close(Some(close)) = socket.read().unwrap() else { panic!("a Close frame") };
    assert_eq!(u16::from(close.code), 3333);
}

#[test]
fn the_oracle_s_server_closes_and_hears_our_client_s_close() {
    let (mut socket, pipe, mut client) = our_client();
    socket.close(Some(CloseFrame { code: coding::CloseCode::Away, reason: "later".into() })).unwrap();
    let words = CloseWords { code: CloseCode::GOING_AWAY, text: "later".to_owned() };
    assert_eq!(hear(&mut client, &pipe), [Event::Closed(words)]);
    assert!(matches!(socket.read().unwrap(), Message::Close(Some(close)) if close.code == coding::CloseCode::Away));
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
}

#[test]
fn pings_are_answered_on_both_sides() {
    let (mut socket, pipe) = oracle_client();
    socket.send(Message::Ping("p".into())).unwrap();
    Echo::new().answer(&pipe);
    assert_eq!(socket.read().unwrap(), Message::Pong("p".into()));
    let (mut socket, pipe, mut client) = our_client();
    socket.send(Message::Ping("q".into())).unwrap();
    assert_eq!(hear(&mut client, &pipe), []);
    assert_eq!(socket.read().unwrap(), Message::Pong("q".into()));
    client.ping(b"r");
    hear(&mut client, &pipe);
    assert_eq!(socket.read().unwrap(), Message::Ping("r".into()));
    socket.flush().unwrap();
    assert_eq!(hear(&mut client, &pipe), [Event::Pong(b"r".to_vec())]);
}

fn any_message() -> impl Strategy<Value = Message> {
    let lengths = prop_oneof![0..300_usize, Just(65_535), Just(65_536), Just(200_000)];
    prop_oneof![
        ".{0,50}".prop_map(Message::text),
        (lengths, any::<u8>()).prop_map(|(length, byte)| Message::binary(vec![byte; length])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_echo_is_what_the_oracle_s_client_expects(messages in prop::collection::vec(any_message(), 0..8)) {
        let (mut socket, pipe) = oracle_client();
        let mut echo = Echo::new();
        for message in &messages {
            socket.send(message.clone()).unwrap();
        }
        echo.answer(&pipe);
        for message in messages {
            let expected = Bytes::from([&message.clone().into_data()[..], b" OK"].concat());
            let answer = socket.read().unwrap();
            prop_assert_eq!(answer.is_text(), message.is_text());
            prop_assert_eq!(answer.into_data(), expected);
        }
    }

    #[test]
    fn our_client_and_the_oracle_s_server_understand_each_other(messages in prop::collection::vec(any_message(), 0..8)) {
        let (mut socket, pipe, mut client) = our_client();
        let whole = |message: &Message| WholeMessage { is_text: message.is_text(), bytes: message.clone().into_data() };
        let mut events = Vec::new();
        for message in &messages {
            client.send(message.is_text(), &message.clone().into_data());
            events.extend(hear(&mut client, &pipe));
            let heard = socket.read().unwrap();
            prop_assert_eq!(whole(&heard), whole(message));
            socket.send(heard).unwrap();
        }
        let expected: Vec<Event> = messages.iter().map(|message| Event::Message(whole(message))).collect();
        events.extend(hear(&mut client, &pipe));
        prop_assert_eq!(events, expected);
    }
}
