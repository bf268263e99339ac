//! Whether an environment is frozen: may a deployment begin now? Pure; called by the server's API
//! when a deployment is asked for, and to say how things stand. Rollbacks never ask.
//!
//! A window that denies beats one that allows. Windows that allow say when deployments are possible
//! at all: with none of them, always.
//!
//! A window opens at a time of its zone's clock and stays open for a length of real time: across a
//! change of the clocks, 8 hours are 8 hours. A time that a change of the clocks leaves out opens at
//! the first instant after it; one that comes twice opens as the cron expression's rules say.

use ark_model::freeze::{FreezeEffect, FreezeWindow, Frozen, SECONDS_MAX, WINDOWS_MAX};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::time::after;

/// Why a window cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FreezeError {
    /// The name.
    #[error(
        "`{0}` is no name of a freeze window: a letter, then letters, digits and `-`, at most 63"
    )]
    Name(String),
    /// The cron expression.
    #[error("window `{name}`: `{cron}` is no cron expression of five fields: {why}")]
    Cron {
        /// The window.
        name: String,
        /// What was written.
        cron: String,
        /// What is wrong with it.
        why: String,
    },
    /// The time zone.
    #[error(
        "window `{name}`: `{zone}` is no time zone that this machine knows; Europe/Berlin is one"
    )]
    Zone {
        /// The window.
        name: String,
        /// What was written.
        zone: String,
    },
    /// The length.
    #[error("window `{0}`: it must be open for between 1 minute and 366 days")]
    Length(String),
    /// It never opens: the 30th of February, say.
    #[error("window `{0}` never opens")]
    Never(String),
    /// Too many.
    #[error("an environment has at most {WINDOWS_MAX} freeze windows")]
    TooMany,
}

/// A window that was read.
struct Window<'a> {
    of: &'a FreezeWindow,
    cron: Cron,
    zone: TimeZone,
}

/// Refuses windows that cannot be used. `now` is where it is looked from for one that never opens.
///
/// # Errors
/// [`FreezeError`].
pub fn check(windows: &[FreezeWindow], now: Timestamp) -> Result<(), FreezeError> {
    if windows.len() > WINDOWS_MAX {
        return Err(FreezeError::TooMany);
    }
    for window in windows {
        let read = Window::read(window)?;
        if read.opens_after(now).is_none() {
            return Err(FreezeError::Never(window.name.clone()));
        }
    }
    Ok(())
}

/// How far ahead the end of a freeze is looked for, in changes of windows.
const CHANGES_MAX: usize = 500;

/// Whether the environment with these windows is frozen at this instant, and until when. A window
/// that cannot be read (a time zone that the machine has lost, say) counts as open when it denies and
/// as closed when it allows: a freeze that fails must not let through what it is there to stop.
pub fn frozen(windows: &[FreezeWindow], now: Timestamp) -> Option<Frozen> {
    let read: Vec<(&FreezeWindow, Option<Window<'_>>)> =
        windows.iter().map(|w| (w, Window::read(w).ok())).collect();
    let window = refusing(&read, now)?.map(|w| w.name.clone());
    let mut at = now;
    for _ in 0..CHANGES_MAX {
        let changes = read.iter().filter_map(|(_, read)| read.as_ref()?.changes_after(at)).min();
        let Some(change) = changes else { break };
        if refusing(&read, change).is_none() {
            return Some(Frozen { window, until: Some(change) });
        }
        at = change;
    }
    Some(Frozen { window, until: None })
}

/// What refuses at this instant: a window that denies, or (`Some(None)`) that none allows.
fn refusing<'a>(
    windows: &[(&'a FreezeWindow, Option<Window<'_>>)],
    at: Timestamp,
) -> Option<Option<&'a FreezeWindow>> {
    let of = |effect: FreezeEffect| windows.iter().filter(move |(w, _)| w.effect == effect);
    let denies = of(FreezeEffect::Deny)
        .find(|(_, read)| read.as_ref().is_none_or(|read| read.is_open(at)))
        .map(|(window, _)| *window);
    let allows = || {
        let mut allowing = of(FreezeEffect::Allow).peekable();
        allowing.peek().is_none()
            || allowing.any(|(_, read)| read.as_ref().is_some_and(|read| read.is_open(at)))
    };
    match denies {
        Some(window) => Some(Some(window)),
        None => (!allows()).then_some(None),
    }
}

impl<'a> Window<'a> {
    fn read(window: &'a FreezeWindow) -> Result<Self, FreezeError> {
        let name = &window.name;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || name.len() > 63 || !name.chars().all(fits) {
            return Err(FreezeError::Name(name.chars().take(80).collect()));
        }
        if !(60..=SECONDS_MAX).contains(&window.seconds) {
            return Err(FreezeError::Length(name.clone()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed);
        let cron = parser.build().parse(&window.cron).map_err(|why| FreezeError::Cron {
            name: name.clone(),
            cron: window.cron.chars().take(120).collect(),
            why: why.to_string(),
        })?;
        let zone = TimeZone::get(&window.time_zone).map_err(|_| FreezeError::Zone {
            name: name.clone(),
            zone: window.time_zone.chars().take(80).collect(),
        })?;
        Ok(Self { of: window, cron, zone })
    }

    fn here(&self, at: Timestamp) -> Zoned {
        at.to_zoned(self.zone.clone())
    }

    /// When it opened last, `at` included.
    fn opened_before(&self, at: Timestamp) -> Option<Timestamp> {
        self.cron.find_previous_occurrence(&self.here(at), true).ok().map(|z| z.timestamp())
    }

    /// When it opens next, after `at`.
    fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.cron.find_next_occurrence(&self.here(at), false).ok().map(|z| z.timestamp())
    }

    /// The last opening decides: all openings last equally long. The end is not in it.
    fn is_open(&self, at: Timestamp) -> bool {
        self.opened_before(at).is_some_and(|opened| at < after(opened, self.of.length()))
    }

    /// The next instant at which it opens, or closes.
    fn changes_after(&self, at: Timestamp) -> Option<Timestamp> {
        let closes = self
            .opened_before(at)
            .map(|opened| after(opened, self.of.length()))
            .filter(|c| *c > at);
        [closes, self.opens_after(at)].into_iter().flatten().min()
    }
}
