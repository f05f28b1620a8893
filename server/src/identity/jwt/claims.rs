//! What a token says, once it is known that it was made by somebody who may: until when it holds, for whom, and who its owner is.
//!
//! Beside the registered claims (RFC 7519 §4.1) a token may bring `rules`, each an object with the fields of a rule of the
//! configuration: `{"allow": true, "actions": ["publish"], "topic": "plant/%c/#", "qos_max": 1}`. They are asked before those of
//! the broker, in their order.

use crate::authorisation::rules;
use crate::identity::config::JwtConfig;
use althing_core::Identity;
use althing_core::authorisation::Rule;
use bytestring::ByteString;
use serde_json::{Map, Value};

/// More rules than that belong into the broker's files: each is asked for each message.
const RULES_MAX: usize = 100;
const GROUPS_MAX: usize = 100;
/// As a name in the users file.
const NAME_BYTES_MAX: usize = 256;

/// Whose token it is.
pub fn identity(
    config: &JwtConfig,
    claims: &Map<String, Value>,
    username: Option<&str>,
    wall_ms: u64,
) -> Result<Identity, String> {
    let expires_ms = moment(claims, "exp")?.ok_or("it has no `exp`, so it would hold for ever")?;
    let leeway_ms = config.leeway_s.saturating_mul(1_000);
    if wall_ms >= expires_ms.saturating_add(leeway_ms) {
        return Err("it has expired".into());
    }
    if moment(claims, "nbf")?.is_some_and(|begins_ms| begins_ms > wall_ms.saturating_add(leeway_ms)) {
        return Err("it does not hold yet".into());
    }
    if let Some(issuer) = &config.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(format!("its issuer is not {issuer:?}"));
    }
    if let Some(audience) = &config.audience
        && !texts(claims, "aud")?.contains(&ByteString::from(audience.as_str()))
    {
        return Err(format!("it is not meant for {audience:?}"));
    }
    let name = claims.get(&config.username_claim).and_then(Value::as_str);
    let name = name.filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX);
    let name = name.ok_or_else(|| format!("it does not say by `{}` whose it is", config.username_claim))?;
    if config.username_must_match && username != Some(name) {
        return Err(format!("it is the token of {name:?}"));
    }
    let groups = texts(claims, &config.groups_claim)?;
    if groups.len() > GROUPS_MAX {
        return Err(format!("it names more than {GROUPS_MAX} groups"));
    }
    let expires_wall_ms = Some(expires_ms.saturating_add(leeway_ms));
    Ok(Identity { groups, rules: rules_of(claims)?, expires_wall_ms, ..Identity::named(name) })
}

/// A `NumericDate`: seconds since 1970, perhaps with a fraction (RFC 7519 §2); here in milliseconds.
fn moment(claims: &Map<String, Value>, claim: &str) -> Result<Option<u64>, String> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0);
    let seconds = seconds.ok_or_else(|| format!("its `{claim}` is no moment"))?;
    Ok(Some((seconds * 1_000.0) as u64))
}

/// One text, or a list of them.
fn texts(claims: &Map<String, Value>, claim: &str) -> Result<Vec<ByteString>, String> {
    let expected = || format!("its `{claim}` is neither text nor a list of texts");
    let text = |value: &Value| value.as_str().map(ByteString::from).ok_or_else(expected);
    match claims.get(claim) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(text).collect(),
        Some(one) => Ok(vec![text(one)?]),
    }
}

fn rules_of(claims: &Map<String, Value>) -> Result<Vec<Rule>, String> {
    const CLAIM: &str = "rules";
    let list = match claims.get(CLAIM) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= RULES_MAX => list,
        Some(_) => return Err(format!("its `{CLAIM}` is no list of at most {RULES_MAX} rules")),
    };
    let read = |(index, rule): (usize, &Value)| {
        let rule = toml::Value::try_from(rule).map_err(|error| error.to_string());
        let rule = rule.and_then(|rule| rules::read(&rule, "the token"));
        rule.map_err(|error| format!("rule {} of its `{CLAIM}`: {error}", index + 1))
    };
    list.iter().enumerate().map(read).collect()
}
