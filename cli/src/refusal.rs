//! What the broker's reason codes and the socket's errors mean to the user: an exit code and a sentence that says what to do.

use crate::connection::{Endpoint, Plan};
use crate::exit::{ExitCode, Failure};
use crate::link::Lost;
use althing_core::Reason;
use althing_mqtt::client::ClientError;
use althing_mqtt::packet::{ConnAck, Disconnect, Version};
use althing_mqtt::reason;
use std::io::{Error, ErrorKind};

/// No connection came about.
pub fn cannot_connect(endpoint: &Endpoint, error: &Error) -> Failure {
    let advice = match error.kind() {
        ErrorKind::ConnectionRefused => "nothing listens there: start a broker or check host and port",
        ErrorKind::NotFound => "there is no such socket: check --unix",
        ErrorKind::PermissionDenied => "this user may not: check the permissions of the socket",
        _ => {
            return Failure::new(
                ExitCode::CannotConnect,
                format!("cannot connect to {endpoint}: {error}: check host and port"),
            );
        }
    };
    Failure::new(ExitCode::CannotConnect, format!("cannot connect to {endpoint}: {advice}"))
}

/// The connection ended before CONNACK said yes.
pub fn while_connecting(plan: &Plan, lost: &Lost) -> Failure {
    let (version, endpoint) = (plan.connect.version, &plan.endpoint);
    let older = if version == Version::V5 { ": does it speak MQTT 5? if not, use -V 311" } else { "" };
    match lost {
        Lost::Protocol(ClientError::Refused(connack)) => refused(version, connack),
        Lost::Protocol(ClientError::Malformed(error)) => Failure::new(
            ExitCode::Protocol,
            format!("{endpoint} does not answer as an MQTT broker ({}){older}", error.text),
        ),
        Lost::Protocol(error) => client_error(error),
        Lost::Goodbye(disconnect) => goodbye(disconnect),
        Lost::SpeaksTls => speaks_tls(endpoint),
        Lost::Transport(error) => {
            // In TLS 1.3 a server refuses a client's certificate when the client's handshake is over (RFC 8446 §4.4.2.4).
            plan.tls.as_ref().and_then(|tls| tls.explain(endpoint, error)).unwrap_or_else(|| {
                let tls = if plan.tls.is_none() { ": does it want TLS? if so, use mqtts://" } else { "" };
                let text = format!("{endpoint} hung up before it let us in ({error}){tls}{older}");
                Failure::new(ExitCode::CannotConnect, text)
            })
        }
    }
}

/// A broker answered plain text with an alert of TLS.
pub fn speaks_tls(endpoint: &Endpoint) -> Failure {
    let text = format!(
        "{endpoint} speaks TLS on this port: use mqtts://, wss://, https:// or stomps://, or name its CA with --cafile"
    );
    Failure::new(ExitCode::CannotConnect, text)
}

/// CONNACK said no (§3.2.2.2, MQTT 3.1.1 §3.2.2.3).
fn refused(version: Version, connack: &ConnAck) -> Failure {
    let (why, name) = match version {
        Version::V5 => (reason::from_code(connack.code), reason::name(connack.code)),
        _ => (reason::from_return_code(connack.code), reason::return_code_name(connack.code)),
    };
    let mut text = format!("the broker refused the connection: {}", name.trim_start_matches("Connection Refused, "));
    if let Some(sentence) = &connack.properties.reason_string {
        text.push_str(&format!(" ({sentence})"));
    }
    match &connack.properties.server_reference {
        Some(server) => text.push_str(&format!(": connect to {server}")),
        None => text.push_str(advice(why)),
    }
    let code = match why {
        Reason::ServerUnavailable | Reason::ServerBusy | Reason::ShuttingDown | Reason::ConnectionRateExceeded => {
            ExitCode::CannotConnect
        }
        Reason::Malformed | Reason::ProtocolError | Reason::UnsupportedVersion => ExitCode::Protocol,
        _ => ExitCode::Refused,
    };
    Failure::new(code, text)
}

/// A reason code from 0x80 on in an acknowledgement; `what` completes "the broker refused …".
pub fn acknowledgement(what: &str, code: u8) -> Failure {
    let name = if code == 0x80 { "" } else { reason::name(code) };
    let separator = if name.is_empty() { "" } else { ": " };
    Failure::new(
        ExitCode::Refused,
        format!("the broker refused {what}{separator}{name}{}", advice(reason::from_code(code))),
    )
}

/// The connection is over and will not be opened again.
pub fn lost(lost: &Lost) -> Failure {
    match lost {
        Lost::Transport(error) => Failure::new(ExitCode::Runtime, format!("the connection was lost: {error}")),
        Lost::SpeaksTls => Failure::new(ExitCode::Protocol, "the broker began to speak TLS"),
        Lost::Goodbye(disconnect) => goodbye(disconnect),
        Lost::Protocol(error) => client_error(error),
    }
}

/// DISCONNECT from the broker (§3.14.2.1).
fn goodbye(disconnect: &Disconnect) -> Failure {
    let why = reason::from_code(disconnect.code);
    let mut text = format!("the broker ended the connection: {}", reason::name(disconnect.code));
    if let Some(sentence) = &disconnect.details.reason_string {
        text.push_str(&format!(" ({sentence})"));
    }
    match &disconnect.server_reference {
        Some(server) => text.push_str(&format!(": connect to {server}")),
        None => text.push_str(advice(why)),
    }
    let code = match why {
        Reason::Malformed
        | Reason::ProtocolError
        | Reason::ReceiveMaximumExceeded
        | Reason::TopicAliasInvalid
        | Reason::TopicFilterInvalid
        | Reason::TopicNameInvalid => ExitCode::Protocol,
        Reason::NotAuthorised
        | Reason::Banned
        | Reason::PacketTooLarge
        | Reason::MessageRateTooHigh
        | Reason::QuotaExceeded
        | Reason::AdministrativeAction
        | Reason::PayloadFormatInvalid
        | Reason::RetainNotSupported
        | Reason::GuaranteeNotSupported
        | Reason::SharedSubscriptionsNotSupported
        | Reason::SubscriptionIdentifiersNotSupported
        | Reason::WildcardSubscriptionsNotSupported => ExitCode::Refused,
        _ => ExitCode::Runtime,
    };
    Failure::new(code, text)
}

/// Whether connecting again may help: not after a takeover, or two clients would throw each other out for ever,
/// and not when the broker would refuse the same thing again.
pub fn may_reconnect(lost: &Lost) -> bool {
    match lost {
        Lost::Transport(_) | Lost::Protocol(ClientError::PingTimeout | ClientError::ConnectTimeout) => true,
        Lost::Protocol(_) | Lost::SpeaksTls => false,
        Lost::Goodbye(disconnect) => matches!(
            reason::from_code(disconnect.code),
            Reason::Normal
                | Reason::Unspecified
                | Reason::ServerUnavailable
                | Reason::ServerBusy
                | Reason::ShuttingDown
                | Reason::KeepAliveTimeout
                | Reason::ConnectionRateExceeded
        ),
    }
}

/// An error of the client half.
pub fn client_error(error: &ClientError) -> Failure {
    let code = match error {
        ClientError::Malformed(_) | ClientError::Protocol(_) => ExitCode::Protocol,
        ClientError::ConnectTimeout => ExitCode::CannotConnect,
        ClientError::Refused(_)
        | ClientError::PacketTooLarge
        | ClientError::QosNotSupported
        | ClientError::TopicAliasInvalid => ExitCode::Refused,
        _ => ExitCode::Runtime,
    };
    Failure::new(code, error.to_string())
}

/// What the user can do about it.
fn advice(why: Reason) -> &'static str {
    match why {
        Reason::BadCredentials => ": check -u and -P",
        Reason::NotAuthorised => ": check -u and -P, and what this user may do",
        Reason::ClientIdInvalid => ": choose another client identifier with -i",
        Reason::UnsupportedVersion => ": try another version with -V",
        Reason::SessionTakenOver => ": another client uses this client identifier, choose one with -i",
        Reason::ServerUnavailable | Reason::ServerBusy | Reason::ShuttingDown | Reason::ConnectionRateExceeded => {
            ": try again later"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_mqtt::packet::{ConnAckProperties, Details};

    fn connack(code: u8) -> ConnAck {
        ConnAck { session_present: false, code, properties: ConnAckProperties::default() }
    }

    fn disconnect(code: u8) -> Lost {
        let details = Details { reason_string: Some("because".into()), ..Details::default() };
        Lost::Goodbye(Box::new(Disconnect { code, details, ..Disconnect::default() }))
    }

    #[test]
    fn a_refused_connection_has_the_right_exit_code_and_advice() {
        for (version, code, exit, word) in [
            (Version::V5, 0x86, ExitCode::Refused, "-u and -P"),
            (Version::V5, 0x87, ExitCode::Refused, "may do"),
            (Version::V5, 0x84, ExitCode::Protocol, "-V"),
            (Version::V5, 0x89, ExitCode::CannotConnect, "later"),
            (Version::V311, 5, ExitCode::Refused, "not authorized"),
            (Version::V311, 1, ExitCode::Protocol, "-V"),
            (Version::V31, 2, ExitCode::Refused, "-i"),
        ] {
            let failure = refused(version, &connack(code));
            assert_eq!(failure.code, exit, "0x{code:02x}");
            assert!(failure.text.contains(word), "{}", failure.text);
        }
    }

    #[test]
    fn a_server_reference_says_where_to_go() {
        let mut moved = connack(0x9d);
        moved.properties.server_reference = Some("other:1883".into());
        assert!(refused(Version::V5, &moved).text.ends_with("connect to other:1883"));
    }

    #[test]
    fn a_takeover_is_final_and_a_restart_is_not() {
        assert!(!may_reconnect(&disconnect(0x8e)));
        assert!(!may_reconnect(&disconnect(0x87)));
        assert!(!may_reconnect(&disconnect(0x82)));
        assert!(may_reconnect(&disconnect(0x8b)));
        assert!(may_reconnect(&Lost::Transport(ErrorKind::ConnectionReset.into())));
    }

    #[test]
    fn a_goodbye_tells_the_brokers_own_sentence() {
        let failure = lost(&disconnect(0x82));
        assert_eq!(failure.code, ExitCode::Protocol);
        assert!(failure.text.contains("(because)"), "{}", failure.text);
        assert_eq!(lost(&disconnect(0x8e)).code, ExitCode::Runtime);
        assert_eq!(lost(&disconnect(0x97)).code, ExitCode::Refused);
    }
}
