//! Link format (RFC 6690 §2) for people: a link a line, or a tree of their paths.

use serde_json::{Map, Value, json};

/// One link.
#[derive(Debug, PartialEq, Eq)]
struct Link<'a> {
    target: &'a str,
    /// Without quotes; empty for those that have no value.
    attributes: Vec<(&'a str, &'a str)>,
}

/// Links as they are, each in a line.
pub fn lines(text: &str) -> String {
    split(text, ',').map(|link| format!("{}\n", link.trim())).collect()
}

/// Paths below each other, each with its attributes.
pub fn tree(text: &str) -> String {
    let mut links = parse(text);
    links.sort_by(|a, b| segments(a.target).cmp(segments(b.target)));
    let mut shown = String::new();
    let mut above: Vec<&str> = Vec::new();
    for link in &links {
        let path: Vec<&str> = segments(link.target).collect();
        let common = path.iter().zip(&above).take_while(|(one, other)| one == other).count();
        // The last segment is written in any case, for its attributes.
        for depth in common.min(path.len().saturating_sub(1))..path.len() {
            let name = format!("{}{}", "  ".repeat(depth), label(path[depth], depth));
            let attributes = if depth + 1 == path.len() { describe(link) } else { String::new() };
            shown.push_str(format!("{name:<32}  {attributes}").trim_end());
            shown.push('\n');
        }
        above = path;
    }
    shown
}

/// Links as objects: `href` and the attributes.
pub fn values(text: &str) -> Value {
    let object = |link: Link<'_>| {
        let mut object = Map::new();
        object.insert("href".to_owned(), json!(link.target));
        for (name, value) in link.attributes {
            object.insert(name.to_owned(), if value.is_empty() { json!(true) } else { json!(value) });
        }
        Value::Object(object)
    };
    parse(text).into_iter().map(object).collect()
}

fn label(segment: &str, depth: usize) -> String {
    if depth == 0 && segment.contains("://") { segment.to_owned() } else { format!("/{segment}") }
}

fn describe(link: &Link<'_>) -> String {
    let attribute = |(name, value): &(&str, &str)| match *value {
        "" => (*name).to_owned(),
        value => format!("{name}={value}"),
    };
    link.attributes.iter().map(attribute).collect::<Vec<_>>().join(" ")
}

/// What stands between the slashes.
fn segments(target: &str) -> impl Iterator<Item = &str> {
    target.strip_prefix('/').unwrap_or(target).split('/')
}

fn parse(text: &str) -> Vec<Link<'_>> {
    split(text, ',').filter_map(parse_link).collect()
}

fn parse_link(text: &str) -> Option<Link<'_>> {
    let (target, rest) = text.trim().strip_prefix('<')?.split_once('>')?;
    let attributes = split(rest, ';').map(str::trim).filter(|attribute| !attribute.is_empty());
    let attributes = attributes.map(|attribute| {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        (name, value.trim_matches('"'))
    });
    Some(Link { target, attributes: attributes.collect() })
}

/// The parts between separators that stand neither in quotes nor in a target.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_target) = (false, false);
    text.split(move |c| {
        match c {
            '"' => is_quoted = !is_quoted,
            '<' if !is_quoted => is_target = true,
            '>' if !is_quoted => is_target = false,
            _ => {}
        }
        c == separator && !is_quoted && !is_target
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: &str = "</t/a>;rt=\"x,y\";obs,</t/b,c>;ct=0,</time>;title=\"now; really\"";

    #[test]
    fn a_link_is_a_line() {
        assert_eq!(lines(LINKS), "</t/a>;rt=\"x,y\";obs\n</t/b,c>;ct=0\n</time>;title=\"now; really\"\n");
    }

    #[test]
    fn paths_are_a_tree() {
        let shown = tree(LINKS);
        let rows: Vec<Vec<&str>> =
            shown.lines().map(|line| line.split("  ").filter(|it| !it.is_empty()).map(str::trim).collect()).collect();
        assert_eq!(
            rows,
            [vec!["/t"], vec!["/a", "rt=x,y obs"], vec!["/b,c", "ct=0"], vec!["/time", "title=now; really"]]
        );
    }

    #[test]
    fn attributes_without_a_value_are_true() {
        assert_eq!(values("</a>;obs;ct=40"), json!([{ "href": "/a", "obs": true, "ct": "40" }]));
    }
}
