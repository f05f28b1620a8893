//! Connections that tasks serve, until some of them get an adaptor.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod language;

use althing_core::link::Entrance;
use althing_core::{Limits, Reason};
use althing_net::{Gate, Listener, Visitor, Welcome, local};
use language::{House, hear, house, house_with, line_adaptor, say};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Serves whoever comes: `good` is answered and well served, `line` goes on in lines, anything else is said back.
async fn serve(mut visitor: Visitor) {
    let mut buffer = [0; 64];
    loop {
        let read = tokio::select! {
            read = visitor.read(&mut buffer) => read.unwrap_or(0),
            () = local::closing() => {
                visitor.write_all(b"closing\n").await.unwrap();
                visitor.shutdown().await.unwrap();
                return;
            }
        };
        match &buffer[..read] {
            [] => return,
            [b'l', b'i', b'n', b'e', b'\n', rest @ ..] => {
                visitor.write_all(b"lines\n").await.unwrap();
                let adaptor = line_adaptor(visitor.link());
                return visitor.hand_over(rest, adaptor);
            }
            said => {
                if said == b"good\n" {
                    visitor.is_good();
                }
                visitor.write_all(said).await.unwrap();
                visitor.flush().await.unwrap();
            }
        }
    }
}

/// Listens for visitors; returns the address.
fn listen() -> String {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address().to_string();
    let entrance = Arc::new(Entrance { name: "visits", ..Entrance::default() });
    let welcome = Welcome::Visitor(Arc::new(|visitor| Box::pin(serve(visitor))));
    local::listen(listener, Gate::default(), entrance, welcome);
    address
}

async fn visit(address: &str) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

#[test]
fn a_visitor_that_is_handed_over_is_a_connection_like_any_other() {
    house(async |house: House| {
        let mut visitor = visit(&listen()).await;
        say(&mut visitor, "hello\n").await;
        hear(&mut visitor, "hello\n").await;
        // What has come already is not lost.
        say(&mut visitor, "line\nlink\nconnect visitor\n").await;
        hear(&mut visitor, "lines\n127.0.0.1 in plain\nconnected\n").await;
        assert_eq!(local::peers().len(), 1);
        drop(visitor);
        house.closed("without a goodbye").await;
        local::drained().await;
    });
}

#[test]
fn visitors_are_told_that_the_broker_stops_and_waited_for() {
    house(async |_: House| {
        let mut visitor = visit(&listen()).await;
        say(&mut visitor, "hello\n").await;
        hear(&mut visitor, "hello\n").await;
        local::close_all(Reason::ShuttingDown);
        local::drained().await;
        hear(&mut visitor, "closing\n").await;
        assert_eq!(visitor.read(&mut [0; 1]).await.unwrap(), 0);
    });
}

#[test]
fn short_visits_are_held_against_an_address_unless_they_were_good() {
    let limits =
        Limits { address_limits_on_loopback: true, short_connections_per_address_max: 20, ..Limits::default() };
    house_with(limits, async |house: House| {
        let address = listen();
        for _ in 0..100 {
            let mut visitor = visit(&address).await;
            say(&mut visitor, "good\n").await;
            hear(&mut visitor, "good\n").await;
        }
        let mut turned_away = 0;
        while turned_away == 0 {
            let mut visitor = visit(&address).await;
            // Whoever is turned away hears nothing.
            let _ = visitor.write_all(b"bad\n").await;
            turned_away += usize::from(!matches!(visitor.read(&mut [0; 8]).await, Ok(4)));
        }
        house.closed("limits.short_connections_per_address_max").await;
    });
}
