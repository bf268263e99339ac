//! Objects of a store that speaks S3's API (MinIO, Garage, Ceph, AWS): get, put and list, signed
//! with Signature Version 4, buckets in the path. Nothing else of that API is needed for distributed
//! Maps, so this is three requests and no library.
//!
//! A request that failed in passing (no connection, 429, 5xx) is sent again a few times: each of the
//! three may be repeated. Errors are texts for the author of a state machine; no key is in them.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use reqwest::{Method, Response, Url};
use ring::digest;
use zeroize::Zeroizing;

use super::objects::{LISTED_MAX, Listed, OBJECT_BYTES_MAX, Objects};
use crate::auth::{SignedRequest, sign};

/// How long a connection may take, and one request with its answer.
const CONNECT: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(120);
/// Tries of one request, and the pause after the first; each is twice the one before.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);
/// The largest body of a refusal or of one page of a list, in bytes.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// Objects of one page.
const PAGE_KEYS: usize = 1_000;

/// Where the store is, and as whom it is asked.
#[derive(Clone)]
pub struct S3Options {
    /// Its address: `http://127.0.0.1:9000`.
    pub endpoint: String,
    /// The region of the credentials' scope.
    pub region: String,
    /// The public half of the key.
    pub access_key_id: String,
    /// The other half.
    pub secret_access_key: Zeroizing<String>,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, region, access_key_id, secret_access_key: _ } = self;
        f.debug_struct("S3Options")
            .field("endpoint", endpoint)
            .field("region", region)
            .field("access_key_id", access_key_id)
            .finish_non_exhaustive()
    }
}

/// Buckets reached over S3's API.
#[derive(Debug)]
pub struct S3Objects {
    options: S3Options,
    base: Url,
    http: reqwest::Client,
}

/// Why a request brought nothing.
enum Failed {
    /// Asking again may help.
    InPassing(String),
    /// It will not.
    ForGood(String),
}

impl S3Objects {
    /// A client of a store. Asks nothing yet.
    ///
    /// # Errors
    /// When the endpoint is no address, for whoever started the server.
    pub fn new(options: S3Options) -> Result<Self, String> {
        let wrong = |why: String| {
            format!("`{}` is no address of a store of objects: {why}", options.endpoint)
        };
        let base = Url::parse(&options.endpoint).map_err(|error| wrong(error.to_string()))?;
        let plain =
            base.query().is_none() && base.fragment().is_none() && base.password().is_none();
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() || !plain {
            return Err(wrong("http://HOST:PORT or https://HOST is expected".to_owned()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { options, base, http })
    }

    /// The address of an object, or of a bucket with an empty key.
    fn url(&self, bucket: &str, key: &str, query: &[(&str, &str)]) -> Result<Url, String> {
        let segments = |text: &str| text.split('/').any(|part| matches!(part, "." | ".."));
        if bucket.is_empty() || bucket.contains('/') || segments(bucket) || segments(key) {
            return Err(format!("'{bucket}/{key}' is not the name of an object"));
        }
        let mut path = self.base.path().trim_end_matches('/').to_owned();
        path.push('/');
        path.push_str(&escaped(bucket, ""));
        if !key.is_empty() {
            path.push('/');
            path.push_str(&escaped(key, "/"));
        }
        let mut url = self.base.clone();
        url.set_path(&path);
        if !query.is_empty() {
            let pair = |(name, value): &(&str, &str)| format!("{name}={}", escaped(value, ""));
            url.set_query(Some(&query.iter().map(pair).collect::<Vec<_>>().join("&")));
        }
        Ok(url)
    }

    fn headers(&self, method: &Method, url: &Url, body: &[u8]) -> Result<HeaderMap, String> {
        let host = match (url.host_str().unwrap_or_default(), url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let digest = hex::encode(digest::digest(&digest::SHA256, body));
        let mut headers = HeaderMap::new();
        for (name, value) in [("host", host), ("x-amz-date", now), ("x-amz-content-sha256", digest)]
        {
            let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            headers.insert(name, value);
        }
        let request = SignedRequest {
            method: method.as_str(),
            path: url.path(),
            query: url.query().unwrap_or_default(),
            headers: &headers,
            body,
        };
        let S3Options { access_key_id, secret_access_key, region, .. } = &self.options;
        let signed = sign(request, access_key_id, secret_access_key, region, "s3")
            .map_err(|error| error.to_string())?;
        let signed = HeaderValue::from_str(&signed).map_err(|error| error.to_string())?;
        headers.insert(header::AUTHORIZATION, signed);
        Ok(headers)
    }

    /// Sends a request until it is answered; reads at most `most` bytes of a good answer.
    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Vec<u8>,
        most: u64,
    ) -> Result<Vec<u8>, String> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.once(&method, &url, &body, most).await {
                Ok(bytes) => return Ok(bytes),
                Err(Failed::ForGood(why)) => return Err(why),
                Err(Failed::InPassing(_)) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        self.once(&method, &url, &body, most).await.map_err(|failed| match failed {
            Failed::InPassing(why) | Failed::ForGood(why) => why,
        })
    }

    async fn once(
        &self,
        method: &Method,
        url: &Url,
        body: &[u8],
        most: u64,
    ) -> Result<Vec<u8>, Failed> {
        let headers = self.headers(method, url, body).map_err(Failed::ForGood)?;
        let request = self.http.request(method.clone(), url.clone()).headers(headers);
        let response = request.body(body.to_vec()).send().await;
        let response = response.map_err(|e| Failed::InPassing(unreachable_text(&e)))?;
        let status = response.status();
        if status.is_success() {
            return read(response, most).await;
        }
        let text = match read(response, PAGE_BYTES_MAX).await {
            Ok(bytes) => refusal(status, &String::from_utf8_lossy(&bytes)),
            Err(_) => status.to_string(),
        };
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err(Failed::InPassing(text)),
            status if status.is_server_error() => Err(Failed::InPassing(text)),
            _ => Err(Failed::ForGood(text)),
        }
    }
}

/// Why no answer came; the address is the operator's, not the author's, and has no key in it.
fn unreachable_text(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "the store of objects did not answer in time".to_owned()
    } else {
        "the store of objects cannot be reached".to_owned()
    }
}

async fn read(mut response: Response, most: u64) -> Result<Vec<u8>, Failed> {
    let too_large = || Failed::ForGood(format!("it has more than the {most} bytes that are read"));
    if response.content_length().is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(Failed::InPassing(unreachable_text(&error))),
        }
        if bytes.len() as u64 > most {
            return Err(too_large());
        }
    }
}

/// What the store says of itself: `NoSuchKey: The specified key does not exist.`
fn refusal(status: StatusCode, body: &str) -> String {
    let said: Vec<String> = ["Code", "Message"]
        .iter()
        .filter_map(|name| element(body, name))
        .map(|text| unescaped(text).chars().take(300).collect())
        .collect();
    if said.is_empty() { status.to_string() } else { said.join(": ") }
}

/// A path or a value, percent-encoded but for letters, digits, `-_.~` and what is in `plain`.
fn escaped(text: &str, plain: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let letter = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-_.~".contains(letter) || plain.contains(letter) {
            out.push(letter);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The text of the first element of that name. Lists of S3 have no attributes on what is looked for
/// and nest none of it in itself.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let from = xml.find(&open)? + open.len();
    let length = xml[from..].find(&close)?;
    Some(&xml[from..from + length])
}

/// A text of XML as it is meant.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // An ampersand that begins nothing stands for itself.
        let end = rest[1..].find([';', '&', ' ']).map_or(1, |end| end + 1);
        let end = if rest[end..].starts_with(';') { end + 1 } else { 1 };
        let entity = &rest[..end];
        let number = |text: &str| match text.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        let letter = match entity {
            "&amp;" => Some('&'),
            "&lt;" => Some('<'),
            "&gt;" => Some('>'),
            "&quot;" => Some('"'),
            "&apos;" => Some('\''),
            _ => entity
                .strip_prefix("&#")
                .and_then(|text| number(text.trim_end_matches(';')))
                .and_then(char::from_u32),
        };
        match letter {
            Some(letter) => out.push(letter),
            None => out.push_str(entity),
        }
        rest = &rest[end..];
    }
    out + rest
}

/// One page of a list: its objects, and where the next begins.
fn page(xml: &str) -> Result<(Vec<Listed>, Option<String>), String> {
    let mut found = Vec::new();
    for part in xml.split("<Contents>").skip(1) {
        let key = element(part, "Key").map(unescaped);
        let size = element(part, "Size").and_then(|size| size.trim().parse().ok());
        let (Some(key), Some(size)) = (key, size) else {
            return Err("the store answered with a list that cannot be read".to_owned());
        };
        let modified = element(part, "LastModified").and_then(|at| at.trim().parse().ok());
        found.push(Listed {
            key,
            size,
            etag: element(part, "ETag").map(unescaped).unwrap_or_default(),
            modified: modified.unwrap_or(Timestamp::UNIX_EPOCH),
            storage_class: element(part, "StorageClass").map_or("STANDARD".to_owned(), unescaped),
        });
    }
    let more = element(xml, "IsTruncated").is_some_and(|text| text.trim() == "true");
    let next = element(xml, "NextContinuationToken").map(unescaped).filter(|_| more);
    if more && next.is_none() {
        return Err("the store answered with a list that does not say how it goes on".to_owned());
    }
    Ok((found, next))
}

#[async_trait]
impl Objects for S3Objects {
    async fn read(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Vec<u8>, String> {
        let failed = |why: String| format!("the object {bucket}/{key} cannot be read: {why}");
        let query: Vec<_> = version.map(|version| ("versionId", version)).into_iter().collect();
        let url = self.url(bucket, key, &query)?;
        self.send(Method::GET, url, Vec::new(), OBJECT_BYTES_MAX).await.map_err(failed)
    }

    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Listed>, String> {
        let failed = |why: String| format!("the bucket {bucket} cannot be listed: {why}");
        let keys = PAGE_KEYS.to_string();
        let (mut found, mut token) = (Vec::new(), None::<String>);
        // A store whose pages do not end is no store of so many objects.
        for _ in 0..=LISTED_MAX {
            let mut query = vec![("list-type", "2"), ("max-keys", &keys), ("prefix", prefix)];
            if let Some(token) = &token {
                query.push(("continuation-token", token));
            }
            let url = self.url(bucket, "", &query)?;
            let bytes = self.send(Method::GET, url, Vec::new(), PAGE_BYTES_MAX).await;
            let bytes = bytes.map_err(failed)?;
            let (objects, next) = page(&String::from_utf8_lossy(&bytes)).map_err(failed)?;
            found.extend(objects);
            if found.len() > LISTED_MAX {
                return Err(format!(
                    "the bucket {bucket} has more than {LISTED_MAX} objects under '{prefix}'"
                ));
            }
            match next {
                Some(next) => token = Some(next),
                None => {
                    found.sort();
                    return Ok(found);
                }
            }
        }
        Err(failed("its list does not end".to_owned()))
    }

    async fn write(&self, bucket: &str, key: &str, bytes: Vec<u8>) -> Result<(), String> {
        let failed = |why: String| format!("the object {bucket}/{key} cannot be written: {why}");
        let url = self.url(bucket, key, &[])?;
        self.send(Method::PUT, url, bytes, PAGE_BYTES_MAX).await.map(|_| ()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_list_is_read() {
        let xml = "<ListBucketResult><IsTruncated>true</IsTruncated>\
            <Contents><Key>a &amp; b/&#x41;.json</Key><Size>12</Size></Contents>\
            <Contents><Size>0</Size><Key>c</Key></Contents>\
            <NextContinuationToken>x&lt;y</NextContinuationToken></ListBucketResult>";
        let (found, next) = page(xml).expect("a page");
        let keys: Vec<_> = found.iter().map(|o| (o.key.as_str(), o.size)).collect();
        assert_eq!(keys, [("a & b/A.json", 12), ("c", 0)]);
        assert_eq!(next.as_deref(), Some("x<y"));
        assert!(page("<Contents><Key>a</Key></Contents>").is_err());
        assert!(page("<IsTruncated>true</IsTruncated>").is_err());
        assert_eq!(unescaped("&bad; & &#0; &#xD800;x"), "&bad; & \0 &#xD800;x");
    }

    #[test]
    fn refusals_are_the_stores_own_words() {
        let body = "<Error><Code>NoSuchKey</Code><Message>No &quot;x&quot;</Message></Error>";
        assert_eq!(refusal(StatusCode::NOT_FOUND, body), "NoSuchKey: No \"x\"");
        assert_eq!(refusal(StatusCode::FORBIDDEN, "?"), "403 Forbidden");
    }
}
