//! The frame around every page: title, menu, who is signed in, theme, the command that shows the
//! same.

use ark_model::api::Role;
use http::HeaderMap;

use crate::visit::{Visit, cookie};

/// The cookie that holds the theme.
pub(crate) const THEME_COOKIE: &str = "ark_theme";

/// Light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the reader's system says.
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        cookie(headers, THEME_COOKIE).map_or(Self::System, Self::parse)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// An entry of the menu: its address, its name.
pub(crate) type Entry = (&'static str, &'static str);

/// The menu.
pub(crate) const MENU: &[Entry] = &[
    ("/", "Overview"),
    ("/environments", "Environments"),
    ("/workflows", "Workflows"),
    ("/jobs", "Jobs"),
    ("/events", "Events"),
    ("/server", "Server"),
];

/// One part of the path above a page's title: an address, and its name.
pub(crate) type Crumb = (String, String);

/// See the module. Every template has it as `shell`.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    pub(crate) title: String,
    pub(crate) menu: &'static [Entry],
    /// The address of the entry this page belongs to.
    pub(crate) current: &'static str,
    pub(crate) crumbs: Vec<Crumb>,
    pub(crate) viewer: String,
    pub(crate) role: &'static str,
    pub(crate) may_deploy: bool,
    pub(crate) may_administer: bool,
    pub(crate) theme: &'static str,
    pub(crate) form_token: String,
    /// Path and query of the page.
    pub(crate) address: String,
    /// What the page's script follows; empty when nothing.
    pub(crate) live: String,
    /// The command that shows the same.
    pub(crate) command: String,
}

impl Shell {
    pub(crate) fn new(visit: &Visit, title: String, current: &'static str) -> Self {
        Self {
            title,
            menu: MENU,
            current,
            crumbs: Vec::new(),
            viewer: visit.viewer.name.clone(),
            role: visit.viewer.role.as_str(),
            may_deploy: visit.viewer.role >= Role::Deployer,
            may_administer: visit.viewer.role >= Role::Admin,
            theme: visit.theme.as_str(),
            form_token: visit.form_token.clone(),
            address: visit.address.clone(),
            live: String::new(),
            command: String::new(),
        }
    }

    /// Above the title.
    pub(crate) fn crumb(
        mut self,
        address: impl Into<String>,
        name: &(impl ToString + ?Sized),
    ) -> Self {
        self.crumbs.push((address.into(), name.to_string()));
        self
    }

    /// Follows events of these filters: `env=...&app=...`, empty for all.
    pub(crate) fn live(mut self, filter: &str) -> Self {
        self.live = format!("/live?{filter}");
        self
    }

    /// Follows a stream of the console's own.
    pub(crate) fn live_from(mut self, address: String) -> Self {
        self.live = address;
        self
    }

    /// The command that shows the same.
    pub(crate) fn command(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }
}
