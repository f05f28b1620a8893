//! The options of a request, from the URL and from the command line.

use super::arguments::RequestArguments;
use super::uri::Uri;
use crate::exit::Failure;
use althing_coap::format;
use althing_coap::message::{Options, number};

/// Short names of content formats besides their media types.
const SHORT_NAMES: [(&str, u16); 8] = [
    ("text", 0),
    ("link-format", 40),
    ("links", 40),
    ("xml", 41),
    ("octet-stream", 42),
    ("json", 50),
    ("cbor", 60),
    ("senml", 110),
];

/// Options whose values are numbers (§5.10; RFC 7641, 7959, 7967, 8768).
const NUMBERS: [u16; 11] = [6, 7, 12, 14, 16, 17, 23, 27, 28, 60, 258];

/// Everything that a request carries besides its payload; errors are usage errors.
pub fn of_request(uri: &Uri, arguments: &RequestArguments) -> Result<Options, Failure> {
    let mut options = Options::default();
    uri.add_to(&mut options);
    for (option, name) in [(number::CONTENT_FORMAT, &arguments.content_format), (number::ACCEPT, &arguments.accept)] {
        if let Some(name) = name {
            options.add_uint(option, u32::from(content_format(name)?));
        }
    }
    for text in &arguments.options {
        let (option, value) = parse(text)?;
        options.add(option, value);
    }
    Ok(options)
}

/// A content format by number, media type or short name.
fn content_format(name: &str) -> Result<u16, Failure> {
    let short = SHORT_NAMES.iter().find(|(short, _)| *short == name).map(|(_, number)| *number);
    name.parse().ok().or(short).or_else(|| format::content_format(name)).ok_or_else(|| {
        Failure::usage(format!(
            "{name} is no content format that is known here: write its number, as 50 for application/json"
        ))
    })
}

/// `NUMBER` or `NUMBER,VALUE`.
fn parse(text: &str) -> Result<(u16, Vec<u8>), Failure> {
    let wrong =
        |why: &str| Failure::usage(format!("-O {text}: {why}: write NUMBER,VALUE, as 14,60 or 2048,text or 2048,0x6a"));
    let (option, value) = text.split_once(',').unwrap_or((text, ""));
    let option: u16 = option.parse().map_err(|_| wrong("an option has a number from 0 to 65535"))?;
    let value = match value.strip_prefix("0x") {
        Some(digits) => parse_hexadecimal(digits).ok_or_else(|| wrong("that is not hexadecimal"))?,
        None if NUMBERS.contains(&option) && !value.is_empty() => {
            let value: u32 = value.parse().map_err(|_| wrong("this option is a number"))?;
            let bytes = value.to_be_bytes();
            let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
            bytes[start..].to_vec()
        }
        None => value.as_bytes().to_vec(),
    };
    Ok((option, value))
}

/// Pairs of hexadecimal digits.
pub fn parse_hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        digits.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_text_bytes_or_numbers() {
        for (text, expected) in [
            ("14,60", (14, vec![60])),
            ("14,0", (14, vec![])),
            ("5", (5, vec![])),
            ("2048,ab", (2048, b"ab".to_vec())),
            ("4,0x0aFF", (4, vec![10, 255])),
            ("258,26", (258, vec![26])),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in ["x,1", "70000", "14,x", "4,0xabc", "4,0xzz"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn formats_have_numbers_and_names() {
        for (name, expected) in [("50", 50), ("json", 50), ("application/json", 50), ("cbor", 60), ("606", 606)] {
            assert_eq!(content_format(name), Ok(expected), "{name}");
        }
        assert!(content_format("picture").is_err());
    }
}
