//! `Sec-WebSocket-Extensions` and other lists of the handshake (§9.1).

use std::fmt;

/// One extension with its parameters, as offered or accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// As it is registered.
    pub name: String,
    /// In order; some have no value.
    pub parameters: Vec<(String, Option<String>)>,
}

impl Extension {
    /// The extensions in one header; `None` when it is not a list of them.
    pub fn parse_list(text: &str) -> Option<Vec<Self>> {
        let mut rest = Cursor(text);
        let mut extensions = Vec::new();
        loop {
            // RFC 7230 §7 allows empty elements.
            while rest.take(',') {}
            if rest.is_empty() {
                return Some(extensions);
            }
            let mut extension = Self { name: rest.token()?, parameters: Vec::new() };
            while rest.take(';') {
                let name = rest.token()?;
                let value = if rest.take('=') { Some(rest.value()?) } else { None };
                extension.parameters.push((name, value));
            }
            extensions.push(extension);
            if !rest.is_empty() && !rest.take(',') {
                return None;
            }
        }
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (name, value) in &self.parameters {
            write!(f, "; {name}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

/// Whether it is a token (RFC 7230 §3.2.6).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What is left of a header; spaces between its parts mean nothing.
struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn is_empty(&mut self) -> bool {
        self.skip_spaces();
        self.0.is_empty()
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_spaces();
        let rest = self.0.strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn token(&mut self) -> Option<String> {
        self.skip_spaces();
        let end = self.0.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then(|| token.to_owned())
    }

    /// A token, in quotes or not; what the quotes hold has to be one too (§9.1).
    fn value(&mut self) -> Option<String> {
        if !self.take('"') {
            return self.token();
        }
        let mut value = String::new();
        let mut rest = self.0.chars();
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => value.push(rest.next()?),
                other => value.push(other),
            }
        }
        self.0 = rest.as_str();
        is_token(&value).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_printed() {
        for (text, printed) in [
            ("", ""),
            ("a", "a"),
            (" a ;b ; c = 1 ,, d;e=\"f\\g\" ", "a; b; c=1, d; e=fg"),
            ("permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits"),
        ] {
            let list = Extension::parse_list(text).unwrap();
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            assert_eq!(list.join(", "), printed, "{text}");
        }
        for text in [";", "a b", "a;", "a;b=", "a;=1", "a;b=\"c", "a;b=\"\"", "a;b=\"c d\"", "ä", "a,\u{0}"] {
            assert_eq!(Extension::parse_list(text), None, "{text}");
        }
    }
}
