//! `althing acl explain`: which rule decides, from the files that a broker would read.

use crate::arguments::{AclAction, ExplainArguments};
use crate::config::load;
use crate::exit::{ExitCode, Failure};
use crate::output::write_stdout;
use althing_core::authorisation::{Action, Because, Decision, Policy, Principal};
use althing_core::topic::{TopicError, TopicLimits};
use althing_core::{Filter, Guarantee, Identity, Link, Topic};
use althing_server::config::Listen;
use althing_server::reload::Prepared;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;

/// Whoever has proven no name.
const NOBODY: &str = "-";

/// Decides as the broker would, and says why.
pub fn explain(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let config = load(arguments.config.clone(), arguments.settings.clone())?;
    let listens = config.listens().map_err(|error| Failure::usage(error.to_string()))?;
    let principal = principal(arguments, &listens)?;
    let prepared = Prepared::read(config).map_err(|mistakes| Failure::usage(mistakes.join("\n")))?;
    let decisions = decide(arguments, &prepared.policy, &principal)?;
    let text: String = decisions.iter().map(|(action, decision)| line(arguments, action, decision)).collect();
    write_stdout(text.as_bytes())?;
    let is_allowed = decisions.iter().all(|(_, decision)| decision.allowed);
    Ok(if is_allowed { ExitCode::Ok } else { ExitCode::Refused })
}

fn principal(arguments: &ExplainArguments, listens: &[Listen]) -> Result<Principal, Failure> {
    let listen = match &arguments.listener {
        Some(name) => listens.iter().find(|listen| listen.name == *name),
        None => listens.iter().find(|listen| listen.protocol.row.name == arguments.protocol),
    };
    let listen = listen.ok_or_else(|| {
        let wanted = arguments.listener.as_ref().unwrap_or(&arguments.protocol);
        let names: Vec<_> = listens.iter().map(|listen| listen.name).collect();
        Failure::usage(format!("there is no listener {wanted}; there are {}", names.join(", ")))
    })?;
    let mut identity = match arguments.user.as_str() {
        NOBODY => Identity::default(),
        name => Identity::named(name),
    };
    identity.groups = arguments.group.iter().map(|group| group.as_str().into()).collect();
    let remote = Some(SocketAddr::new(arguments.address, 0));
    Ok(Principal {
        identity: Arc::new(identity),
        client: arguments.client.as_str().into(),
        protocol: listen.protocol.row.language,
        link: Link { remote, entrance: Arc::clone(&listen.entrance), ..Link::default() },
    })
}

type Decisions<'a> = Vec<(&'static str, Decision<'a>)>;

/// A subscription to one topic is decided twice: when it is made, and at each delivery.
fn decide<'a>(
    arguments: &ExplainArguments,
    policy: &'a Policy,
    principal: &'a Principal,
) -> Result<Decisions<'a>, Failure> {
    let text = || arguments.topic.as_str().into();
    let wrong = |error: TopicError| Failure::usage(format!("\"{}\": {error}", arguments.topic));
    let topic = || Topic::new(text(), &TopicLimits::default());
    let receive = |topic: &Topic| ("receive", policy.decide(principal, Action::Receive(topic)));
    let publish = |name, retain, will| -> Result<Decisions<'a>, Failure> {
        let topic = topic().map_err(wrong)?;
        let guarantee = Guarantee::from_qos(arguments.qos).unwrap_or_default();
        let action = Action::Publish { topic: &topic, guarantee, retain, will };
        Ok(vec![(name, policy.decide(principal, action))])
    };
    match arguments.action {
        AclAction::Publish => publish("publish", false, false),
        AclAction::Retain => publish("retain", true, false),
        AclAction::Will => publish("will", false, true),
        AclAction::Receive => Ok(vec![receive(&topic().map_err(wrong)?)]),
        AclAction::Subscribe => {
            let filter = Filter::new(text(), &TopicLimits::default()).map_err(wrong)?;
            let mut decisions = vec![("subscribe", policy.decide(principal, Action::Subscribe(&filter)))];
            decisions.extend(topic().ok().filter(|_| decisions[0].1.allowed).map(|topic| receive(&topic)));
            Ok(decisions)
        }
    }
}

fn line(arguments: &ExplainArguments, action: &str, decision: &Decision<'_>) -> String {
    let ExplainArguments { user, topic, .. } = arguments;
    let because = because(decision);
    if arguments.json {
        let Decision { allowed, guarantee_max, .. } = decision;
        let line = json!({
            "user": if user == NOBODY { None } else { Some(user) },
            "action": action,
            "topic": topic,
            "allowed": allowed,
            "qos_max": *guarantee_max as u8,
            "because": because,
        });
        return format!("{line}\n");
    }
    let verdict = if decision.allowed { "allowed" } else { "denied" };
    let qos = match decision.guarantee_max {
        _ if !decision.allowed => String::new(),
        Guarantee::ExactlyOnce => String::new(),
        guarantee => format!(" up to QoS {}", guarantee as u8),
    };
    format!("{action} {topic}: {verdict}{qos}: {because}\n")
}

/// What decided, as a sentence.
fn because(decision: &Decision<'_>) -> String {
    match decision.because {
        Because::Rule(rule) => rule.source.to_string(),
        Because::Otherwise => {
            let otherwise = if decision.allowed { "allow" } else { "deny" };
            format!("no rule speaks of it, and authorisation.otherwise is \"{otherwise}\" here")
        }
        Because::Proof => "the proof of its identity allowed it".into(),
        Because::Reserved => "the broker alone publishes to topics that begin with $".into(),
        Because::Banned => "the user, the client or the network is banned".into(),
        Because::Unknown => "there is no such user".into(),
    }
}
