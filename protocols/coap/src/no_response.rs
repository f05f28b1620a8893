//! The No-Response option (RFC 7967): which classes of responses a client has no interest in.

use crate::message::{Code, Message, number};
use crate::resources::Response;

/// What a client does not want to hear about one of its requests: bit `class - 1` for each class of responses (§2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NoResponse(u8);

impl NoResponse {
    /// What a request says. A client that begins to observe is interested in notifications, of which the response is the first one;
    /// a value of more than one byte says nothing, as an elective option may.
    pub fn of(request: &Message) -> Self {
        let is_observe = request.options.uint(number::OBSERVE) == Some(0);
        match request.options.get(number::NO_RESPONSE).map(|value| &value[..]) {
            Some([classes]) if !is_observe => Self(*classes),
            _ => Self::default(),
        }
    }

    /// Whether nothing is unwanted.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether this response stays unsaid. What the client has to do something with before its request can be carried out is no
    /// result of it: a challenge (RFC 9175 §2.3), and the word that the next block may come (RFC 7959 §2.9.1).
    pub fn suppresses(self, response: &Response) -> bool {
        let is_step = response.code == Code::CONTINUE || response.options.get(number::ECHO).is_some();
        !is_step && matches!(response.code.class(), 1..=5) && self.0 >> (response.code.class() - 1) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Kind;

    fn of(value: &'static [u8]) -> NoResponse {
        let mut request = Message::new(Kind::NonConfirmable, Code::PUT, 1);
        request.options.add(number::NO_RESPONSE, value);
        NoResponse::of(&request)
    }

    #[test]
    fn classes_are_told_apart() {
        let codes = [Code::CHANGED, Code::NOT_FOUND, Code::SERVICE_UNAVAILABLE];
        for (value, unwanted) in [
            (&b""[..], [false, false, false]),
            (b"\x00", [false, false, false]),
            (b"\x02", [true, false, false]),
            (b"\x08", [false, true, false]),
            (b"\x10", [false, false, true]),
            (b"\x0a", [true, true, false]),
            (b"\x1a", [true, true, true]),
            (b"\xff", [true, true, true]),
            (b"\x00\x02", [false, false, false]),
        ] {
            assert_eq!(codes.map(|code| of(value).suppresses(&Response::new(code))), unwanted, "{value:?}");
        }
        assert!(!of(b"\x1a").suppresses(&Response::new(Code::CONTINUE)));
    }
}
