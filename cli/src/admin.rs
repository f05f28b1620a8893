//! The commands for administrators: they ask, and change, a running broker through its admin interface.
//!
//! - `arguments`: the commands; `client`: how they reach the broker.
//! - `lists`, `top`, `trace`, `why`: looking; `table`: how it is shown.

pub mod arguments;
pub mod client;
mod lists;
mod table;
mod top;
mod trace;
mod why;

use crate::exit::{ExitCode, Failure};
use crate::output::write_stdout;
use arguments::{AdminArguments, AdminCommand, HealthArguments, KickArguments, RetainedCommand};
use client::{Client, path_of, with_query};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use table::printable;

/// Does what the command says.
pub async fn run(command: &AdminCommand) -> Result<ExitCode, Failure> {
    match command {
        AdminCommand::Top(arguments) => top::run(arguments).await,
        AdminCommand::Clients(arguments) => lists::run(&lists::CLIENTS, arguments).await,
        AdminCommand::Sessions(arguments) => lists::run(&lists::SESSIONS, arguments).await,
        AdminCommand::Subscriptions(arguments) => lists::run(&lists::SUBSCRIPTIONS, arguments).await,
        AdminCommand::Queues(arguments) => lists::run(&lists::QUEUES, arguments).await,
        AdminCommand::Retained(RetainedCommand::Ls { filter, sort, limit, admin }) => {
            lists::print(&lists::RETAINED, filter.as_deref(), sort.as_deref(), *limit, admin).await
        }
        AdminCommand::Retained(RetainedCommand::Rm { filter, dry_run, admin }) => {
            remove_retained(filter, *dry_run, admin).await
        }
        AdminCommand::Kick(arguments) => kick(arguments).await,
        AdminCommand::Trace(arguments) => trace::run(arguments).await,
        AdminCommand::Why(arguments) => why::run(arguments).await,
        AdminCommand::Health(arguments) => health(arguments).await,
        AdminCommand::Console(admin) => console(admin).await,
        AdminCommand::Reload(admin) => reload(admin).await,
    }
}

async fn remove_retained(filter: &str, dry_run: bool, admin: &AdminArguments) -> Result<ExitCode, Failure> {
    let query = [("filter", Some(filter.to_owned())), ("dry_run", Some(dry_run.to_string()))];
    let path = with_query("/api/v1/retained", &query);
    let answer = Client::connect(admin).await?.request(Method::DELETE, &path).await?;
    if admin.json {
        write_stdout(format!("{answer}\n").as_bytes())?;
        return Ok(ExitCode::Ok);
    }
    let mut text = String::new();
    let topics: Vec<_> = answer["topics"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for topic in &topics {
        text.push_str(&format!("{}\n", printable(topic)));
    }
    let matched = answer["matched"].as_u64().unwrap_or(0);
    if matched > topics.len() as u64 {
        text.push_str(&format!("and {} more\n", matched - topics.len() as u64));
    }
    let verb = if dry_run { "would be removed" } else { "removed" };
    let count = if dry_run { matched } else { answer["removed"].as_u64().unwrap_or(0) };
    let what = if count == 1 { "last value" } else { "last values" };
    text.push_str(&format!("{count} {what} {verb}\n"));
    write_stdout(text.as_bytes())?;
    Ok(ExitCode::Ok)
}

async fn kick(arguments: &KickArguments) -> Result<ExitCode, Failure> {
    let KickArguments { client, session, admin } = arguments;
    let list = if *session { "/api/v1/sessions/" } else { "/api/v1/clients/" };
    let answer = Client::connect(admin).await?.request(Method::DELETE, &path_of(list, client, "")).await?;
    let what = if *session { "the session" } else { "the connection" };
    let text = if admin.json { answer.to_string() } else { format!("{what} of {} has ended", printable(client)) };
    write_stdout(format!("{text}\n").as_bytes())?;
    Ok(ExitCode::Ok)
}

/// A broker that cannot be reached is as unwell as one that says so.
async fn health(arguments: &HealthArguments) -> Result<ExitCode, Failure> {
    let HealthArguments { live, admin } = arguments;
    let path = if *live { "/livez" } else { "/readyz" };
    let (status, answer) = Client::connect(admin).await?.ask(path).await?;
    let is_well = status == StatusCode::OK;
    let text = if admin.json {
        let answer = if answer.is_null() { json!({ "status": status.as_u16() }) } else { answer };
        answer.to_string()
    } else {
        let problems = answer["problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let problems = problems.collect::<Vec<_>>().join("; ");
        if is_well { "ok".into() } else { format!("unwell: {problems}") }
    };
    write_stdout(format!("{text}\n").as_bytes())?;
    Ok(if is_well { ExitCode::Ok } else { ExitCode::Runtime })
}

async fn console(admin: &AdminArguments) -> Result<ExitCode, Failure> {
    let answer = Client::connect(admin).await?.request(Method::POST, "/api/v1/console").await?;
    let text = if admin.json { answer.to_string() } else { answer["url"].as_str().unwrap_or_default().to_owned() };
    write_stdout(format!("{text}\n").as_bytes())?;
    Ok(ExitCode::Ok)
}

async fn reload(admin: &AdminArguments) -> Result<ExitCode, Failure> {
    let answer = Client::connect(admin).await?.request(Method::POST, "/api/v1/reload").await?;
    let text = if admin.json {
        format!("{answer}\n")
    } else {
        let changes: Vec<_> = answer["changed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match changes.is_empty() {
            true => "nothing has changed\n".into(),
            false => changes.iter().map(|change| format!("{}\n", printable(change))).collect(),
        }
    };
    write_stdout(text.as_bytes())?;
    Ok(ExitCode::Ok)
}
