//! Lists as columns for people; texts from outside cannot move the cursor or change colours.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use std::fmt::Write;

/// A column: its head, and the field that it shows.
pub type Column = (&'static str, fn(&Value) -> String);

/// The rows under their heads.
pub fn table(columns: &[Column], rows: &[Value]) -> String {
    let cells: Vec<Vec<String>> = rows.iter().map(|row| columns.iter().map(|(_, cell)| cell(row)).collect()).collect();
    let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let padded = padded.collect::<Vec<_>>().join("  ");
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", padded.trim_end());
    }
    text
}

/// One object, a line a field.
pub fn facts(object: &Value) -> String {
    let mut text = String::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let shown = show(value);
        if !shown.is_empty() {
            let _ = writeln!(text, "{:<20} {shown}", name.replace('_', " "));
        }
    }
    text
}

/// A value as people read it.
pub fn show(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(name, value)| format!("{name} {}", show(value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
        number => number.to_string(),
    }
}

/// Text from outside without anything that a terminal would obey.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            // They turn the direction of what follows.
            '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(letter.escape_unicode());
            }
            letter => shown.push(letter),
        }
    }
    shown
}

/// Bytes with a unit.
pub fn bytes(number: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut number = number;
    let mut unit = 0;
    while number >= 1_024.0 && unit + 1 < UNITS.len() {
        number /= 1_024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number:.0} B") } else { format!("{number:.1} {}", UNITS[unit]) }
}

/// Seconds in the two largest units.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m{}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

/// The local time of milliseconds since 1970, as `strftime` writes it.
pub fn moment(ms: &Value, format: &str) -> String {
    let timestamp = ms.as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(String::new, |it| it.to_zoned(TimeZone::system()).strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let columns: &[Column] = &[("CLIENT", |row| show(&row["client"])), ("N", |row| show(&row["n"]))];
        let rows = [json!({ "client": "a", "n": 7 }), json!({ "client": "longer-id", "n": null })];
        assert_eq!(table(columns, &rows), "CLIENT     N\na          7\nlonger-id\n");
        assert_eq!(table(columns, &[]), "CLIENT  N\n");
    }

    #[test]
    fn a_client_id_cannot_command_the_terminal() {
        assert_eq!(show(&json!("a\u{1b}[2Jb\n\u{202e}c")), "a\\u{1b}[2Jb\\n\\u{202e}c");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([bytes(0.0), bytes(1_023.0), bytes(1_536.0)], ["0 B", "1023 B", "1.5 KiB"]);
        assert_eq!([duration(59), duration(61), duration(3_700), duration(90_000)], ["59s", "1m1s", "1h1m", "1d1h"]);
    }
}
