//! Debian's Chromium, told what to do by WebDriver. Knows nothing of Ark.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long the driver may take for one thing, and a page to become what it shall be.
const DEADLINE: Duration = Duration::from_secs(30);
/// The name under which WebDriver answers elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. Ended when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

/// Whether both programs are there.
pub(crate) fn is_installed() -> bool {
    let runs = |program: &str| {
        let output = Command::new(program).arg("--version").stderr(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    runs("chromedriver") && runs("chromium")
}

impl Browser {
    /// Starts one, with or without script.
    pub(crate) fn start(script: bool) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, rest) = line.split_once("successfully on port ")?;
                rest.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver says its port");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Nothing here speaks TLS; the client asks for a provider all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            client,
            runtime: runtime.expect("a runtime"),
        };
        let content = if script { 1 } else { 2 };
        let answer = browser.post(
            "",
            &json!({ "capabilities": { "alwaysMatch": {
                "goog:chromeOptions": {
                    "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                        "--disable-dev-shm-usage", "--window-size=1440,1000",
                        "--no-proxy-server"],
                    "prefs": { "profile.managed_default_content_settings.javascript": content }
                },
                "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" }
            } } }),
        );
        let id = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.session)).json(body);
        self.answer(request)
    }

    fn answer(&self, request: reqwest::RequestBuilder) -> Value {
        let sent = async {
            let response = request.timeout(DEADLINE).send().await?;
            response.json::<Value>().await
        };
        let answer = self.runtime.block_on(sent).expect("the driver answers");
        answer["value"].clone()
    }

    fn good(&self, path: &str, body: &Value) -> Value {
        let value = self.post(path, body);
        assert!(value.get("error").is_none(), "{path} {body}: {value}");
        value
    }

    /// Opens an address.
    pub(crate) fn go(&self, url: &str) {
        self.good("/url", &json!({ "url": url }));
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        let request = self.client.get(format!("{}/url", self.session));
        self.answer(request).as_str().unwrap_or_default().to_owned()
    }

    fn element(&self, css: &str) -> Option<String> {
        let found = self.post("/element", &json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().map(str::to_owned)
    }

    /// Whether a selector finds something.
    pub(crate) fn element_there(&self, css: &str) -> bool {
        self.element(css).is_some()
    }

    /// Clicks what a selector finds, once it is there.
    pub(crate) fn click(&self, css: &str) {
        // A live page may exchange an element between its being found and clicked.
        self.until(&format!("{css} to be clicked"), || {
            let Some(id) = self.element(css) else { return false };
            self.post(&format!("/element/{id}/click"), &json!({})).is_null()
        });
    }

    /// Clicks the link or button with these words.
    pub(crate) fn click_words(&self, words: &str) {
        let xpath =
            format!("//*[self::a or self::button][starts-with(normalize-space(.), '{words}')]");
        self.until(&format!("“{words}” to be clicked"), || {
            let body = json!({ "using": "xpath", "value": xpath });
            let found = self.post("/element", &body);
            let Some(id) = found[ELEMENT].as_str() else { return false };
            self.post(&format!("/element/{id}/click"), &json!({})).is_null()
        });
    }

    /// Types into a field.
    pub(crate) fn type_into(&self, css: &str, text: &str) {
        let id = self.element(css).unwrap_or_else(|| panic!("no {css} on {}", self.url()));
        self.good(&format!("/element/{id}/clear"), &json!({}));
        self.good(&format!("/element/{id}/value"), &json!({ "text": text }));
    }

    /// What is read on the page.
    pub(crate) fn text(&self) -> String {
        let Some(id) = self.element("body") else { return String::new() };
        let request = self.client.get(format!("{}/element/{id}/text", self.session));
        self.answer(request).as_str().unwrap_or_default().to_owned()
    }

    /// What is read in each element that a selector finds.
    pub(crate) fn texts(&self, css: &str) -> Vec<String> {
        let found = self.post("/elements", &json!({ "using": "css selector", "value": css }));
        let ids = found.as_array().into_iter().flatten().filter_map(|one| one[ELEMENT].as_str());
        let text = |id| {
            let request = self.client.get(format!("{}/element/{id}/text", self.session));
            self.answer(request).as_str().unwrap_or_default().to_owned()
        };
        ids.map(text).collect()
    }

    /// Waits until these words are read on the page.
    pub(crate) fn reads(&self, words: &str) {
        self.until(&format!("the page to read “{words}”"), || self.text().contains(words));
    }

    /// Waits.
    pub(crate) fn until(&self, what: &str, mut good: impl FnMut() -> bool) {
        let began = Instant::now();
        while !good() {
            let text = || self.text();
            assert!(began.elapsed() < DEADLINE, "no {what}; {} reads:\n{}", self.url(), text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs script in the page; it answers by `return`.
    pub(crate) fn script(&self, script: &str) -> Value {
        self.good("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs script that answers by calling its last argument.
    pub(crate) fn script_async(&self, script: &str) -> Value {
        self.good("/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// A command of Chromium's own protocol.
    pub(crate) fn chromium(&self, command: &str, params: Value) -> Value {
        let mut body = json!({ "cmd": command });
        body["params"] = params;
        self.good("/goog/cdp/execute", &body)
    }

    /// What was logged since the last time: `browser` or `performance`.
    pub(crate) fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.good("/se/log", &json!({ "type": kind }));
        entries.as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let request = self.client.delete(&self.session);
        let end = async { tokio::time::timeout(Duration::from_secs(5), request.send()).await };
        let _ = self.runtime.block_on(end);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
