//! What the two ends of a reliable connection say about the connection itself (RFC 8323 §5). Both ends say the same things, so
//! that this serves client and server.

use crate::message::{Code, Kind, Message, Options, Token, number};
use bytes::Bytes;
use std::borrow::Cow;

/// Option numbers of signalling messages: each code has its own (RFC 8323 §5.2).
mod option {
    pub const CSM_MAX_MESSAGE_SIZE: u16 = 2;
    pub const CSM_BLOCK_WISE_TRANSFER: u16 = 4;
    pub const PING_CUSTODY: u16 = 2;
    pub const RELEASE_ALTERNATIVE_ADDRESS: u16 = 2;
    pub const RELEASE_HOLD_OFF: u16 = 4;
    pub const ABORT_BAD_CSM_OPTION: u16 = 2;
}

/// The largest message that everyone takes, and the largest that one takes who has said nothing (RFC 8323 §5.3.1).
pub const MESSAGE_BYTES_BASE: usize = 1_152;

/// A signalling message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Capabilities and Settings: the first message of either end.
    Csm(Csm),
    /// Are you there?
    Ping(Custody),
    /// I am.
    Pong(Custody),
    /// Let us end this: the other end closes when it has done its part.
    Release {
        /// Where to connect instead.
        alternative_addresses: Vec<Bytes>,
        /// How long not to come back.
        hold_off_s: Option<u32>,
        /// A sentence for people.
        text: Bytes,
    },
    /// This has ended.
    Abort {
        /// The option of the CSM that cannot be dealt with.
        bad_csm_option: Option<u16>,
        /// A sentence for people.
        text: Bytes,
    },
}

/// What a CSM says; what it leaves out stays as it was (RFC 8323 §5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Csm {
    /// Max-Message-Size: the largest message that its sender takes.
    pub message_bytes_max: Option<u32>,
    /// Whether its sender knows block-wise transfer, and with a large enough message size BERT.
    pub block_wise_transfer: bool,
}

/// What ties a Pong to its Ping, and what both say of what came before (RFC 8323 §5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Custody {
    /// Of the Ping's sender's choice.
    pub token: Token,
    /// In a Ping: say it when everything before this has been seen to. In a Pong: it has.
    pub has_custody: bool,
}

/// A signalling message that cannot be dealt with: the connection is aborted (RFC 8323 §5.2, §5.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalError {
    /// The option that Abort names, where it is one of a CSM.
    pub bad_csm_option: Option<u16>,
    /// A sentence for people.
    pub text: Cow<'static, str>,
}

impl Signal {
    /// What a message with a code of class 7 says. `None` for codes that nobody has given a meaning to: they are passed over.
    ///
    /// # Errors
    /// When it has a critical option, all of which are unknown here, or one of a CSM that makes no sense.
    pub fn read(message: &Message) -> Result<Option<Self>, SignalError> {
        let Message { code, token, options, payload, .. } = message;
        if let Some((number, _)) = options.iter().find(|(number, _)| number::is_critical(*number)) {
            return Err(SignalError {
                bad_csm_option: (*code == Code::CSM).then_some(*number),
                text: format!("the critical option {number} of a {code} message is not known here").into(),
            });
        }
        let has_custody = options.get(option::PING_CUSTODY).is_some();
        Ok(Some(match *code {
            Code::CSM => Self::Csm(Csm::read(options)?),
            Code::PING => Self::Ping(Custody { token: *token, has_custody }),
            Code::PONG => Self::Pong(Custody { token: *token, has_custody }),
            Code::RELEASE => Self::Release {
                alternative_addresses: options.all(option::RELEASE_ALTERNATIVE_ADDRESS).cloned().collect(),
                hold_off_s: options.uint(option::RELEASE_HOLD_OFF),
                text: payload.clone(),
            },
            Code::ABORT => Self::Abort {
                bad_csm_option: options.uint(option::ABORT_BAD_CSM_OPTION).map(|number| number as u16),
                text: payload.clone(),
            },
            _ => return Ok(None),
        }))
    }

    /// As a message.
    pub fn message(&self) -> Message {
        let signal = |code| Message::new(Kind::Confirmable, code, 0);
        match self {
            Self::Csm(csm) => csm.message(),
            Self::Ping(custody) => custody.message(Code::PING),
            Self::Pong(custody) => custody.message(Code::PONG),
            Self::Release { alternative_addresses, hold_off_s, text } => {
                let mut message = signal(Code::RELEASE);
                for address in alternative_addresses {
                    message.options.add(option::RELEASE_ALTERNATIVE_ADDRESS, address.clone());
                }
                if let Some(hold_off_s) = hold_off_s {
                    message.options.add_uint(option::RELEASE_HOLD_OFF, *hold_off_s);
                }
                message.payload = text.clone();
                message
            }
            Self::Abort { bad_csm_option, text } => {
                let mut message = signal(Code::ABORT);
                if let Some(number) = bad_csm_option {
                    message.options.add_uint(option::ABORT_BAD_CSM_OPTION, u32::from(*number));
                }
                message.payload = text.clone();
                message
            }
        }
    }
}

impl Csm {
    fn read(options: &Options) -> Result<Self, SignalError> {
        let message_bytes_max = match options.get(option::CSM_MAX_MESSAGE_SIZE) {
            None => None,
            Some(value) => Some(crate::message::read_uint(value).ok_or_else(|| SignalError {
                bad_csm_option: Some(option::CSM_MAX_MESSAGE_SIZE),
                text: "Max-Message-Size has four bytes at most (RFC 8323 §5.3.1)".into(),
            })?),
        };
        let block_wise_transfer = options.get(option::CSM_BLOCK_WISE_TRANSFER).is_some();
        Ok(Self { message_bytes_max, block_wise_transfer })
    }

    fn message(self) -> Message {
        let mut message = Message::new(Kind::Confirmable, Code::CSM, 0);
        if let Some(bytes) = self.message_bytes_max {
            message.options.add_uint(option::CSM_MAX_MESSAGE_SIZE, bytes);
        }
        if self.block_wise_transfer {
            message.options.add(option::CSM_BLOCK_WISE_TRANSFER, Bytes::new());
        }
        message
    }
}

impl Custody {
    fn message(self, code: Code) -> Message {
        let mut message = Message { token: self.token, ..Message::new(Kind::Confirmable, code, 0) };
        if self.has_custody {
            message.options.add(option::PING_CUSTODY, Bytes::new());
        }
        message
    }
}

/// What the other end of a connection takes, as its CSMs have said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The largest message.
    pub message_bytes_max: usize,
    /// Whether it knows block-wise transfer.
    pub block_wise_transfer: bool,
}

impl Default for Capabilities {
    /// Of one who has said nothing.
    fn default() -> Self {
        Self { message_bytes_max: MESSAGE_BYTES_BASE, block_wise_transfer: false }
    }
}

impl Capabilities {
    /// One more CSM.
    pub fn update(&mut self, csm: Csm) {
        if let Some(bytes) = csm.message_bytes_max {
            self.message_bytes_max = bytes as usize;
        }
        self.block_wise_transfer |= csm.block_wise_transfer;
    }

    /// Whether it takes several blocks in one message (BERT, RFC 8323 §5.3.2, §6).
    pub fn has_bert(&self) -> bool {
        self.block_wise_transfer && self.message_bytes_max > MESSAGE_BYTES_BASE
    }
}
