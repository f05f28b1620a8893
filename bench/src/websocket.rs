//! MQTT inside WebSocket at the generator's end: one packet a frame, as most clients send it, whatever leaves in a turn.

use althing_core::Entropy;
use althing_websocket::client::{Client, Event, Options};
use althing_websocket::frame::{Header, Opcode, Side, apply_mask};

use bytes::BytesMut;

/// How all connections of a run ask for it.
#[derive(Clone, Debug)]
pub struct WebSocket {
    options: Options,
}

/// One connection.
pub struct Tunnel {
    /// Until the server has agreed.
    client: Option<Box<Client>>,
    masks: Entropy,
    /// Frames that leave.
    output: Vec<u8>,
    written: usize,
    /// The begin of a header, or of a control frame.
    begun: Vec<u8>,
    /// Payload of the frame under way that has not come.
    remaining: usize,
}

impl WebSocket {
    /// At `path` of `host`.
    pub fn new(host: &str, path: &str) -> Self {
        let subprotocols = vec!["mqtt".to_owned()];
        Self { options: Options { host: host.to_owned(), path: path.to_owned(), subprotocols, ..Options::default() } }
    }
}

impl Tunnel {
    /// A connection that asks for the upgrade.
    pub fn new(websocket: &WebSocket, number: usize) -> Self {
        let mut client = Client::new(websocket.options.clone(), Entropy::new(number as u64));
        client.connect();
        let output = client.output().take_all();
        let masks = Entropy::new(!(number as u64));
        Self { client: Some(Box::new(client)), masks, output, written: 0, begun: Vec::new(), remaining: 0 }
    }

    /// Whether the server has agreed.
    pub fn is_ready(&self) -> bool {
        self.client.is_none()
    }

    /// What is to be written.
    pub fn waiting(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// So much of it was written.
    pub fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
    }

    /// Puts whole packets into frames.
    pub fn seal(&mut self, mut packets: &[u8]) {
        while let Some(size) = packet_bytes(packets) {
            let (packet, rest) = packets.split_at(size);
            self.put_frame(Opcode::Binary, packet);
            packets = rest;
        }
    }

    /// Takes the payload out of `bytes`, which follow those of the last call.
    pub fn open(&mut self, bytes: &[u8], payload: &mut Vec<u8>) -> Result<(), String> {
        if self.client.is_some() {
            return self.open_handshake(bytes, payload);
        }
        let mut bytes = bytes;
        while !bytes.is_empty() {
            if self.remaining > 0 {
                let (here, rest) = bytes.split_at(self.remaining.min(bytes.len()));
                payload.extend_from_slice(here);
                self.remaining -= here.len();
                bytes = rest;
                continue;
            }
            if self.begun.is_empty() {
                bytes = self.begin(bytes)?;
            } else {
                // Byte by byte: a read ends in a header once in 64 KiB.
                self.begun.push(bytes[0]);
                bytes = &bytes[1..];
                let begun = std::mem::take(&mut self.begun);
                self.begin(&begun)?;
            }
        }
        Ok(())
    }

    /// Takes a header, or a whole control frame, and returns what follows; keeps what is incomplete.
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let header = Header::parse(Side::Client, bytes).map_err(|error| error.text.to_owned())?;
        let Some((header, size)) = header else { return self.keep(bytes) };
        if !header.opcode.is_control() {
            self.remaining = header.length as usize;
            return Ok(&bytes[size..]);
        }
        let Some((control, rest)) = bytes[size..].split_at_checked(header.length as usize) else {
            return self.keep(bytes);
        };
        match header.opcode {
            Opcode::Close => {
                Err(format!("the broker closed it: {}", String::from_utf8_lossy(control.get(2..).unwrap_or_default())))
            }
            Opcode::Ping => {
                self.put_frame(Opcode::Pong, control);
                Ok(rest)
            }
            _ => Ok(rest),
        }
    }

    fn keep<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        self.begun = bytes.to_vec();
        Ok(&[])
    }

    fn open_handshake(&mut self, bytes: &[u8], payload: &mut Vec<u8>) -> Result<(), String> {
        let Some(client) = &mut self.client else { return Ok(()) };
        self.begun.extend_from_slice(bytes);
        let (mut input, mut events) = (BytesMut::from(&self.begun[..]), Vec::new());
        client.receive(&mut input, &mut events).map_err(|error| error.to_string())?;
        match events.first() {
            None => Ok(()),
            Some(Event::Open { subprotocol }) if subprotocol.as_deref() == Some("mqtt") && events.len() == 1 => {
                self.client = None;
                self.begun.clear();
                self.open(&input, payload)
            }
            Some(_) => Err("the broker did not agree on the sub-protocol mqtt".to_owned()),
        }
    }

    fn put_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let mask = (self.masks.next_u64() as u32).to_le_bytes();
        let (header, size) = Header { mask: Some(mask), ..Header::whole(opcode, payload.len()) }.write();
        self.output.extend_from_slice(&header[..size]);
        let start = self.output.len();
        self.output.extend_from_slice(payload);
        apply_mask(&mut self.output[start..], mask);
    }
}

/// The size of the packet at the head of `bytes`.
fn packet_bytes(bytes: &[u8]) -> Option<usize> {
    let (remaining, head) = crate::wire::remaining_length(bytes)?;
    Some(head + remaining)
}
