//! Frames explained line by line, for people. The codec is the judge: what the [`Decoder`] takes has no mistake
//! here, and what it refuses has its reason; the walk over the lines only finds their places.

use crate::codec::decode::{unescape, without_carriage_return};
use crate::codec::{Decoder, FrameLimits};
use crate::frame::Command;
use althing_core::annotation::{Annotation, Field, Mistake, count, quoted, text_or_length};
use bytes::BytesMut;
use bytestring::ByteString;

/// Frames that are looked at may have any size.
const UNLIMITED: FrameLimits =
    FrameLimits { headers_max: usize::MAX / 2, header_bytes_max: usize::MAX / 2, body_bytes_max: usize::MAX / 2 };

/// Explains the frame at the front of `bytes`, which need not end with it, and the line ends before it. A frame that
/// is cut short is explained as far as it goes.
pub fn annotate(bytes: &[u8]) -> Annotation {
    explain(bytes, &mut BytesMut::from(bytes))
}

/// `input` holds the same bytes; a frame is taken from it.
fn explain(bytes: &[u8], input: &mut BytesMut) -> Annotation {
    let verdict = Decoder::default().decode(&UNLIMITED, input);
    let length_bytes = if matches!(verdict, Ok(Some(_))) { bytes.len() - input.len() } else { bytes.len() };
    let mut walk = Walk { bytes: &bytes[..length_bytes], position: 0, command: None, fields: Vec::new() };
    let stop = walk.frame().err();
    let are_line_ends = walk.command.is_none() && walk.position == bytes.len();
    let place = stop.unwrap_or(Stop { offset: walk.position, length: 0, name: "" });
    let mistake = |text: &str, code: Option<&str>| Mistake {
        offset: place.offset,
        length_bytes: place.length,
        name: place.name.to_owned(),
        text: text.to_owned(),
        code: code.map(str::to_owned),
    };
    let mistake = match verdict {
        Ok(Some(_)) => None,
        Ok(None) if are_line_ends => None,
        Ok(None) => Some(mistake("the frame is not complete", None)),
        Err(error) => Some(mistake(error.text, Some("ERROR"))),
    };
    Annotation {
        name: walk.command.map(Command::name).or(are_line_ends.then_some("EOL")),
        version: "STOMP 1.2",
        specification: "STOMP Protocol Specification, Version 1.2",
        length_bytes,
        fields: walk.fields,
        mistake,
    }
}

/// Explains all frames of a stream, up to the first mistake.
pub fn annotate_stream(mut bytes: &[u8]) -> Vec<Annotation> {
    let (mut frames, mut input) = (Vec::new(), BytesMut::from(bytes));
    while !bytes.is_empty() {
        let frame = explain(bytes, &mut input);
        bytes = &bytes[frame.length_bytes..];
        let is_last = frame.mistake.is_some();
        frames.push(frame);
        if is_last {
            break;
        }
    }
    frames
}

/// Where a walk had to end: the bytes at fault, and the field that they are in.
#[derive(Clone, Copy)]
struct Stop {
    offset: usize,
    length: usize,
    name: &'static str,
}

/// The way through one frame.
struct Walk<'a> {
    bytes: &'a [u8],
    position: usize,
    command: Option<Command>,
    fields: Vec<Field>,
}

impl Walk<'_> {
    fn frame(&mut self) -> Result<(), Stop> {
        self.line_ends();
        if self.position == self.bytes.len() {
            return Ok(());
        }
        let command = self.command()?;
        if let Err(stop) = self.head_is_text() {
            while self.position < stop.offset && self.header(command).is_ok() {}
            return Err(stop);
        }
        let mut content_length = None;
        while let Some(length) = self.header(command)? {
            content_length = content_length.or(length);
        }
        self.body(command, content_length)
    }

    /// "Heart-beating"
    fn line_ends(&mut self) {
        loop {
            let length = match self.bytes[self.position..] {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => return,
            };
            self.push(length, "EOL", "between frames, perhaps a heart-beat".to_owned(), "Heart-beating");
        }
    }

    /// The line that begins here without its end, and its length with it; all that is left when it has no end.
    fn line(&self) -> Result<(&[u8], usize), Stop> {
        let rest = &self.bytes[self.position..];
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => Ok((without_carriage_return(&rest[..end]), end + 1)),
            None => Err(Stop { offset: self.position, length: rest.len(), name: "" }),
        }
    }

    fn command(&mut self) -> Result<Command, Stop> {
        const NAME: &str = "Command";
        let (line, length) = self.line().map_err(|stop| Stop { name: NAME, ..stop })?;
        let at_line = Stop { offset: self.position, length: line.len().max(1), name: NAME };
        let command = Command::from_line(line).ok_or(at_line)?;
        self.command = Some(command);
        self.push(length, NAME, command.name().to_owned(), chapter(command));
        Ok(command)
    }

    /// A complete head is UTF-8 as a whole, which is asked before its lines are.
    fn head_is_text(&self) -> Result<(), Stop> {
        let mut position = self.position;
        let mut wrong = None;
        for line in self.bytes[self.position..].split_inclusive(|byte| *byte == b'\n') {
            let content = without_carriage_return(line.strip_suffix(b"\n").unwrap_or(line));
            if content.is_empty() && line.ends_with(b"\n") {
                return wrong.map_or(Ok(()), Err);
            }
            if std::str::from_utf8(content).is_err() && wrong.is_none() {
                wrong = Some(Stop { offset: position, length: content.len(), name: "Header" });
            }
            position += line.len();
        }
        Ok(())
    }

    /// One header line; `None` for the empty line, and within it what `content-length` says.
    fn header(&mut self, command: Command) -> Result<Option<Option<usize>>, Stop> {
        let (line, length) = self.line().map_err(|stop| Stop { name: "Header", ..stop })?;
        if line.is_empty() {
            self.push(length, "EOL", "the headers end here".to_owned(), "STOMP Frames");
            return Ok(None);
        }
        let wrong = Stop { offset: self.position, length: line.len(), name: "Header" };
        let text = std::str::from_utf8(line).map_err(|_| wrong)?;
        let (name, value) = text.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or(wrong)?;
        if text.contains(['\r', '\0']) {
            return Err(wrong);
        }
        if name == "content-length" {
            let is_repeated = self.fields.iter().any(|field| field.name == "Header content-length");
            let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
            let number = digits.and_then(|digits| digits.parse().ok());
            if number.is_none() && !is_repeated {
                return Err(Stop { name: "Header content-length", ..wrong });
            }
            let shown = number.map_or_else(|| quoted(value), |number| count(number, "byte"));
            self.push(length, "Header content-length", shown, "Header content-length");
            return Ok(Some(number));
        }
        let plain = |part: &str| {
            let part = ByteString::from(part);
            unescape(&part, &part, command.is_escaped()).map_err(|_| wrong)
        };
        let (name, value) = (plain(name)?, plain(value)?);
        let section = header_section(command, &name);
        let title = format!("Header {}", name.escape_debug());
        self.push(length, title, quoted(&value), section);
        Ok(Some(None))
    }

    /// "Body", and the NULL octet behind it.
    fn body(&mut self, command: Command, content_length: Option<usize>) -> Result<(), Stop> {
        const NAME: &str = "Body";
        let rest = &self.bytes[self.position..];
        let nul = content_length.or_else(|| rest.iter().position(|byte| *byte == 0));
        let length = nul.unwrap_or(rest.len()).min(rest.len());
        if !command.may_have_body() && content_length.is_some_and(|length| length > 0) {
            let header = self.fields.iter().find(|field| field.name == "Header content-length");
            let (offset, length) = header.map_or((self.position, 0), |field| (field.offset, field.length_bytes));
            return Err(Stop { offset, length, name: "Header content-length" });
        }
        if !command.may_have_body() && nul.unwrap_or(rest.len()) > 0 {
            return Err(Stop { offset: self.position, length, name: NAME });
        }
        let end = rest.get(length).copied();
        if length > 0 {
            self.push(length, NAME, text_or_length(&rest[..length]), "Body");
        }
        match end {
            Some(0) => self.push(1, "NULL", "the frame ends here".to_owned(), "STOMP Frames"),
            other => {
                return Err(Stop { offset: self.position, length: usize::from(other.is_some()), name: "NULL" });
            }
        }
        Ok(())
    }

    fn push(&mut self, length: usize, name: impl Into<String>, value: String, section: &str) {
        self.fields.push(Field {
            offset: self.position,
            length_bytes: length,
            bits: None,
            name: name.into(),
            value,
            section: section.to_owned(),
        });
        self.position += length;
    }
}

/// The section that describes a frame.
fn chapter(command: Command) -> &'static str {
    match command {
        Command::Connect | Command::Stomp => "CONNECT or STOMP Frame",
        Command::Connected => "CONNECTED or ERROR Frame",
        other => other.name(),
    }
}

/// The section that describes a header.
fn header_section(command: Command, name: &str) -> &'static str {
    match (command, name) {
        (_, "content-type") => "Header content-type",
        (_, "receipt") => "Header receipt",
        (Command::Connect | Command::Stomp | Command::Connected, "heart-beat") => "Heart-beating",
        (Command::Connect | Command::Stomp | Command::Connected, "accept-version" | "version") => {
            "Protocol Negotiation"
        }
        (Command::Subscribe, "id") => "SUBSCRIBE id Header",
        (Command::Subscribe, "ack") => "SUBSCRIBE ack Header",
        (command, _) => chapter(command),
    }
}
