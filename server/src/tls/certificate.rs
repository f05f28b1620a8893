//! What a certificate says of its owner.

use althing_core::link::Certificate;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::net::IpAddr;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Facts {
    pub certificate: Certificate,
    /// Every name that it is for: DNS names, addresses, URIs, mail addresses.
    pub names: Vec<String>,
}

/// Reads one certificate (DER); the error says what is wrong with it.
pub fn read(der: &[u8]) -> Result<Facts, String> {
    let (_, parsed) =
        X509Certificate::from_der(der).map_err(|error| format!("it is no X.509 certificate ({error})"))?;
    let mut certificate = Certificate {
        common_name: common_name(parsed.subject()),
        subject: distinguished_name(parsed.subject()),
        fingerprint: Sha256::digest(der).into(),
        not_after_s: parsed.validity().not_after.timestamp(),
        ..Certificate::default()
    };
    let mut names = Vec::new();
    let alternatives =
        parsed.subject_alternative_name().map_err(|error| format!("its alternative names cannot be read ({error})"))?;
    for name in alternatives.iter().flat_map(|it| &it.value.general_names) {
        let text = match name {
            GeneralName::DNSName(it) => push(&mut certificate.dns_names, it),
            GeneralName::URI(it) => push(&mut certificate.uris, it),
            GeneralName::RFC822Name(it) => push(&mut certificate.emails, it),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        };
        names.extend(text);
    }
    Ok(Facts { certificate, names })
}

fn push(list: &mut Vec<String>, name: &str) -> Option<String> {
    list.push(name.to_owned());
    Some(name.to_owned())
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(address.to_string())
}

/// The common name. Of several nobody can tell which one is meant.
fn common_name(name: &X509Name<'_>) -> Option<String> {
    let mut all = name.iter_common_name();
    match (all.next(), all.next()) {
        (Some(only), None) => text_of(only),
        _ => None,
    }
}

fn text_of(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    attribute.as_str().ok().map(str::to_owned).or_else(|| attribute.attr_value().as_string().ok())
}

/// As RFC 4514 writes it: the most specific part first, values escaped.
pub fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter().collect();
    let part = |attributes: Vec<String>| attributes.join("+");
    let texts = parts.iter().rev().map(|it| part(it.iter().map(attribute_text).collect()));
    texts.collect::<Vec<_>>().join(",")
}

fn attribute_text(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    // RFC 4514, 3, and the mail address, which everybody writes like this.
    let key = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        "2.5.4.5" => "serialNumber",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    };
    match text_of(attribute) {
        Some(value) => format!("{key}={}", escaped(&value)),
        None => attribute.attr_value().data.iter().fold(format!("{key}=#"), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

/// RFC 4514, 2.4.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (place, character) in value.chars().enumerate() {
        let at_edge = (place == 0 && matches!(character, ' ' | '#')) || (place == last && character == ' ');
        match character {
            '\0' => text.push_str("\\00"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', character]),
            _ if at_edge => text.extend(['\\', character]),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    #[test]
    fn a_certificate_says_whose_it_is() {
        let mut params = CertificateParams::new(vec!["a.example".into(), "192.0.2.1".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "NO");
        params.distinguished_name.push(DnType::OrganizationName, " Lamps, \"Inc\"; #1+");
        params.distinguished_name.push(DnType::CommonName, "#lämp");
        params.subject_alt_names.push(SanType::URI("urn:lamp:1".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("lamp@a.example".try_into().unwrap()));
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let Facts { certificate, names } = read(der.der()).unwrap();
        assert_eq!(certificate.common_name.as_deref(), Some("#lämp"));
        assert_eq!(certificate.subject, "CN=\\#lämp,O=\\ Lamps\\, \\\"Inc\\\"\\; #1\\+,C=NO");
        assert_eq!(certificate.dns_names, ["a.example"]);
        assert_eq!(certificate.uris, ["urn:lamp:1"]);
        assert_eq!(certificate.emails, ["lamp@a.example"]);
        assert_eq!(names, ["a.example", "192.0.2.1", "urn:lamp:1", "lamp@a.example"]);
        assert_eq!(certificate.fingerprint, <[u8; 32]>::from(Sha256::digest(der.der())));
        assert!(certificate.not_after_s > 0);
    }

    #[test]
    fn of_several_common_names_none_counts() {
        let name = |der: &[u8]| read(der).unwrap().certificate.common_name;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        assert_eq!(name(params.clone().self_signed(&KeyPair::generate().unwrap()).unwrap().der()), None);
        params.distinguished_name.push(DnType::CommonName, "one");
        // The same attribute again, by its number.
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "two");
        assert_eq!(name(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()), None);
    }

    #[test]
    fn what_is_no_certificate_says_so() {
        assert!(read(b"hello").unwrap_err().contains("no X.509 certificate"));
    }
}
