//! The administrator's token: made at the first start and shown once; only its hash is kept.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use subtle::ConstantTimeEq;

/// The file in the data directory.
pub const TOKEN_FILE: &str = "admin-token";

/// Bytes of a token, and of whatever else must not be guessed.
const SECRET_BYTES: usize = 32;

/// What proves an administrator. We know only the hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    hash: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The token of this data directory. When there is none yet one is made, and its text is returned for the only time.
    ///
    /// # Errors
    /// When the file can be neither read nor written, or holds no hash.
    pub fn of(directory: &Path) -> io::Result<(Self, Option<String>)> {
        let path = directory.join(TOKEN_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let why =
                    || format!("{} holds no hash: remove it, and the next start makes a new token", path.display());
                let hash = from_hex(text.trim()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, why()))?;
                Ok((Self { hash }, None))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (token, text) = Self::random()?;
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                file.write_all(format!("{}\n", to_hex(&token.hash)).as_bytes())?;
                file.sync_all()?;
                Ok((token, Some(text)))
            }
            Err(error) => Err(error),
        }
    }

    /// One that ends with this process, and its text.
    ///
    /// # Errors
    /// When the system has no randomness for us.
    pub fn random() -> io::Result<(Self, String)> {
        let text = secret()?;
        Ok((Self { hash: hash(&text) }, text))
    }

    /// Whether this is the token; takes as long for a wrong one as for the right one.
    pub fn is(&self, text: &str) -> bool {
        self.hash.ct_eq(&hash(text)).into()
    }
}

/// A text that nobody guesses, of 256 random bits.
pub fn secret() -> io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a secret.
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, place) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[place..place + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_shown_once_and_kept_as_a_hash() {
        let directory = std::env::temp_dir().join(format!("althing-token-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (token, text) = Token::of(&directory).unwrap();
        let text = text.unwrap();
        let path = directory.join(TOKEN_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).unwrap().contains(&text));
        let (again, shown) = Token::of(&directory).unwrap();
        assert_eq!((again.is(&text), shown), (true, None));
        assert!(token.is(&text) && !token.is("") && !token.is(&text[1..]));
        fs::write(&path, "nonsense").unwrap();
        assert!(Token::of(&directory).unwrap_err().to_string().contains("remove it"));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn tokens_have_256_bits_and_differ() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert_eq!(URL_SAFE_NO_PAD.decode(&one).unwrap().len(), SECRET_BYTES);
        assert_ne!(one, other);
    }
}
