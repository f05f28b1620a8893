//! How to reach a broker and as whom: the options that every client command shares, and the CONNECT they make.

use crate::coap::arguments::{SecretArguments, SecurityArguments};
use crate::credentials::Credentials;
use crate::exit::Failure;
use crate::foreign::{ForeignPlan, Language};
use crate::properties::{Command, Given, properties_help};
use crate::tls::{Tls, TlsArguments};
use crate::url::Url;
use crate::websocket::Upgrade;
use althing_core::topic::TopicLimits;
use althing_core::{Guarantee, Topic};
use althing_mqtt::packet::{Connect, Disconnect, Version, Will};
use bytes::Bytes;
use clap::{ArgAction, Args};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The ports of MQTT (§4.2), without and with TLS.
const PORT_DEFAULT: u16 = 1883;
const TLS_PORT_DEFAULT: u16 = 8883;

/// The options in common; short forms as in mosquitto's tools, so `-h` is the host.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArguments {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The broker's name or address
    #[arg(short = 'h', long, default_value = "localhost", conflicts_with_all = ["unix", "url"])]
    host: String,
    /// The broker's port; 8883 asks for TLS [default: 1883, with TLS 8883]
    #[arg(short, long, conflicts_with_all = ["unix", "url"])]
    port: Option<u16>,
    /// Connect to a unix socket instead
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    unix: Option<PathBuf>,
    /// Host, credentials and topic in one: mqtt://[user[:password]@]host[:port][/topic], mqtts:// with TLS; in a WebSocket
    /// ws://host[:port][/path], wss://; pub and sub take stomp://, stomps://, http:// and https:// too
    /// (http://host[:port][/topics/topic]), and coap:// (UDP), coaps:// (DTLS), coap+tcp://, coaps+tcp://, coap+ws://, coaps+ws://
    #[arg(short = 'L', long)]
    url: Option<String>,
    /// User name [default: $ALTHING_USERNAME, or the first line of the file $ALTHING_USERNAME_FILE]
    #[arg(short = 'u', long, allow_hyphen_values = true)]
    username: Option<String>,
    /// Password; other users of this machine can see it in the process list
    /// [default: $ALTHING_PASSWORD, or the first line of the file $ALTHING_PASSWORD_FILE]
    #[arg(short = 'P', long = "pw", visible_alias = "password", allow_hyphen_values = true)]
    password: Option<String>,
    /// Client identifier [default: the broker assigns one]
    #[arg(short, long, conflicts_with = "id_prefix")]
    id: Option<String>,
    /// Client identifier made of this prefix and the process number
    #[arg(short = 'I', long, value_name = "PREFIX")]
    id_prefix: Option<String>,
    /// Protocol version: 5, 311 or 31, also as mqttv5, mqttv311, mqttv31
    #[arg(short = 'V', long, value_name = "VERSION", default_value = "5", value_parser = parse_version)]
    protocol_version: Version,
    /// Seconds of silence after which a ping is sent; 0 turns it off
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    keepalive: u16,
    /// Continue the session of this client identifier instead of starting clean
    #[arg(short = 'c', long, requires = "id")]
    disable_clean_session: bool,
    /// Seconds that the session outlives the connection; -1 for ever [default: 0, with -c -1]
    #[arg(short = 'x', long, value_name = "SECONDS", allow_hyphen_values = true, value_parser = parse_expiry)]
    session_expiry_interval: Option<u32>,
    /// How long connecting may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    connect_timeout: Duration,
    #[command(flatten)]
    will: WillArguments,
    #[arg(short = 'D', long = "property", num_args = 3..=4, allow_negative_numbers = true,
          value_names = ["COMMAND", "PROPERTY", "VALUE"], help = properties_help())]
    properties: Vec<String>,
    /// Say on stderr what happens
    #[arg(short, long)]
    pub debug: bool,
    /// Say nothing on stderr
    #[arg(long, conflicts_with = "debug")]
    pub quiet: bool,
    #[command(flatten, next_help_heading = "TLS, on port 8883 unless -p or the URL say otherwise")]
    tls: TlsArguments,
    #[command(flatten, next_help_heading = "CoAP's shared secrets")]
    secrets: SecretArguments,
}

/// The will (§3.1.2.5).
#[derive(Args, Clone, Debug)]
struct WillArguments {
    /// Topic of the message that the broker publishes when this client is lost
    #[arg(long, value_name = "TOPIC")]
    will_topic: Option<String>,
    /// Its payload [default: empty]
    #[arg(long, value_name = "TEXT", requires = "will_topic", allow_hyphen_values = true)]
    will_payload: Option<String>,
    /// Its QoS
    #[arg(long, value_name = "QOS", requires = "will_topic", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=2))]
    will_qos: u8,
    /// Keep it as the topic's retained message
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// Seconds that the broker waits before publishing it
    #[arg(long, value_name = "SECONDS", requires = "will_topic")]
    will_delay: Option<u32>,
}

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Host name or address, and port.
    Tcp(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// The name or address that a certificate is for; empty for a unix socket.
    fn host(&self) -> &str {
        match self {
            Self::Tcp(host, _) => host,
            Self::Unix(_) => "",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Everything that the link needs to know, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub endpoint: Endpoint,
    /// How TLS is spoken, if it is.
    pub tls: Option<Tls>,
    /// The WebSocket that MQTT is spoken in, if it is.
    pub upgrade: Option<Upgrade>,
    /// The first packet.
    pub connect: Connect,
    /// The last packet.
    pub disconnect: Disconnect,
    /// How long name lookup, TCP and CONNACK may take together.
    pub connect_timeout: Duration,
    /// The topic or filter that the URL names.
    pub url_topic: Option<String>,
    /// The properties of the other packets.
    pub properties: Given,
}

impl ConnectionArguments {
    /// Checks what clap cannot and makes the plan; errors are usage errors.
    pub fn plan(&self) -> Result<Plan, Failure> {
        let url = self.url.as_deref().map(Url::parse).transpose()?;
        if let Some(language) = url.as_ref().and_then(|url| url.language) {
            return Err(Failure::usage(format!("{}:// is for pub and sub alone: use mqtt://", language.scheme())));
        }
        self.check_secrets(None)?;
        let properties = Given::parse(&self.properties)?;
        let version = self.protocol_version;
        if version != Version::V5 && (!properties.is_empty() || self.session_expiry_interval.is_some()) {
            return Err(Failure::usage("-D and -x need MQTT 5: leave out -V or use -V 5"));
        }
        let mut connect = self.connect(url.as_ref())?;
        properties.apply_to_connect(&mut connect)?;
        let mut disconnect = Disconnect::default();
        properties.apply_to_disconnect(&mut disconnect);
        let is_tls = self.is_tls(url.as_ref())?;
        let upgrade = url.as_ref().and_then(|url| url.resource.clone()).map(|path| self.upgrade(path));
        let port_default = match (upgrade.is_some(), is_tls) {
            (true, is_tls) => Language::Http.port_default(is_tls),
            (false, true) => TLS_PORT_DEFAULT,
            (false, false) => PORT_DEFAULT,
        };
        let endpoint = self.endpoint(url.as_ref(), port_default);
        Ok(Plan {
            upgrade,
            tls: is_tls.then(|| self.tls.prepare(endpoint.host())).transpose()?,
            endpoint,
            connect,
            disconnect,
            connect_timeout: self.connect_timeout,
            url_topic: url.and_then(|url| url.topic),
            properties,
        })
    }

    /// The plan for a language besides MQTT, if the URL names one; errors are usage errors.
    pub fn foreign_plan(&self) -> Result<Option<ForeignPlan>, Failure> {
        let url = self.url.as_deref().map(Url::parse).transpose()?;
        let Some((url, language)) = url.and_then(|url| url.language.map(|language| (url, language))) else {
            return Ok(None);
        };
        let properties = Given::parse(&self.properties)?;
        let can_say_properties = language == Language::Http && properties.are_for(&[Command::Publish]);
        for (is_given, option) in [
            (self.id.is_some() || self.id_prefix.is_some(), "a client identifier"),
            (self.protocol_version != Version::V5, "a version of MQTT"),
            (self.session_expiry_interval.is_some(), "a session expiry interval"),
            (self.will.will_topic.is_some(), "a will"),
            (!properties.is_empty() && !can_say_properties, "such a -D"),
        ] {
            if is_given {
                let text = format!("{}:// cannot say {option}: leave it out or use mqtt://", language.scheme());
                return Err(Failure::usage(text));
            }
        }
        self.check_secrets(Some(language))?;
        let is_tls = self.is_tls(Some(&url))?;
        let Credentials { username, password } = self.credentials(Some(&url))?;
        Ok(Some(ForeignPlan {
            language,
            port: url.port.unwrap_or(language.port_default(is_tls)),
            // CoAP has more than TLS.
            tls: (is_tls && !language.is_coap()).then(|| self.tls.prepare(&url.host)).transpose()?,
            security: SecurityArguments { secrets: self.secrets.clone(), tls: self.tls.clone() },
            host: url.host,
            username,
            password,
            timeout: self.connect_timeout,
            topic: url.topic,
            properties,
        }))
    }

    /// Secrets that the language cannot use.
    fn check_secrets(&self, language: Option<Language>) -> Result<(), Failure> {
        if self.secrets.any() && !language.is_some_and(Language::is_coap) {
            return Err(Failure::usage(
                "--psk and --oscore are for CoAP: leave them out, or use -u and -P, or --cert and --key",
            ));
        }
        Ok(())
    }

    /// MQTT's names in a WebSocket: that of 3.1 is older than the registered one.
    fn upgrade(&self, path: String) -> Upgrade {
        Upgrade { path, subprotocol: if self.protocol_version == Version::V31 { "mqttv3.1" } else { "mqtt" } }
    }

    /// Any option of TLS asks for it, and so does its port; a URL says it by itself.
    fn is_tls(&self, url: Option<&Url>) -> Result<bool, Failure> {
        match url {
            Some(url) if !url.tls && self.tls.any() => Err(Failure::usage(
                "this URL is without TLS: use mqtts://, wss://, https://, stomps:// or coaps://, or leave the options of TLS out",
            )),
            Some(url) => Ok(url.tls),
            None if self.unix.is_some() && self.tls.any() => {
                Err(Failure::usage("a unix socket is without TLS: leave the options of TLS out"))
            }
            None => Ok(self.tls.any() || self.port == Some(TLS_PORT_DEFAULT)),
        }
    }

    fn endpoint(&self, url: Option<&Url>, port_default: u16) -> Endpoint {
        match (url, &self.unix) {
            (Some(url), _) => Endpoint::Tcp(url.host.clone(), url.port.unwrap_or(port_default)),
            (None, Some(path)) => Endpoint::Unix(path.clone()),
            (None, None) => Endpoint::Tcp(self.host.clone(), self.port.unwrap_or(port_default)),
        }
    }

    fn credentials(&self, url: Option<&Url>) -> Result<Credentials, Failure> {
        let username = self.username.clone().or_else(|| url.and_then(|url| url.username.clone()));
        let password = self.password.clone().or_else(|| url.and_then(|url| url.password.clone()));
        Credentials { username, password }.or_environment()
    }

    fn connect(&self, url: Option<&Url>) -> Result<Connect, Failure> {
        let Credentials { username, password } = self.credentials(url)?;
        if self.protocol_version != Version::V5 && password.is_some() && username.is_none() {
            // [MQTT-3.1.2-22] of MQTT 3.1.1.
            return Err(Failure::usage("a password needs a user name in MQTT 3: add -u"));
        }
        Ok(Connect {
            version: self.protocol_version,
            clean_start: !self.disable_clean_session,
            keep_alive_s: self.keepalive,
            client_id: self.client_id().into(),
            will: self.will.will()?.map(Box::new),
            username: username.map(Into::into),
            password: password.map(Bytes::from),
            session_expiry_s: self.session_expiry_s(),
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: Vec::new(),
            authentication_method: None,
            authentication_data: None,
        })
    }

    /// Empty = the broker assigns one, which MQTT 3.1 does not know (its §3.1 wants 1 to 23 characters).
    fn client_id(&self) -> String {
        let process = std::process::id();
        match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{process}"),
            (None, None) if self.protocol_version == Version::V31 => format!("althing-{process}"),
            (None, None) => String::new(),
        }
    }

    fn session_expiry_s(&self) -> Option<u32> {
        let for_ever = self.disable_clean_session && self.protocol_version == Version::V5;
        self.session_expiry_interval.or(for_ever.then_some(u32::MAX))
    }
}

impl WillArguments {
    fn will(&self) -> Result<Option<Will>, Failure> {
        let Some(topic) = &self.will_topic else { return Ok(None) };
        Ok(Some(Will {
            topic: topic_name(topic)?,
            payload: self.will_payload.clone().unwrap_or_default().into(),
            qos: guarantee(self.will_qos),
            retain: self.will_retain,
            delay_s: self.will_delay.unwrap_or(0),
            message_expiry_s: None,
            properties: None,
        }))
    }
}

/// Checks a topic name from the command line.
pub fn topic_name(text: &str) -> Result<Topic, Failure> {
    Topic::new(text.into(), &TopicLimits::default())
        .map_err(|error| Failure::usage(format!("{text:?} is no topic name: {error}")))
}

/// A QoS that the argument table has limited to 0, 1 and 2.
pub fn guarantee(qos: u8) -> Guarantee {
    Guarantee::from_qos(qos).unwrap_or(Guarantee::ExactlyOnce)
}

fn parse_version(text: &str) -> Result<Version, String> {
    match text.trim_start_matches("mqttv") {
        "5" => Ok(Version::V5),
        "311" | "4" | "3.1.1" => Ok(Version::V311),
        "31" | "3" | "3.1" => Ok(Version::V31),
        _ => Err("use 5, 311 or 31".to_owned()),
    }
}

fn parse_expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| "use seconds from 0 to 4294967295, or -1 for ever".to_owned()),
    }
}

/// `5`, `0.5`, `500ms`, `5s`, `2m`, `1h`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "use a time such as 5, 0.5, 500ms, 5s, 2m or 1h".to_owned();
    let unit_start = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        connection: ConnectionArguments,
    }

    fn plan(line: &str) -> Result<Plan, Failure> {
        let words = std::iter::once("test").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| Failure::usage(error.to_string()))?;
        line.connection.plan()
    }

    #[test]
    fn the_defaults_are_mosquittos_with_mqtt_5() {
        let plan = plan("").unwrap();
        assert_eq!(plan.endpoint, Endpoint::Tcp("localhost".into(), 1883));
        assert_eq!(plan.connect.version, Version::V5);
        assert!(plan.connect.clean_start && plan.connect.client_id.is_empty());
        assert_eq!((plan.connect.keep_alive_s, plan.connect.session_expiry_s), (60, None));
        assert_eq!(plan.connect_timeout, Duration::from_secs(10));
    }

    #[test]
    fn short_options_are_mosquittos() {
        let plan = plan("-h ::1 -p 1999 -u ann -P -secret -i me -k 5 -c -V mqttv5 -x 30").unwrap();
        assert_eq!(plan.endpoint.to_string(), "[::1]:1999");
        assert_eq!(plan.connect.username.as_deref(), Some("ann"));
        assert_eq!(plan.connect.password.as_deref(), Some(&b"-secret"[..]));
        assert_eq!(plan.connect.client_id, "me");
        assert!(!plan.connect.clean_start);
        assert_eq!((plan.connect.keep_alive_s, plan.connect.session_expiry_s), (5, Some(30)));
    }

    #[test]
    fn a_kept_session_never_expires_unless_told() {
        assert_eq!(plan("-i me -c").unwrap().connect.session_expiry_s, Some(u32::MAX));
        assert_eq!(plan("-i me -c -x 0").unwrap().connect.session_expiry_s, Some(0));
        assert_eq!(plan("-x -1").unwrap().connect.session_expiry_s, Some(u32::MAX));
        assert_eq!(plan("-i me -c -V 311").unwrap().connect.session_expiry_s, None);
    }

    #[test]
    fn client_ids_fit_the_version() {
        let process = std::process::id();
        assert_eq!(plan("-I sensor-").unwrap().connect.client_id, format!("sensor-{process}"));
        let old = plan("-V 31").unwrap().connect.client_id;
        assert!((1..=23).contains(&old.len()));
        assert!(plan("-V 311").unwrap().connect.client_id.is_empty());
    }

    #[test]
    fn a_url_gives_all_but_what_options_override() {
        let plan = plan("-L mqtt://ann:secret@broker:1999/a/b -u bob").unwrap();
        assert_eq!(plan.endpoint, Endpoint::Tcp("broker".into(), 1999));
        assert_eq!(plan.connect.username.as_deref(), Some("bob"));
        assert_eq!(plan.connect.password.as_deref(), Some(&b"secret"[..]));
        assert_eq!(plan.url_topic.as_deref(), Some("a/b"));
    }

    #[test]
    fn a_will_has_all_its_parts() {
        let line =
            "--will-topic w --will-payload gone --will-qos 2 --will-retain --will-delay 7 -D will content-type x";
        let will = plan(line).unwrap().connect.will.unwrap();
        assert_eq!((will.topic.as_str(), &will.payload[..]), ("w", &b"gone"[..]));
        assert_eq!((will.qos, will.retain, will.delay_s), (Guarantee::ExactlyOnce, true, 7));
        assert_eq!(will.properties.unwrap().content_type.as_deref(), Some("x"));
    }

    #[test]
    fn properties_may_repeat_and_stand_between_other_options() {
        let plan = plan("-D connect user-property a 1 -k 9 -D connect user-property b -2 -D connect receive-maximum 3")
            .unwrap();
        assert_eq!(plan.connect.user_properties.len(), 2);
        assert_eq!(&plan.connect.user_properties[1].1[..], "-2");
        assert_eq!((plan.connect.keep_alive_s, plan.connect.receive_maximum), (9, Some(3)));
    }

    #[test]
    fn what_does_not_fit_together_is_a_usage_error() {
        for line in [
            "-c",
            "-i a -I b",
            "-h a -L mqtt://b",
            "--unix /x -h a",
            "--will-payload x",
            "--will-topic a/#",
            "-D will content-type x",
            "-D connect authentication-data x",
            "-V 311 -x 5",
            "-V 311 -D connect user-property a b",
            "-V 311 -P secret",
            "-V 6",
            "-x -2",
            "--will-topic w --will-qos 3",
            "--connect-timeout soon",
        ] {
            assert!(plan(line).is_err(), "{line}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in
            [("5", 5_000), ("0.5", 500), ("500ms", 500), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "5d", "-1", "nan", "1e300h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
