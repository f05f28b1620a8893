//! What became of a request: as a failure, as a line, as JSON.

use super::show::{self, Shown};
use super::uri::Uri;
use crate::exit::{ExitCode, Failure};
use althing_coap::message::{Code, Kind, Message, Options, number};
use bytes::Bytes;
use serde_json::json;

/// A response, or a notification of something observed.
#[derive(Debug)]
pub struct Response {
    pub code: Code,
    pub options: Options,
    pub payload: Bytes,
    /// Whether more may come.
    pub is_observed: bool,
}

impl Response {
    /// An error as a sentence; its payload says why, unless it says no more than the code (§5.5.2).
    pub fn failure(&self) -> Option<Failure> {
        if self.code.is_success() {
            return None;
        }
        let why = String::from_utf8_lossy(&self.payload);
        let why =
            Some(why.trim()).filter(|why| !why.is_empty() && !why.eq_ignore_ascii_case(&show::code_phrase(self.code)));
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        Some(Failure::new(ExitCode::Refused, format!("the server refused with {}{why}", show::code_name(self.code))))
    }

    /// The code and what describes the payload, in one line.
    pub fn summary(&self) -> String {
        let mut message = Message::new(Kind::Acknowledgement, self.code, 0);
        message.options = self.options.clone();
        format!("{} {}", show::code_name(self.code), show::options(&message)).trim_end().to_owned()
    }

    /// The names are part of the interface.
    pub fn json(&self, uri: &Uri) -> serde_json::Value {
        let shown = Shown::new(&self.options, &self.payload);
        let segment = |segment: &Bytes| String::from_utf8_lossy(segment).into_owned();
        let location: Vec<String> = self.options.all(number::LOCATION_PATH).map(segment).collect();
        json!({
            "url": uri.text(),
            "code": self.code.to_string(),
            "name": show::code_phrase(self.code),
            "content_format": self.options.uint(number::CONTENT_FORMAT),
            "max_age_s": self.options.uint(number::MAX_AGE),
            "etag": self.options.get(number::ETAG).map(|etag| show::hexadecimal(etag)),
            "observe": self.options.uint(number::OBSERVE).filter(|_| self.code.is_success()),
            "location": (!location.is_empty()).then(|| format!("/{}", location.join("/"))),
            "payload": shown.text(),
            "payload_b64": shown.base64(),
            "value": shown.value(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_said_once() {
        for (code, payload, expected) in [
            (Code::NOT_FOUND, "Not Found", "the server refused with 4.04 Not Found"),
            (Code::NOT_FOUND, "", "the server refused with 4.04 Not Found"),
            (Code::FORBIDDEN, "not yours\n", "the server refused with 4.03 Forbidden: not yours"),
        ] {
            let response = Response { code, options: Options::default(), payload: payload.into(), is_observed: false };
            assert_eq!(response.failure().unwrap().text, expected);
        }
    }
}
