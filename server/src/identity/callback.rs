//! Asking a service over HTTP who somebody is.
//!
//! It gets `POST` with `{"username", "password", "client", "address", "protocol", "listener"}` as JSON, and answers with status 200
//! and `{"result": "allow" | "deny" | "ignore", "username": "…", "groups": ["…"]}`, of which only `result` has to be there. Anything
//! else is no answer, and without an answer nobody is let in.

mod breaker;

use super::config::CallbackConfig;
use super::remembered::{Digest, Remembered};
use super::{Credentials, Outcome, Provider};
use althing_core::Identity;
use breaker::Breaker;
use serde::{Deserialize, Serialize};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// The provider.
#[derive(Debug)]
pub struct Callback {
    agent: Agent,
    url: String,
    config: CallbackConfig,
    breaker: Breaker,
    remembered: Remembered<Outcome>,
}

/// The question.
#[derive(Serialize)]
struct Question<'a> {
    username: Option<&'a str>,
    password: &'a str,
    client: &'a str,
    address: Option<String>,
    protocol: &'a str,
    listener: &'a str,
}

/// The answer.
#[derive(Debug, Deserialize)]
struct Reply {
    result: Said,
    username: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Allow,
    Deny,
    Ignore,
}

/// A longer answer is none.
const REPLY_BYTES_MAX: u64 = 64 << 10;

impl Callback {
    /// As configured; `None` when no service is.
    ///
    /// # Errors
    /// When the address is none, or the CA cannot be read.
    pub fn new(config: &CallbackConfig) -> Result<Option<Self>, String> {
        let Some(url) = config.url.clone() else { return Ok(None) };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(format!("identity.http.url = {url:?} must begin with https:// or http://"));
        }
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(config.timeout_ms)))
            .http_status_as_error(false)
            // A password goes nowhere else.
            .max_redirects(0)
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots(config)?).build())
            .build()
            .new_agent();
        let breaker = Breaker::new(config.failures_max, Duration::from_millis(config.retry_ms));
        let remembered = Remembered::new(config.cache_max)?;
        Ok(Some(Self { agent, url, config: config.clone(), breaker, remembered }))
    }

    /// What would be worth a warning.
    pub fn warning(config: &CallbackConfig) -> Option<String> {
        let host = config.url.as_deref()?.strip_prefix("http://")?;
        let is_local = ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local));
        (!is_local).then(|| "identity.http.url is not https://: passwords can be read on their way".to_owned())
    }

    /// The service may look at all of it, so all of it is what an answer belongs to.
    fn digest(&self, credentials: &Credentials<'_>) -> Digest {
        let question = Question::new(credentials, "");
        let address = question.address.unwrap_or_default();
        self.remembered.digest(&[
            &[u8::from(credentials.username.is_some())],
            credentials.username.unwrap_or_default().as_bytes(),
            credentials.password,
            question.client.as_bytes(),
            address.as_bytes(),
            question.protocol.as_bytes(),
            question.listener.as_bytes(),
        ])
    }

    /// The error is for the log.
    fn ask(&self, question: &Question<'_>) -> Result<Reply, String> {
        let body = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        let mut response = request.send(&body[..]).map_err(|error| error.to_string())?;
        if response.status() != 200 {
            return Err(format!("it answered with status {}", response.status().as_u16()));
        }
        let body = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body).map_err(|error| format!("its answer is not understood: {error}"))
    }
}

impl Provider for Callback {
    fn calls_out(&self) -> bool {
        true
    }

    fn recall(&self, credentials: &Credentials<'_>) -> Option<Outcome> {
        self.remembered.get(&self.digest(credentials), Instant::now())
    }

    fn check(&self, credentials: &Credentials<'_>) -> Outcome {
        let Ok(password) = std::str::from_utf8(credentials.password) else { return Outcome::NotMine };
        if let Some(outcome) = self.recall(credentials) {
            return outcome;
        }
        let Some(attempt) = self.breaker.attempt(Instant::now()) else {
            return Outcome::Unavailable(format!("{} has failed too often and is left alone for a while", self.url));
        };
        let reply = match self.ask(&Question::new(credentials, password)) {
            Ok(reply) => reply,
            Err(error) => {
                attempt.failed(Instant::now());
                return Outcome::Unavailable(format!("{} could not be asked: {error}", self.url));
            }
        };
        attempt.succeeded();
        let (outcome, lifetime_s) = match reply.result {
            Said::Allow => (allowed(reply, credentials), self.config.cache_s),
            Said::Deny => (Outcome::Refuse(format!("{} says no", self.url)), self.config.refused_cache_s),
            Said::Ignore => (Outcome::NotMine, self.config.refused_cache_s),
        };
        let lifetime = Duration::from_secs(lifetime_s);
        self.remembered.insert(self.digest(credentials), outcome.clone(), lifetime, Instant::now());
        outcome
    }
}

fn allowed(reply: Reply, credentials: &Credentials<'_>) -> Outcome {
    let name = reply.username.as_deref().or(credentials.username).filter(|name| !name.is_empty());
    let Some(name) = name else { return Outcome::Refuse("it was allowed, but nobody has named it".into()) };
    let groups = reply.groups.iter().map(|group| group.as_str().into()).collect();
    Outcome::Accept(Arc::new(Identity { groups, ..Identity::named(name) }))
}

impl<'a> Question<'a> {
    fn new(credentials: &Credentials<'a>, password: &'a str) -> Self {
        let verify = credentials.verify;
        Self {
            username: credentials.username,
            password,
            client: &verify.client,
            address: verify.link.remote.map(|remote| remote.ip().to_canonical().to_string()),
            protocol: verify.protocol,
            listener: verify.link.listener(),
        }
    }
}

fn roots(config: &CallbackConfig) -> Result<RootCerts, String> {
    let Some(path) = &config.ca_file else { return Ok(RootCerts::WebPki) };
    let wrong = |error: String| format!("{}: {error}", path.display());
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(wrong("there is no certificate in it".into()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

#[cfg(test)]
mod tests;
