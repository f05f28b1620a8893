//! `/.well-known/core` (RFC 6690): what is here.

use super::Response;
use crate::format;
use crate::message::{Code, Options, number};

/// What is here, and the attributes by which it can be asked for (RFC 6690).
const LINKS: &[(&str, &[(&str, &str)])] = &[
    ("/.well-known/core", &[("ct", "40")]),
    ("/t", &[("rt", "althing.topics"), ("title", "topics: /t/LEVEL/LEVEL")]),
    ("/ps", &[("rt", "core.ps core.ps.coll"), ("ct", "40")]),
];

/// `/.well-known/core`, filtered by at most one attribute (RFC 6690 §4.1).
pub(super) fn links(options: &Options) -> Result<Response, Response> {
    let accept = options.uint(number::ACCEPT);
    if accept.is_some_and(|accept| accept != u32::from(format::LINK_FORMAT)) {
        return Err(Response::error(Code::NOT_ACCEPTABLE, "links are there in content format 40 alone"));
    }
    let query = options.get(number::URI_QUERY).and_then(|query| std::str::from_utf8(query).ok()?.split_once('='));
    let links = LINKS.iter().filter(|link| query.is_none_or(|(name, value)| is_selected(link, name, value)));
    let text: Vec<String> = links.map(show_link).collect();
    let mut response = Response::new(Code::CONTENT);
    response.options.add_uint(number::CONTENT_FORMAT, u32::from(format::LINK_FORMAT));
    response.payload = text.join(",").into();
    Ok(response)
}

fn is_selected((href, attributes): &&(&str, &[(&str, &str)]), name: &str, wanted: &str) -> bool {
    match name {
        "href" => is_match(href, wanted),
        _ => attributes.iter().any(|(attribute, values)| {
            *attribute == name && values.split(' ').chain([*values]).any(|value| is_match(value, wanted))
        }),
    }
}

/// Whether a value is what is wanted, or begins with it where that ends in `*` (RFC 6690 §4.1).
pub(super) fn is_match(value: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => value.starts_with(start),
        None => value == wanted,
    }
}

fn show_link((href, attributes): &(&str, &[(&str, &str)])) -> String {
    let shown = attributes.iter().map(|(name, value)| match *name {
        "ct" => format!(";{name}={value}"),
        _ => format!(";{name}=\"{value}\""),
    });
    format!("<{href}>{}", shown.collect::<String>())
}
