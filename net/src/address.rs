//! Where a listener listens.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on: `127.0.0.1:1883`, `[::1]:1883`, `*:1883` (everywhere, both families) or
/// `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP; `[::]` takes IPv4 too.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What was written is not an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl Address {
    /// Whether only programs on this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// The TCP port, if there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(AddressError(text.to_owned())) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(port) = text.strip_prefix("*:") {
            let port = port.parse().map_err(|_| AddressError(text.to_owned()))?;
            return Ok(Self::Tcp((Ipv6Addr::UNSPECIFIED, port).into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| AddressError(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an address; write for example 127.0.0.1:1883, [::1]:1883, *:1883 or unix:/path", self.0)
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_again() {
        for (text, shown, local) in [
            ("127.0.0.1:1883", "127.0.0.1:1883", true),
            ("[::1]:0", "[::1]:0", true),
            ("0.0.0.0:1883", "0.0.0.0:1883", false),
            ("*:1883", "[::]:1883", false),
            ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", true),
            ("unix:/run/a", "unix:/run/a", true),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_local()), (shown, local), "{text}");
        }
        for text in ["", "1883", "unix:", "*:", "*:99999", "host"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
