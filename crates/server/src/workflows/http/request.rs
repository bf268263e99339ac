//! What the parameters of an `http:invoke` task ask for: `ApiEndpoint`, `Method`, `Headers`,
//! `QueryParameters`, `RequestBody`, `Transform`, and the connection under `Authentication` or
//! `InvocationConfig`.

use ark_states::Value;
use http::Method;

use super::caller::Outgoing;

/// Fields that belong to the connection and are not the caller's to set.
const NOT_SET: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// The most header fields, and query parameters.
const FIELDS_MAX: usize = 100;

/// A call that a task asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) outgoing: Outgoing,
    /// Name of the connection whose credentials are added.
    pub(super) connection: Option<String>,
}

/// Reads the parameters.
///
/// # Errors
/// What is wrong, for people.
pub(super) fn read(input: &Value) -> Result<Asked, String> {
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    let endpoint = text("ApiEndpoint").ok_or("`ApiEndpoint` is missing: the URL that is called")?;
    let method = text("Method")
        .ok_or("`Method` is missing: GET, POST, PUT, DELETE, PATCH, OPTIONS or HEAD")?;
    let method = match method {
        "GET" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" | "HEAD" => {
            Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?
        }
        other => {
            return Err(format!(
                "`Method` {other} is not one of GET, POST, PUT, DELETE, PATCH, OPTIONS and HEAD"
            ));
        }
    };
    let mut url = url::Url::parse(endpoint).map_err(|error| format!("`ApiEndpoint`: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("`ApiEndpoint` must begin with https:// or http:// and name a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "`ApiEndpoint` must hold no credentials: they belong in a connection".to_owned()
        );
    }
    for (name, value) in pairs(input.get("QueryParameters"), "QueryParameters")? {
        url.query_pairs_mut().append_pair(&name, &value);
    }
    let headers = headers(input)?;
    let (body, form) = body(input)?;
    let mut outgoing = Outgoing { method, url, headers, body };
    if outgoing.body.is_some() && !outgoing.has_header("content-type") {
        let kind = if form { "application/x-www-form-urlencoded" } else { "application/json" };
        outgoing.headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    let connection = ["Authentication", "InvocationConfig"]
        .iter()
        .find_map(|key| input.get(key)?.get("ConnectionArn")?.as_str())
        .map(connection_name);
    Ok(Asked { outgoing, connection })
}

/// `arn:aws:events:<region>:<account>:connection/<name>/<id>`, or the name.
fn connection_name(text: &str) -> String {
    let name = text.split_once(":connection/").map_or(text, |(_, rest)| rest);
    name.split('/').next().unwrap_or(name).to_owned()
}

fn headers(input: &Value) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for (name, value) in pairs(input.get("Headers"), "Headers")? {
        let name = name.to_ascii_lowercase();
        if NOT_SET.contains(&name.as_str())
            || name.starts_with("x-forwarded")
            || name.starts_with("proxy-")
        {
            return Err(format!("`Headers` must not set `{name}`"));
        }
        http::HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{name}` is no name of a header field"))?;
        http::HeaderValue::from_str(&value)
            .map_err(|_| format!("the value of header field `{name}` is not allowed"))?;
        all.push((name, value));
    }
    Ok(all)
}

/// Members of an object; a list gives its name several times.
fn pairs(value: Option<&Value>, key: &str) -> Result<Vec<(String, String)>, String> {
    let object = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_object().ok_or_else(|| format!("`{key}` must be an object"))?,
    };
    let mut all = Vec::new();
    for (name, value) in object {
        match value {
            Value::Array(items) => {
                for item in items.iter() {
                    all.push((name.to_string(), plain(item)?));
                }
            }
            other => all.push((name.to_string(), plain(other)?)),
        }
    }
    if all.len() > FIELDS_MAX {
        return Err(format!("`{key}` has more than {FIELDS_MAX} members"));
    }
    Ok(all)
}

fn plain(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.to_string()),
        Value::Null => Ok(String::new()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_json()),
        Value::Array(_) | Value::Object(_) => Err("a value must be a text or a number".to_owned()),
    }
}

/// The body, and whether it is a form.
fn body(input: &Value) -> Result<(Option<Vec<u8>>, bool), String> {
    let Some(body) = input.get("RequestBody") else { return Ok((None, false)) };
    let transform = input.get("Transform");
    let encoding = transform.and_then(|t| t.get("RequestBodyEncoding")).and_then(Value::as_str);
    match (encoding.unwrap_or("NONE"), body) {
        // A text is sent as it is when it is said to be something else than JSON.
        ("NONE", Value::String(text)) if !is_json(input) => {
            Ok((Some(text.as_bytes().to_vec()), false))
        }
        ("NONE", body) => Ok((Some(body.to_json().into_bytes()), false)),
        ("URL_ENCODED", body) => {
            let format = transform
                .and_then(|t| t.get("RequestEncodingOptions"))
                .and_then(|o| o.get("ArrayFormat"))
                .and_then(Value::as_str)
                .unwrap_or("INDICES");
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            let object = body.as_object().ok_or("`RequestBody` of a form must be an object")?;
            for (name, value) in object {
                encode(&mut form, name, value, format)?;
            }
            Ok((Some(form.finish().into_bytes()), true))
        }
        (other, _) => Err(format!("`RequestBodyEncoding` {other} is neither NONE nor URL_ENCODED")),
    }
}

fn is_json(input: &Value) -> bool {
    let kind = input.get("Headers").and_then(Value::as_object).and_then(|headers| {
        let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        found.and_then(|(_, value)| value.as_str())
    });
    kind.is_none_or(|kind| kind.to_ascii_lowercase().contains("json"))
}

/// One member of a form; members of objects are `a[b]`, those of lists as `ArrayFormat` says.
fn encode(
    form: &mut url::form_urlencoded::Serializer<'_, String>,
    name: &str,
    value: &Value,
    format: &str,
) -> Result<(), String> {
    match value {
        Value::Object(members) => {
            for (key, value) in members.iter() {
                encode(form, &format!("{name}[{key}]"), value, format)?;
            }
        }
        Value::Array(items) if format == "COMMAS" => {
            let all = items.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
            form.append_pair(name, &all.join(","));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let name = match format {
                    "INDICES" => format!("{name}[{index}]"),
                    "BRACKETS" => format!("{name}[]"),
                    "REPEAT" => name.to_owned(),
                    other => {
                        return Err(format!(
                            "`ArrayFormat` {other} is not one of INDICES, BRACKETS, REPEAT and COMMAS"
                        ));
                    }
                };
                encode(form, &name, item, format)?;
            }
        }
        other => {
            form.append_pair(name, &plain(other)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Asked, String> {
        read(&Value::parse(text).expect("JSON"))
    }

    #[test]
    fn parameters_become_a_request() {
        let asked = asked(
            r#"{"ApiEndpoint": "https://api.example.test/v1/x", "Method": "POST",
                "Headers": {"X-A": ["1", "2"]}, "QueryParameters": {"q": "a b", "n": [1, 2]},
                "RequestBody": {"id": 7},
                "Authentication": {"ConnectionArn": "arn:aws:events:r:1:connection/production--pay/8f2c"}}"#,
        )
        .expect("a request");
        let out = asked.outgoing;
        assert_eq!(out.url.as_str(), "https://api.example.test/v1/x?q=a+b&n=1&n=2");
        assert_eq!(out.method, Method::POST);
        let headers: Vec<(&str, &str)> =
            out.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(headers, [("x-a", "1"), ("x-a", "2"), ("content-type", "application/json")]);
        assert_eq!(out.body.as_deref(), Some(&br#"{"id":7}"#[..]));
        assert_eq!(asked.connection.as_deref(), Some("production--pay"));
    }

    #[test]
    fn forms_are_encoded_in_four_ways() {
        for (format, wanted) in [
            ("INDICES", "a%5B0%5D=1&a%5B1%5D=2&b%5Bc%5D=x+y"),
            ("BRACKETS", "a%5B%5D=1&a%5B%5D=2&b%5Bc%5D=x+y"),
            ("REPEAT", "a=1&a=2&b%5Bc%5D=x+y"),
            ("COMMAS", "a=1%2C2&b%5Bc%5D=x+y"),
        ] {
            let text = format!(
                r#"{{"ApiEndpoint": "http://x.test/", "Method": "POST",
                    "RequestBody": {{"a": [1, 2], "b": {{"c": "x y"}}}},
                    "Transform": {{"RequestBodyEncoding": "URL_ENCODED",
                        "RequestEncodingOptions": {{"ArrayFormat": "{format}"}}}}}}"#
            );
            let out = asked(&text).expect("a request").outgoing;
            let body = String::from_utf8(out.body.clone().expect("a body")).expect("text");
            assert_eq!(body, wanted, "{format}");
            assert!(out.has_header("content-type"));
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for (text, said) in [
            ("{}", "`ApiEndpoint` is missing"),
            (r#"{"ApiEndpoint": "https://x.test/"}"#, "`Method` is missing"),
            (r#"{"ApiEndpoint": "https://x.test/", "Method": "CONNECT"}"#, "CONNECT"),
            (r#"{"ApiEndpoint": "file:///etc/passwd", "Method": "GET"}"#, "https://"),
            (r#"{"ApiEndpoint": "https://u:p@x.test/", "Method": "GET"}"#, "credentials"),
            (
                r#"{"ApiEndpoint": "https://x.test/", "Method": "GET", "Headers": {"Host": "y"}}"#,
                "host",
            ),
            (
                r#"{"ApiEndpoint": "https://x.test/", "Method": "GET", "Headers": {"a": "b\nc"}}"#,
                "not allowed",
            ),
            (r#"{"ApiEndpoint": "https://x.test/", "Method": "GET", "Headers": []}"#, "object"),
        ] {
            let why = asked(text).expect_err(text);
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
