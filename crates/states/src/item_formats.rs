//! Items in the texts of objects: JSON, JSON Lines and CSV. Called by the runtime for what it has read,
//! and by TestState for what it is given.

use crate::value::Value;

fn text_of<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    config.get(key).and_then(Value::as_str)
}

/// The items of an object, at most `most`, as `ReaderConfig` says. Errors are texts for the author of the
/// state machine.
pub fn items(bytes: &[u8], config: &Value, most: usize) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the object is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text_of(config, "InputType").unwrap_or("JSON") {
        "JSON" => json(text, text_of(config, "ItemsPointer").unwrap_or(""), most),
        "JSONL" => text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(most)
            .zip(1..)
            .map(|(line, n)| Value::parse(line).map_err(|e| format!("line {n}: {e}")))
            .collect(),
        "CSV" => csv(text, config, most),
        other => Err(format!("InputType {other} is not served by Ark: JSON, JSONL and CSV are")),
    }
}

fn json(text: &str, pointer: &str, most: usize) -> Result<Vec<Value>, String> {
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
    let items = value.as_array().ok_or("the items are not an array")?;
    Ok(items.iter().take(most).cloned().collect())
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
    let object = |row: Vec<String>| {
        Value::object(header.iter().zip(row).map(|(name, cell)| (name.as_str(), Value::from(cell))))
    };
    Ok(rows.take(most).map(object).collect())
}

/// Rows of cells (RFC 4180); empty lines are passed over.
fn rows(text: &str, delimiter: char) -> Result<Vec<Vec<String>>, String> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
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

    #[track_caller]
    fn check(text: &str, config: &str, expect: &str) {
        let config = Value::parse(config).unwrap();
        let shown = match items(text.as_bytes(), &config, 10) {
            Ok(items) => Value::array(items).to_json(),
            Err(why) => why,
        };
        assert_eq!(shown, expect, "{text}");
    }

    #[test]
    fn formats_of_items() {
        check("[1, {\"a\":2}]", "{}", r#"[1,{"a":2}]"#);
        check("{\"a\":{\"b\":[1,2]}}", r#"{"ItemsPointer":"/a/b"}"#, "[1,2]");
        check("{}", r#"{"ItemsPointer":"/a"}"#, "nothing is at the ItemsPointer /a");
        check("{}", "{}", "the items are not an array");
        check("{\"a\":1}\n\n2\n", r#"{"InputType":"JSONL"}"#, r#"[{"a":1},2]"#);
        let csv = r#"{"InputType":"CSV"}"#;
        check("a,b\r\n1,\"x,\"\"y\"\"\nz\"\n", csv, r#"[{"a":"1","b":"x,\"y\"\nz"}]"#);
        check("a,b\n\"1", csv, "a quoted cell of the CSV is not closed");
        let given = r#"{"InputType":"CSV","CSVHeaderLocation":"GIVEN","CSVHeaders":["x"],"CSVDelimiter":"PIPE"}"#;
        check("1|2\n3|4", given, r#"[{"x":"1"},{"x":"3"}]"#);
        check(
            "",
            r#"{"InputType":"PARQUET"}"#,
            "InputType PARQUET is not served by Ark: JSON, JSONL and CSV are",
        );
    }
}
