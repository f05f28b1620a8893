//! The table language of `packets.txt`: well-formed packets, and every way to spoil them.
//!
//! The rules: what cannot be parsed is malformed (0x81), what can be parsed but is not allowed is a protocol error
//! (0x82; MQTT 5.0 §1.2), a property that does not belong into a packet is malformed (§2.2.2.2), a repeated one is a
//! protocol error. Where the specification says something else, the table does.

use crate::stage::{bytes, frame_bytes, variable_int};
use althing_mqtt::packet::Version;
use std::collections::BTreeSet;

/// A packet as bytes and its exact answer.
#[derive(Clone, Debug)]
pub struct Case {
    /// `PACKET in VERSION, MUTATION`.
    pub name: String,
    pub version: Version,
    pub state: State,
    pub said: Vec<u8>,
    pub answer: Answer,
}

/// Where the conversation stands before the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Nothing,
    Connected,
    Authenticated,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These bytes, and the conversation goes on.
    Bytes(Vec<u8>),
    /// CONNACK 0 with whatever properties, and the conversation goes on.
    Accepted,
    /// DISCONNECT, or CONNACK before it, with this code; nothing in version 3. Then the end.
    Refused(u8),
    /// CONNACK with this code in any version. Then the end.
    ConnAck(u8),
    /// No bytes and the end.
    Closed,
}

/// All cases of the table.
pub fn cases() -> Vec<Case> {
    let table = include_str!("packets.txt");
    let mut cases = Vec::new();
    for text in table.split("\npacket ").skip(1) {
        let packet = Packet::parse(text);
        for version in &packet.versions {
            cases.extend(packet.cases(*version));
        }
    }
    cases
}

struct Packet<'a> {
    name: &'a str,
    state: State,
    versions: Vec<Version>,
    first: u8,
    fields: Vec<Field<'a>>,
    bad: Vec<(&'a str, Vec<u8>, &'a str)>,
    answer: String,
    exceptions: Vec<(&'a str, &'a str)>,
}

#[derive(Clone)]
struct Field<'a> {
    kind: &'a str,
    name: &'a str,
    value: Vec<u8>,
    /// The properties of a block; of a reason code, the other values that it may have.
    properties: Vec<Property<'a>>,
    allowed: Vec<u8>,
}

#[derive(Clone)]
struct Property<'a> {
    kind: &'a str,
    id: u8,
    value: Vec<u8>,
}

impl<'a> Packet<'a> {
    fn parse(text: &'a str) -> Self {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let words: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
        let mut packet = Packet {
            name: words[0],
            state: match words[2] {
                "nothing" => State::Nothing,
                "connected" => State::Connected,
                "authenticated" => State::Authenticated,
                other => panic!("there is no state {other}"),
            },
            versions: words[4..].iter().map(|version| parse_version(version)).collect(),
            first: 0,
            fields: Vec::new(),
            bad: Vec::new(),
            answer: String::new(),
            exceptions: Vec::new(),
        };
        while let Some(line) = lines.next() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "first" => packet.first = bytes(rest)[0],
                "answer" => packet.answer = rest.to_owned(),
                "allow" => packet.fields.last_mut().unwrap().allowed = bytes(rest),
                "but" => packet.exceptions.push(rest.split_once(' ').unwrap()),
                "bad" => {
                    let words: Vec<_> = rest.split(' ').collect();
                    packet.bad.push((words[0], bytes(words[1]), words[2]));
                }
                "properties" => {
                    let block = lines.by_ref().take_while(|line| *line != "end").map(Property::parse).collect();
                    packet.fields.push(Field { properties: block, ..Field::new("properties", rest, Vec::new()) });
                }
                kind => {
                    let (name, value) = rest.split_once(' ').unwrap();
                    packet.fields.push(Field::new(kind, name, bytes(value)));
                }
            }
        }
        packet
    }

    fn cases(&self, version: Version) -> Vec<Case> {
        let mut cases = Cases { packet: self, version, cases: Vec::new(), used: BTreeSet::new() };
        cases.add("as it is", &self.fields, "same");
        self.spoil_header(&mut cases);
        self.spoil_length(&mut cases);
        for (index, field) in self.fields.iter().enumerate() {
            self.spoil_field(index, field, &mut cases);
        }
        for (name, value, answer) in &self.bad {
            let value = value.clone();
            match name.split_once('.') {
                None => {
                    let index = self.position(name);
                    cases.replace(&format!("bad:{name}"), index, value, answer);
                }
                Some((block, id)) => {
                    let index = self.position(block);
                    let properties = self.fields[index].with_value(bytes(id)[0], value);
                    cases.replace_block(&format!("bad:{name}"), index, properties, answer);
                }
            }
        }
        let unused = self.exceptions.iter().filter(|exception| !cases.used.contains(exception.0));
        let unused: Vec<_> = unused.collect();
        assert!(unused.is_empty(), "{} in {version:?}: no such mutations: {unused:?}", self.name);
        cases.cases
    }

    fn position(&self, name: &str) -> usize {
        let position = self.fields.iter().position(|field| field.name == name);
        position.unwrap_or_else(|| panic!("{} has no field {name}", self.name))
    }

    /// Flags (§2.1.3), and remaining lengths that are not minimal or too long (§2.1.4).
    fn spoil_header(&self, cases: &mut Cases<'_, 'a>) {
        let refused = refusal(&self.answer, "refused:81");
        let body = body(&self.fields);
        for flags in (0..16).filter(|flags| *flags != self.first & 0x0F && self.first >> 4 != 3) {
            // MQTT 3.1 leaves most of them unused, and lets DUP mark repeats of PUBREL, SUBSCRIBE and UNSUBSCRIBE.
            let unused = match self.first >> 4 {
                6 | 8 | 10 => flags & 0b0110 == 0b0010,
                _ => true,
            };
            let answer = match (self.state, cases.version) {
                // No CONNECT of any version: nobody knows in which words to refuse it.
                (State::Nothing, _) => "closed",
                (_, Version::V31) if unused => "same",
                _ => refused,
            };
            cases.add_bytes(&format!("flags:{flags:X}"), frame_bytes(self.first & 0xF0 | flags, &body), answer);
        }
        if self.first >> 4 == 3 {
            for flags in [6, 7, 14, 15] {
                cases.add_bytes(&format!("flags:{flags:X}"), frame_bytes(0x30 | flags, &body), refused);
            }
            if self.first & 0b0110 == 0 {
                // DUP at QoS 0 ([MQTT-3.3.1-2]), which says nothing in MQTT 3.1.
                let answer = if cases.version == Version::V31 { "same" } else { refused };
                cases.add_bytes("flags:dup", frame_bytes(self.first | 8, &body), answer);
            }
        }
        let mut length = variable_int(body.len());
        if let Some(last) = length.last_mut() {
            *last |= 0x80;
        }
        length.push(0);
        let said = [&[self.first][..], &length, &body].concat();
        let answer = match (cases.version, self.state) {
            (Version::V5, _) => refused,
            _ => "same",
        };
        cases.add_bytes("length:overlong", said, answer);
        let said = [&[self.first][..], &[0x80, 0x80, 0x80, 0x80, 0x01], &body].concat();
        let answer = if self.state == State::Nothing { "closed" } else { refused };
        cases.add_bytes("length:five-bytes", said, answer);
    }

    /// The packet cut at every byte, with a remaining length that fits, and one byte too long.
    fn spoil_length(&self, cases: &mut Cases<'_, 'a>) {
        let body = body(&self.fields);
        let mut ends = Vec::new();
        for index in 0..self.fields.len() {
            ends.push(self::body(&self.fields[..=index]).len());
        }
        let is_open_ended = self.fields.last().is_some_and(|field| field.kind == "rest");
        let rest_at = ends.len().checked_sub(2).map_or(0, |index| ends[index]);
        for length in 0..body.len() {
            let behind = ends.iter().rposition(|end| *end == length && length > 0);
            let name = match behind {
                Some(index) => format!("ends-behind:{}", self.fields[index].name),
                None => format!("cut:{length}"),
            };
            let answer = if is_open_ended && length >= rest_at { "same" } else { "refused:81" };
            cases.add_bytes(&name, frame_bytes(self.first, &body[..length]), refusal(&self.answer, answer));
        }
        let longer = frame_bytes(self.first, &[&body[..], &[0]].concat());
        cases.add_bytes("longer", longer, if is_open_ended { "same" } else { refusal(&self.answer, "refused:81") });
    }

    fn spoil_field(&self, index: usize, field: &Field<'a>, cases: &mut Cases<'_, 'a>) {
        let name = field.name;
        let mut without = self.fields.clone();
        without.remove(index);
        match field.kind {
            "rest" => {}
            _ => cases.add(&format!("without:{name}"), &without, "refused:81"),
        }
        if field.kind == "properties" {
            self.spoil_properties(index, field, cases);
        }
        if field.kind == "id" {
            cases.replace(&format!("zero:{name}"), index, vec![0, 0], "refused:82");
        }
        if field.kind == "code" {
            for code in (0..=0xFF).filter(|code| *code != field.value[0]) {
                let answer = if field.allowed.contains(&code) { "same" } else { "refused:82" };
                cases.replace(&format!("code:{code:02X}"), index, vec![code], answer);
            }
        }
        for (how, value, answer) in spoiled(field.kind, &field.value) {
            cases.replace(&format!("{how}:{name}"), index, value, answer);
        }
    }

    fn spoil_properties(&self, index: usize, block: &Field<'a>, cases: &mut Cases<'_, 'a>) {
        let name = block.name;
        let inside = block.properties_bytes();
        // Its length: one too many, one too few, not minimal, too long, behind the end.
        if !inside.is_empty() {
            for (how, length) in [("few", inside.len() - 1), ("many", inside.len() + 1), ("huge", 268_435_455)] {
                let spoiled = [variable_int(length), inside.clone()].concat();
                cases.replace(&format!("{how}:{name}"), index, spoiled, "refused:81");
            }
        }
        let mut overlong = variable_int(inside.len());
        *overlong.last_mut().unwrap() |= 0x80;
        overlong.push(0);
        cases.replace(&format!("overlong:{name}"), index, [&overlong[..], &inside].concat(), "refused:81");
        let five = [&[0x80, 0x80, 0x80, 0x80, 1][..], &inside].concat();
        cases.replace(&format!("five-bytes:{name}"), index, five, "refused:81");
        for (place, property) in block.properties.iter().enumerate() {
            self.spoil_property(index, place, property, cases);
        }
        // Everything that does not belong here.
        let end = block.properties.len();
        let mut insert = |id: u8, value: &[u8]| {
            let mut properties = block.properties.clone();
            properties.insert(end, Property { kind: "binary", id, value: value.to_vec() });
            let prefix = if name == "properties" { String::new() } else { format!("{name}.") };
            cases.replace_block(&format!("inserted:{prefix}{id:02X}"), index, properties, "refused:81");
        };
        for (id, value) in PROPERTIES {
            let known = block.properties.iter().any(|property| property.id == id);
            if !known && !belongs(self.first >> 4, name, id) {
                insert(id, &bytes(value));
            }
        }
        for id in [0x00, 0x04, 0x0A, 0x10, 0x2B, 0x3F, 0x40, 0x7F, 0x80, 0xFF] {
            insert(id, &[0, 1]);
        }
    }

    fn spoil_property(&self, index: usize, place: usize, property: &Property<'a>, cases: &mut Cases<'_, 'a>) {
        let block = &self.fields[index];
        let name = format!("{}.{:02X}", block.name, property.id);
        let mut doubled = block.properties.clone();
        doubled.push(property.clone());
        let answer = if property.id == 0x26 { "same" } else { "refused:82" };
        cases.replace_block(&format!("doubled:{name}"), index, doubled, answer);
        let mut without = block.properties.clone();
        without.remove(place);
        cases.replace_block(&format!("without:{name}"), index, without.clone(), "same");
        // Cut short at every byte, as the last one of a block whose length fits.
        for length in 0..property.value.len() {
            let mut cut = without.clone();
            let value = property.value[..length].to_vec();
            cut.push(Property { value, ..property.clone() });
            cases.replace_block(&format!("cut:{name}:{length}"), index, cut, "refused:81");
        }
        for (how, value, answer) in spoiled(property.kind, &property.value) {
            cases.replace_block(&format!("{how}:{name}"), index, block.with_value(property.id, value), answer);
        }
    }
}

impl<'a> Field<'a> {
    fn new(kind: &'a str, name: &'a str, value: Vec<u8>) -> Self {
        Field { kind, name, value, properties: Vec::new(), allowed: Vec::new() }
    }

    fn properties_bytes(&self) -> Vec<u8> {
        self.properties.iter().flat_map(|property| [&[property.id][..], &property.value].concat()).collect()
    }

    fn with_value(&self, id: u8, value: Vec<u8>) -> Vec<Property<'a>> {
        let mut properties = self.properties.clone();
        let found = properties.iter_mut().find(|property| property.id == id);
        found.unwrap_or_else(|| panic!("no property {id:02X}")).value = value;
        properties
    }
}

impl<'a> Property<'a> {
    fn parse(line: &'a str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        Property { kind: words[0], id: bytes(words[1])[0], value: bytes(words[2]) }
    }
}

/// The cases of one packet in one version.
struct Cases<'p, 'a> {
    packet: &'p Packet<'a>,
    version: Version,
    cases: Vec<Case>,
    used: BTreeSet<&'a str>,
}

impl<'a> Cases<'_, 'a> {
    fn add(&mut self, mutation: &str, fields: &[Field<'a>], answer: &str) {
        let answer = if answer == "same" { answer } else { refusal(&self.packet.answer, answer) };
        self.add_bytes(mutation, frame_bytes(self.packet.first, &body(fields)), answer);
    }

    fn replace(&mut self, mutation: &str, index: usize, value: Vec<u8>, answer: &str) {
        let mut fields = self.packet.fields.clone();
        fields[index] = Field::new("fixed", fields[index].name, value);
        self.add(mutation, &fields, answer);
    }

    fn replace_block(&mut self, mutation: &str, index: usize, properties: Vec<Property<'a>>, answer: &str) {
        let mut fields = self.packet.fields.clone();
        fields[index].properties = properties;
        self.add(mutation, &fields, answer);
    }

    fn add_bytes(&mut self, mutation: &str, said: Vec<u8>, answer: &str) {
        let exception = self.packet.exceptions.iter().find(|(pattern, _)| fits(pattern, mutation));
        let answer = match exception {
            Some((pattern, answer)) => {
                self.used.insert(pattern);
                answer
            }
            None => answer,
        };
        self.cases.push(Case {
            name: format!("{} in {:?}, {mutation}", self.packet.name, self.version),
            version: self.version,
            state: self.packet.state,
            said,
            answer: parse_answer(if answer == "same" { &self.packet.answer } else { answer }),
        });
    }
}

/// `cut:0..6` stands for seven mutations.
fn fits(pattern: &str, mutation: &str) -> bool {
    let range = pattern.split_once("..").and_then(|(start, last)| {
        let (prefix, first) = start.rsplit_once(':')?;
        Some((prefix, first.parse::<usize>().ok()?..=last.parse().ok()?))
    });
    match range {
        None => pattern == mutation,
        Some((prefix, range)) => {
            let number = mutation.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(':'));
            number.and_then(|number| number.parse().ok()).is_some_and(|number| range.contains(&number))
        }
    }
}

/// A packet that may not come at all is refused for that, however it is spoiled besides.
fn refusal<'s>(base: &str, answer: &'s str) -> &'s str {
    if base == "refused:82" && answer.starts_with("refused") { "refused:82" } else { answer }
}

fn body(fields: &[Field<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for field in fields {
        if field.kind == "properties" {
            let inside = field.properties_bytes();
            body.extend(variable_int(inside.len()));
            body.extend(inside);
        } else {
            body.extend(&field.value);
        }
    }
    body
}

/// Values of a kind that are wrong, and how each is answered.
fn spoiled(kind: &str, value: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let no_strings =
        [("ill-formed", "0002C328"), ("surrogate", "0003EDA080"), ("nul", "0003'a'00'b'"), ("endless", "FFFF'a'")];
    let no_strings = no_strings.map(|(how, text)| (how, bytes(text), "refused:81"));
    let mut wrong = Vec::new();
    if matches!(kind, "string" | "topic" | "response") {
        wrong.extend(no_strings.clone());
    }
    match kind {
        "string" => wrong.push(("empty", bytes("0000"), "same")),
        "topic" | "response" => {
            let answer = if kind == "topic" { "refused:81" } else { "refused:82" };
            let names = [("empty", "0000"), ("wildcard-plus", "0003'a/+'"), ("wildcard-hash", "0001'#'")];
            wrong.extend(names.map(|(how, text)| (how, bytes(text), answer)));
        }
        "pair" => {
            let half = bytes("0001'a'");
            wrong.extend(no_strings.clone().map(|(_, text, answer)| ("name", [text, half.clone()].concat(), answer)));
            wrong.extend(no_strings.map(|(_, text, answer)| ("value", [half.clone(), text].concat(), answer)));
        }
        "flag" => wrong.extend([2, 0x80, 0xFF].map(|value| ("neither", vec![value], "refused:82"))),
        "nonzero" => wrong.push(("zero", vec![0; value.len()], "refused:82")),
        "varint" => {
            let values = [
                ("zero", "00", "refused:82"),
                ("overlong", "8100", "refused:81"),
                ("five-bytes", "8080808001", "refused:81"),
            ];
            wrong.extend(values.map(|(how, value, answer)| (how, bytes(value), answer)));
            wrong.push(("largest", bytes("FFFFFF7F"), "same"));
        }
        _ => {}
    }
    wrong
}

/// Every property with a value that it may have (table 2-4).
const PROPERTIES: [(u8, &str); 27] = [
    (0x01, "01"),
    (0x02, "00000001"),
    (0x03, "0001'x'"),
    (0x08, "0001'x'"),
    (0x09, "0001'x'"),
    (0x0B, "01"),
    (0x11, "00000000"),
    (0x12, "0001'x'"),
    (0x13, "0001"),
    (0x15, "0001'x'"),
    (0x16, "0001'x'"),
    (0x17, "01"),
    (0x18, "00000001"),
    (0x19, "01"),
    (0x1A, "0001'x'"),
    (0x1C, "0001'x'"),
    (0x1F, "0001'x'"),
    (0x21, "0001"),
    (0x22, "0001"),
    (0x23, "0001"),
    (0x24, "01"),
    (0x25, "01"),
    (0x26, "0001'k'0001'v'"),
    (0x27, "00000100"),
    (0x28, "01"),
    (0x29, "01"),
    (0x2A, "01"),
];

/// Which properties a packet of a client may have, so that they are not inserted where the table has left them out.
fn belongs(packet_type: u8, block: &str, id: u8) -> bool {
    match (packet_type, block) {
        (1, "properties") => matches!(id, 0x11 | 0x15 | 0x16 | 0x17 | 0x19 | 0x21 | 0x22 | 0x26 | 0x27),
        (1, _) => matches!(id, 0x01 | 0x02 | 0x03 | 0x08 | 0x09 | 0x18 | 0x26),
        (3, _) => matches!(id, 0x01 | 0x02 | 0x03 | 0x08 | 0x09 | 0x23 | 0x26),
        (4..=7, _) => matches!(id, 0x1F | 0x26),
        (8, _) => matches!(id, 0x0B | 0x26),
        (10, _) => id == 0x26,
        (14, _) => matches!(id, 0x11 | 0x1F | 0x26),
        (15, _) => matches!(id, 0x15 | 0x16 | 0x1F | 0x26),
        _ => false,
    }
}

fn parse_version(version: &str) -> Version {
    match version {
        "3.1" => Version::V31,
        "3.1.1" => Version::V311,
        "5" => Version::V5,
        other => panic!("there is no version {other}"),
    }
}

fn parse_answer(answer: &str) -> Answer {
    let code = |code: &str| bytes(code)[0];
    match answer.split_once(':') {
        Some(("refused", text)) => Answer::Refused(code(text)),
        Some(("connack", text)) => Answer::ConnAck(code(text)),
        _ if answer == "accepted" => Answer::Accepted,
        _ if answer == "closed" => Answer::Closed,
        _ if answer == "silence" => Answer::Bytes(Vec::new()),
        _ => Answer::Bytes(bytes(answer)),
    }
}
