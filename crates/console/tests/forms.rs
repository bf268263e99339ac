//! Every form of the console, sent by a page of somebody else's: none changes anything. The list is
//! compared with the addresses that the pages name, so that a new form cannot be forgotten.

mod table;

use std::fs;
use std::path::Path;

use table::{Table, get, post, server, text, token_of};

/// An address of each form, and what would be sent.
const FORMS: &[(&str, &str, &str)] = &[
    ("/theme", "/theme", "theme=dark&back=/"),
    ("/sign-out", "/sign-out", ""),
    ("/e/{env}/{app}/deploy", "/e/production/web/deploy", "from=production&number=2&key=k"),
    ("/e/{env}/{app}/rollback", "/e/production/web/rollback", "to=1&key=k"),
    ("/e/{env}/{app}/do/{what}", "/e/production/web/do/scale", "count=0"),
    ("/e/{env}/{app}/do/{what}", "/e/production/web/do/restart", ""),
    ("/e/{env}/{app}/do/{what}", "/e/production/web/do/stop", ""),
    ("/e/{env}/{app}/do/{what}", "/e/production/web/do/start", ""),
    ("/e/{env}/{app}/run", "/e/production/web/run", "args=a&retries=&key=k"),
    ("/e/{env}/{app}/runs/{run}/stop", "/e/production/web/runs/7/stop", ""),
    ("/e/{env}/{app}/cron/{wish}", "/e/production/web/cron/pause", ""),
    ("/d/{id}/{wish}", "/d/0197a1b2-0000-7000-8000-000000000001/promote", ""),
    ("/d/{id}/{wish}", "/d/0197a1b2-0000-7000-8000-000000000001/full", ""),
    ("/d/{id}/{wish}", "/d/0197a1b2-0000-7000-8000-000000000001/approve", ""),
    ("/d/{id}/{wish}", "/d/0197a1b2-0000-7000-8000-000000000001/pause", ""),
    ("/d/{id}/{wish}", "/d/0197a1b2-0000-7000-8000-000000000001/resume", ""),
    ("/d/{id}/{wish}", "/d/0197a1b2-0000-7000-8000-000000000001/abort", ""),
    ("/environments", "/environments", "name=eng1&kind=development&lease="),
    ("/environments/{env}/destroy", "/environments/production/destroy", "name=production"),
    ("/environments/{env}/lease", "/environments/production/lease", "lease="),
    ("/workflows/{workflow}/start", "/workflows/w/start", "input=%7B%7D&key=k&named=yes"),
    ("/workflows/{workflow}/x/{execution}/do/{act}", "/workflows/w/x/e/do/stop", "reason=x"),
    ("/workflows/{workflow}/x/{execution}/do/{act}", "/workflows/w/x/e/do/redrive", ""),
    ("/workflows/{workflow}/x/{execution}/do/{act}", "/workflows/w/x/e/do/resolve", ""),
    ("/schedules/{schedule}/{wish}", "/schedules/s/pause", ""),
    ("/server/hosts/{host}/{wish}", "/server/hosts/local/drain", ""),
];

/// Those that stand before a session: what they need instead is tested in `pages`.
const BEFORE: &[&str] = &["/sign-in", "/sign-in/{code}"];

/// The addresses of the source that take a form.
fn named() -> Vec<String> {
    fn read(folder: &Path, all: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, all);
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            for route in text.split(".route(").skip(1) {
                // Up to the next route, or the end of the table.
                let own = route.split("\n}").next().unwrap_or_default();
                let address = own.split('"').nth(1).expect("an address");
                if own.contains("post(") {
                    all.push(address.to_owned());
                }
            }
        }
    }
    let mut all = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    all
}

#[test]
fn the_list_has_every_form() {
    let named = named();
    assert!(named.len() > 12, "{named:?}");
    for address in &named {
        let known = FORMS.iter().any(|(pattern, ..)| pattern == address);
        assert!(known || BEFORE.contains(&address.as_str()), "no test sends {address}");
    }
    for (pattern, ..) in FORMS {
        assert!(named.iter().any(|address| address == pattern), "nothing takes {pattern}");
    }
}

#[tokio::test]
async fn no_form_changes_anything_without_the_token_of_its_session() {
    let (site, table) = Table::default()
        .with("GET /v1/server", server())
        .with("GET /v1/environments?limit=500", serde_json::json!({ "items": [] }))
        .site();
    let foreign = token_of(&text(get(&site, "/", "reader").await).await);
    let before = table.asked().len();
    for (_, address, fields) in FORMS {
        for token in ["", "x", &foreign] {
            let response = post(&site, address, "fresh", Some(token), fields).await;
            assert_eq!(response.status(), 403, "{address} with {token:?}");
        }
        // Nobody is signed in: the way to sign in is all there is.
        let response = post(&site, address, "unknown", Some(&foreign), fields).await;
        assert!(matches!(response.status().as_u16(), 303 | 401), "{address}");
    }
    let asked: Vec<_> = table.asked().split_off(before);
    assert!(asked.is_empty(), "the API was asked: {asked:?}");
    assert!(table.ended().is_empty(), "a session was ended");
}
