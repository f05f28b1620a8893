//! Who somebody is by its client certificate, which TLS has verified.

use super::config::{CertificateConfig, CertificateName};
use althing_core::link::Certificate;
use althing_core::{Identity, Link};
use std::borrow::Cow;

/// The owner of the certificate; the error says what the certificate lacks. `None` when there is none, or none is asked for.
pub fn identity(config: &CertificateConfig, link: &Link) -> Option<Result<Identity, String>> {
    let certificate = link.tls.as_ref()?.certificate.as_ref()?;
    if !config.enabled {
        return None;
    }
    let named = name(certificate, config.name).filter(|name| !name.is_empty());
    Some(named.map(|name| proven(&name, certificate)).ok_or_else(|| {
        format!(
            "the certificate of {:?} has no part of the kind that identity.certificate.name wants",
            certificate.subject
        )
    }))
}

fn name(certificate: &Certificate, kind: CertificateName) -> Option<Cow<'_, str>> {
    let text = match kind {
        CertificateName::CommonName => certificate.common_name.as_ref()?,
        CertificateName::Subject => &certificate.subject,
        CertificateName::DnsName => certificate.dns_names.first()?,
        CertificateName::Uri => certificate.uris.first()?,
        CertificateName::Email => certificate.emails.first()?,
        CertificateName::Fingerprint => {
            return Some(certificate.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    };
    Some(text.into())
}

/// The proof ends with the certificate.
fn proven(name: &str, certificate: &Certificate) -> Identity {
    let expires_wall_ms = u64::try_from(certificate.not_after_s).unwrap_or(0).saturating_mul(1_000);
    Identity { expires_wall_ms: Some(expires_wall_ms), ..Identity::named(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::link::Tls;
    use std::sync::Arc;

    fn link(certificate: Option<Certificate>) -> Link {
        Link { tls: Some(Arc::new(Tls { certificate, ..Tls::default() })), ..Link::default() }
    }

    #[test]
    fn the_configured_part_is_the_name() {
        let certificate = Certificate {
            common_name: Some("sensor".into()),
            subject: "CN=sensor,O=Plant".into(),
            dns_names: vec!["sensor.example".into(), "other.example".into()],
            uris: vec!["urn:dev:1".into()],
            emails: vec!["sensor@example".into()],
            fingerprint: [7; 32],
            not_after_s: 2_000_000_000,
        };
        let link = link(Some(certificate));
        for (name, expected) in [
            (CertificateName::CommonName, "sensor"),
            (CertificateName::Subject, "CN=sensor,O=Plant"),
            (CertificateName::DnsName, "sensor.example"),
            (CertificateName::Uri, "urn:dev:1"),
            (CertificateName::Email, "sensor@example"),
            (CertificateName::Fingerprint, &"07".repeat(32)),
        ] {
            let identity = identity(&CertificateConfig { enabled: true, name }, &link).unwrap().unwrap();
            assert_eq!(identity.name.as_deref(), Some(expected));
            assert_eq!(identity.expires_wall_ms, Some(2_000_000_000_000));
        }
        assert!(identity(&CertificateConfig::default(), &link).is_none());
    }

    #[test]
    fn a_certificate_without_the_name_is_an_error_and_none_is_nothing() {
        let config = CertificateConfig { enabled: true, ..CertificateConfig::default() };
        let error = identity(&config, &link(Some(Certificate::default()))).unwrap().unwrap_err();
        assert!(error.contains("identity.certificate.name"), "{error}");
        assert!(identity(&config, &link(None)).is_none());
        assert!(identity(&config, &Link::default()).is_none());
    }
}
