//! Distributed Maps over a store that speaks S3's API: a small one in this process, which believes
//! only good signatures, fails now and then, and lists in pages of two.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ark_server::auth::{SignedRequest, Signer};
use ark_server::workflows::objects::Objects;
use ark_server::workflows::s3::{S3Objects, S3Options};
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::Fixture;

const SECRET: &str = "secret/of+the=store";

#[derive(Default)]
struct Store {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// So many requests are answered 503 first.
    failing: AtomicUsize,
    asked: AtomicUsize,
}

async fn serve(State(store): State<Arc<Store>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    store.asked.fetch_add(1, Ordering::Relaxed);
    let error = |status: StatusCode, code: &str| {
        let xml = format!("<Error><Code>{code}</Code><Message>because</Message></Error>");
        (status, xml).into_response()
    };
    if store
        .failing
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
        .is_ok()
    {
        return error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
    }
    let signed = SignedRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body: &body,
    };
    let verified = Signer::of(&parts.headers)
        .and_then(|signer| signer.verify(signed, "s3", SECRET, Timestamp::now()));
    if verified.is_err() {
        return error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    }
    let path = plain(parts.uri.path()).trim_start_matches('/').to_owned();
    let mut objects = store.objects.lock().expect("no test panics while it holds this");
    match (parts.method, parts.uri.query()) {
        (Method::PUT, None) => {
            objects.insert(path, body.to_vec());
            StatusCode::OK.into_response()
        }
        (Method::GET, None) => match objects.get(&path) {
            Some(bytes) => bytes.clone().into_response(),
            None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        (Method::GET, Some(query)) if query.starts_with("versionId=") => {
            let version = plain(query.trim_start_matches("versionId="));
            match objects.get(&format!("{path}@{version}")) {
                Some(bytes) => bytes.clone().into_response(),
                None => error(StatusCode::NOT_FOUND, "NoSuchVersion"),
            }
        }
        (Method::GET, Some(query)) => list(&objects, &path, query).into_response(),
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

fn list(objects: &BTreeMap<String, Vec<u8>>, bucket: &str, query: &str) -> String {
    let value = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        found.map(plain).unwrap_or_default()
    };
    assert_eq!(value("list-type"), "2");
    let (prefix, after) = (value("prefix"), value("continuation-token"));
    let keys = objects.iter().filter_map(|(path, bytes)| {
        let key = path.strip_prefix(bucket)?.strip_prefix('/')?;
        (key.starts_with(&prefix) && key > after.as_str()).then_some((key, bytes.len()))
    });
    let keys: Vec<_> = keys.collect();
    let page = &keys[..keys.len().min(2)];
    let more = keys.len() > page.len();
    let mut xml = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
    for (key, size) in page {
        let key = key.replace('&', "&amp;");
        xml += &format!("<Contents><Key>{key}</Key><Size>{size}</Size></Contents>");
    }
    if let (true, Some((last, _))) = (more, page.last()) {
        let token = last.replace('&', "&amp;");
        xml += &format!("<NextContinuationToken>{token}</NextContinuationToken>");
    }
    xml + "</ListBucketResult>"
}

/// Without percent signs.
fn plain(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |rest: &mut std::str::Bytes<'_>| {
            let digits: String = rest.take(2).map(char::from).collect();
            u8::from_str_radix(&digits, 16).expect("two digits")
        };
        bytes.push(if byte == b'%' { hex(&mut rest) } else { byte });
    }
    String::from_utf8(bytes).expect("text")
}

async fn store() -> (Arc<Store>, S3Options) {
    // Only the client's constructor wants it; every request of these tests is plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = Arc::new(Store::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let app = axum::Router::new().fallback(serve).with_state(store.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let options = S3Options {
        endpoint: format!("http://{address}"),
        region: "eu-central-1".to_owned(),
        access_key_id: "AKIDSTORE".to_owned(),
        secret_access_key: SECRET.to_owned().into(),
    };
    (store, options)
}

#[tokio::test]
async fn objects_are_put_listed_and_got_by_signed_requests() {
    let (store, options) = store().await;
    let objects = S3Objects::new(options.clone()).expect("an address");
    let keys = ["in/a.json", "in/b & c+d~(é).json", "in/c.json", "in/d", "in/e/f", "out"];
    for key in keys {
        objects.write("data", key, key.as_bytes().to_vec()).await.expect("written");
    }
    for key in keys {
        assert_eq!(objects.read("data", key, None).await.expect("read"), key.as_bytes());
    }
    let listed = objects.list("data", "in/").await.expect("listed");
    let listed: Vec<&str> = listed.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(listed, keys[..5]);
    let none = objects.read("data", "none", None).await.expect_err("not there");
    assert!(none.contains("data/none") && none.contains("NoSuchKey: because"), "{none}");
    for name in ["../x", "a/../../b", "."] {
        assert!(objects.read("data", name, None).await.is_err(), "{name}");
    }
    assert!(objects.read("a/b", "x", None).await.is_err());
    // A version is asked for by its id.
    let old = ("data/out@3/L4+x=".to_owned(), b"old".to_vec());
    store.objects.lock().expect("unlocked").extend([old]);
    let version = |id| objects.read("data", "out", Some(id));
    assert_eq!(version("3/L4+x=").await.expect("read"), b"old");
    let none = version("none").await.expect_err("not there");
    assert!(none.contains("NoSuchVersion: because"), "{none}");
    // A store that is busy is asked again; one that stays so is given up.
    store.failing.store(2, Ordering::Relaxed);
    assert_eq!(objects.read("data", "out", None).await.expect("read"), b"out");
    store.failing.store(100, Ordering::Relaxed);
    let asked = store.asked.load(Ordering::Relaxed);
    let busy = objects.read("data", "out", None).await.expect_err("busy");
    assert!(busy.contains("SlowDown"), "{busy}");
    assert_eq!(store.asked.load(Ordering::Relaxed) - asked, 4);
    store.failing.store(0, Ordering::Relaxed);
    // Another secret is believed by nobody, and said to nobody.
    let secret = "another".to_owned().into();
    let wrong = S3Objects::new(S3Options { secret_access_key: secret, ..options.clone() });
    let wrong = wrong.expect("an address");
    let refused = wrong.read("data", "out", None).await.expect_err("refused");
    assert!(refused.contains("SignatureDoesNotMatch") && !refused.contains("another"), "{refused}");
    assert!(!format!("{wrong:?}").contains("another"));
    for endpoint in ["", "ftp://x", "http://", "http://x?y", "x:9000"] {
        let endpoint = endpoint.to_owned();
        assert!(S3Objects::new(S3Options { endpoint, ..options.clone() }).is_err());
    }
}

#[tokio::test]
async fn a_distributed_map_reads_from_and_writes_to_the_store() {
    let (store, options) = store().await;
    let objects = S3Objects::new(options).expect("an address");
    let mut f = Fixture::new().await;
    f.wf = f.wf.clone().with_objects(Arc::new(objects));
    let items: Vec<Value> = (0..30).map(|n| json!({ "n": n })).collect();
    let text = Value::from(items).to_string();
    store.objects.lock().expect("unlocked").insert("data/in/items.json".into(), text.into_bytes());
    let machine = json!({ "StartAt": "M", "States": { "M": {
        "Type": "Map", "End": true, "Label": "L",
        "ItemReader": { "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": { "InputType": "JSON" },
            "Parameters": { "Bucket": "data", "Key": "in/items.json" } },
        "ItemProcessor": { "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
            "StartAt": "P", "States": { "P": { "Type": "Pass", "End": true } } },
        "ResultWriter": { "Resource": "arn:aws:states:::s3:putObject",
            "Parameters": { "Bucket": "data", "Prefix": "out" } } } } });
    let machine = f.machine("m", machine).await;
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    let output = f.output(&arn).await;
    let key = output["ResultWriterDetails"]["Key"].as_str().expect("a key").to_owned();
    let written = store.objects.lock().expect("unlocked").clone();
    let manifest: Value = serde_json::from_slice(&written[&format!("data/{key}")]).expect("JSON");
    let results = manifest["ResultFiles"]["SUCCEEDED"][0]["Key"].as_str().expect("a key");
    let results: Vec<Value> =
        serde_json::from_slice(&written[&format!("data/{results}")]).expect("JSON");
    assert_eq!(results.len(), 30);
    // What is not there fails the Map with the store's words.
    store.objects.lock().expect("unlocked").clear();
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    let failed = f.view(&arn).await;
    assert_eq!(failed.error.as_deref(), Some("States.ItemReaderFailed"));
    assert!(failed.cause.as_deref().is_some_and(|cause| cause.contains("NoSuchKey")), "{failed:?}");
}
