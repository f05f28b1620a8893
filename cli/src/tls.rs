//! TLS towards a server: mosquitto's options, and what its errors mean to the user.

use crate::connection::Endpoint;
use crate::exit::{ExitCode, Failure};
use crate::trust::{Trust, certificates};
use clap::{Args, ValueEnum};
use jiff::{Timestamp, tz::TimeZone};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme,
    SupportedProtocolVersion,
};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The options; names and meanings are mosquitto's. Each of them asks for TLS.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsArguments {
    /// Trust the CAs whose certificates are in this file, in PEM
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Trust the CAs whose certificates are in the files of this directory
    #[arg(long, value_name = "DIR")]
    capath: Option<PathBuf>,
    /// Trust the CAs that the system trusts [default: without --cafile and --capath]
    #[arg(long)]
    tls_use_os_certs: bool,
    /// Show the server this certificate, in PEM; those between it and its CA may follow in the file
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Do not check that the server's certificate is for this host; it must come from a trusted CA all the same
    #[arg(long)]
    insecure: bool,
    /// Speak only this version [default: 1.3 or 1.2]
    #[arg(long, value_enum, value_name = "VERSION")]
    tls_version: Option<TlsVersion>,
    /// Offer this application protocol (ALPN), for servers that share a port with others
    #[arg(long, value_name = "PROTOCOL")]
    tls_alpn: Option<String>,
}

/// Older ones are not spoken any more (RFC 8996).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TlsVersion {
    #[value(name = "tlsv1.2", alias = "1.2")]
    V12,
    #[value(name = "tlsv1.3", alias = "1.3")]
    V13,
}

/// Everything that a handshake needs, checked.
#[derive(Clone, Debug)]
pub struct Tls {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
    verifier: Arc<dyn ServerCertVerifier>,
    trust: Trust,
    shows_certificate: bool,
}

impl TlsArguments {
    /// Whether any of the options is given.
    pub fn any(&self) -> bool {
        self.cafile.is_some()
            || self.capath.is_some()
            || self.tls_use_os_certs
            || self.cert.is_some()
            || self.insecure
            || self.tls_version.is_some()
            || self.tls_alpn.is_some()
    }

    /// The first of those that are given and that DTLS has no use for.
    pub fn not_for_dtls(&self) -> Option<&'static str> {
        let alpn = self.tls_alpn.as_ref().map(|_| "--tls-alpn");
        self.tls_version.map(|_| "--tls-version").or(alpn)
    }

    /// Reads the files and prepares for this host; errors are usage errors.
    pub fn prepare(&self, host: &str) -> Result<Tls, Failure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::usage(format!("{host} is no host name that a certificate could be for")))?;
        let trust = Trust {
            file: self.cafile.clone(),
            directory: self.capath.clone(),
            system: self.tls_use_os_certs || (self.cafile.is_none() && self.capath.is_none()),
        };
        let verifier = self.verifier(&trust)?;
        let config = Arc::new(self.config(verifier.clone())?);
        Ok(Tls { config, name, verifier, shows_certificate: self.cert.is_some(), trust })
    }

    fn verifier(&self, trust: &Trust) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(trust.roots()?);
        if roots.is_empty() {
            let text = "this system has no list of trusted CAs: name the server's CA with --cafile";
            return Err(Failure::usage(text));
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let verifier = verifier.map_err(|error| Failure::usage(format!("the trusted CAs cannot be used: {error}")))?;
        Ok(if self.insecure { Arc::new(AnyName(verifier)) } else { verifier })
    }

    /// Certificate and key as DER, for DTLS. Who shows none has one made that nobody trusts: its signature is asked for in
    /// no handshake.
    pub fn pair_or_throwaway(&self) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let chain = certificates(cert, "--cert")?;
            let certificate = chain.into_iter().next().unwrap_or_else(|| CertificateDer::from(Vec::new()));
            return Ok((certificate.to_vec(), private_key(key)?.secret_der().to_vec()));
        }
        let made = rcgen::generate_simple_self_signed(vec!["althing".to_owned()]);
        let made = made.map_err(|error| Failure::new(ExitCode::Runtime, format!("no key can be made: {error}")))?;
        Ok((made.cert.der().to_vec(), made.signing_key.serialize_der()))
    }

    fn config(&self, verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions())
            .map_err(unusable)?
            // The verifier is webpki's own, with or without the check of the name.
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert, "--cert")?;
                builder.with_client_auth_cert(chain, private_key(key)?).map_err(|error| match error {
                    Error::InconsistentKeys(_) => Failure::usage(format!(
                        "the key in {} does not belong to the certificate in {}",
                        key.display(),
                        cert.display()
                    )),
                    error => Failure::usage(format!("--cert and --key cannot be used: {error}")),
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.tls_alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
        Ok(config)
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        const V12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
        const V13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
        match self.tls_version {
            None => rustls::DEFAULT_VERSIONS,
            Some(TlsVersion::V12) => V12,
            Some(TlsVersion::V13) => V13,
        }
    }
}

fn unusable(error: Error) -> Failure {
    Failure::usage(format!("TLS cannot be used so: {error}"))
}

fn private_key(path: &PathBuf) -> Result<PrivateKeyDer<'static>, Failure> {
    use rustls::pki_types::pem::Error;
    let wrong = |why: &dyn std::fmt::Display| Failure::usage(format!("--key {}: {why}", path.display()));
    let is_encrypted = || {
        std::fs::read_to_string(path).is_ok_and(|text| text.contains("BEGIN ENCRYPTED") || text.contains(",ENCRYPTED"))
    };
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        Error::Io(error) => wrong(&error),
        _ if is_encrypted() => wrong(&"the key is encrypted: decrypt it with `openssl pkey -in KEY -out PLAIN`"),
        Error::NoItemsFound => wrong(&"no private key in PEM (BEGIN PRIVATE KEY) is in it"),
        error => wrong(&format!("no private key in PEM: {error}")),
    })
}

impl Tls {
    /// With an application protocol of its own (ALPN), unless the command line names one.
    pub fn with_protocol(mut self, protocol: &str) -> Self {
        let config = Arc::make_mut(&mut self.config);
        if config.alpn_protocols.is_empty() {
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        }
        self
    }

    /// Whether a certificate is that of the server, for handshakes that are not those of TLS.
    pub fn verify(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        self.verifier.verify_server_cert(certificate, &[], &self.name, &[], now).map(drop)
    }

    /// What a failed handshake means; `None` when TLS has no part in it.
    pub fn explain_handshake(&self, endpoint: &Endpoint, error: &io::Error) -> Option<Failure> {
        if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) {
            let text = format!("{endpoint} hung up during the TLS handshake: is this its port for TLS?");
            return Some(Failure::new(ExitCode::CannotConnect, text));
        }
        self.explain(endpoint, error)
    }

    /// What an error of TLS on a connection means; `None` when it is none.
    pub fn explain(&self, endpoint: &Endpoint, error: &io::Error) -> Option<Failure> {
        let code = match rustls_error(error)? {
            Error::AlertReceived(_) if self.shows_certificate => ExitCode::Refused,
            Error::AlertReceived(AlertDescription::CertificateRequired) => ExitCode::Refused,
            _ => ExitCode::CannotConnect,
        };
        Some(Failure::new(code, format!("no TLS connection to {endpoint}: {}", self.sentence(rustls_error(error)?))))
    }

    fn sentence(&self, error: &Error) -> String {
        match error {
            Error::InvalidCertificate(error) => self.certificate_sentence(error),
            Error::AlertReceived(alert) => self.alert_sentence(*alert),
            Error::InvalidMessage(_) => {
                "it does not speak TLS on this port: use its port for TLS, or mqtt:// and stomp:// without TLS"
                    .to_owned()
            }
            Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig) => {
                "it does not speak this version of TLS: leave out --tls-version".to_owned()
            }
            Error::PeerIncompatible(_) => format!("the two have no version or cipher in common ({error})"),
            error => error.to_string(),
        }
    }

    fn certificate_sentence(&self, error: &CertificateError) -> String {
        match error {
            CertificateError::UnknownIssuer => {
                format!("{} has signed its certificate: name its CA with --cafile", self.trust.none_of_the_trusted())
            }
            CertificateError::BadSignature => {
                "a CA of the same name as a trusted one, but with another key, has signed its certificate: was the CA made anew? \
                 name the new one with --cafile"
                    .to_owned()
            }
            CertificateError::NotValidForNameContext { expected, presented } => format!(
                "its certificate is for {}, not for {}: connect to a name that is in it, or skip this check with --insecure",
                names(presented),
                expected.to_str()
            ),
            CertificateError::ExpiredContext { not_after, .. } => format!(
                "its certificate expired on {}: it needs a new one, unless the clock of this machine is wrong",
                day(*not_after)
            ),
            CertificateError::NotValidYetContext { not_before, .. } => {
                format!("its certificate is valid from {} on: check the clock of this machine", day(*not_before))
            }
            CertificateError::Revoked => "its certificate has been revoked".to_owned(),
            CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
                "its certificate is not one for servers (extended key usage)".to_owned()
            }
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "its certificate is one for CAs: give it one that a CA has signed, as `althing cert server` makes"
                    .to_owned()
            }
            error => format!("its certificate is not trusted: {error}"),
        }
    }

    fn alert_sentence(&self, alert: AlertDescription) -> String {
        match alert {
            AlertDescription::CertificateRequired => {
                "it wants a certificate of this client: add --cert and --key".to_owned()
            }
            AlertDescription::HandshakeFailure if !self.shows_certificate => {
                "it broke the handshake off: it may want a certificate of this client (--cert and --key), or another \
                 version or cipher"
                    .to_owned()
            }
            AlertDescription::UnknownCA if self.shows_certificate => {
                "it does not trust the CA of the certificate in --cert".to_owned()
            }
            AlertDescription::CertificateExpired => "it says that the certificate in --cert has expired".to_owned(),
            AlertDescription::CertificateRevoked => {
                "it says that the certificate in --cert has been revoked".to_owned()
            }
            AlertDescription::NoApplicationProtocol => "it does not know the protocol of --tls-alpn".to_owned(),
            AlertDescription::ProtocolVersion => {
                "it does not speak this version of TLS: try without --tls-version".to_owned()
            }
            AlertDescription::UnrecognisedName => {
                "it has no certificate for this name: connect to another one".to_owned()
            }
            alert if self.shows_certificate => format!("it refused ({alert:?}): check the certificate in --cert"),
            alert => format!("it refused ({alert:?})"),
        }
    }
}

impl Trust {
    /// The subject of "… has signed its certificate".
    fn none_of_the_trusted(&self) -> String {
        match (&self.file, &self.directory) {
            (Some(file), None) => format!("no CA in {}", file.display()),
            (None, Some(directory)) => format!("no CA in {}", directory.display()),
            (None, None) => "no CA that this system trusts".to_owned(),
            (Some(_), Some(_)) => "no CA in --cafile and --capath".to_owned(),
        }
    }
}

/// Whether a peer that we spoke plain text to answered with an alert of TLS (RFC 8446 §5.1, §6).
pub fn is_alert(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15, 0x03, ..])
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn names(presented: &[String]) -> String {
    // As rustls prints them: DnsName("a") or IpAddress(127.0.0.1).
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    match presented {
        [] => "no name".to_owned(),
        names => names.iter().map(bare).collect::<Vec<_>>().join(", "),
    }
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string(),
        Err(_) => "an unknown day".to_owned(),
    }
}

/// Checks everything but the name, as mosquitto's `--insecure` does.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is what it checks last.
        match self.0.verify_server_cert(end_entity, intermediates, name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
