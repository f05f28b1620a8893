//! Who somebody says to be, in the headers of a request (RFC 9110 §11.6.2).

use althing_core::verbs::Connect;
use althing_http::{PROTOCOL, Problem};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use bytestring::ByteString;
use http::{HeaderMap, StatusCode, header};

/// A name and a password (`Basic`, RFC 7617), a token (`Bearer`, RFC 6750), or nothing; a certificate speaks for itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// A user name, when one was given.
    pub username: Option<ByteString>,
    /// A password or a token, when one was given.
    pub password: Option<Bytes>,
}

/// Some leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Credentials {
    /// What the headers say.
    ///
    /// # Errors
    /// When they say something that is neither.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(Self::default()) };
        let text = value.to_str().ok().filter(|_| values.next().is_none());
        let parts = text.and_then(|text| text.trim().split_once(' '));
        match parts.map(|(scheme, rest)| (scheme, rest.trim())) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
                Ok(Self { username: None, password: Some(Bytes::copy_from_slice(token.as_bytes())) })
            }
            Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => Self::basic(encoded)
                .ok_or_else(|| wrong("`Basic` is followed by the Base64 of `name:password`, in UTF-8")),
            _ => Err(wrong("`Authorization` is `Basic …` or `Bearer …`, given once")),
        }
    }

    fn basic(encoded: &str) -> Option<Self> {
        let decoded = Bytes::from(BASE64.decode(encoded).ok()?);
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let username = ByteString::try_from(decoded.slice(..colon)).ok()?;
        Some(Self { username: Some(username), password: Some(decoded.slice(colon + 1..)) })
    }

    /// A session that ends with its guest, for whoever this is.
    pub fn into_connect(self) -> Connect {
        Connect { username: self.username, password: self.password, ..Connect::new(PROTOCOL.name) }
    }
}

fn wrong(detail: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({:?})", self.username)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(value: &'static str) -> Result<(Option<String>, Option<Bytes>), StatusCode> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        let credentials = Credentials::of(&headers).map_err(|problem| problem.status)?;
        Ok((credentials.username.map(|name| name.to_string()), credentials.password))
    }

    #[test]
    fn names_passwords_and_tokens_are_read() {
        let ann = || Ok((Some("ann".to_owned()), Some(Bytes::from_static(b"se:cret"))));
        assert_eq!(of("Basic YW5uOnNlOmNyZXQ="), ann());
        assert_eq!(of("basic  YW5uOnNlOmNyZXQ"), ann());
        assert_eq!(of("Bearer a.b.c"), Ok((None, Some(Bytes::from_static(b"a.b.c")))));
        assert_eq!(Credentials::of(&HeaderMap::new()).unwrap(), Credentials::default());
    }

    #[test]
    fn what_cannot_be_read_proves_nothing() {
        for value in ["", "Basic", "Basic !", "Basic YW5u", "Bearer ", "Digest x", "Basic /zo="] {
            assert_eq!(of(value), Err(StatusCode::UNAUTHORIZED), "{value}");
        }
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert!(Credentials::of(&headers).is_err());
    }
}
