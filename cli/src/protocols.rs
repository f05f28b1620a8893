//! `althing protocols`: the comparison of the protocols, from the rows that they describe themselves with.

use crate::exit::Failure;
use crate::output::write_stdout;
use althing_core::protocol::Row;
use serde_json::{Map, Value, json};

/// The width of a protocol's column in characters, and how many stand side by side: as much as a
/// terminal of a hundred columns shows.
const COLUMN_WIDTH: usize = 36;
const COLUMNS: usize = 2;

/// A line of the table: its label, its key in JSON and its cell.
type Criterion = (&'static str, &'static str, fn(&Row) -> String);

const CRITERIA: [Criterion; 11] = [
    ("Versions", "versions", |row| row.versions.to_owned()),
    ("Sponsor", "sponsor", |row| row.sponsor.to_owned()),
    ("Standard", "standard", |row| row.standard.to_owned()),
    ("Pattern", "pattern", |row| row.pattern.to_owned()),
    ("Quality of service", "quality_of_service", |row| row.quality_of_service.to_owned()),
    ("Security", "security", |row| row.security.to_owned()),
    ("Addressing", "addressing", |row| row.addressing.to_owned()),
    ("REST", "rest", |row| row.rest.to_owned()),
    ("Constrained devices", "constrained_devices", |row| row.constrained_devices.to_owned()),
    ("Default port", "default_port", |row| row.default_port.to_string()),
    ("Default address", "default_bind", |row| row.default_bind.to_owned()),
];

/// Prints the rows, as a table or as one JSON object a line.
pub fn print(rows: &[Row], as_json: bool) -> Result<(), Failure> {
    let text = if as_json { rows.iter().map(json_line).collect() } else { table(rows) };
    write_stdout(text.as_bytes())
}

fn json_line(row: &Row) -> String {
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(row.name));
    object.insert("title".to_owned(), json!(row.title));
    object.insert("description".to_owned(), json!(row.description));
    object.extend(CRITERIA.iter().map(|(_, key, cell)| ((*key).to_owned(), Value::String(cell(row)))));
    object.insert("default_port".to_owned(), json!(row.default_port));
    format!("{}\n", Value::Object(object))
}

fn table(rows: &[Row]) -> String {
    let blocks: Vec<String> = rows.chunks(COLUMNS).map(block).collect();
    blocks.join("\n")
}

/// The criteria down, some protocols across.
fn block(rows: &[Row]) -> String {
    let mut text = line("", rows.iter().map(|row| vec![row.title.to_owned()]).collect());
    for (label, _, cell) in CRITERIA {
        text.push_str(&line(label, rows.iter().map(|row| wrap(&cell(row), COLUMN_WIDTH)).collect()));
    }
    text
}

/// One line of the table, as high as its highest cell.
fn line(label: &str, cells: Vec<Vec<String>>) -> String {
    let label_width = CRITERIA.iter().map(|(label, ..)| label.len()).max().unwrap_or(0);
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut text = String::new();
    for part in 0..height {
        let mut printed = format!("{:label_width$}", if part == 0 { label } else { "" });
        for cell in &cells {
            let piece = cell.get(part).map_or("", String::as_str);
            printed.push_str(&format!("  {piece:COLUMN_WIDTH$}"));
        }
        text.push_str(printed.trim_end());
        text.push('\n');
    }
    text
}

/// Breaks at spaces; a word that is longer than the width stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !lines[last].is_empty() {
            lines[last].push(' ');
        }
        lines[last].push_str(word);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row = althing_mqtt::PROTOCOL;

    #[test]
    fn the_table_fits_a_hundred_columns_and_says_everything() {
        let table = table(&[ROW, ROW, ROW]);
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
        for (label, ..) in CRITERIA {
            assert_eq!(table.lines().filter(|line| line.starts_with(label)).count(), 2, "{label}");
        }
        for word in ROW.security.split_whitespace() {
            assert!(table.contains(word), "{word}");
        }
    }

    #[test]
    fn json_has_one_object_a_line() {
        let value: Value = serde_json::from_str(json_line(&ROW).trim_end()).unwrap();
        assert_eq!((&value["name"], &value["default_port"]), (&json!("mqtt"), &json!(1883)));
        for (_, key, _) in CRITERIA {
            assert!(!value[key].is_null(), "{key}");
        }
    }

    #[test]
    fn words_wrap_and_long_ones_stay_whole() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("a longestword b", 4), ["a", "longestword", "b"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
