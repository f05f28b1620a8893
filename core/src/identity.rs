//! Who somebody is, once it has been proven.

use crate::authorisation::Rule;
use bytestring::ByteString;

/// Who somebody is: what an identity provider vouches for.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The proven name; `None` = anonymous.
    pub name: Option<ByteString>,
    /// Groups that the provider says it is in; the policy may know more.
    pub groups: Vec<ByteString>,
    /// Rules that came with the proof (claims of a token). They are asked before those of the policy.
    pub rules: Vec<Rule>,
    /// When the proof ends, on the wall clock in milliseconds: the connection ends with it.
    pub expires_wall_ms: Option<u64>,
}

impl Identity {
    /// Somebody with a proven name and nothing else.
    pub fn named(name: impl Into<ByteString>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }
}
