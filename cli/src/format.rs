//! `-F`: a message as the user wants it, in the letters of mosquitto_sub.

use crate::exit::Failure;
use crate::message::Received;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What `--help` says about `-F`.
pub const FORMAT_HELP: &str = "Print each message in this format:
- %t topic, %p payload, %x %X payload in hexadecimal, %l its length, %q QoS, %r retained, %m packet identifier
- %C content type, %D correlation data, %E message expiry interval, %F payload format, %P user properties
- %R response topic, %S subscription identifier, %A topic alias
- %I time, %U seconds since 1970, @X as strftime's %X, @N nanoseconds, %j JSON, %J JSON with a JSON payload
- %% @@ \\\\ themselves; \\n \\r \\t \\a \\e \\v \\0
A width as in %10t pads, %-10t pads on the right, %05l with zeros, %.10t cuts.";

/// Nobody has a wider terminal; a typo must not ask for gigabytes.
const WIDTH_MAX: usize = 9_999;

/// A format that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Field {
        letter: char,
        shape: Shape,
    },
    /// A conversion of strftime, `%` included.
    Time(String),
    Nanoseconds,
}

/// `[-][0][width][.precision]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shape {
    left: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// The payload is not what `%J` needs.
#[derive(Debug, PartialEq, Eq)]
pub struct NotJson;

const FIELDS: &str = "ACDEFIJjlmPpqRrStUXx";
/// Fields that are numbers, which `0` pads; the others it does not concern.
const NUMBERS: &str = "AEFlmSXx";

impl Format {
    /// Reads a format; errors are usage errors.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let piece = match c {
                '%' => parse_field(&mut rest)?,
                '@' => parse_time(&mut rest)?,
                '\\' => Piece::Literal(vec![parse_escape(&mut rest)?]),
                _ => {
                    literal.push(c);
                    continue;
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into_bytes()));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into_bytes()));
        }
        Ok(Self(pieces))
    }

    /// Appends `message` to `line`, without a line end.
    pub fn render(&self, message: &Received, line: &mut Vec<u8>) -> Result<(), NotJson> {
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => line.extend_from_slice(bytes),
                Piece::Field { letter, shape } => shape.put(*letter, field(*letter, message)?, line),
                Piece::Time(conversion) => {
                    let text = jiff::fmt::strtime::format(conversion, &message.local_time()).unwrap_or_default();
                    line.extend_from_slice(text.as_bytes());
                }
                Piece::Nanoseconds => {
                    line.extend_from_slice(format!("{:09}", message.at.subsec_nanosecond()).as_bytes())
                }
            }
        }
        Ok(())
    }
}

fn parse_field(rest: &mut std::str::Chars<'_>) -> Result<Piece, Failure> {
    let incomplete = || Failure::usage("-F: the format ends within a % sequence: write %% for a percent sign");
    let mut shape = Shape::default();
    let mut next = rest.next().ok_or_else(incomplete)?;
    if next == '%' {
        return Ok(Piece::Literal(vec![b'%']));
    }
    while matches!(next, '-' | '0') {
        shape.left |= next == '-';
        shape.zero |= next == '0';
        next = rest.next().ok_or_else(incomplete)?;
    }
    (shape.width, next) = parse_number(next, rest)?;
    if next == '.' {
        let (precision, after) = parse_number(rest.next().ok_or_else(incomplete)?, rest)?;
        (shape.precision, next) = (Some(precision), after);
    }
    if !FIELDS.contains(next) {
        return Err(Failure::usage(format!("-F: %{next} is unknown: see --help for the letters")));
    }
    Ok(Piece::Field { letter: next, shape })
}

/// The digits from `first` on, and the character after them.
fn parse_number(first: char, rest: &mut std::str::Chars<'_>) -> Result<(usize, char), Failure> {
    let (mut number, mut next) = (0, first);
    while let Some(digit) = next.to_digit(10) {
        number = number * 10 + digit as usize;
        if number > WIDTH_MAX {
            return Err(Failure::usage(format!("-F: a width is at most {WIDTH_MAX}")));
        }
        next = rest.next().ok_or_else(|| Failure::usage("-F: the format ends within a % sequence"))?;
    }
    Ok((number, next))
}

fn parse_time(rest: &mut std::str::Chars<'_>) -> Result<Piece, Failure> {
    match rest.next() {
        Some('@') => Ok(Piece::Literal(vec![b'@'])),
        Some('N') => Ok(Piece::Nanoseconds),
        Some(letter) => {
            let conversion = format!("%{letter}");
            let sample = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
            match jiff::fmt::strtime::format(&conversion, &sample) {
                Ok(_) => Ok(Piece::Time(conversion)),
                Err(_) => Err(Failure::usage(format!("-F: @{letter} is no conversion of strftime"))),
            }
        }
        None => Err(Failure::usage("-F: the format ends with @: write @@ for an at sign")),
    }
}

fn parse_escape(rest: &mut std::str::Chars<'_>) -> Result<u8, Failure> {
    match rest.next() {
        Some('\\') => Ok(b'\\'),
        Some('0') => Ok(0),
        Some('a') => Ok(7),
        Some('e') => Ok(27),
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('v') => Ok(11),
        Some(other) => Err(Failure::usage(format!("-F: \\{other} is no escape: write \\\\ for a backslash"))),
        None => Err(Failure::usage("-F: the format ends with \\: write \\\\ for a backslash")),
    }
}

fn field(letter: char, message: &Received) -> Result<Vec<u8>, NotJson> {
    let publish = &message.publish;
    let properties = message.properties();
    let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default().into_bytes();
    Ok(match letter {
        't' => message.topic().into(),
        'p' => publish.payload.to_vec(),
        'x' => publish.payload.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(),
        'X' => publish.payload.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect(),
        'l' => publish.payload.len().to_string().into(),
        'q' => (publish.qos as u8).to_string().into(),
        'r' => u8::from(publish.retain).to_string().into(),
        'm' => publish.packet_id.to_string().into(),
        'A' => number(publish.topic_alias.map(u32::from)),
        'E' => number(publish.message_expiry_s),
        'S' => number(publish.subscription_ids.first().copied()),
        'F' => number(properties.and_then(|properties| properties.payload_is_utf8).map(u32::from)),
        'C' => properties.and_then(|properties| properties.content_type.as_deref()).unwrap_or_default().into(),
        'D' => properties.and_then(|properties| properties.correlation_data.as_deref()).unwrap_or_default().into(),
        'R' => {
            let topic = properties.and_then(|properties| properties.response_topic.as_ref());
            topic.map_or("", |topic| topic.as_str()).into()
        }
        'P' => {
            let pairs = properties.map_or(&[][..], |properties| &properties.user);
            let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            pairs.join(" ").into()
        }
        'I' => message.local_time().strftime("%Y-%m-%dT%H:%M:%S%z").to_string().into(),
        'U' => format!("{}.{:09}", message.at.as_second(), message.at.subsec_nanosecond()).into(),
        'j' => message.mosquitto_json().into(),
        'J' => message.mosquitto_json_nested().ok_or(NotJson)?.into(),
        // `FIELDS` lists exactly the letters above.
        _ => Vec::new(),
    })
}

impl Shape {
    fn put(self, letter: char, mut value: Vec<u8>, line: &mut Vec<u8>) {
        if let Some(precision) = self.precision {
            value.truncate(cut(&value, precision));
        }
        let characters = String::from_utf8_lossy(&value).chars().count();
        let padding = self.width.saturating_sub(characters);
        let zero = self.zero && !self.left && NUMBERS.contains(letter);
        if self.left {
            line.extend_from_slice(&value);
            line.resize(line.len() + padding, b' ');
        } else {
            line.resize(line.len() + padding, if zero { b'0' } else { b' ' });
            line.extend_from_slice(&value);
        }
    }
}

/// Where the first `characters` of `value` end; bytes that are no text count one each.
fn cut(value: &[u8], characters: usize) -> usize {
    match std::str::from_utf8(value) {
        Ok(text) => text.char_indices().nth(characters).map_or(text.len(), |(index, _)| index),
        Err(_) => characters.min(value.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{bare, full};

    fn render(format: &str, message: &Received) -> String {
        let mut line = Vec::new();
        Format::parse(format).unwrap().render(message, &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn every_letter_says_what_mosquittos_says() {
        assert_eq!(
            render("%A|%C|%D|%E|%F|%P|%R|%S|%t|%x|%X|%p|%l|%q|%m|%r|%%", &full()),
            "3|text/plain|xyz|60|1|k:v k:w|r/t|7|a/b|686920227822|686920227822|hi \"x\"|6|2|12|1|%"
        );
        assert_eq!(render("%x%X", &bare("t", b"\xab")), "abAB");
    }

    #[test]
    fn what_a_message_has_not_is_empty() {
        assert_eq!(render("[%A%C%D%E%F%P%R%S%p]%m", &bare("t", b"")), "[]0");
    }

    #[test]
    fn times_are_local() {
        let message = bare("t", b"");
        assert_eq!(render("%I", &message), "2026-11-22T16:43:59+0100");
        assert_eq!(render("%U", &message), "1795362239.811668123");
        assert_eq!(render("@Y-@m-@d @H:@M:@S.@N @@", &message), "2026-11-22 16:43:59.811668123 @");
    }

    #[test]
    fn json_letters_hold_the_whole_message() {
        let message = bare("t", b"[1]");
        assert!(render("<%j>", &message).ends_with(r#""payload":"[1]"}>"#));
        assert!(render("<%J>", &message).ends_with(r#""payload":[1]}>"#));
        let format = Format::parse("%J").unwrap();
        assert_eq!(format.render(&bare("t", b"no"), &mut Vec::new()), Err(NotJson));
    }

    #[test]
    fn widths_pad_and_precisions_cut() {
        let message = full();
        assert_eq!(render("%6t|%-6t|%2t|%.2t|%6.2t|%-6.2t", &message), "   a/b|a/b   |a/b|a/|    a/|a/    ");
        assert_eq!(render("%05l|%-05l|%3q|%06t", &message), "00006|6    |  2|   a/b");
        assert_eq!(render("%3p|%.1p", &bare("t", "äö".as_bytes())), " äö|ä");
    }

    #[test]
    fn escapes_are_bytes() {
        let mut line = Vec::new();
        Format::parse(r"\\\0\a\e\n\r\t\v").unwrap().render(&bare("t", b""), &mut line).unwrap();
        assert_eq!(line, b"\\\0\x07\x1b\n\r\t\x0b");
    }

    #[test]
    fn payload_bytes_pass_unchanged() {
        let mut line = Vec::new();
        Format::parse("é%p").unwrap().render(&bare("t", b"\xff\xfe"), &mut line).unwrap();
        assert_eq!(line, b"\xc3\xa9\xff\xfe");
    }

    #[test]
    fn a_wrong_format_is_refused_before_anything_connects() {
        for format in ["%", "%5", "%-", "%.", "%z", "%99999t", "%.3", "@", "\\", "\\q", "@!"] {
            assert!(Format::parse(format).is_err(), "{format}");
        }
    }
}
