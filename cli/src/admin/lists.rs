//! `althing clients`, `sessions`, `subscriptions`, `queues` and `retained ls`: pages from the broker, as a table or as JSON.

use super::arguments::{AdminArguments, ListArguments};
use super::client::{Client, path_of, with_query};
use super::table::{Column, bytes, duration, facts, show, table};
use crate::exit::{ExitCode, Failure};
use crate::output::{write_stderr, write_stdout};
use serde_json::Value;

/// A list of the broker.
#[derive(Debug)]
pub struct List {
    path: &'static str,
    columns: &'static [Column],
    /// How one of them is asked for.
    one: One,
}

#[derive(Debug)]
enum One {
    /// By its name in the path.
    Path,
    /// By a key of the query that leaves others out.
    Query(&'static str),
}

pub const CLIENTS: List = List {
    path: "/api/v1/clients",
    one: One::Path,
    columns: &[
        ("CLIENT", |row| show(&row["client"])),
        ("USER", |row| show(&row["user"])),
        ("PROTOCOL", |row| show(&row["protocol"])),
        ("LISTENER", |row| show(&row["listener"])),
        ("ADDRESS", |row| show(&row["address"])),
        ("CONNECTED", |row| row["connected_s"].as_u64().map(duration).unwrap_or_default()),
        ("SUBSCRIPTIONS", |row| show(&row["subscriptions"])),
        ("QUEUED", |row| show(&row["queue_messages"])),
        ("IN FLIGHT", |row| show(&row["inflight_messages"])),
        ("DROPS", |row| show(&row["drops"])),
        ("READS", |row| show(&row["pace"])),
    ],
};

pub const SESSIONS: List = List {
    path: "/api/v1/sessions",
    one: One::Path,
    columns: &[
        ("CLIENT", |row| show(&row["client"])),
        ("USER", |row| show(&row["user"])),
        ("PROTOCOL", |row| show(&row["protocol"])),
        ("CONNECTED", |row| show(&row["connected"])),
        ("ENDS IN", ends_in),
        ("SUBSCRIPTIONS", |row| show(&row["subscriptions"])),
        ("QUEUED", |row| show(&row["queue_messages"])),
        ("BYTES", |row| row["queue_bytes"].as_f64().map(bytes).unwrap_or_default()),
        ("DROPS", |row| show(&row["drops"])),
    ],
};

pub const SUBSCRIPTIONS: List = List {
    path: "/api/v1/subscriptions",
    one: One::Query("client"),
    columns: &[
        ("CLIENT", |row| show(&row["client"])),
        ("FILTER", |row| show(&row["filter"])),
        ("QOS", |row| show(&row["qos"])),
        ("NO LOCAL", |row| if row["no_local"] == true { "yes".into() } else { String::new() }),
    ],
};

pub const QUEUES: List = List {
    path: "/api/v1/queues",
    one: One::Query("prefix"),
    columns: &[
        ("QUEUE", |row| show(&row["name"])),
        ("MESSAGES", |row| show(&row["messages"])),
        ("BYTES", |row| row["bytes"].as_f64().map(bytes).unwrap_or_default()),
        ("MEMBERS", |row| show(&row["members_total"])),
        ("DROPS", |row| show(&row["drops"])),
    ],
};

pub const RETAINED: List = List {
    path: "/api/v1/retained",
    one: One::Query("filter"),
    columns: &[
        ("TOPIC", |row| show(&row["topic"])),
        ("BYTES", |row| show(&row["payload_bytes"])),
        ("QOS", |row| show(&row["qos"])),
        ("FROM", |row| show(&row["author"])),
        ("ENDS IN", |row| row["expires_in_s"].as_u64().map(duration).unwrap_or_default()),
    ],
};

/// What is left of a session that nobody is connected to.
fn ends_in(row: &Value) -> String {
    match (row["connected"] == true, row["expires_in_s"].as_u64()) {
        (true, _) => String::new(),
        (false, Some(seconds)) => duration(seconds),
        (false, None) => "never".into(),
    }
}

/// Prints a list, or one of it.
pub async fn run(list: &List, arguments: &ListArguments) -> Result<ExitCode, Failure> {
    let ListArguments { id, sort, limit, admin } = arguments;
    match (id, &list.one) {
        (Some(id), One::Path) => {
            let one = Client::connect(admin).await?.get(&path_of(&format!("{}/", list.path), id, "")).await?;
            let text = if admin.json { format!("{one}\n") } else { facts(&one) };
            write_stdout(text.as_bytes())?;
            Ok(ExitCode::Ok)
        }
        _ => print(list, id.as_deref(), sort.as_deref(), *limit, admin).await,
    }
}

/// Prints those that `wanted` leaves, or all.
pub async fn print(
    list: &List,
    wanted: Option<&str>,
    sort: Option<&str>,
    limit: u64,
    admin: &AdminArguments,
) -> Result<ExitCode, Failure> {
    let mut client = Client::connect(admin).await?;
    let (rows, more) = fetch(&mut client, list, wanted, sort, limit).await?;
    let text =
        if admin.json { rows.iter().map(|row| format!("{row}\n")).collect() } else { table(list.columns, &rows) };
    write_stdout(text.as_bytes())?;
    if more && !admin.json {
        write_stderr(&format!("there are more than {limit}: --limit N shows N of them"));
    }
    Ok(ExitCode::Ok)
}

/// Up to `limit` entries, page by page, and whether there are more.
pub async fn fetch(
    client: &mut Client,
    list: &List,
    wanted: Option<&str>,
    sort: Option<&str>,
    limit: u64,
) -> Result<(Vec<Value>, bool), Failure> {
    const PAGE_MAX: u64 = 1_000;
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let left = limit - rows.len() as u64;
        let mut query = vec![("limit", Some(left.min(PAGE_MAX).to_string())), ("sort", sort.map(str::to_owned))];
        if let One::Query(key) = list.one {
            query.push((key, wanted.map(str::to_owned)));
        }
        match sort {
            Some(_) => query.push(("offset", Some(rows.len().to_string()))),
            None => query.push(("cursor", cursor.take())),
        }
        let mut page = client.get(&with_query(list.path, &query)).await?;
        let Value::Array(items) = page["items"].take() else {
            return Err(Failure::new(ExitCode::Protocol, "the broker's answer is no list"));
        };
        let is_end = items.is_empty();
        rows.extend(items);
        cursor = page["next"].as_str().map(str::to_owned);
        let more = match page["total"].as_u64() {
            Some(total) => total > rows.len() as u64,
            None => cursor.is_some(),
        };
        if !more || (is_end && sort.is_some()) || rows.len() as u64 >= limit {
            return Ok((rows, more));
        }
    }
}
