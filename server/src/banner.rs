//! What a person sees first: what listens, and lines to try.

use crate::config::{Config, Durability, Listen};
use crate::identity::users::Users;
use crate::identity::users_file;
use crate::protocols::Speaker;
use althing_net::Address;
use std::fmt::Write;

/// Where we listen, who may come in, what we promise.
pub fn text(listening: &[Listen], config: &Config) -> String {
    let mut text = format!("althing {}  one topic space for every thing\n", env!("CARGO_PKG_VERSION"));
    let width = listening.iter().map(|listen| listen.name.len()).max().unwrap_or(0).max(6);
    for Listen { name, protocol, address, tls, .. } in listening {
        let tls = if tls.is_some() { " inside TLS" } else { "" };
        let scheme = match (matches!(protocol.speaker, Speaker::Visitor(_)), address) {
            (true, Address::Tcp(_)) if tls.is_empty() => "http://",
            (true, Address::Tcp(_)) => "https://",
            _ => "",
        };
        // Writing to a string does not fail.
        let _ =
            writeln!(text, "  {name:<width$} {scheme}{address}  {} {}{tls}", protocol.row.title, protocol.row.versions);
    }
    let _ = writeln!(text, "  {}", who_may_come_in(listening, config));
    let _ = writeln!(text, "  sessions and messages {}", keeping(config));
    text
}

/// Lines to copy, and how it ends. `program` is how this program was called.
pub fn first_steps(program: &str, listening: &[Listen]) -> String {
    let mut text = String::new();
    let mqtt = listening.iter().find(|it| it.name == "mqtt" && it.entrance.anonymous);
    if let Some(port) = mqtt.and_then(|it| it.address.port()) {
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

/// From where, and what they have to show.
fn who_may_come_in(listening: &[Listen], config: &Config) -> String {
    let (reachable, local): (Vec<_>, Vec<_>) = listening.iter().partition(|listen| listen.is_reachable());
    let is_anonymous = |listens: &[&Listen]| listens.iter().any(|listen| listen.entrance.anonymous);
    if reachable.is_empty() {
        return match is_anonymous(&local) {
            true => "loopback only, no password".into(),
            false => format!("loopback only, for {}", known(&local, config)),
        };
    }
    if is_anonymous(&reachable) {
        return "open to other machines, no password".into();
    }
    let here = if is_anonymous(&local) { "; no password on this machine" } else { "" };
    format!("open to other machines, for {}{here}", known(&reachable, config))
}

/// Who can prove to be somebody.
fn known(listens: &[&Listen], config: &Config) -> String {
    let identity = &config.identity;
    let users = Users::load(&users_file(identity, &config.server.data)).map_or(0, |users| users.iter().count());
    let users = match users {
        0 => None,
        1 => Some("1 user with a password".to_owned()),
        many => Some(format!("{many} users with passwords")),
    };
    let mosquitto = identity.mosquitto_password_file.as_ref();
    let by_certificate = listens.iter().any(|listen| listen.proves_by_certificate(identity));
    let ways = [
        users,
        mosquitto.map(|path| format!("the users of {}", path.display())),
        by_certificate.then(|| "client certificates".into()),
        identity.jwt.files().next().map(|_| "tokens".into()),
        identity.http.url.is_some().then(|| "whom the HTTP callback knows".into()),
    ];
    let ways: Vec<String> = ways.into_iter().flatten().collect();
    if ways.is_empty() { "nobody: there is no user yet".into() } else { ways.join(", ") }
}

/// Where administrators are listened to besides the HTTP listeners; with the token, when it was made just now.
pub fn for_admin(addresses: &[Address], listening: &[Listen], token: Option<&str>) -> String {
    let mut text = String::new();
    for address in addresses {
        // Writing to a string does not fail.
        let _ = match address {
            Address::Tcp(address) => writeln!(text, "  admin  http://{address}"),
            Address::Unix(path) => writeln!(text, "  admin  {}", path.display()),
        };
    }
    let listens = || listening.iter().any(|listen| matches!(listen.protocol.speaker, Speaker::Visitor(_)));
    let is_asked_for = |_: &&str| listens() || addresses.iter().any(|address| matches!(address, Address::Tcp(_)));
    if let Some(token) = token.filter(is_asked_for) {
        let _ = writeln!(text, "  administrator's token, shown only now: {token}");
    }
    text
}

/// Where the console is, for whoever reads this.
pub fn for_console(url: &str) -> String {
    format!("  console  {url}\n")
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
        let greeting = |config: &Config| {
            let listening = config.listens().unwrap();
            text(&listening, config) + &first_steps("althing", &listening)
        };
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
        config.server.data = "/nonexistent".into();
        let shut = greeting(&config);
        assert!(shut.contains("open to other machines, for nobody: there is no user yet"), "{shut}");
        assert!(!shut.contains("Try it"), "{shut}");
    }
}
