//! What a person sees first: what listens, and lines to try.

use crate::config::{Config, Durability, Listen};
use althing_net::Address;
use std::fmt::Write;

/// The greeting. `program` is how this program was called.
pub fn text(program: &str, listening: &[Listen], config: &Config) -> String {
    let mut text = format!("althing {}  one topic space for every thing\n", env!("CARGO_PKG_VERSION"));
    for Listen { name, protocol, address, .. } in listening {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<6} {address}  {} {}", protocol.row.title, protocol.row.versions);
    }
    let reach = if !listening.iter().any(Listen::is_reachable) { "loopback only" } else { "open to other machines" };
    let anonymous = listening.iter().any(|listen| listen.entrance.anonymous);
    let reach = format!("{reach}, {}", if anonymous { "no password" } else { "nobody without credentials" });
    let _ = writeln!(text, "  {reach}");
    let _ = writeln!(text, "  sessions and messages {}", keeping(config));
    if let Some(port) = listening.iter().find(|it| it.name == "mqtt").and_then(|it| it.address.port()) {
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
    use crate::identity::config::Anonymous;

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
        let greeting = |config: &Config| text("althing", &config.listens().unwrap(), config);
        let mut config = Config::new(0);
        let local = greeting(&config);
        assert!(local.contains("127.0.0.1:1883") && local.contains("loopback only, no password"), "{local}");
        assert!(local.contains("mosquitto_sub -t 'demo/#' -v"), "{local}");
        config.languages[0].bind = vec!["[::]:2883".parse().unwrap()];
        config.identity.anonymous = Anonymous::Everywhere;
        let open = greeting(&config);
        assert!(
            open.contains("open to other machines, no password") && open.contains("mosquitto_pub -p 2883 -t"),
            "{open}"
        );
        config.identity.anonymous = Anonymous::Nowhere;
        assert!(greeting(&config).contains("nobody without credentials"));
    }
}
