//! One conversation: the client's first message, our challenge, its proof, ours.

use super::{Directory, Keys, Mechanism};
use althing_core::Identity;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::sync::Arc;

/// A conversation in which the client owes its proof.
#[derive(Debug)]
pub struct Exchange {
    keys: Keys,
    /// `None` = the name is not known: no proof is good enough.
    identity: Option<Arc<Identity>>,
    /// What was claimed, for the log.
    name: String,
    /// What the proof's message begins with, but for channel binding.
    gs2_header: String,
    nonce: String,
    /// `client-first-message-bare` and `server-first-message`, with a comma after each.
    messages: String,
}

/// What a step has led to.
#[derive(Debug)]
pub enum Step {
    /// It is who it says; the data is our own proof.
    Proven(Arc<Identity>, String),
    /// It is not. For the log: who it said it is, or what was wrong.
    Failed(String),
}

/// Longer messages are none: names and nonces are short.
const MESSAGE_BYTES_MAX: usize = 2_048;
const NONCE_LENGTH: usize = 18;

impl Exchange {
    /// Takes the `client-first-message`, and gives the `server-first-message`.
    ///
    /// # Errors
    /// When it is malformed, or asks for what is not done here.
    pub fn begin(directory: &Directory, mechanism: Mechanism, data: &[u8]) -> Result<(Self, String), String> {
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).map_err(|error| format!("the system gives no randomness: {error}"))?;
        Self::begin_with(directory, mechanism, data, &URL_SAFE_NO_PAD.encode(nonce))
    }

    /// RFC 5802 §7: `gs2-header client-first-message-bare`.
    fn begin_with(
        directory: &Directory,
        mechanism: Mechanism,
        data: &[u8],
        our_nonce: &str,
    ) -> Result<(Self, String), String> {
        let text = text(data)?;
        let mut parts = text.splitn(3, ',');
        let (binding, authorisation, bare) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        match binding {
            Some("n" | "y") => {}
            Some(binding) if binding.starts_with("p=") => return Err("channel binding is not done here".into()),
            _ => return Err("the first message does not begin with a GS2 header".into()),
        }
        let mut attributes = bare.split(',');
        let name = attributes.next().and_then(|name| name.strip_prefix("n=")).and_then(unescaped);
        let name = name.ok_or("the first message has no user name")?;
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).filter(|nonce| !nonce.is_empty());
        let nonce = nonce.ok_or("the first message has no nonce")?;
        let other = authorisation.filter(|it| !it.is_empty()).map(|it| it.strip_prefix("a=").and_then(unescaped));
        if other.is_some_and(|other| other.as_ref() != Some(&name)) {
            return Err("nobody may act as somebody else here".into());
        }
        let (keys, identity) = directory.keys(mechanism, &name);
        let nonce = format!("{nonce}{our_nonce}");
        let challenge = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        let gs2_header = text[..text.len() - bare.len()].to_owned();
        let messages = format!("{bare},{challenge},");
        Ok((Self { keys, identity, name, gs2_header, nonce, messages }, challenge))
    }

    /// Takes the `client-final-message`, and gives the `server-final-message`.
    pub fn finish(self, data: &[u8]) -> Step {
        let Some((without_proof, proof)) = text(data).ok().and_then(|text| text.rsplit_once(",p=")) else {
            return Step::Failed(format!("the last message for {:?} has no proof", self.name));
        };
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|binding| binding.strip_prefix("c="));
        if binding != Some(&STANDARD.encode(&self.gs2_header)) {
            return Step::Failed(format!(
                "the last message for {:?} begins with another header than the first",
                self.name
            ));
        }
        if attributes.next().and_then(|nonce| nonce.strip_prefix("r=")) != Some(&self.nonce) {
            return Step::Failed(format!("the last message for {:?} has another nonce than ours", self.name));
        }
        let message = format!("{}{without_proof}", self.messages);
        let ours = STANDARD.decode(proof).ok().and_then(|proof| self.keys.check(message.as_bytes(), &proof));
        match (ours, self.identity) {
            (Some(ours), Some(identity)) => Step::Proven(identity, format!("v={}", STANDARD.encode(ours))),
            (_, Some(_)) => Step::Failed(format!("the proof of {:?} is wrong", self.name)),
            (_, None) => Step::Failed(format!("no user {:?} can prove itself by SCRAM", self.name)),
        }
    }
}

fn text(data: &[u8]) -> Result<&str, String> {
    if data.len() > MESSAGE_BYTES_MAX {
        return Err(format!("a message ends at {MESSAGE_BYTES_MAX} bytes"));
    }
    std::str::from_utf8(data).map_err(|_| "a message is not UTF-8".into())
}

/// A `saslname`: commas and equals signs are written `=2C` and `=3D`.
fn unescaped(name: &str) -> Option<String> {
    let mut pieces = name.split('=');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        let rest = match piece.strip_prefix("2C") {
            Some(rest) => {
                text.push(',');
                rest
            }
            None => {
                let rest = piece.strip_prefix("3D")?;
                text.push('=');
                rest
            }
        };
        text.push_str(rest);
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const OUR_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const LAST: &str =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    /// `user` with the password `pencil` and the salt of RFC 7677 §3.
    fn directory() -> Directory {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = Keys::new(Mechanism::Sha256, b"pencil", salt, 4_096);
        let mut directory = Directory::default();
        directory.known.insert((Mechanism::Sha256, "user".into()), (keys, Arc::new(Identity::named("user"))));
        directory
    }

    fn begin(first: &[u8]) -> Result<(Exchange, String), String> {
        Exchange::begin_with(&directory(), Mechanism::Sha256, first, OUR_NONCE)
    }

    /// RFC 7677 §3.
    #[test]
    fn the_example_of_the_specification_goes_through() {
        let (exchange, challenge) = begin(FIRST).unwrap();
        assert_eq!(challenge, CHALLENGE);
        let Step::Proven(identity, ours) = exchange.finish(LAST.as_bytes()) else { panic!("it is the right proof") };
        assert_eq!(identity.name.as_deref(), Some("user"));
        assert_eq!(ours, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn any_other_last_message_fails() {
        let replaced = |from: &str, to: &str| LAST.replacen(from, to, 1);
        for last in [
            replaced("p=d", "p=e"),
            replaced("biws", "eSws"),
            replaced("k0,p", "k1,p"),
            replaced(",p=", ",x=1,p="),
            replaced("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "p="),
            replaced("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "p=****"),
            String::new(),
            "x".repeat(MESSAGE_BYTES_MAX + 1),
        ] {
            let (exchange, _) = begin(FIRST).unwrap();
            assert!(matches!(exchange.finish(last.as_bytes()), Step::Failed(_)), "{last}");
        }
    }

    #[test]
    fn an_unknown_user_gets_a_challenge_and_no_proof_is_good_enough() {
        let (exchange, challenge) = begin(b"n,,n=eve,r=abc").unwrap();
        assert!(challenge.starts_with("r=abc"), "{challenge}");
        let Step::Failed(why) = exchange.finish(LAST.as_bytes()) else { panic!("nobody knows that password") };
        assert!(why.contains("\"eve\""), "{why}");
    }

    #[test]
    fn a_first_message_that_is_none_is_refused() {
        for (first, expected) in [
            (&b"p=tls-exporter,,n=user,r=a"[..], "channel binding"),
            (b"n=user,r=a", "GS2 header"),
            (b"n,,m=x,n=user,r=a", "no user name"),
            (b"n,,n=,r=a", "no user name"),
            (b"n,,n=us=er,r=a", "no user name"),
            (b"n,,n=user", "no nonce"),
            (b"n,,n=user,r=", "no nonce"),
            (b"n,a=root,n=user,r=a", "somebody else"),
            (b"n,,n=\xff,r=a", "UTF-8"),
            (b"", "GS2 header"),
        ] {
            let error = begin(first).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(begin(b"y,a=user,n=user,r=a").is_ok());
        assert_eq!(unescaped("a=2Cb=3Dc").as_deref(), Some("a,b=c"));
    }
}
