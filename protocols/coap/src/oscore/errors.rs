//! What may go wrong, and what the other end hears of it (§8.2, §8.4).

use crate::message::{Code, number};
use crate::resources::Response;
use std::fmt;

/// Why a protected request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The option or the plaintext cannot be read.
    Undecodable,
    /// Nobody is known by its kid and kid context.
    UnknownContext,
    /// It has been received before, or is too old to know.
    Replayed,
    /// Another key, another message, or changed on the way.
    Undecipherable,
}

impl RequestError {
    /// The unprotected response, in the words of §8.2.
    pub fn response(self) -> Response {
        let mut response = match self {
            Self::Undecodable => Response::error(Code::BAD_OPTION, "Failed to decode COSE"),
            Self::UnknownContext => Response::error(Code::UNAUTHORIZED, "Security context not found"),
            Self::Replayed => Response::error(Code::UNAUTHORIZED, "Replay detected"),
            Self::Undecipherable => Response::error(Code::BAD_REQUEST, "Decryption failed"),
        };
        // Nobody on the way may keep it for others (§8.2).
        response.options.add_uint(number::MAX_AGE, 0);
        response
    }
}

/// Why a protected response is not taken: it is no response (§8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// It says that it is not protected: whoever wrote it has not proven anything.
    Unprotected,
    /// The option or the plaintext cannot be read.
    Undecodable,
    /// A notification that is not newer than one before it, or a second response without a number (§7.4.1).
    Replayed,
    /// Another key, another request, or changed on the way.
    Undecipherable,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unprotected => "the response is not protected by OSCORE",
            Self::Undecodable => "the response's OSCORE option or plaintext cannot be read",
            Self::Replayed => "the response has been received before",
            Self::Undecipherable => "the response is not protected by this context, for this request",
        })
    }
}

impl std::error::Error for ResponseError {}

/// There is no sequence number to send something with: none is reserved, or all are used (§7.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no sequence number of the OSCORE context is free")
    }
}

impl std::error::Error for Exhausted {}
