//! Items in the texts of objects: JSON, JSON Lines and CSV, and which objects a manifest names. Called
//! by the runtime for what it has read, and by TestState for what it is given.

mod manifest;

pub use manifest::{DataFile, Manifest, manifest, names_files};

use std::sync::Arc;

use crate::value::Value;

/// An item, with its key where it is the member of an object: `Map.Item.Key`, as of a state's input.
pub type Keyed = (Option<Value>, Value);

fn text_of<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    config.get(key).and_then(Value::as_str)
}

/// The items of an object, at most `most`, as `ReaderConfig` says. Errors are texts for the author of the
/// state machine.
pub fn items(bytes: &[u8], config: &Value, most: usize) -> Result<Vec<Keyed>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the object is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let plain = |items: Vec<Value>| items.into_iter().map(|item| (None, item)).collect();
    match text_of(config, "InputType").unwrap_or("JSON") {
        "JSON" => json(text, text_of(config, "ItemsPointer").unwrap_or(""), most),
        "JSONL" => text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(most)
            .zip(1..)
            .map(|(line, n)| Value::parse(line).map_err(|e| format!("line {n}: {e}")))
            .collect::<Result<_, _>>()
            .map(plain),
        "CSV" => csv(text, config, most).map(plain),
        "MANIFEST" => Err("the items of a MANIFEST are in the objects that it names".to_owned()),
        other => Err(format!(
            "InputType {other} is not served by Ark: JSON, JSONL, CSV and MANIFEST are"
        )),
    }
}

fn json(text: &str, pointer: &str, most: usize) -> Result<Vec<Keyed>, String> {
    let mut value = Value::parse(text).map_err(|e| e.to_string())?;
    for part in pointer.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        let found = match value.as_array() {
            Some(items) => name.parse::<usize>().ok().and_then(|n| items.get(n)),
            None => value.get(&name),
        };
        value =
            found.cloned().ok_or_else(|| format!("nothing is at the ItemsPointer {pointer}"))?;
    }
    // An object's members are items as they are in a state's input.
    if let Some(members) = value.as_object() {
        let keyed =
            |(key, member): (&Arc<str>, &Value)| (Some(Value::from(&**key)), member.clone());
        return Ok(members.iter().take(most).map(keyed).collect());
    }
    let items = value.as_array().ok_or("the items are neither an array nor an object")?;
    Ok(items.iter().take(most).map(|item| (None, item.clone())).collect())
}

fn csv(text: &str, config: &Value, most: usize) -> Result<Vec<Value>, String> {
    let delimiter = match text_of(config, "CSVDelimiter").unwrap_or("COMMA") {
        "COMMA" => ',',
        "PIPE" => '|',
        "SEMICOLON" => ';',
        "SPACE" => ' ',
        "TAB" => '\t',
        other => return Err(format!("CSVDelimiter {other} is unknown")),
    };
    let given = match text_of(config, "CSVHeaderLocation").unwrap_or("FIRST_ROW") {
        "GIVEN" => config.get("CSVHeaders").and_then(Value::as_array).map(|names| {
            names.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        }),
        _ => None,
    };
    let mut rows = rows(text, delimiter)?.into_iter();
    let header = match given {
        Some(names) => names,
        None => rows.next().unwrap_or_default(),
    };
    // Cells beyond the header are left out, missing ones are empty.
    let object = |row: Vec<String>| {
        let cells = row.into_iter().chain(std::iter::repeat(String::new()));
        Value::object(
            header.iter().zip(cells).map(|(name, cell)| (name.as_str(), Value::from(cell))),
        )
    };
    Ok(rows.take(most).map(object).collect())
}

/// Rows of cells, by the rules of the guide's page "How Step Functions parses input CSV files"; empty
/// lines are passed over. Quotation marks enclose a cell that begins with one, and two of them are one,
/// in cells that are not enclosed, too. A backslash takes away the meaning of a backslash, a quotation
/// mark or the delimiter behind it; before anything else it is left out.
fn rows(text: &str, delimiter: char) -> Result<Vec<Vec<String>>, String> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let escaped = |next: &char| matches!(next, '\\' | '"') || *next == delimiter;
                cell.extend(chars.next_if(escaped));
            }
            '"' if (quoted || !cell.is_empty()) && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            c if quoted => cell.push(c),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                if !row.is_empty() || !cell.is_empty() {
                    row.push(std::mem::take(&mut cell));
                    rows.push(std::mem::take(&mut row));
                }
            }
            c if c == delimiter => row.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    if quoted {
        return Err("a quoted cell of the CSV is not closed".to_owned());
    }
    if !row.is_empty() || !cell.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::children::item_of;

    #[track_caller]
    fn check(text: &str, config: &str, expect: &str) {
        let config = Value::parse(config).unwrap();
        let shown = match items(text.as_bytes(), &config, 10) {
            Ok(items) => {
                let shown = |(key, value): &Keyed| item_of(key.as_ref(), value);
                Value::array(items.iter().map(shown)).to_json()
            }
            Err(why) => why,
        };
        assert_eq!(shown, expect, "{text}");
    }

    #[test]
    fn formats_of_items() {
        check("[1, {\"a\":2}]", "{}", r#"[1,{"a":2}]"#);
        check("{\"a\":{\"b\":[1,2]}}", r#"{"ItemsPointer":"/a/b"}"#, "[1,2]");
        check("{}", r#"{"ItemsPointer":"/a"}"#, "nothing is at the ItemsPointer /a");
        check("{}", "{}", "[]");
        check("1", "{}", "the items are neither an array nor an object");
        let pairs = r#"[{"Key":"x","Value":1},{"Key":"y","Value":[2]}]"#;
        check(r#"{"x":1,"y":[2]}"#, "{}", pairs);
        check(r#"{"a":{"x":1,"y":[2]}}"#, r#"{"ItemsPointer":"/a"}"#, pairs);
        check("{\"a\":1}\n\n2\n", r#"{"InputType":"JSONL"}"#, r#"[{"a":1},2]"#);
        let csv = r#"{"InputType":"CSV"}"#;
        check("a,b\r\n1,\"x,\"\"y\"\"\nz\"\n", csv, r#"[{"a":"1","b":"x,\"y\"\nz"}]"#);
        check("a,b\n\"1", csv, "a quoted cell of the CSV is not closed");
        let given = r#"{"InputType":"CSV","CSVHeaderLocation":"GIVEN","CSVHeaders":["x"],"CSVDelimiter":"PIPE"}"#;
        check("1|2\n3|4", given, r#"[{"x":"1"},{"x":"3"}]"#);
        check(
            "",
            r#"{"InputType":"PARQUET"}"#,
            "InputType PARQUET is not served by Ark: JSON, JSONL, CSV and MANIFEST are",
        );
    }

    /// The guide's page "How Step Functions parses input CSV files", line by line.
    #[test]
    fn csv_is_read_as_the_guide_says() {
        let with = |delimiter: &str| {
            format!(
                r#"{{"InputType":"CSV","CSVHeaderLocation":"FIRST_ROW","CSVDelimiter":"{delimiter}"}}"#
            )
        };
        for (rule, delimiter, text, expect) in [
            (
                "the delimiter is the one of CSVDelimiter",
                "PIPE",
                "a|b\n1,2|3",
                r#"[{"a":"1,2","b":"3"}]"#,
            ),
            ("or a tab", "TAB", "a\tb\n1 2\t3", r#"[{"a":"1 2","b":"3"}]"#),
            ("or a space", "SPACE", "a b\n1 2", r#"[{"a":"1","b":"2"}]"#),
            ("or a semicolon", "SEMICOLON", "a;b\n1,;2", r#"[{"a":"1,","b":"2"}]"#),
            ("newlines part records", "COMMA", "a\n1\r\n2\n", r#"[{"a":"1"},{"a":"2"}]"#),
            (
                "fields are strings",
                "COMMA",
                "a,b,c\n1,true,null",
                r#"[{"a":"1","b":"true","c":"null"}]"#,
            ),
            ("strings need no quotation marks", "COMMA", "a\nx y", r#"[{"a":"x y"}]"#),
            (
                "enclosed ones may hold commas and newlines",
                "COMMA",
                "a,b\n\"x,y\",\"1\n2\"",
                r#"[{"a":"x,y","b":"1\n2"}]"#,
            ),
            ("repeated quotation marks are kept", "COMMA", "a\n\"x\"\"y\"", r#"[{"a":"x\"y"}]"#),
            (
                "in strings that are not enclosed, too (the page's own example)",
                "COMMA",
                "a,b\n{\"\"MyKey\"\":\"\"MyValue\"\"},\"[1,2,3]\"",
                r#"[{"a":"{\"MyKey\":\"MyValue\"}","b":"[1,2,3]"}]"#,
            ),
            (
                "backslashes are kept by repeating them (its other example)",
                "COMMA",
                "path,size\nC:\\\\Program Files\\\\MyApp.exe,6534512",
                r#"[{"path":"C:\\Program Files\\MyApp.exe","size":"6534512"}]"#,
            ),
            (
                "a backslash escapes the separator",
                "COMMA",
                "a,b\n1\\,2,3",
                r#"[{"a":"1,2","b":"3"}]"#,
            ),
            ("the one of this file", "PIPE", "a|b\n1\\|2|3\\,4", r#"[{"a":"1|2","b":"3,4"}]"#),
            (
                "and quotation marks, in pairs",
                "COMMA",
                "a,b\n\"x \\\"y\\\" z\",\\\"w\\\"",
                r#"[{"a":"x \"y\" z","b":"\"w\""}]"#,
            ),
            ("before another character it is left out", "COMMA", "a\nx\\qy\\", r#"[{"a":"xqy"}]"#),
            (
                "missing fields are empty strings",
                "COMMA",
                "a,b,c\n1\n2,3",
                r#"[{"a":"1","b":"","c":""},{"a":"2","b":"3","c":""}]"#,
            ),
            ("additional fields are skipped", "COMMA", "a\n1,2,3", r#"[{"a":"1"}]"#),
        ] {
            let config = Value::parse(&with(delimiter)).unwrap();
            let items = items(text.as_bytes(), &config, 10).unwrap();
            let items = Value::array(items.into_iter().map(|(_, row)| row));
            assert_eq!(items.to_json(), expect, "{rule}: {text}");
        }
    }
}
