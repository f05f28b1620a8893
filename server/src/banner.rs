//! What a person sees first: what listens, and lines to try.

use crate::config::{Config, Durability};
use crate::protocols::Protocol;
use althing_net::Address;
use std::fmt::Write;

/// The greeting. `program` is how this program was called.
pub fn text(program: &str, listening: &[(&Protocol, Address)], config: &Config) -> String {
    let mut text = format!("althing {}  one topic space for every thing\n", env!("CARGO_PKG_VERSION"));
    for (protocol, address) in listening {
        let row = protocol.row;
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:<6} {address}  {} {}", row.name, row.title, row.versions);
    }
    let is_local = listening.iter().all(|(_, address)| address.is_local());
    let reach = if is_local { "loopback only, no password" } else { "open to other machines, no password" };
    let _ = writeln!(text, "  {reach}");
    let _ = writeln!(text, "  sessions and messages {}", keeping(config));
    if let Some(port) = listening.iter().find(|it| it.0.row.name == "mqtt").and_then(|it| it.1.port()) {
        let option = if port == 1883 { String::new() } else { format!("-p {port} ") };
        let _ = writeln!(text, "Try it, from two more terminals:");
        let _ = writeln!(text, "  mosquitto_sub {option}-t 'demo/#' -v       or  {program} sub {option}-t 'demo/#' -v");
        let _ = writeln!(
            text,
            "  mosquitto_pub {option}-t demo/hello -m hi  or  {program} pub {option}-t demo/hello -m hi"
        );
    }
    text.push_str("Ctrl-C stops cleanly.\n");
    text
}

/// Where administrators are listened to; with the token, when it was made just now.
pub fn for_admin(addresses: &[Address], token: Option<&str>) -> String {
    let mut text = String::new();
    for address in addresses {
        // Writing to a string does not fail.
        let _ = match address {
            Address::Tcp(address) => writeln!(text, "  admin  http://{address}"),
            Address::Unix(path) => writeln!(text, "  admin  {}", path.display()),
        };
    }
    if let Some(token) = token.filter(|_| addresses.iter().any(|address| matches!(address, Address::Tcp(_)))) {
        let _ = writeln!(text, "  administrator's token, shown only now: {token}");
    }
    text
}

/// What becomes of sessions and messages.
fn keeping(config: &Config) -> String {
    let directory = config.server.data.display();
    match config.store.durability {
        Durability::Sync => format!("are kept in {directory}; every acknowledgement is on disk first"),
        Durability::Interval => format!(
            "are kept in {directory}; a power cut may cost the last {} ms of what was acknowledged",
            config.store.interval_ms
        ),
        Durability::Memory => "live in memory and end with this process".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::PROTOCOLS;

    fn text(program: &str, listening: &[(&Protocol, Address)]) -> String {
        super::text(program, listening, &Config::new(0))
    }

    #[test]
    fn the_greeting_says_what_an_acknowledgement_promises() {
        let mut config = Config::new(0);
        assert_eq!(keeping(&config), "are kept in ./althing-data; every acknowledgement is on disk first");
        config.store.durability = Durability::Interval;
        assert!(keeping(&config).contains("a power cut may cost the last 1000 ms"));
        config.store.durability = Durability::Memory;
        assert_eq!(keeping(&config), "live in memory and end with this process");
    }

    #[test]
    fn the_greeting_says_what_is_true() {
        let local = text("althing", &[(&PROTOCOLS[0], "127.0.0.1:1883".parse().unwrap())]);
        assert!(local.contains("127.0.0.1:1883") && local.contains("loopback only"), "{local}");
        assert!(local.contains("mosquitto_sub -t 'demo/#' -v"), "{local}");
        let open = text("althing", &[(&PROTOCOLS[0], "[::]:2883".parse().unwrap())]);
        assert!(open.contains("open to other machines") && open.contains("mosquitto_pub -p 2883 -t"), "{open}");
    }
}
