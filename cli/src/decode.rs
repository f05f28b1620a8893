//! `althing decode`: bytes of a protocol, explained field by field.

mod table;

use crate::arguments::{DecodeArguments, Language, MqttVersion};
use crate::exit::{ExitCode, Failure};
use crate::output::write_stdout;
use althing_core::annotation::{Annotation, Field};
use althing_mqtt::packet::Version;
use serde_json::{Value, json};
use std::io::{IsTerminal, Read};
use table::Style;

/// Prints what the bytes say; a mistake in them makes the exit code.
pub fn run(arguments: &DecodeArguments) -> Result<ExitCode, Failure> {
    let bytes = read(arguments)?;
    if bytes.is_empty() {
        return Err(Failure::usage("there are no bytes to decode: give them in hexadecimal, or with --file"));
    }
    let annotations = annotate(arguments, &bytes)?;
    let text = if arguments.json { json_lines(&annotations, &bytes) } else { tables(&annotations, &bytes) };
    write_stdout(text.as_bytes())?;
    let is_clean = annotations.iter().all(|annotation| annotation.mistake.is_none());
    Ok(if is_clean { ExitCode::Ok } else { ExitCode::Protocol })
}

fn annotate(arguments: &DecodeArguments, bytes: &[u8]) -> Result<Vec<Annotation>, Failure> {
    let version = arguments.version.map(|version| match version {
        MqttVersion::V31 => Version::V31,
        MqttVersion::V311 => Version::V311,
        MqttVersion::V5 => Version::V5,
    });
    if version.is_some() && arguments.protocol != Language::Mqtt {
        return Err(Failure::usage("--version is for MQTT, whose packets differ from version to version"));
    }
    Ok(match arguments.protocol {
        Language::Mqtt => althing_mqtt::annotate::annotate_stream(version, bytes),
        // A datagram is one message.
        Language::Coap => vec![althing_coap::annotate::annotate(bytes)],
        Language::Stomp => althing_stomp::annotate::annotate_stream(bytes),
        Language::Websocket => althing_websocket::annotate::annotate_stream(bytes),
    })
}

/// The bytes of the file, or those that the arguments or stdin write in hexadecimal.
fn read(arguments: &DecodeArguments) -> Result<Vec<u8>, Failure> {
    if let Some(file) = &arguments.file {
        let unreadable = |error| Failure::new(ExitCode::Runtime, format!("{} cannot be read: {error}", file.display()));
        return std::fs::read(file).map_err(unreadable);
    }
    if !arguments.bytes.is_empty() {
        return parse_hex(&arguments.bytes.join(" "));
    }
    let mut text = String::new();
    let unreadable = |error| Failure::new(ExitCode::Runtime, format!("stdin cannot be read as text: {error}"));
    std::io::stdin().lock().read_to_string(&mut text).map_err(unreadable)?;
    parse_hex(&text)
}

/// Bytes in hexadecimal, however they are set apart.
fn parse_hex(text: &str) -> Result<Vec<u8>, Failure> {
    let is_separator = |c: char| c.is_whitespace() || matches!(c, ':' | ',' | '-' | ';');
    let mut bytes = Vec::new();
    for word in text.split(is_separator).filter(|word| !word.is_empty()) {
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
        let digits: Vec<u8> = match digits.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect() {
            Some(digits) => digits,
            None => return Err(Failure::usage(format!("{word:?} is not hexadecimal: for raw bytes there is --file"))),
        };
        match &digits[..] {
            [digit] => bytes.push(*digit),
            digits if digits.len() % 2 == 0 => {
                bytes.extend(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
            }
            _ => return Err(Failure::usage(format!("{word:?} has an odd number of hexadecimal digits"))),
        }
    }
    Ok(bytes)
}

fn tables(annotations: &[Annotation], bytes: &[u8]) -> String {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let style = Style::new(std::io::stdout().is_terminal() && !no_color);
    let mut text = String::new();
    let mut start = 0;
    for annotation in annotations {
        if start > 0 {
            text.push('\n');
        }
        table::write(&mut text, annotation, bytes, start, style);
        start += annotation.length_bytes;
    }
    table::write_specifications(&mut text, annotations, style);
    text
}

/// One object a field, and one for a mistake. Offsets count from the first byte of the input.
fn json_lines(annotations: &[Annotation], bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut start = 0;
    for (index, annotation) in annotations.iter().enumerate() {
        for field in &annotation.fields {
            text.push_str(&format!("{}\n", json_field(index, annotation, field, bytes, start)));
        }
        if let Some(mistake) = &annotation.mistake {
            let object = json!({
                "packet": index,
                "type": annotation.name,
                "version": annotation.version,
                "offset": start + mistake.offset,
                "bytes": hex(&bytes[start..][mistake.range()]),
                "name": mistake.name,
                "mistake": mistake.text,
                "code": mistake.code,
            });
            text.push_str(&format!("{object}\n"));
        }
        start += annotation.length_bytes;
    }
    text
}

fn json_field(index: usize, annotation: &Annotation, field: &Field, bytes: &[u8], start: usize) -> Value {
    json!({
        "packet": index,
        "type": annotation.name,
        "version": annotation.version,
        "offset": start + field.offset,
        "bytes": hex(&bytes[start..][field.range()]),
        "bits": field.bits.map(|bits| [bits.high, bits.low]),
        "name": field.name,
        "value": field.value,
        "section": field.section,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_however_it_is_written() {
        for text in ["30 07 00", "300700", "30:07:00", "0x30, 0x07, 0x0", "0x300700\n", "30\n07\t00", " 30-7-0 "] {
            assert_eq!(parse_hex(text), Ok(vec![0x30, 7, 0]), "{text}");
        }
        for text in ["3g", "300", "0x", "é0"] {
            let result = parse_hex(text);
            assert_eq!(result.as_ref().err().map(|failure| failure.code), (text != "0x").then_some(ExitCode::Usage));
        }
    }
}
