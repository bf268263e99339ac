//! Workflows in a browser: one is started and watched to its end, stopped, redriven, resolved; and
//! one that failed is found among 100,000.

use std::fs;
use std::sync::Arc;

use ark_model::workflow::ExecutionStatus;
use ark_store::{ExecutionRow, Store, StoreError};
use serde_json::{Value, json};

use super::browser::{Browser, is_installed};
use super::harness::lacking::{Lack, skip};
use super::harness::{Ark, words};
use super::{check_quiet, look, signed_in, site};

/// How many executions stand around the one that is looked for.
const MANY: usize = 100_000;
/// Rows of one transaction.
const AT_ONCE: usize = 5_000;

pub(super) fn define(ark: &Ark, name: &str, machine: &Value) {
    let path = ark.dir.path().join(format!("{name}.json"));
    fs::write(&path, machine.to_string()).expect("a file");
    ark.json(&["workflow", "define", name, &path.to_string_lossy(), "--json"]);
}

/// A Map over words, a choice, and a way for what fails.
fn sorting() -> Value {
    json!({
        "Comment": "Sorts what comes in",
        "StartAt": "Each word",
        "States": {
            "Each word": {
                "Type": "Map", "ItemsPath": "$.words", "ResultPath": "$.words", "Next": "Rest",
                "ItemProcessor": { "StartAt": "Note", "States": {
                    "Note": { "Type": "Pass", "End": true }
                }}
            },
            "Rest": { "Type": "Wait", "SecondsPath": "$.rest", "Next": "Look" },
            "Look": { "Type": "Choice", "Default": "Done", "Choices": [
                { "Variable": "$.bad", "IsPresent": true, "Next": "Refuse" }
            ]},
            "Refuse": { "Type": "Fail", "Error": "Sorting.Refused", "Cause": "line 1\nthe word is bad" },
            "Done": { "Type": "Succeed" }
        }
    })
}

/// What the page is about at this moment: the words at its head.
fn head(browser: &Browser) -> String {
    let head = browser.script("return document.getElementById('head')?.innerText ?? '';");
    head.as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_workflow_is_started_and_watched_to_its_end() {
    if !is_installed() {
        return skip(
            "a_workflow_is_started_and_watched_to_its_end",
            Lack::Browser,
            "chromium or chromedriver is not installed",
        );
    }
    let ark = Ark::up();
    let browser = signed_in(&ark, true);
    browser.go(&format!("{}/workflows", site(&ark)));
    browser.reads("No workflow is defined yet");
    look(&browser, "workflows-empty");
    define(&ark, "sorting", &sorting());
    ark.json(&[
        "workflow",
        "schedule",
        "add",
        "nightly",
        "sorting",
        "0 3 * * *",
        "--zone",
        "Europe/Berlin",
        "--json",
    ]);
    browser.go(&format!("{}/workflows", site(&ark)));
    browser.reads("nightly");
    browser.click_words("Pause");
    browser.reads("paused");
    browser.click_words("Resume");
    browser.until("the schedule to go on", || !browser.text().contains("paused"));
    browser.click("table a[href=\"/workflows/sorting\"]");
    browser.reads("It was never started");
    browser.click_words("Start…");
    browser.type_into("#input", r#"{"words": ["b", "a"], "color": "green", "rest": 3}"#);
    look(&browser, "workflow-start");
    browser.click_words("Start");

    // It moves by itself until its end.
    browser.reads("running");
    browser.script("window.same = true;");
    browser.until("it to rest", || browser.element_there("svg .state.busy"));
    look(&browser, "execution-running");
    browser.until("its end", || head(&browser).contains("succeeded"));
    assert_eq!(browser.script("return window.same;"), json!(true), "the page was loaded anew");
    for state in ["Each word", "Note", "Rest", "Look", "Done"] {
        browser.reads(state);
    }
    browser.until("every state to be done", || {
        browser.script("return document.querySelectorAll('svg .state.good').length;") == json!(5)
    });
    browser.click("svg a[href$='state=14#state']");
    browser.reads("green");
    look(&browser, "execution");

    // Another like it, with an input of one's own, fails; it is dealt with, and goes on.
    browser.click_words("Start another like it");
    let example = browser.script("return document.getElementById('input').value;");
    assert!(example.as_str().is_some_and(|text| text.contains("green")), "{example}");
    browser
        .type_into("#input", r#"{"words": [], "rest": 1, "bad": "<img src=x onerror=alert(1)>"}"#);
    browser.click_words("Start");
    browser.until("its end", || head(&browser).contains("failed"));
    browser.reads("the word is bad");
    browser.reads("Sorting.Refused");
    look(&browser, "execution-failed");
    browser.click_words("Resolve…");
    browser.reads("What would be done");
    look(&browser, "execution-resolve");
    browser.click_words("Resolve");
    browser.until("it to be resolved", || head(&browser).contains("resolved"));
    browser.click_words("Redrive…");
    browser.click_words("Redrive");
    browser.until("it to go on and fail again", || head(&browser).contains("redriven 1 times"));

    // One that is stopped, with a reason, long before it would end by itself.
    browser.go(&format!("{}/workflows/sorting/start", site(&ark)));
    browser.type_into("#input", r#"{"words": [], "rest": 600}"#);
    browser.click_words("Start");
    browser.click_words("Stop…");
    browser.type_into("#reason", "wrong words");
    browser.click_words("Stop");
    browser.until("it to be stopped", || head(&browser).contains("stopped"));
    browser.reads("wrong words");
    browser.go(&format!("{}/workflows/sorting", site(&ark)));
    browser.reads("failed");
    look(&browser, "workflow");
    browser.go(&format!("{}/workflows", site(&ark)));
    look(&browser, "workflows");
    check_quiet(&browser, &ark);
}

/// What the store holds of an execution.
async fn kept(store: &Store, machine: u64, name: &str) -> (ExecutionRow, Vec<(u64, String)>) {
    let name = name.to_owned();
    let read = store.read::<_, StoreError, _>(move |tx| {
        let row = tx.execution_by_name(machine, &name)?.expect("an execution");
        let history = tx.history_from(row.id, 1, 100)?;
        Ok((row, history))
    });
    read.await.expect("the store answers")
}

/// Fills the store of an Ark that does not run with copies of an execution, and one of another in
/// the middle of them.
fn fill(ark: &Ark, good: &str, bad: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let store = Store::open(ark.data_dir(), jiff::Timestamp::now()).expect("the store opens");
        let machine = store.read::<_, StoreError, _>(|tx| Ok(tx.machines(0, 1)?.remove(0).id));
        let machine = machine.await.expect("a workflow");
        let good = Arc::new(kept(&store, machine, good).await);
        let bad = Arc::new(kept(&store, machine, bad).await);
        for begin in (0..MANY).step_by(AT_ONCE) {
            let (good, bad) = (good.clone(), bad.clone());
            let written = store.write::<_, StoreError, _>(move |tx| {
                for n in begin..begin + AT_ONCE {
                    let wanted = n == MANY / 2;
                    let (row, history) = if wanted { &*bad } else { &*good };
                    let row = ExecutionRow { id: 0, name: format!("nr-{n:06}"), ..row.clone() };
                    let id = tx.insert_execution(&row)?;
                    for (seq, events) in history.iter().filter(|_| wanted) {
                        tx.append_history(id, *seq, events)?;
                    }
                }
                Ok(())
            });
            written.await.expect("the store is filled");
        }
    });
}

#[test]
#[allow(clippy::print_stderr, reason = "a skip is said by name, and how long pages took")]
fn one_that_failed_is_found_among_a_hundred_thousand() {
    if !is_installed() {
        return skip(
            "one_that_failed_is_found_among_a_hundred_thousand",
            Lack::Browser,
            "chromium or chromedriver is not installed",
        );
    }
    let mut ark = Ark::up();
    let machine = json!({ "StartAt": "Look", "States": {
        "Look": { "Type": "Choice", "Default": "Done", "Choices": [
            { "Variable": "$.bad", "IsPresent": true, "Next": "Refuse" }
        ]},
        "Refuse": { "Type": "Fail", "Error": "Sorting.Refused", "Cause": "the word is bad" },
        "Done": { "Type": "Succeed" }
    }});
    define(&ark, "sorting", &machine);
    for (name, input) in [("good", "{}"), ("bad", r#"{"bad": 1}"#)] {
        let ran =
            ark.run(&["workflow", "start", "sorting", input, "--name", name, "--follow", "--json"]);
        assert_eq!(ran.status.success(), name == "good", "{}", words(&ran));
    }
    let resolved = ark.run(&["workflow", "resolve", "sorting:bad"]);
    assert!(resolved.status.success(), "{}", words(&resolved));
    ark.kill_server();
    let begun = std::time::Instant::now();
    fill(&ark, "good", "bad");
    eprintln!("{MANY} executions after {:.1} s", begun.elapsed().as_secs_f64());
    ark.start_server();

    let browser = signed_in(&ark, true);
    let begun = std::time::Instant::now();
    browser.go(&format!("{}/workflows", site(&ark)));
    browser.reads("sorting");
    // Only the one that nobody has dealt with is counted, and a way leads to it.
    browser.click("a[href=\"/workflows/sorting?status=unresolved\"]");
    browser.reads("nr-050000");
    browser.reads("Sorting.Refused: the word is bad");
    eprintln!("found after {:.2} s", begun.elapsed().as_secs_f64());
    let listed = browser.script("return document.querySelectorAll('#executions tbody tr').length;");
    assert_eq!(listed, json!(1), "the resolved one is listed too");
    look(&browser, "workflow-unresolved");
    // By what its error says, in letters of either case.
    browser.go(&format!("{}/workflows/sorting", site(&ark)));
    browser.type_into("#error", "WORD is bad");
    browser.click_words("Show");
    browser.reads("nr-050000");
    browser.reads("ark workflow search --error='WORD is bad' sorting");
    browser.type_into("#error", "another word");
    browser.click_words("Show");
    browser.reads("No execution fits");
    // By the state, by the beginning of its name, and from page to page.
    browser.go(&format!(
        "{}/workflows/sorting?status={}",
        site(&ark),
        ExecutionStatus::Failed.as_str()
    ));
    browser.reads("nr-050000");
    browser.type_into("#q", "nr-05000");
    browser.click_words("Show");
    browser.reads("nr-050000");
    browser.go(&format!("{}/workflows/sorting?q=nr-0", site(&ark)));
    browser.reads("nr-000049");
    // The command beside the form finds the same.
    browser.reads("ark workflow search --name=nr-0 sorting");
    let by_name = ark.run(&["workflow", "search", "--name=nr-05000", "--limit", "3", "sorting"]);
    let told = words(&by_name);
    assert!(told.contains("nr-050002") && !told.contains("nr-050003"), "{told}");
    browser.click_words("More");
    browser.reads("nr-000050");
    browser.go(&format!("{}/workflows/sorting", site(&ark)));
    browser.reads("nr-099999");
    browser.click_words("Older");
    browser.reads("nr-099949");
    browser.go(&format!("{}/workflows/sorting?q=nr-050000", site(&ark)));
    browser.click("#executions a");
    browser.reads("the word is bad");
    browser.until("its graph", || browser.element_there("svg .state.bad"));
    check_quiet(&browser, &ark);
}
