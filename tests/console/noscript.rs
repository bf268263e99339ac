//! The whole console with script switched off: every page of the list is opened and reads, and forms
//! do what their buttons say: deploy, approve, go on, roll back, scale, start a workflow, stop it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ark_console::PAGES;
use serde_json::json;

use super::browser::{Browser, is_installed};
use super::harness::lacking::{Lack, skip};
use super::harness::{Ark, ENV, Sample, words};
use super::{APP, canary, jobs, pages, shoot, site, walk, workflows};

/// How long something may take that a page is loaded anew for.
const DEADLINE: Duration = Duration::from_secs(60);

/// What nothing but script would make work, or take away again.
const DEAD: [(&str, &str); 5] = [
    ("main button:not(form button)", "a button without a form"),
    ("a:not([href])", "a link that leads nowhere"),
    ("a[href='#']", "a link that leads nowhere"),
    ("[aria-busy='true']", "something that says it is busy"),
    (".copy", "a button that copies"),
];

struct Walk<'a> {
    ark: &'a Ark,
    browser: Browser,
    seen: BTreeSet<&'static str>,
}

impl Walk<'_> {
    /// Opens a page, which has this heading and reads this.
    #[track_caller]
    fn open(&mut self, path: &str, heading: &str, reads: &str) {
        self.browser.go(&format!("{}{path}", site(self.ark)));
        self.page(heading, reads);
    }

    /// Looks at the page that is shown.
    #[track_caller]
    fn page(&mut self, heading: &str, reads: &str) {
        self.until_headed(heading);
        let browser = &self.browser;
        let path = walk::path_of(&browser.url());
        // What stands there word for word, before what stands there for a name.
        let fitting = PAGES.iter().filter(|pattern| walk::fits(pattern, &path));
        let page = fitting.min_by_key(|pattern| pattern.matches('{').count());
        self.seen.extend(page);
        let headings = browser.texts("main h1");
        assert_eq!(headings.len(), 1, "{path}: {headings:?}");
        assert!(headings[0].contains(heading), "{path} is headed {headings:?}, not {heading:?}");
        let main = browser.texts("main").concat();
        assert!(main.contains(reads), "{path} does not read {reads:?}:\n{main}");
        for never in ["oading", "undefined", "NaN", "Connection lost"] {
            assert!(!main.contains(never), "{path} reads {never:?}:\n{main}");
        }
        for (css, what) in DEAD {
            assert!(!browser.element_there(css), "{path} has {what}: {css}");
        }
        // What goes on says that it stands still here.
        if browser.element_there("body[data-live-from]") {
            // The driver does not tell what is read in a `noscript`.
            let said = browser.script("return document.getElementById('live-state').textContent;");
            let said = said.as_str().unwrap_or_default();
            assert!(said.contains("load it again"), "{path} does not say that it stands still");
        }
        let name = path.trim_matches('/').replace(['/', '.', '~'], "_");
        shoot(browser, &format!("noscript-{name}"));
    }

    /// A form that was sent may still be on its way; what is wrong in the end is said by who looks.
    fn until_headed(&self, heading: &str) {
        let began = Instant::now();
        let fits = |texts: Vec<String>| texts.first().is_some_and(|text| text.contains(heading));
        while !fits(self.browser.texts("main h1")) && began.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Loads the page anew until it reads this.
    #[track_caller]
    fn until(&self, words: &str) {
        let began = Instant::now();
        while !self.browser.text().contains(words) {
            let text = || self.browser.text();
            assert!(
                began.elapsed() < DEADLINE,
                "{} never reads {words:?}:\n{}",
                self.browser.url(),
                text()
            );
            std::thread::sleep(Duration::from_millis(300));
            self.browser.go(&self.browser.url());
        }
    }

    fn sign_in(&mut self) {
        self.open("/sign-in", "Sign in", "Token");
        let token = std::fs::read_to_string(self.ark.data_dir().join("admin.token"));
        let token = token.expect("the token");
        self.browser.type_into("#token", "wrong");
        self.browser.click_words("Sign in");
        self.page("Sign in", "That is not known");
        self.browser.type_into("#token", token.trim());
        self.browser.click_words("Sign in");
        self.page("Overview", "mailer");
        self.browser.click_words("Sign out");
        self.page("Sign in", "Token");
        // A link on somebody else's page asks for a click.
        let link = self.ark.json(&["open", "--console", "--json"]);
        let link = link["url"].as_str().expect("a link");
        self.browser.go(&format!("data:text/html,<a href='{link}'>there</a>"));
        self.browser.click("a");
        self.page("Sign in", "This link signs you in once");
        self.browser.click_words("Sign in with this link");
        self.page("Overview", "crashed");
    }

    /// A canary is approved, goes on, is rolled back from; a known release is deployed by hand.
    fn deployments(&mut self, broken: &str) {
        self.open(&format!("/d/{broken}"), "v1", "crash on purpose");
        self.page("v1", ", UTC):");
        self.ark.deploy_detached(APP, &canary(2));
        self.open("/", "Overview", APP);
        self.until("Being deployed");
        self.until("waits for an approval");
        self.browser.click(".card.busy a");
        self.until("25 % of the requests on v2");
        self.until("waits for an approval");
        self.browser.type_into("#why", "the p99 is fine");
        self.browser.click_words("Approve");
        self.page("v2", "60 %");
        self.until("waits until somebody promotes it");
        self.browser.click_words("Go on");
        self.until("succeeded");
        self.page("v2", "the p99 is fine");
        self.open(&format!("/e/{ENV}/{APP}"), APP, "Instances");
        self.browser.click_words("Roll back");
        self.page("back to v1", "What would be done");
        self.browser.type_into("#reason", "it looks odd");
        self.browser.click_words("Roll back to v1");
        self.page("to v1", "it looks odd");
        self.until("succeeded");
        self.open(&format!("/e/{ENV}/{APP}/deploy"), "Deploy web", "Releases of production");
        self.browser.click(&format!("a[href=\"/e/{ENV}/{APP}/deploy?from={ENV}&number=2\"]"));
        self.page("Deploy web", "What would be done");
        self.browser.click_words("Deploy");
        self.until("waits for an approval");
        self.browser.click_words("All of the traffic");
        self.until("succeeded");
        self.open(&format!("/e/{ENV}/{APP}/deployments"), "eployments", "v2");
        self.open(&format!("/e/{ENV}/{APP}/releases"), "eleases", "VERSION");
        self.open(&format!("/e/{ENV}/{APP}/diff?from=1&to=2"), "v1", "VERSION");
    }

    fn wishes(&mut self) {
        for (wish, heading, button, then) in [
            ("scale", "Scale web", "Scale", "1 wanted, set by scale"),
            ("restart", "Restart web", "Restart", "the restart of web"),
            ("stop", "Stop web", "Stop", "stopped"),
            ("start", "Start web", "Start", "1 wanted"),
        ] {
            self.open(&format!("/e/{ENV}/{APP}/do/{wish}"), heading, "What would be done");
            if wish == "scale" {
                self.browser.type_into("#count", "1");
            }
            self.browser.click_words(button);
            self.page(APP, "Instances");
            self.until(then);
        }
        self.open(&format!("/e/{ENV}/{APP}/logs"), "Log of web", "start: app=web");
        self.browser.type_into("#q", "nobody wrote this");
        self.browser.click_words("Show");
        self.page("Log of web", "No line yet has");
        self.open("/e/production/none", "no such app", "none");
    }

    fn environments(&mut self) {
        self.open("/environments", "Environments", ENV);
        self.browser.type_into("#name", "eng1-env");
        self.browser.click("#lease option[value=\"28800\"]");
        self.browser.click_words("Make it");
        self.page("eng1-env", "Its lease runs out in");
        self.browser.click_words("Lift it");
        self.page("eng1-env", "It has none and stays");
        self.browser.type_into("#name", "eng1-env");
        self.browser.click_words("Destroy");
        let began = Instant::now();
        while self.browser.texts("main table").concat().contains("eng1-env") {
            assert!(began.elapsed() < DEADLINE, "it is still there");
            self.open("/environments", "Environments", ENV);
        }
        self.open("/events", "Events", "eng1-env");
        self.browser.type_into("#env", "eng1-env");
        self.browser.click_words("Show");
        self.page("Events", "eng1-env");
    }

    fn work(&mut self) {
        jobs::deploy(self.ark, "nightly", "type: cron, schedule: \"30 3 * * *\"", "echo nightly");
        jobs::deploy(self.ark, "import", "type: job", "echo \"got $*\"; exit 3");
        self.open("/jobs", "Jobs", "30 3 * * *");
        self.browser.click_words("Pause");
        self.page("Jobs", "paused by");
        self.browser.click("a[aria-label=\"Run import on production\"]");
        self.page("import", "Arguments");
        self.browser.type_into("#args", "one word");
        self.browser.click_words("Run");
        self.until("failed: exit 3");
        self.page("Run 1", "got one word");
        self.open(&format!("/e/{ENV}/import/runs"), "import", "failed: exit 3");
    }

    fn server(&mut self) {
        pages::hook(self.ark);
        pages::good(
            self.ark,
            &["node", "add", "eu-1", "unix:///nonexistent.sock", "--reach", "10.255.0.9"],
        );
        self.open("/server", "Server", "shop");
        self.browser.click("a[href=\"/server/hosts/eu-1/drain\"]");
        self.page("eu-1", "place nothing new there");
        self.browser.click_words("Drain");
        self.page("Server", "Use it again");
        self.browser.click_words("shop");
        self.page("shop", "It was told of none yet");
        self.open("/server/checks", "What is well", "store");
    }

    /// One that is called as a folder above another: browsers take such parts of an address away.
    fn workflows(&mut self) {
        let machine = json!({ "StartAt": "Look", "States": {
            "Look": { "Type": "Pass", "Next": "Rest" },
            "Rest": { "Type": "Wait", "SecondsPath": "$.rest", "End": true }
        } });
        for name in ["sorting", ".."] {
            workflows::define(self.ark, name, &machine);
            self.open("/workflows", "Workflows", name);
            self.browser
                .click(&format!("table a[href$=\"{}\"]", if name == ".." { "/~.." } else { name }));
            self.page(name, "It was never started");
            self.browser.click_words("Start…");
            self.page(name, "Input");
            self.browser.type_into("#input", r#"{"word": "green", "rest": 0}"#);
            self.browser.click_words("Start");
            self.until("succeeded");
            self.page(name, "green");
            self.browser.click_words("Start another like it");
            self.browser.type_into("#input", r#"{"rest": 600}"#);
            self.browser.click_words("Start");
            self.browser.click_words("Stop…");
            self.page("Stop", "What would be done");
            self.browser.type_into("#reason", "wrong word");
            self.browser.click_words("Stop");
            self.until("wrong word");
            self.page(name, "stopped");
        }
    }
}

#[test]
fn without_script_every_page_reads_and_forms_work() {
    if !is_installed() {
        return skip(
            "without_script_every_page_reads_and_forms_work",
            Lack::Browser,
            "chromium or chromedriver is not installed",
        );
    }
    let ark = Ark::up();
    let (output, broken) = ark.deploy("mailer", &Sample::version(1).variable("BROKEN", "crash"));
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));

    let mut walk = Walk { ark: &ark, browser: Browser::start(false), seen: BTreeSet::new() };
    walk.sign_in();
    walk.deployments(broken["id"].as_str().expect("its id"));
    walk.wishes();
    walk.environments();
    walk.work();
    walk.server();
    walk.workflows();
    walk.open("/events?env=No+Such", "Events", "cannot be an environment");
    walk.browser.click_words("Dark");
    walk.page("Events", "cannot be an environment");
    let unseen: Vec<_> = PAGES.iter().filter(|page| !walk.seen.contains(**page)).collect();
    assert!(unseen.is_empty(), "nobody looked without script at {unseen:?}");
}
