//! Warnings before a certificate ends.

use super::files::now_s;
use super::{CertificateStatus, TlsStores};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const DAY_S: i64 = 86_400;

/// Days before the end at which there is a warning.
const WARNING_DAYS: [i64; 3] = [30, 7, 1];

/// Warns of certificates that end soon: when it is called, and from then on as each one comes closer to its end.
pub async fn warn_of_expiry(stores: Arc<TlsStores>) {
    const PERIOD: Duration = Duration::from_secs(3_600);
    let mut warnings = Warnings::default();
    loop {
        for text in warnings.due(&stores.certificates(), now_s()) {
            tracing::warn!("{text}");
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What was warned of already: of each certificate the fewest days.
#[derive(Debug, Default)]
struct Warnings {
    told: HashMap<[u8; 32], i64>,
}

impl Warnings {
    fn due(&mut self, certificates: &[CertificateStatus], now_s: i64) -> Vec<String> {
        self.told.retain(|fingerprint, _| certificates.iter().any(|it| it.fingerprint == *fingerprint));
        certificates.iter().filter_map(|it| self.of(it, now_s)).collect()
    }

    fn of(&mut self, certificate: &CertificateStatus, now_s: i64) -> Option<String> {
        let left_s = certificate.not_after_s.saturating_sub(now_s);
        let days = WARNING_DAYS.into_iter().filter(|days| left_s <= days * DAY_S).min()?;
        // The end itself is told as well.
        let days = if left_s <= 0 { 0 } else { days };
        let told = self.told.entry(certificate.fingerprint).or_insert(i64::MAX);
        if days >= *told {
            return None;
        }
        *told = days;
        let (file, subject) = (certificate.file.display(), &certificate.subject);
        let listeners = certificate.listeners.join(", ");
        let when = match left_s {
            ..=0 => "HAS EXPIRED".into(),
            1..=DAY_S => "expires within a day".into(),
            left_s => format!("expires in {} days", left_s / DAY_S),
        };
        Some(format!("{file} ({subject}, for {listeners}) {when}: renew it; a reload takes it up"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::CertificateRole;

    #[test]
    fn each_step_towards_the_end_is_told_once() {
        let certificate = CertificateStatus {
            file: "a.pem".into(),
            subject: "CN=a".into(),
            role: CertificateRole::Server,
            not_after_s: 100 * DAY_S,
            names: Vec::new(),
            fingerprint: [1; 32],
            listeners: vec!["mqtt-tls", "stomp-tls"],
        };
        let mut warnings = Warnings::default();
        let mut told = Vec::new();
        for hour in 0..102 * 24 {
            told.extend(warnings.due(std::slice::from_ref(&certificate), hour * 3_600));
        }
        let text = |rest| format!("a.pem (CN=a, for mqtt-tls, stomp-tls) {rest}: renew it; a reload takes it up");
        assert_eq!(told, ["expires in 30 days", "expires in 7 days", "expires within a day", "HAS EXPIRED"].map(text));
        // A new one in its place begins anew.
        let renewed = CertificateStatus { fingerprint: [2; 32], not_after_s: 101 * DAY_S, ..certificate };
        assert_eq!(warnings.due(&[renewed], 100 * DAY_S + 1).len(), 1);
    }
}
