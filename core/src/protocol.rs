//! What the broker tells people about a language: one row a protocol. Listener defaults, help texts, metrics
//! labels and the comparison of protocols derive from it.

/// One language, described. Texts are a few words each, fit for a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name in configuration, logs and metrics; lower case, unique.
    pub name: &'static str,
    /// What its sessions are called in rules, logs and metrics, and its application protocol inside TLS (ALPN). Rows that
    /// differ only in what carries the language share it.
    pub language: &'static str,
    /// The name as people write it.
    pub title: &'static str,
    /// The versions that are spoken here.
    pub versions: &'static str,
    /// Who looks after the specification.
    pub sponsor: &'static str,
    /// The documents that define it.
    pub standard: &'static str,
    /// How peers talk: publish/subscribe, request/response, …
    pub pattern: &'static str,
    /// The delivery guarantees that it can express.
    pub quality_of_service: &'static str,
    /// How a peer proves who it is and how the bytes are protected.
    pub security: &'static str,
    /// What names a destination.
    pub addressing: &'static str,
    /// Whether it follows the style of resources and methods.
    pub rest: &'static str,
    /// Whether it is meant for small devices.
    pub constrained_devices: &'static str,
    /// The registered or customary port.
    pub default_port: u16,
    /// Where the first start listens: loopback only.
    pub default_bind: &'static str,
    /// The registered or customary port inside TLS, where there is one over streams.
    pub default_tls_port: Option<u16>,
    /// How it is called inside WebSocket (RFC 6455 §1.9); empty where it is not spoken there.
    pub subprotocols: &'static [Subprotocol],
    /// One line for help texts.
    pub description: &'static str,
}

impl Row {
    /// What URLs of it begin with: `coaps+tcp` for one.
    pub fn scheme(&self, is_tls: bool) -> String {
        let Self { name, language, .. } = self;
        let carrier = name.strip_prefix(language).and_then(|rest| rest.strip_prefix('-'));
        let (s, plus) = (if is_tls { "s" } else { "" }, if carrier.is_some() { "+" } else { "" });
        format!("{language}{s}{plus}{}", carrier.unwrap_or_default())
    }
}

/// A name under which a language is spoken inside WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subprotocol {
    /// As the client offers it, `mqtt` for one.
    pub name: &'static str,
    /// Whether its frames are text; they are binary otherwise.
    pub is_text: bool,
    /// Where clients customarily begin it.
    pub path: &'static str,
}
