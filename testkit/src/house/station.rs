//! A device in the world: an MQTT client half, at most one connection at a time, and what its application heard.

use super::tunnel::Tunnel;
use super::{House, WireId, tunnel};
use althing_core::topic::TopicLimits;
use althing_core::{Adaptor, Entropy, Filter, Guarantee, Limits, Link, Now, Topic};
use althing_mqtt::client::{Acknowledge, Client, ClientError, Event, Options, publication};
use althing_mqtt::packet::{
    Auth, ConnAck, Connect, Disconnect, Publish, Subscribe, SubscribeFilter, Unsubscribe, Version,
};
use althing_mqtt::{MqttAdaptor, MqttConfig};
use bytes::Bytes;
use std::sync::Arc;

/// A station of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StationId(pub(super) usize);

/// A device with its application.
#[derive(Debug)]
pub struct Station {
    client: Client,
    /// What it speaks through, in worlds where that is WebSocket.
    tunnel: Option<Tunnel>,
    wire: Option<WireId>,
    /// Connections that it has turned away from without a word; the house may not know yet.
    abandoned: Vec<WireId>,
    /// The application is done: once everything is written, the connection closes.
    leaving: bool,
    /// Everything but messages, in order, each with its step.
    pub heard: Vec<(u64, Heard)>,
    /// Messages, in order.
    pub received: Vec<Received>,
}

/// What a station hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// CONNACK, whatever it says.
    Connected(ConnAck),
    /// PUBACK, PUBREC with an error, PUBCOMP, SUBACK or UNSUBACK.
    Acknowledged {
        /// What `publish`, `subscribe` or `unsubscribe` returned.
        token: u64,
        /// Reason codes; none in an UNSUBACK of version 3.
        codes: Vec<u8>,
    },
    /// The house says goodbye.
    Disconnected(Disconnect),
    /// A step of an authentication exchange.
    Auth(Auth),
    /// The client half ended the connection, because the house broke the protocol or was silent.
    Failed(ClientError),
    /// The connection is over.
    Closed,
}

/// A message as the application got it.
#[derive(Clone, Debug)]
pub struct Received {
    /// When, in steps.
    pub step: u64,
    /// When, in nanoseconds.
    pub mono_ns: u64,
    /// As it was sent to us.
    pub publish: Publish,
}

/// What receives at the house's end.
pub(super) fn adaptor(link: Link, limits: &Arc<Limits>) -> Box<dyn Adaptor> {
    Box::new(MqttAdaptor::new(&link, limits.clone(), Arc::new(MqttConfig::default())))
}

/// A CONNECT that says nothing but the client id, without keep alive.
pub fn connect_packet(client_id: &str, version: Version) -> Connect {
    let mut connect = Options::new(version, client_id).connect;
    connect.keep_alive_s = 0;
    connect
}

/// A topic name; panics when it is none.
pub fn topic(name: &str) -> Topic {
    Topic::new(name.into(), &TopicLimits::default()).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// A topic filter; panics when it is none.
pub fn filter(text: &str) -> Filter {
    Filter::new(text.into(), &TopicLimits::default()).unwrap_or_else(|why| panic!("{text}: {why}"))
}

impl Station {
    /// Whether its application believes in a connection.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected() && self.wire.is_some()
    }

    /// Payloads of all messages, in order, as text.
    pub fn payloads(&self) -> Vec<String> {
        self.received.iter().map(|one| String::from_utf8_lossy(&one.publish.payload).into_owned()).collect()
    }

    /// The last CONNACK.
    pub fn connack(&self) -> Option<&ConnAck> {
        self.heard.iter().rev().find_map(|(_, heard)| match heard {
            Heard::Connected(connack) => Some(connack),
            _ => None,
        })
    }

    /// The codes with which something was acknowledged; `None` as long as it is not.
    pub fn codes_of(&self, wanted: u64) -> Option<&[u8]> {
        self.heard.iter().rev().find_map(|(_, heard)| match heard {
            Heard::Acknowledged { token, codes } if *token == wanted => Some(&codes[..]),
            _ => None,
        })
    }

    /// The last goodbye of the house.
    pub fn goodbye(&self) -> Option<&Disconnect> {
        self.heard.iter().rev().find_map(|(_, heard)| match heard {
            Heard::Disconnected(disconnect) => Some(disconnect),
            _ => None,
        })
    }

    pub(super) fn has_abandoned(&self, wire: WireId) -> bool {
        self.abandoned.contains(&wire)
    }

    pub(super) fn next_timeout_ns(&self) -> Option<u64> {
        self.wire.and_then(|_| self.client.next_timeout()).map(|deadline| deadline.mono_ns)
    }
}

/// What stations do.
impl House {
    /// A new device, not connected.
    pub fn station(&mut self) -> StationId {
        self.stations.push(Station {
            client: Client::new(Options::new(Version::V5, "")),
            tunnel: None,
            wire: None,
            abandoned: Vec::new(),
            leaving: false,
            heard: Vec::new(),
            received: Vec::new(),
        });
        StationId(self.stations.len() - 1)
    }

    /// Several devices, each connected with a clean start under the name given, after everything has settled.
    pub fn connected<const N: usize>(&mut self, names: [&str; N], version: Version) -> [StationId; N] {
        let stations = names.map(|name| {
            let id = self.station();
            self.connect(id, connect_packet(name, version));
            id
        });
        self.settle();
        stations
    }

    /// A device, to look at.
    pub fn at(&self, id: StationId) -> &Station {
        &self.stations[id.0]
    }

    /// What a device has received since the last call.
    pub fn take_received(&mut self, id: StationId) -> Vec<Publish> {
        std::mem::take(&mut self.stations[id.0].received).into_iter().map(|one| one.publish).collect()
    }

    /// The device's present connection.
    pub fn wire_of(&self, id: StationId) -> Option<WireId> {
        self.stations[id.0].wire
    }

    /// Connects, whatever becomes of the connection before: the house is not told.
    pub fn connect(&mut self, id: StationId, connect: Connect) {
        self.note(format_args!("STATION {} connects: {connect:?}", id.0));
        let (wire, tunnel) = self.open_wire_of_station();
        let now = self.common.now;
        let station = &mut self.stations[id.0];
        station.tunnel = tunnel;
        if let Some(before) = station.wire.replace(wire) {
            station.abandoned.push(before);
        }
        station.leaving = false;
        station.client.options_mut().connect = connect;
        station.client.connect(now);
    }

    /// The application acknowledges by itself from now on, with [`House::acknowledge`].
    pub fn acknowledge_manually(&mut self, id: StationId) {
        self.stations[id.0].client.options_mut().acknowledge = Acknowledge::Manually;
    }

    /// The application acknowledges a message.
    pub fn acknowledge(&mut self, id: StationId, message: &Publish, code: u8) {
        let now = self.common.now;
        self.stations[id.0].client.acknowledge(now, message, code);
    }

    /// Publishes; above QoS 0 returns a token for the acknowledgement.
    pub fn publish(&mut self, id: StationId, publish: Publish) -> Option<u64> {
        self.note(format_args!("STATION {} publishes {:?} {publish:?}", id.0, publish.topic));
        let now = self.common.now;
        match self.stations[id.0].client.publish(now, publish) {
            Ok(0) => None,
            Ok(packet_id) => Some(packet_id.into()),
            Err(why) => panic!("station {} cannot publish: {why}", id.0),
        }
    }

    /// Publishes a short text.
    pub fn say(&mut self, id: StationId, name: &str, text: &str, qos: Guarantee) -> Option<u64> {
        self.publish(id, publication(topic(name), Bytes::copy_from_slice(text.as_bytes()), qos))
    }

    /// Publishes a short text as the topic's last value.
    pub fn say_retained(&mut self, id: StationId, name: &str, text: &str, qos: Guarantee) -> Option<u64> {
        let publish = publication(topic(name), Bytes::copy_from_slice(text.as_bytes()), qos);
        self.publish(id, Publish { retain: true, ..publish })
    }

    /// Subscribes; returns a token for the acknowledgement.
    pub fn subscribe(&mut self, id: StationId, subscribe: Subscribe) -> u64 {
        self.note(format_args!("STATION {} subscribes {subscribe:?}", id.0));
        let now = self.common.now;
        let token = self.stations[id.0].client.subscribe(now, subscribe);
        token.map_or_else(|why| panic!("station {} cannot subscribe: {why}", id.0), u64::from)
    }

    /// Subscribes to one filter with default options.
    pub fn listen(&mut self, id: StationId, filter: &str, qos: Guarantee) -> u64 {
        let options = SubscribeFilter {
            filter: filter.into(),
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        let filters = vec![options];
        self.subscribe(id, Subscribe { packet_id: 0, subscription_id: None, user_properties: Vec::new(), filters })
    }

    /// Unsubscribes; returns a token for the acknowledgement.
    pub fn unsubscribe(&mut self, id: StationId, unsubscribe: Unsubscribe) -> u64 {
        self.note(format_args!("STATION {} unsubscribes {unsubscribe:?}", id.0));
        let now = self.common.now;
        let token = self.stations[id.0].client.unsubscribe(now, unsubscribe);
        token.map_or_else(|why| panic!("station {} cannot unsubscribe: {why}", id.0), u64::from)
    }

    /// Sends a step of an authentication exchange.
    pub fn authenticate(&mut self, id: StationId, auth: Auth) {
        let now = self.common.now;
        let result = self.stations[id.0].client.authenticate(now, auth);
        result.unwrap_or_else(|why| panic!("station {} cannot authenticate: {why}", id.0));
    }

    /// Says a proper goodbye and closes once it is written.
    pub fn disconnect(&mut self, id: StationId) {
        self.disconnect_with(id, Disconnect::default());
    }

    /// Says this goodbye and closes once it is written.
    pub fn disconnect_with(&mut self, id: StationId, disconnect: Disconnect) {
        self.note(format_args!("STATION {} says goodbye: {disconnect:?}", id.0));
        let now = self.common.now;
        let station = &mut self.stations[id.0];
        station.client.disconnect(now, disconnect);
        station.leaving = true;
    }

    /// Loses the station's connections, old ones included.
    pub fn cut_station(&mut self, id: StationId) {
        self.note(format_args!("STATION {} is cut off", id.0));
        let station = &mut self.stations[id.0];
        let wires: Vec<WireId> = station.abandoned.drain(..).chain(station.wire.take()).collect();
        wires.into_iter().for_each(|wire| self.cut(wire));
    }

    /// A wire to MQTT, or to MQTT inside WebSocket.
    fn open_wire_of_station(&mut self) -> (WireId, Option<Tunnel>) {
        if !self.websocket {
            return (self.open_wire(), None);
        }
        let adaptor = tunnel::adaptor(adaptor(self.link.clone(), &self.common.limits));
        (self.open_wire_to(adaptor), Some(Tunnel::new(Entropy::new(self.entropy.next_u64()))))
    }

    pub(super) fn station_on(&self, wire: WireId) -> Option<StationId> {
        self.stations.iter().position(|station| station.wire == Some(wire)).map(StationId)
    }

    /// Stations with something to write and room for it, or with a connection to close.
    pub(super) fn speaking_stations(&mut self) -> Vec<StationId> {
        let mut speaking = Vec::new();
        for (index, station) in self.stations.iter_mut().enumerate() {
            let Some(up) = station.wire.and_then(|wire| self.wires.get(&wire)).map(|wire| &wire.up) else { continue };
            let waiting =
                !station.client.output().is_empty() || station.tunnel.as_mut().is_some_and(Tunnel::is_waiting);
            if waiting && up.room() > 0 || station.leaving && !waiting && !up.closed {
                speaking.push(StationId(index));
            }
        }
        speaking
    }

    /// Bytes of the client half enter the wire.
    pub(super) fn let_speak(&mut self, id: StationId) {
        let station = &mut self.stations[id.0];
        let Some(wire) = station.wire.and_then(|wire| self.wires.get_mut(&wire)) else { return };
        let mut output = station.client.output();
        if let Some(tunnel) = &mut station.tunnel {
            output = tunnel.wrap(output, self.grain, &mut self.entropy);
        }
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let used = output.slices(&mut slices);
        let written = slices[..used].iter().map(|slice| wire.up.write(slice)).sum();
        output.advance(written);
        if station.leaving && output.is_empty() {
            wire.up.closed = true;
        }
    }

    /// The client half takes what has arrived on its wire, or hears its end.
    pub(super) fn feed_station(&mut self, id: StationId, wire: WireId) {
        let (now, step) = (self.common.now, self.steps);
        let station = &mut self.stations[id.0];
        let Some(line) = self.wires.get_mut(&wire) else { return };
        let mut events = Vec::new();
        let inbox = match &mut station.tunnel {
            Some(tunnel) => tunnel.unwrap(&mut line.inbox),
            None => &mut line.inbox,
        };
        let result = station.client.receive(now, inbox, &mut events);
        for event in events {
            self.common.trace.note(format_args!("station {} hears {event:?}", id.0));
            station.take(event, step, now);
        }
        if let Err(why) = result {
            station.fail(why, step);
        }
        if line.down.at_end() {
            self.common.trace.note(format_args!("station {} is disconnected", id.0));
            line.up.closed = true;
            line.inbox.clear();
            station.wire = None;
            station.heard.push((step, Heard::Closed));
        }
    }

    pub(super) fn wake_station(&mut self, id: StationId) {
        let (now, step) = (self.common.now, self.steps);
        let station = &mut self.stations[id.0];
        if let Err(why) = station.client.timeout(now) {
            station.fail(why, step);
        }
    }
}

impl Station {
    fn take(&mut self, event: Event, step: u64, now: Now) {
        let heard = match event {
            Event::Connected(connack) => Heard::Connected(*connack),
            Event::Message(publish) => {
                self.received.push(Received { step, mono_ns: now.mono_ns, publish });
                return;
            }
            Event::Published { packet_id, code } => Heard::Acknowledged { token: packet_id.into(), codes: vec![code] },
            Event::Subscribed(codes) | Event::Unsubscribed(codes) => {
                Heard::Acknowledged { token: codes.packet_id.into(), codes: codes.codes }
            }
            Event::Pong => return,
            Event::Disconnected(disconnect) => Heard::Disconnected(*disconnect),
            Event::Auth(auth) => Heard::Auth(*auth),
        };
        self.heard.push((step, heard));
    }

    fn fail(&mut self, why: ClientError, step: u64) {
        self.leaving = true;
        self.heard.push((
            step,
            match why {
                ClientError::Refused(connack) => Heard::Connected(*connack),
                other => Heard::Failed(other),
            },
        ));
    }
}
