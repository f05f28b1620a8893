//! CONNECT, AUTH and CONNACK: from the first packet to a session that stands (§3.1, §3.2, §4.12).

use super::{MqttAdaptor, Phase};
use crate::alias::AliasesOut;
use crate::codec::PACKET_BYTES_MAX;
use crate::config::PROTOCOL;
use crate::packet::{self, Auth, ConnAck, ConnAckProperties, Packet, Version};
use crate::reason::code;
use althing_core::verbs::{Authentication, Connect, Connected, Reason, Refusal, Will};
use althing_core::{Close, Message, Out, Request};
use bytestring::ByteString;

impl MqttAdaptor {
    pub(super) fn connect(&mut self, connect: packet::Connect, out: &mut Out<'_>) -> Result<(), Close> {
        self.version = Some(connect.version);
        self.maximum_packet_size = connect.maximum_packet_size.unwrap_or(u32::MAX);
        if let Err(refusal) = self.check_connect(&connect) {
            return Err(self.refuse(refusal, out));
        }
        self.problem_information = connect.request_problem_information;
        let session_expiry_s = match connect.version {
            Version::V5 => connect.session_expiry_s.unwrap_or(0).min(self.limits.session_expiry_s_max),
            _ if connect.clean_start => 0,
            _ => self.limits.session_expiry_s_max,
        };
        self.session_ends = connect.session_expiry_s.unwrap_or(0) == 0;
        // 0 stays off: dead peers without keep alive are found by TCP.
        self.keep_alive_s = match connect.version {
            Version::V5 => connect.keep_alive_s.min(self.limits.keep_alive_s_max),
            _ => connect.keep_alive_s, // It could not be told to use another one.
        };
        if connect.version == Version::V5 {
            self.remember_what_was_asked(&connect);
        }
        let request = Connect {
            protocol: PROTOCOL.name,
            link: althing_core::Link::default(),
            client: (!connect.client_id.is_empty()).then_some(connect.client_id),
            clean_start: connect.clean_start,
            session_expiry_s,
            window: connect.receive_maximum.unwrap_or(u16::MAX).min(self.limits.inflight_max),
            number_max: u32::from(u16::MAX),
            packet_bytes_max: self.maximum_packet_size,
            separate_subscriptions: false,
            will: connect.will.map(|will| Box::new(will_message(*will))),
            username: connect.username,
            password: connect.password,
            authentication: connect
                .authentication_method
                .map(|method| Authentication { method, data: connect.authentication_data }),
        };
        self.phase = Phase::AwaitBroker;
        out.requests.push_back(Request::Connect(Box::new(request)));
        Ok(())
    }

    fn check_connect(&self, connect: &packet::Connect) -> Result<(), Refusal> {
        if connect.version < self.config.version_min {
            return Err(Refusal::new(Reason::UnsupportedVersion, "this version of MQTT is turned off here"));
        }
        if connect.client_id.len() > self.limits.client_id_bytes_max {
            return Err(Refusal::new(Reason::ClientIdInvalid, "the client id is longer than allowed"));
        }
        // [MQTT-3.1.3-8] of 3.1.1: an assigned id could not be told, so it must not have to be kept.
        let may_be_empty = match connect.version {
            Version::V31 => false,
            Version::V311 => connect.clean_start,
            Version::V5 => true,
        };
        if connect.client_id.is_empty() && !may_be_empty {
            return Err(Refusal::new(Reason::ClientIdInvalid, "an empty client id needs clean session and MQTT 3.1.1"));
        }
        Ok(())
    }

    fn remember_what_was_asked(&mut self, connect: &packet::Connect) {
        let alias_max = connect.topic_alias_maximum.min(self.limits.topic_alias_out_maximum);
        let rare = self.rare();
        rare.asked.session_expiry_s = connect.session_expiry_s.unwrap_or(0);
        rare.asked.keep_alive_s = connect.keep_alive_s;
        rare.asked.response_information = connect.request_response_information;
        rare.authentication_method = connect.authentication_method.as_ref().map(|method| ByteString::from(&method[..]));
        rare.aliases_out = (alias_max > 0).then(|| AliasesOut::new(alias_max));
    }

    /// An AUTH of the client: the next step before CONNACK, or a re-authentication after it.
    pub(super) fn authenticate(&mut self, auth: Auth, out: &mut Out<'_>) -> Result<(), Close> {
        let connected = self.phase == Phase::Connected;
        let (agreed, reauthenticating) = match &self.rare {
            Some(rare) => (rare.authentication_method.clone(), rare.reauthenticating),
            None => (None, false),
        };
        let Some(agreed) = agreed else {
            return Err(self.protocol_error("AUTH without an authentication method in CONNECT", out));
        };
        // [MQTT-4.12.0-5]: one method for the whole conversation.
        if auth.method.as_ref() != Some(&agreed) {
            let text = "AUTH with another method than CONNECT";
            return Err(self.refuse(Refusal::new(Reason::BadAuthenticationMethod, text), out));
        }
        match (auth.code, connected) {
            (code::CONTINUE_AUTHENTICATION, false) => self.phase = Phase::AwaitBroker,
            (code::CONTINUE_AUTHENTICATION, true) if reauthenticating => {}
            (code::RE_AUTHENTICATE, true) if !reauthenticating => self.rare().reauthenticating = true,
            _ => return Err(self.protocol_error("AUTH with a reason code that does not fit here", out)),
        }
        let step = Authentication { method: agreed, data: auth.data };
        out.requests.push_back(Request::Authenticate(Box::new(step)));
        Ok(())
    }

    /// The broker's method wants more.
    pub(super) fn challenge(&mut self, step: Authentication, out: &mut Out<'_>) -> Result<(), Close> {
        if self.phase == Phase::AwaitBroker {
            self.phase = Phase::AwaitAuth;
        }
        self.send_auth(code::CONTINUE_AUTHENTICATION, step, out)
    }

    pub(super) fn reauthenticated(&mut self, step: Authentication, out: &mut Out<'_>) -> Result<(), Close> {
        self.rare().reauthenticating = false;
        self.send_auth(code::SUCCESS, step, out)
    }

    fn send_auth(&mut self, code: u8, step: Authentication, out: &mut Out<'_>) -> Result<(), Close> {
        let auth = Auth { code, method: Some(step.method), data: step.data, details: Default::default() };
        self.send_or_close(&Packet::Auth(Box::new(auth)), out)
    }

    /// The session stands: CONNACK leaves, and what was only needed for it goes.
    pub(super) fn connected(&mut self, connected: Connected, out: &mut Out<'_>) -> Result<(), Close> {
        let version = self.version.unwrap_or(Version::V311);
        let properties = match version {
            Version::V5 => self.connack_properties(&connected),
            _ => ConnAckProperties::default(),
        };
        let connack = ConnAck { session_present: connected.session_present, code: code::SUCCESS, properties };
        self.send_or_close(&Packet::ConnAck(Box::new(connack)), out)?;
        self.phase = Phase::Connected;
        self.rare.take_if(|rare| rare.authentication_method.is_none() && rare.aliases_out.is_none());
        Ok(())
    }

    /// What differs from the defaults of the specification (§3.2.2.3).
    fn connack_properties(&mut self, connected: &Connected) -> ConnAckProperties {
        let limits = self.limits.clone();
        let receive_maximum = self.receive_maximum();
        let keep_alive_s = self.keep_alive_s;
        let asked = &self.rare().asked;
        let (method, data) = match &connected.authentication {
            Some(step) => (Some(step.method.clone()), step.data.clone()),
            None => (None, None),
        };
        ConnAckProperties {
            session_expiry_s: (connected.session_expiry_s != asked.session_expiry_s)
                .then_some(connected.session_expiry_s),
            receive_maximum: (receive_maximum != u16::MAX).then_some(receive_maximum),
            maximum_packet_size: (limits.packet_bytes_max < PACKET_BYTES_MAX).then_some(limits.packet_bytes_max as u32),
            assigned_client_id: connected.assigned.then(|| connected.client.clone()),
            topic_alias_maximum: (limits.topic_alias_maximum > 0).then_some(limits.topic_alias_maximum),
            server_keep_alive_s: (asked.keep_alive_s != keep_alive_s).then_some(keep_alive_s),
            response_information: connected.response_information.clone().filter(|_| asked.response_information),
            authentication_method: method,
            authentication_data: data,
            ..Default::default()
        }
    }
}

fn will_message(will: packet::Will) -> Will {
    let message = Message {
        guarantee: will.qos,
        retain: will.retain,
        properties: will.properties,
        ..Message::new(will.topic, will.payload)
    };
    // A slice of CONNECT would keep the password in memory for as long as the will.
    Will { message: message.detached(), delay_s: will.delay_s, expiry_s: will.message_expiry_s }
}
