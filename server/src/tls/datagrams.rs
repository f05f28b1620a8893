//! What DTLS listeners show and accept: a certificate as the others, and keys that are shared with devices.

use super::{CertificateRole, CertificateStatus, Reading, TlsError, certificate, files::Chain};
use crate::config::{ClientCertificate, DatagramSettings, TlsSettings};
use crate::identity::users::too_open;
use althing_net::{DtlsAcceptor, DtlsSettings, DtlsTerms, KeyPair, SharedKeys};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What was read for one DTLS listener.
#[derive(Debug)]
pub(super) struct LoadedDtls {
    pub terms: DtlsTerms,
    pub digest: [u8; 32],
    pub certificates: Vec<CertificateStatus>,
}

/// What a DTLS listener speaks now, and from what it was made.
#[derive(Debug)]
pub(super) struct DtlsStore {
    pub acceptor: Arc<DtlsAcceptor>,
    pub digest: [u8; 32],
    pub certificates: Vec<CertificateStatus>,
}

impl LoadedDtls {
    pub fn read(
        listener: &'static str,
        settings: &TlsSettings,
        datagrams: &DatagramSettings,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut reading = Reading { listener, digest: Sha256::new(), certificates: Vec::new() };
        reading.digest.update(format!("{settings:?}"));
        let mut certificate = None;
        if let Some(pair) = settings.certificates.first() {
            let chain = Chain::read(&pair.certificate, &pair.key, &provider)?;
            reading.digest.update(&chain.text);
            certificate = usable(listener, &chain, &pair.key)?;
            if certificate.is_some() {
                reading.tell(&pair.certificate, CertificateRole::Server, chain.facts);
            }
        }
        let shared_keys = match &datagrams.psk_file {
            Some(file) => read_keys(file, &mut reading.digest)?,
            None => SharedKeys::new(),
        };
        // Asking for a certificate means refusing whoever has none: the library knows nothing between.
        let client_verifier = match settings.client_certificate {
            ClientCertificate::Required => reading.client_verifier(settings, &provider)?,
            _ => None,
        };
        let terms = DtlsTerms::new(DtlsSettings {
            shared_keys,
            certificate,
            client_verifier,
            describe: |der| Ok(certificate::read(der)?.certificate),
            handshake_timeout: Duration::from_millis(settings.handshake_timeout_ms.max(1)),
            idle: Duration::from_secs(datagrams.idle_s.into()),
            sessions_max: datagrams.sessions_max,
        })
        .map_err(|error| TlsError(format!("DTLS at {listener} cannot be spoken like this: {error}")))?;
        Ok(Self { terms, digest: reading.digest.finalize().into(), certificates: reading.certificates })
    }

    /// Who comes in with a key of its own.
    pub fn shared_key_names(&self) -> impl Iterator<Item = &str> {
        self.terms.shared_key_names()
    }
}

/// The certificate with its key; `None`, with a warning, where the library can do nothing with it.
fn usable(listener: &str, chain: &Chain, key: &Path) -> Result<Option<KeyPair>, TlsError> {
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| TlsError(format!("{} cannot be read as PEM: {error}", key.display())))?;
    let pair = KeyPair { certificate: chain.key.cert[0].to_vec(), private_key: private.secret_der().to_vec() };
    if pair.is_usable() {
        return Ok(Some(pair));
    }
    tracing::warn!(
        "{} is not shown at {listener}: DTLS takes keys of type ECDSA on P-256 or P-384 only",
        key.display()
    );
    Ok(None)
}

/// Lines `IDENTITY:KEY`, the key in hexadecimal digits, as mosquitto's `psk_file` has them; `#` begins a comment.
fn read_keys(file: &Path, digest: &mut Sha256) -> Result<SharedKeys, TlsError> {
    let name = file.display();
    let text = fs::read_to_string(file).map_err(|error| {
        TlsError(format!("{name}, coap.psk_file, cannot be read: {error}; correct the path or its rights"))
    })?;
    // Unlike passwords these are not hashed: whoever reads them is the device.
    if let Some(mistake) = too_open(file) {
        return Err(TlsError(mistake));
    }
    digest.update(&text);
    let mut keys = SharedKeys::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line.rsplit_once(':').filter(|(identity, _)| !identity.is_empty());
        let key = pair.and_then(|(_, key)| from_hex(key)).filter(|key| !key.is_empty());
        let (Some((identity, _)), Some(key)) = (pair, key) else {
            return Err(TlsError(format!(
                "{name}, line {number}, is no identity with its key: write IDENTITY:HEXDIGITS"
            )));
        };
        if keys.insert(identity.as_bytes().to_vec(), key).is_some() {
            return Err(TlsError(format!("{name}, line {number}, names {identity} once more: leave one of the two")));
        }
    }
    Ok(keys)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|it| it.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_read_and_mistakes_named_by_their_line() {
        let file = std::env::temp_dir().join(format!("althing-psk-{}", std::process::id()));
        let read = |text: &str| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            read_keys(&file, &mut Sha256::new()).map_err(|error| error.to_string())
        };
        let keys = read("# devices\n\nsensor:0aFF\na:b:01\n").unwrap();
        assert_eq!((keys[&b"sensor"[..]].as_slice(), keys[&b"a:b"[..]].as_slice()), (&[10, 255][..], &[1][..]));
        for wrong in ["sensor", "sensor:", ":00", "sensor:0", "sensor:xy"] {
            assert!(read(&format!("ok:00\n{wrong}\n")).unwrap_err().contains("line 2"), "{wrong}");
        }
        assert!(read("one:00\none:01").unwrap_err().contains("once more"));
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let error = read_keys(&file, &mut Sha256::new()).unwrap_err().to_string();
        assert!(error.contains("may be read or written by others (mode 640): chmod 600"), "{error}");
        fs::remove_file(file).unwrap();
    }
}
