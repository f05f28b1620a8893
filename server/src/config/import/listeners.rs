//! Listeners, and the options that belong to one.

use super::Imported;
use super::lines::Line;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use toml::Value;

/// All listeners, and who is let in.
#[derive(Debug, Default)]
pub struct Listeners {
    /// What `port` and `bind_address` make.
    default: Listener,
    others: Vec<Listener>,
    /// A bridge whose options follow.
    is_in_bridge: bool,
    per_listener_settings: bool,
    allow_anonymous: Option<Line>,
    /// Files that hold everywhere, or at one listener with `per_listener_settings`.
    password_files: Vec<Line>,
    acl_files: Vec<Line>,
}

/// One listener.
#[derive(Debug, Default)]
struct Listener {
    /// `listener`, or `port`.
    line: Option<Line>,
    port: String,
    /// An address, a name or a path; empty = everywhere.
    address: String,
    options: Vec<Line>,
}

/// Options that belong to the listener that stands before them.
const OF_LISTENER: [&str; 34] = [
    "accept_protocol_versions",
    "bind_interface",
    "cafile",
    "capath",
    "certfile",
    "ciphers",
    "ciphers_tls1.3",
    "crlfile",
    "dhparamfile",
    "disable_client_cert_date_checks",
    "enable_proxy_protocol",
    "http_dir",
    "keyfile",
    "listener_allow_anonymous",
    "listener_auto_id_prefix",
    "max_connections",
    "max_qos",
    "max_topic_alias",
    "max_topic_alias_broker",
    "mount_point",
    "protocol",
    "psk_file",
    "psk_hint",
    "require_certificate",
    "socket_domain",
    "tls_engine",
    "tls_engine_kpass_sha1",
    "tls_keyform",
    "tls_version",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
    "websockets_headers_size",
    "websockets_log_level",
];

/// Why listeners with certificates that name nobody differ from those where they do.
const ONE_NAME: &str = "what of a certificate is the user's name holds for all listeners: identity.certificate.name";

impl Listeners {
    /// Whether the line is about listeners, bridges or who is let in.
    pub fn take(&mut self, line: &Line, imported: &mut Imported) -> bool {
        match line.option.as_str() {
            "listener" => {
                let (port, address) = line.value.split_once(char::is_whitespace).unwrap_or((&line.value, ""));
                let (port, address) = (port.to_owned(), address.trim().to_owned());
                self.others.push(Listener { line: Some(line.clone()), port, address, options: Vec::new() });
                self.is_in_bridge = false;
            }
            "connection" => {
                self.is_in_bridge = true;
                imported.leave_out(
                    line,
                    "a bridge to another broker; there are none here yet, so run one beside the broker",
                );
            }
            option if self.is_in_bridge && options_of_bridges(option) => {}
            "port" => {
                self.default.port.clone_from(&line.value);
                self.default.line = Some(line.clone());
            }
            "bind_address" => self.default.address.clone_from(&line.value),
            "per_listener_settings" => self.per_listener_settings = line.is_true(),
            "allow_anonymous" if !self.per_listener_settings => self.allow_anonymous = Some(line.clone()),
            "allow_anonymous" => self.current().options.push(line.clone()),
            "password_file" => self.password_files.push(line.clone()),
            "acl_file" => self.acl_files.push(line.clone()),
            option if OF_LISTENER.contains(&option) => self.current().options.push(line.clone()),
            _ => return false,
        }
        true
    }

    fn current(&mut self) -> &mut Listener {
        self.others.last_mut().unwrap_or(&mut self.default)
    }

    /// Carries all of them over.
    pub fn finish(self, imported: &mut Imported) {
        let is_local_only = self.others.is_empty() && self.default.line.is_none();
        self.who(is_local_only, imported);
        let mut plain: Vec<Value> = Vec::new();
        if is_local_only {
            plain.push("127.0.0.1:1883".into());
            self.default.leave_options_out(imported);
        }
        let default = self.default.line.is_some().then_some(self.default);
        for listener in default.into_iter().chain(self.others) {
            listener.finish(&mut plain, imported);
        }
        imported.set(None, "mqtt.bind", plain);
        imported.set(None, "mqtt.tls_bind", Vec::<Value>::new());
    }

    /// Who is let in, and who may do what.
    fn who(&self, is_local_only: bool, imported: &mut Imported) {
        let anonymous = match &self.allow_anonymous {
            Some(line) if line.is_true() => "everywhere",
            None if is_local_only => "loopback",
            _ => "nowhere",
        };
        imported.set(self.allow_anonymous.as_ref(), "identity.anonymous", anonymous);
        if let Some(line) = self.one_file(&self.password_files, imported) {
            imported.set(Some(line), "identity.mosquitto_password_file", line.value.as_str());
        } else if anonymous == "nowhere"
            && !self.options("allow_anonymous").any(Line::is_true)
            && !self.proves_by_certificate()
        {
            imported.left_out.push(
                "nobody could log in: there is neither allow_anonymous true nor a password_file; `althing users add NAME` \
                 adds a user"
                    .into(),
            );
        }
        match self.one_file(&self.acl_files, imported) {
            Some(line) => imported.set(Some(line), "authorisation.mosquitto_acl_file", line.value.as_str()),
            None => imported.set(None, "authorisation.otherwise", "allow"),
        }
    }

    fn options(&self, option: &str) -> impl Iterator<Item = &Line> {
        let all = std::iter::once(&self.default).chain(&self.others).flat_map(|listener| &listener.options);
        all.filter(move |line| line.option == option)
    }

    fn proves_by_certificate(&self) -> bool {
        self.options("use_identity_as_username").chain(self.options("use_subject_as_username")).any(Line::is_true)
    }

    /// The last one counts when it holds for all listeners; else there is room for one.
    fn one_file<'a>(&self, lines: &'a [Line], imported: &mut Imported) -> Option<&'a Line> {
        let last = lines.last()?;
        for other in lines.iter().filter(|line| self.per_listener_settings && line.value != last.value) {
            imported
                .leave_out(other, "all listeners share one file of a kind here; put what it says into the other one");
        }
        Some(last)
    }
}

impl Listener {
    fn finish(self, plain: &mut Vec<Value>, imported: &mut Imported) {
        let Some(line) = self.line.clone() else { return };
        if let Some(protocol) = self.option("protocol").filter(|line| line.value != "mqtt") {
            imported.leave_out(
                protocol,
                &format!("{} is not spoken yet; the listener on {} is left out", protocol.value, self.port),
            );
            return;
        }
        if let Some(psk) = self.option("psk_hint").or(self.option("psk_file")) {
            imported.leave_out(
                psk,
                "shared keys are for CoAP over DTLS here (coap.enabled); MQTT takes certificates (`althing cert` makes them)",
            );
            if let Some(file) = self.option("psk_file") {
                keys_of_devices(file, imported);
            }
            return;
        }
        let Some(addresses) = self.addresses(&line, imported) else { return };
        let options: Vec<&Line> =
            self.options.iter().filter(|line| line.option != "protocol" && line.option != "socket_domain").collect();
        if options.is_empty() {
            plain.extend(addresses);
            return;
        }
        let name = format!("mqtt-{}", if self.port == "0" { "unix".to_owned() } else { self.port.clone() });
        let key = |field: &str| format!("listeners.{name}.{field}");
        imported.set(Some(&line), &key("protocol"), "mqtt");
        imported.set(Some(&line), &key("bind"), addresses);
        for option in options {
            self.carry_over(option, &key, imported);
        }
    }

    fn option(&self, option: &str) -> Option<&Line> {
        self.options.iter().rfind(|line| line.option == option)
    }

    fn leave_options_out(&self, imported: &mut Imported) {
        for option in &self.options {
            imported.leave_out(option, "it belongs to a listener, and there is none before it");
        }
    }

    fn is_true(&self, option: &str) -> bool {
        self.option(option).is_some_and(Line::is_true)
    }

    fn carry_over(&self, line: &Line, key: &impl Fn(&str) -> String, imported: &mut Imported) {
        let value = line.value.as_str();
        match line.option.as_str() {
            "allow_anonymous" | "listener_allow_anonymous" => {
                imported.set(Some(line), &key("anonymous"), line.is_true())
            }
            "certfile" => {
                imported.set(Some(line), &key("tls"), true);
                imported.set(Some(line), &key("certificate"), value);
            }
            "keyfile" => imported.set(Some(line), &key("key"), value),
            "cafile" => imported.set(Some(line), &key("client_ca"), value),
            "crlfile" => imported.set(Some(line), &key("crl"), value),
            "require_certificate" => self.require_certificate(line, key, imported),
            "use_identity_as_username" | "use_subject_as_username" if line.is_true() => {
                let name = if line.option.contains("subject") { "subject" } else { "common_name" };
                name_of_certificates(line, name, imported);
            }
            "use_identity_as_username" | "use_subject_as_username" => {}
            "use_username_as_clientid" => {
                imported.set(Some(line), &key("client_id"), if line.is_true() { "principal" } else { "peer" });
            }
            "enable_proxy_protocol" => {
                imported.set(Some(line), &key("proxy_protocol"), true);
                imported.set(Some(line), &key("proxy_networks"), vec!["0.0.0.0/0", "::/0"]);
            }
            // Any number below zero says that there is no bound.
            "max_connections" => {
                if let Ok(number) = value.parse::<u32>() {
                    imported.set(Some(line), &key("connections_max"), i64::from(number));
                }
            }
            "mount_point" if value.ends_with('/') => imported.set(Some(line), &key("mount_point"), value),
            "mount_point" => {
                imported.leave_out(line, "a mount point ends in / here: whole levels are put before topics")
            }
            "max_topic_alias" => whole(line, "limits.topic_alias_maximum", imported),
            "max_topic_alias_broker" => whole(line, "limits.topic_alias_out_maximum", imported),
            "accept_protocol_versions" => accepted_versions(line, imported),
            "tls_version" if value == "tlsv1.3" => imported.set(Some(line), "tls.versions", vec!["1.3"]),
            // The least version that is spoken is the least of mosquitto's.
            "tls_version" => {}
            "capath" => {
                imported.leave_out(line, "CAs are read from one file here: put them together, and set client_ca")
            }
            "ciphers" | "ciphers_tls1.3" | "dhparamfile" => {
                imported.leave_out(
                    line,
                    "only strong ciphers with forward secrecy are spoken, and there is no choice among them",
                );
            }
            "max_qos" => imported
                .leave_out(line, "a bound for everyone is a rule here: qos_max of an allowing rule for this listener"),
            "bind_interface" => imported.leave_out(line, "write the interface's address as the listener's"),
            _ => imported.leave_out(line, "there is nothing like it here"),
        }
    }

    fn require_certificate(&self, line: &Line, key: &impl Fn(&str) -> String, imported: &mut Imported) {
        if !line.is_true() {
            return;
        }
        imported.set(Some(line), &key("client_certificate"), "required");
        if !self.is_true("use_identity_as_username") && !self.is_true("use_subject_as_username") {
            // The certificate opens the door; who comes in is a matter of user name and password.
            name_of_certificates(line, "none", imported);
        }
    }

    /// Where it listens; `None` when that cannot be said here.
    fn addresses(&self, line: &Line, imported: &mut Imported) -> Option<Vec<Value>> {
        let Ok(port) = self.port.parse::<u16>() else {
            imported.leave_out(line, &format!("`{}` is no port", self.port));
            return None;
        };
        if port == 0 {
            return Some(vec![format!("unix:{}", self.address).into()]);
        }
        let ips: Vec<IpAddr> =
            match (self.address.as_str(), self.option("socket_domain").map(|line| line.value.as_str())) {
                ("", Some("ipv4")) => vec![Ipv4Addr::UNSPECIFIED.into()],
                // One socket takes both families.
                ("", _) => vec![Ipv6Addr::UNSPECIFIED.into()],
                ("localhost", Some("ipv6")) => vec![Ipv6Addr::LOCALHOST.into()],
                ("localhost", _) => vec![Ipv4Addr::LOCALHOST.into()],
                (address, _) => match address.parse() {
                    Ok(ip) => vec![ip],
                    Err(_) => {
                        imported.leave_out(line, &format!("write the address that `{address}` stands for"));
                        return None;
                    }
                },
            };
        Some(ips.into_iter().map(|ip| std::net::SocketAddr::new(ip, port).to_string().into()).collect())
    }
}

/// It holds for all listeners.
fn name_of_certificates(line: &Line, name: &str, imported: &mut Imported) {
    const KEY: &str = "identity.certificate.name";
    let other = imported.settings.iter().find(|setting| setting.key == KEY);
    if other.is_some_and(|setting| setting.value.as_str() != Some(name)) {
        imported.leave_out(line, ONE_NAME);
    } else {
        imported.set(Some(line), KEY, name);
    }
}

/// One file holds them for all listeners.
fn keys_of_devices(line: &Line, imported: &mut Imported) {
    const KEY: &str = "coap.psk_file";
    let other = imported.settings.iter().find(|setting| setting.key == KEY);
    if other.is_some_and(|setting| setting.value.as_str() != Some(&line.value)) {
        imported.leave_out(line, "one file holds the keys of all listeners here; put what it says into the other one");
    } else if other.is_none() {
        imported.set(Some(line), KEY, line.value.as_str());
    }
}

fn whole(line: &Line, key: &str, imported: &mut Imported) {
    match line.value.parse::<u16>() {
        Ok(number) => imported.set(Some(line), key, i64::from(number)),
        Err(_) => imported.leave_out(line, "it takes a whole number from 0 to 65535"),
    }
}

/// A least version can be said here, and nothing else.
fn accepted_versions(line: &Line, imported: &mut Imported) {
    let mut versions: Vec<&str> = line.value.split(',').map(str::trim).collect();
    versions.sort_unstable();
    match versions.as_slice() {
        ["3", "4", "5"] => {}
        ["4", "5"] => imported.set(Some(line), "mqtt.version_min", "3.1.1"),
        ["5"] => imported.set(Some(line), "mqtt.version_min", "5.0"),
        _ => imported.leave_out(line, "only a least version can be said here: mqtt.version_min"),
    }
}

/// Whether an option can belong to a bridge.
fn options_of_bridges(option: &str) -> bool {
    const OPTIONS: [&str; 23] = [
        "address",
        "addresses",
        "cleansession",
        "clientid",
        "idle_timeout",
        "keepalive_interval",
        "local_cleansession",
        "local_clientid",
        "local_password",
        "local_username",
        "notifications",
        "notifications_local_only",
        "notification_topic",
        "password",
        "remote_clientid",
        "remote_password",
        "remote_username",
        "restart_timeout",
        "round_robin",
        "start_type",
        "threshold",
        "topic",
        "try_private",
    ];
    OPTIONS.contains(&option) || option == "username" || option.starts_with("bridge_")
}
