//! How much of everything there is.

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Apps of `production`.
    pub(crate) apps: usize,
    pub(crate) instances: usize,
    /// `production` among them.
    pub(crate) environments: usize,
    /// Apps of the environment that is drawn, the most that the console draws.
    pub(crate) drawn_apps: usize,
    pub(crate) events: usize,
    /// Versions of the configuration of one app.
    pub(crate) config_versions: usize,
    /// Executions of the workflow whose pages are read.
    pub(crate) executions: usize,
    /// How often each page of the console is read.
    pub(crate) page_reads: usize,
    /// How many pages are open at once.
    pub(crate) live_pages: usize,
    pub(crate) read_seconds: u64,
}

impl Sizes {
    /// What is published.
    pub(crate) const FULL: Self = Self {
        apps: 300,
        instances: 10,
        environments: 300,
        drawn_apps: 60,
        events: 1_000_000,
        config_versions: 10_000,
        executions: 1_000_000,
        page_reads: 60,
        live_pages: 200,
        read_seconds: 5,
    };

    /// Enough to see that everything works.
    pub(crate) const SMALL: Self = Self {
        apps: 10,
        instances: 2,
        environments: 12,
        drawn_apps: 9,
        events: 20_000,
        config_versions: 200,
        executions: 2_000,
        page_reads: 3,
        live_pages: 10,
        read_seconds: 1,
    };
}
