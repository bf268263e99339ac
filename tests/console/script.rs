//! What the pages' script does when streams end, come back and repeat themselves, and when a part of a page is
//! exchanged: with streams and answers that the test makes.

use serde_json::{Value, json};

use super::browser::is_installed;
use super::harness::lacking::{Lack, skip};
use super::harness::{Ark, ENV, Sample, words};
use super::{APP, signed_in, site};

/// Streams that say what the test says; before the page's own script.
const STREAMS: &str = "
    window.streams = [];
    window.EventSource = class extends EventTarget {
      static CLOSED = 2;
      constructor(url) {
        super();
        this.url = url;
        this.readyState = 1;
        streams.push(this);
        setTimeout(() => this.dispatchEvent(new Event('open')));
      }
      close() { this.readyState = 2; }
      line(n, text) {
        const at = `2026-01-01T00:00:00.${n}Z`;
        const data = JSON.stringify({ at, instance: 'web-1', stream: 'stdout', text });
        this.dispatchEvent(new MessageEvent('line', { data, lastEventId: at }));
      }
      refuse() { this.readyState = 2; this.dispatchEvent(new Event('error')); }
    };";

/// A part of a page that differs each time it is fetched; `window.alarm` is what it tells, `window.heard` what of
/// it was read out.
const PART: &str = "
    window.count = 0;
    window.alarm = 'down';
    window.inside = (n) => `<div id='events' data-live><div role='alert'>${alarm} <time
      datetime='2026-01-01T00:00:00Z'>${n} s ago</time></div><p>${n}</p><form>
      ${window.gone ? '' : '<button formaction=/b>B</button>'}<button formaction=/a>A</button></form>
      <pre class='last'>${'line\\n'.repeat(200)}</pre></div>`;
    document.getElementById('events').outerHTML = inside(0);
    const real = window.fetch;
    window.fetch = async (...all) => {
      const answer = await real(...all);
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      page.getElementById('events').outerHTML = inside(++count);
      return new Response(page.documentElement.outerHTML, { status: answer.status });
    };
    const part = document.getElementById('events');
    new MutationObserver(() => {
      if (document.querySelector('#events [role=alert]')) window.heard = alarm;
    }).observe(document.body, { childList: true, subtree: true });
    part.querySelector('[formaction=\"/a\"]').focus();
    part.querySelector('pre').scrollTop = 300;";

#[test]
fn streams_come_back_and_parts_are_exchanged_without_disturbing_anybody() {
    if !is_installed() {
        return skip(
            "streams_come_back_and_parts_are_exchanged_without_disturbing_anybody",
            Lack::Browser,
            "chromium or chromedriver is not installed",
        );
    }
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let browser = signed_in(&ark, true);
    browser.chromium("Page.addScriptToEvaluateOnNewDocument", json!({ "source": STREAMS }));
    let ask = |script: &str| browser.script(&format!("return {script};"));
    let rows = || {
        ask("[...document.querySelectorAll('#log p')].map((row) => row.textContent.split(' ').at(-1))
            .filter((word) => word.startsWith('say'))")
    };

    browser.go(&format!("{}/e/{ENV}/{APP}/logs", site(&ark)));
    browser.reads("Live");
    // A line that is written twice is two lines.
    browser.script("for (const text of ['say1', 'say2', 'say2']) streams[0].line('100', text);");
    assert_eq!(rows(), json!(["say1", "say2", "say2"]));
    // A stream that is refused is opened anew, from where it was; what comes again is known.
    browser.script("streams[0].refuse();");
    browser.reads("Connection lost; trying again");
    browser.until("a second stream", || ask("streams.length") == 2);
    browser.reads("Live");
    let url = ask("streams[1].url");
    let last = "&last=2026-01-01T00%3A00%3A00.100Z";
    assert!(url.as_str().is_some_and(|url| url.ends_with(last)), "{url}");
    browser.script(
        "for (const text of ['say1', 'say2', 'say2', 'say2']) streams[1].line('100', text);",
    );
    assert_eq!(rows(), json!(["say1", "say2", "say2", "say2"]));
    // What the server cannot give again is spoken of.
    assert!(!browser.text().contains("Lines may be left out here"));
    browser.script("streams[1].refuse();");
    browser.until("a third stream", || ask("streams.length") == 3);
    browser.reads("Live");
    browser.script("streams[2].dispatchEvent(new MessageEvent('missed', { data: '{}' }));");
    browser.script("for (const n of ['050', '100', '900']) streams[2].line(n, `say${n}`);");
    browser.reads("Lines may be left out here");
    // Nobody looks: no connection is held.
    browser.script(
        "Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true });
         window.away = true;
         document.dispatchEvent(new Event('visibilitychange'));",
    );
    assert_eq!(ask("streams[2].readyState"), 2);
    browser.script("window.away = false; document.dispatchEvent(new Event('visibilitychange'));");
    assert_eq!(ask("streams.length"), 4);

    browser.go(&format!("{}/e/{ENV}/{APP}", site(&ark)));
    browser.reads("Live");
    browser.script(PART);
    let exchanged = |n: u32| {
        browser.until("another part", || {
            browser.script("streams[0].dispatchEvent(new Event('event'));");
            ask("document.querySelector('#events p').textContent")
                .as_str()
                .and_then(|n| n.parse().ok())
                >= Some(n)
        });
    };
    let focused = || ask("document.activeElement.getAttribute('formaction')");
    let heard = || ask("window.heard ?? null");
    exchanged(1);
    assert_eq!(focused(), "/a");
    assert_eq!(ask("document.querySelector('#events pre').scrollTop"), 300);
    exchanged(2);
    assert_eq!((focused(), heard()), (json!("/a"), Value::Null), "said already");
    // What another button does is not what was about to be pressed.
    let shown = browser.script(
        "document.querySelector('[formaction=\"/b\"]').focus();
         window.gone = true;
         window.alarm = 'up';
         return count;",
    );
    exchanged(shown.as_u64().and_then(|n| u32::try_from(n).ok()).expect("a number") + 1);
    assert_eq!((focused(), heard()), (Value::Null, json!("up")));
}
