//! `--lan`: one flag that lets other machines in the safe way: inside TLS, with a password.
//!
//! What is plain stays on loopback. A CA and a certificate for all names and addresses of this machine, a first user and rules
//! are made where there are none, in the data directory; [`apply`] has the configuration use them, here and at each reload.

use crate::authorisation::rules_path;
use crate::config::{Config, ConfigError, Listen};
use crate::identity::config::Anonymous;
use crate::identity::users::{User, Users, UsersError};
use crate::identity::users_file;
use crate::issue::{AUTHORITY_DAYS, Authority, Existing, IssueError, LEAF_DAYS, fingerprint};
use crate::protocols::PROTOCOLS;
use crate::tls::certificate;
use althing_net::Address;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What others need to come in, for the banner.
#[derive(Debug)]
pub struct Lan {
    addresses: Vec<IpAddr>,
    authority: PathBuf,
    fingerprint: String,
    /// The first user's, the only time that anybody sees it.
    password: Option<String>,
}

/// Why the doors stay shut.
#[derive(Debug, thiserror::Error)]
pub enum LanError {
    /// Certificates.
    #[error("--lan cannot make certificates: {0}")]
    Issue(#[from] IssueError),
    /// Users.
    #[error("--lan cannot make a user: {0}")]
    Users(#[from] UsersError),
    /// Files and directories.
    #[error("--lan cannot use {}: {error}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The system has no randomness for us.
    #[error("--lan cannot make a password: {0}")]
    Random(String),
}

/// In the data directory.
const TLS_DIRECTORY: &str = "tls";

/// The first name of the certificate, which names its files.
const FIRST_NAME: &str = "localhost";

/// The first user.
const USER: &str = "admin";

/// A certificate that ends sooner is made anew.
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Opens the listeners inside TLS to everyone, with the certificate that [`prepare`] makes.
///
/// # Errors
/// When the configuration says something else: it is not overruled.
pub fn apply(config: &mut Config) -> Result<(), ConfigError> {
    check(config)?;
    let directory = directory(config);
    config.tls.certificate = Some(directory.join(format!("{FIRST_NAME}.crt")));
    config.tls.key = Some(directory.join(format!("{FIRST_NAME}.key")));
    for (protocol, index) in PROTOCOLS.iter().zip(0..) {
        if let Some(port) = config.default_tls_port(protocol.row) {
            let everywhere = Address::Tcp((Ipv6Addr::UNSPECIFIED, port).into());
            config.languages[index].tls_bind = Some(vec![everywhere]);
        }
    }
    Ok(())
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let contradiction = |text: String| Err(ConfigError::Contradiction(text));
    let ours = [
        "tls.certificate",
        "tls.key",
        "tls.certificates",
        "mqtt.tls_bind",
        "stomp.tls_bind",
        "coap.tls_bind",
        "coap-tcp.tls_bind",
        "http.tls_bind",
    ];
    for key in ours {
        if let Some(source) = config.origins.get(key) {
            return contradiction(format!(
                "--lan makes its own certificate and listens inside TLS on every address, but {source} sets {key}: leave out one of \
                 the two"
            ));
        }
    }
    if config.identity.anonymous == Anonymous::Everywhere {
        return contradiction(
            "--lan lets nobody in from other machines without a password, but identity.anonymous = \"everywhere\" would: leave \
             out one of the two"
                .into(),
        );
    }
    let is_open = |listen: &Listen| listen.tls.is_none() && listen.is_reachable();
    if let Some(listen) = config.listens()?.iter().find(|listen| is_open(listen)) {
        return contradiction(format!(
            "--lan keeps what is not encrypted on loopback, but {} listens on {}: bind it to 127.0.0.1, or leave out --lan",
            listen.name, listen.address
        ));
    }
    Ok(())
}

fn directory(config: &Config) -> PathBuf {
    config.server.data.join(TLS_DIRECTORY)
}

/// Makes what is missing: the CA, the certificate, the first user, rules. What is there is used as it is.
///
/// # Errors
/// When something cannot be made or used.
pub fn prepare(config: &Config) -> Result<Lan, LanError> {
    let directory = directory(config);
    let failed = |error| LanError::File { path: directory.clone(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
    let addresses = addresses();
    let host = host();
    let authority = authority(&directory, host.as_deref())?;
    renew(&directory, &authority, host.as_deref(), &addresses)?;
    let path = directory.join("ca.crt");
    let der = CertificateDer::from_pem_file(&path);
    let der = der.map_err(|error| LanError::File { path: path.clone(), error: io::Error::other(error.to_string()) })?;
    let password = first_user(config)?;
    write_rules(config)?;
    Ok(Lan { addresses, authority: path, fingerprint: fingerprint(&der), password })
}

fn authority(directory: &Path, host: Option<&str>) -> Result<Authority, LanError> {
    match Authority::open(directory) {
        Err(IssueError::NoAuthority(_)) => {
            let (authority, issued) =
                Authority::new(&format!("Althing on {}", host.unwrap_or("this machine")), AUTHORITY_DAYS)?;
            issued.write(directory, Existing::Keep)?;
            Ok(authority)
        }
        opened => Ok(opened?),
    }
}

/// Makes the certificate, unless there is one that holds on and is for all names and addresses.
fn renew(directory: &Path, authority: &Authority, host: Option<&str>, addresses: &[IpAddr]) -> Result<(), LanError> {
    let mut names = vec![FIRST_NAME.to_owned()];
    // By the second one others find it where multicast DNS is spoken (RFC 6762).
    names.extend(host.into_iter().flat_map(|host| [host.to_owned(), format!("{host}.local")]));
    names.retain(|name| DnsName::try_from(name.as_str()).is_ok());
    let wanted = names.iter().cloned().chain(addresses.iter().map(ToString::to_string)).collect();
    let path = directory.join(format!("{FIRST_NAME}.crt"));
    if !is_good(&path, &wanted) {
        let existing = if path.exists() { "renewed" } else { "made" };
        authority.server(&names, addresses, LEAF_DAYS)?.write(directory, Existing::Replace)?;
        tracing::info!("the certificate for {} names and addresses was {existing}", wanted.len());
    }
    Ok(())
}

fn is_good(path: &Path, wanted: &BTreeSet<String>) -> bool {
    let Ok(der) = CertificateDer::from_pem_file(path) else { return false };
    let Ok(facts) = certificate::read(&der) else { return false };
    let names: BTreeSet<String> = facts.names.into_iter().collect();
    let since_1970 = (SystemTime::now() + RENEWED_BEFORE).duration_since(UNIX_EPOCH).unwrap_or_default();
    let lasts = u64::try_from(facts.certificate.not_after_s).is_ok_and(|end_s| end_s > since_1970.as_secs());
    lasts && wanted.is_subset(&names)
}

/// Where nobody could log in, somebody is made who can; its password is returned.
fn first_user(config: &Config) -> Result<Option<String>, LanError> {
    if config.identity.can_prove_anybody(&config.server.data) {
        return Ok(None);
    }
    let password = password()?;
    let user = User::new(USER, &password, &["admin".to_owned()], true)?;
    Users::change(&users_file(&config.identity, &config.server.data), |users| users.add(user))?;
    Ok(Some(password))
}

/// 80 bits in letters that nobody mistakes for each other.
fn password() -> Result<String, LanError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| LanError::Random(error.to_string()))?;
    let letters: Vec<char> = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    Ok(letters.chunks(4).map(|chunk| chunk.iter().collect::<String>()).collect::<Vec<_>>().join("-"))
}

/// Where nothing says who may do what: everybody who has proven a name may do everything, and so may this machine, as before.
const RULES: &str = r##"# Written by `althing serve --lan`, because there were no rules: who has logged in may do everything, and so may whoever is on
# this machine. Change them as you like; they are not written again.
"##;

fn write_rules(config: &Config) -> Result<(), LanError> {
    if config.origins.keys().any(|key| key.starts_with("authorisation.")) {
        return Ok(());
    }
    let path = rules_path(config);
    let mut text = RULES.to_owned();
    let who = ["user = \"$authenticated\"", "network = \"127.0.0.0/8\"", "network = \"::1\""];
    for who in who {
        // Topics under $ are not among all topics.
        for topic in ["#", "$SYS/#", "$queue/#"] {
            // Writing to a string does not fail.
            let _ = write!(text, "\n[[rules]]\n{who}\ntopic = \"{topic}\"\nallow = true\n");
        }
    }
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match written.and_then(|mut file| file.write_all(text.as_bytes())) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(LanError::File { path, error }),
        _ => Ok(()),
    }
}

/// This machine's addresses, but for loopback and those that hold on one link only.
fn addresses() -> Vec<IpAddr> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut addresses: BTreeSet<IpAddr> = v4_addresses(&read("/proc/net/fib_trie")).map(IpAddr::from).collect();
    addresses.extend(v6_addresses(&read("/proc/net/if_inet6")).map(IpAddr::from));
    if addresses.is_empty() {
        // Without /proc: the address that a datagram to a far machine would leave from. None is sent.
        let far: [(IpAddr, IpAddr); 2] = [
            (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
        ];
        addresses.extend(far.into_iter().filter_map(|(here, there)| {
            let socket = UdpSocket::bind((here, 0)).ok()?;
            socket.connect((there, 9)).ok()?;
            Some(socket.local_addr().ok()?.ip())
        }));
    }
    addresses.retain(|address| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local() && !address.is_unspecified(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    });
    addresses.into_iter().collect()
}

/// Of the kernel's routing table: an address, and in the next line that it is ours.
fn v4_addresses(table: &str) -> impl Iterator<Item = Ipv4Addr> {
    let pairs = table.lines().zip(table.lines().skip(1));
    pairs
        .filter(|(_, next)| next.trim() == "/32 host LOCAL")
        .filter_map(|(line, _)| line.trim().strip_prefix("|-- ")?.parse().ok())
}

/// Of the kernel's list: the address in hexadecimal, then numbers of which the third is its scope; 00 = everywhere.
fn v6_addresses(list: &str) -> impl Iterator<Item = Ipv6Addr> {
    list.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_global = fields.get(3) == Some(&"00");
        is_global.then(|| u128::from_str_radix(fields[0], 16).ok().map(Ipv6Addr::from_bits)).flatten()
    })
}

fn host() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| fs::read_to_string("/etc/hostname")).ok()?;
    let name = name.trim().to_lowercase();
    (!name.is_empty() && name != FIRST_NAME).then_some(name)
}

impl Lan {
    /// What a person has to know, and lines to copy.
    pub fn text(&self, program: &str, listening: &[Listen]) -> String {
        let mut text = String::from("Other machines may come in, inside TLS, with a password (--lan):\n");
        let shown = self.addresses.iter().map(|address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        for Listen { protocol, address, .. } in listening.iter().filter(|listen| listen.tls.is_some()) {
            let Some(port) = address.port() else { continue };
            let places: Vec<_> = shown.clone().map(|address| format!("{address}:{port}")).collect();
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {}  {}", protocol.row.scheme(true), places.join("  "));
        }
        let authority = fs::canonicalize(&self.authority).unwrap_or_else(|_| self.authority.clone());
        let _ = writeln!(text, "  CA certificate, to be copied to them: {}", authority.display());
        let _ = writeln!(text, "  SHA-256 {}", self.fingerprint);
        if let Some(password) = &self.password {
            let _ = writeln!(
                text,
                "  user {USER}, password {password} (shown this once; `{program} users --help` for more of them)"
            );
        }
        let port = listening.iter().find(|listen| listen.name == "mqtt-tls").and_then(|listen| listen.address.port());
        if let Some(port) = port {
            let host = self.addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let password = self.password.as_deref().unwrap_or("PASSWORD");
            let options = format!("-h {host} -p {port} --cafile {} -u {USER} -P {password}", authority.display());
            let _ = writeln!(text, "Try it, with that file, from another machine:");
            let _ = writeln!(text, "  mosquitto_sub {options} -t 'demo/#' -v");
            let _ = writeln!(text, "  {program} pub {options} -t demo/hello -m hi");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::ServeOptions;

    fn load(set: &[&str]) -> Result<Config, String> {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        let data = Some("/nonexistent".into());
        Config::read(&ServeOptions { set, data, lan: true, ..ServeOptions::default() })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_is_inside_tls_is_opened() {
        let config = load(&[]).unwrap();
        for listen in config.listens().unwrap() {
            assert_eq!(listen.is_reachable(), listen.tls.is_some(), "{}", listen.name);
            assert!(!listen.is_reachable() || !listen.entrance.anonymous, "{}", listen.name);
        }
        let names: Vec<_> = config.listens().unwrap().iter().filter(|it| it.is_reachable()).map(|it| it.name).collect();
        assert_eq!(names, ["mqtt-tls", "stomp-tls", "coap-tls", "coap-tcp-tls", "http-tls"]);
        assert!(load(&["stomp.enabled=false"]).unwrap().listens().unwrap().iter().all(|it| it.name != "stomp-tls"));
    }

    #[test]
    fn what_the_configuration_says_is_not_overruled() {
        for (set, expected) in [
            ("tls.certificate=a.pem", "--set tls.certificate sets tls.certificate"),
            ("mqtt.tls_bind=127.0.0.1:1", "sets mqtt.tls_bind"),
            ("identity.anonymous=everywhere", "lets nobody in from other machines without a password"),
            ("mqtt.bind=0.0.0.0:1", "mqtt listens on 0.0.0.0:1: bind it to 127.0.0.1"),
        ] {
            let error = load(&[set]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_kernels_tables_tell_the_addresses() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.7\n        /32 host LOCAL\n";
        assert_eq!(v4_addresses(trie).collect::<Vec<_>>(), [Ipv4Addr::new(10, 0, 0, 7)]);
        let list =
            "fe800000000000000000000000000001 02 40 20 80 eth0\n20010db8000000000000000000000002 02 40 00 80 eth0\n";
        assert_eq!(v6_addresses(list).collect::<Vec<_>>(), ["2001:db8::2".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn a_certificate_is_made_once_and_again_when_an_address_is_new() {
        let directory = std::env::temp_dir().join(format!("althing-lan-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let ca = authority(&directory, Some("box")).unwrap();
        let path = directory.join("localhost.crt");
        let made = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
            renew(&directory, &ca, Some("box"), &addresses).unwrap();
            fs::read_to_string(&path).unwrap()
        };
        let first = made(&["10.0.0.7", "2001:db8::2"]);
        assert_eq!(made(&["2001:db8::2"]), first);
        assert_ne!(made(&["10.0.0.8"]), first);
        // Opened again, it is the same CA.
        authority(&directory, None).unwrap();
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn rules_are_written_once_and_read_as_they_are_meant() {
        let directory = std::env::temp_dir().join(format!("althing-lan-rules-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut config = load(&[]).unwrap();
        config.server.data.clone_from(&directory);
        write_rules(&config).unwrap();
        let rules = crate::authorisation::read_file(&rules_path(&config)).unwrap();
        assert_eq!(rules.len(), 9);
        assert!(rules.iter().all(|rule| rule.allow));
        fs::write(rules_path(&config), "").unwrap();
        write_rules(&config).unwrap();
        assert_eq!(fs::read_to_string(rules_path(&config)).unwrap(), "");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_password_is_random_and_can_be_typed() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert!(
            one != other && one.len() == 19 && one.chars().all(|it| it.is_ascii_alphanumeric() || it == '-'),
            "{one}"
        );
    }
}
