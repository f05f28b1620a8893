//! `/.well-known/core` (RFC 6690): what is here.

use super::Response;
use crate::config::CoapConfig;
use crate::format;
use crate::message::{Code, Options, number};

/// A link: where to, and its attributes. One without a value is written as its name alone.
type Link = (&'static str, &'static [(&'static str, &'static str)]);

/// What is here, and the attributes by which it can be asked for (RFC 6690).
const LINKS: &[Link] = &[
    ("/.well-known/core", &[("ct", "40")]),
    ("/t", &[("rt", "althing.topics"), ("title", "topics: /t/LEVEL/LEVEL")]),
    ("/ps", &[("rt", "core.ps core.ps.coll"), ("ct", "40")]),
];

/// What is here for learners.
const DEMO_LINKS: &[Link] = &[
    ("/time", &[("title", "the time, observable"), ("ct", "0"), ("obs", "")]),
    ("/other/separate", &[("title", "answers after some seconds"), ("ct", "0")]),
    ("/other/block", &[("title", "a long text to read and write in blocks"), ("ct", "0")]),
];

/// `/.well-known/core`, filtered by attributes (RFC 6690 §4.1); with several, all have to be there.
pub(super) fn links(options: &Options, config: &CoapConfig) -> Result<Response, Response> {
    let accept = options.uint(number::ACCEPT);
    if accept.is_some_and(|accept| accept != u32::from(format::LINK_FORMAT)) {
        return Err(Response::error(Code::NOT_ACCEPTABLE, "links are there in content format 40 alone"));
    }
    let mut filters = Vec::new();
    for query in options.all(number::URI_QUERY) {
        let query = std::str::from_utf8(query)
            .map_err(|_| Response::error(Code::BAD_REQUEST, "a filter is NAME=VALUE in UTF-8"))?;
        filters.push(query.split_once('=').unwrap_or((query, "*")));
    }
    let demo = if config.demo { DEMO_LINKS } else { &[] };
    let links = LINKS.iter().chain(demo);
    let links = links.filter(|link| filters.iter().all(|(name, value)| is_selected(link, name, value)));
    let text: Vec<String> = links.map(show_link).collect();
    let mut response = Response::new(Code::CONTENT);
    response.options.add_uint(number::CONTENT_FORMAT, u32::from(format::LINK_FORMAT));
    response.payload = text.join(",").into();
    Ok(response)
}

fn is_selected((href, attributes): &Link, name: &str, wanted: &str) -> bool {
    // The values of these are lists: one of them is enough (RFC 6690 §4.1, RFC 7252 §7.2.1).
    let is_list = matches!(name, "rt" | "if" | "rel" | "ct");
    let has = |value: &str| match is_list {
        true => value.split(' ').any(|value| is_match(value, wanted)),
        false => is_match(value, wanted),
    };
    match name {
        "href" => is_match(href, wanted),
        _ => attributes.iter().any(|(attribute, value)| *attribute == name && has(value)),
    }
}

/// Whether a value is what is wanted, or begins with it where that ends in `*` (RFC 6690 §4.1).
pub(super) fn is_match(value: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => value.starts_with(start),
        None => value == wanted,
    }
}

fn show_link((href, attributes): &Link) -> String {
    let shown = attributes.iter().map(|(name, value)| match (*name, *value) {
        (name, "") => format!(";{name}"),
        ("ct", value) if !value.contains(' ') => format!(";ct={value}"),
        (name, value) => format!(";{name}=\"{value}\""),
    });
    format!("<{href}>{}", shown.collect::<String>())
}
