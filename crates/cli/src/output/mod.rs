//! Everything that is written: data to standard output, progress and talk to standard error.
//!
//! Rendering is apart from writing: the modules below make strings from values (and are tested by
//! their text), [`Output`] alone touches the streams. Nothing else in this crate prints.

pub(crate) mod block;
pub(crate) mod deployment;
mod hooks;
pub(crate) mod lines;
pub(crate) mod numbers;
pub(crate) mod rollout;
pub(crate) mod table;
pub(crate) mod times;

use std::io::{self, IsTerminal, Write};

use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Failure;

/// Columns when the terminal does not say how wide it is.
const WIDTH_DEFAULT: usize = 100;
/// Narrower than this nothing is cut any further.
const WIDTH_MIN: usize = 40;

/// `--json` and `--utc`: taken by every command that shows data.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Shown {
    /// Print JSON: one object, or one object per line for lists
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print exact instants instead of relative times
    #[arg(long, global = true)]
    pub(crate) utc: bool,
}

/// How text is made: colours and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Whether escape sequences for colours are written.
    pub(crate) color: bool,
    /// Columns a line may have.
    pub(crate) width: usize,
    /// Lines that what is drawn again in place may have.
    pub(crate) height: usize,
    /// Whether instants are exact instead of relative.
    pub(crate) utc: bool,
}

impl Style {
    /// No colours, `width` columns, relative times.
    pub(crate) const fn plain(width: usize) -> Self {
        Self { color: false, width, height: usize::MAX, utc: false }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Something is as it should be.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something is not.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Worth less attention.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Worth more attention.
    pub(crate) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// The two streams and what they are connected to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Whether data is JSON.
    pub(crate) json: bool,
    /// How data is written.
    pub(crate) style: Style,
    /// How progress and talk are written.
    pub(crate) talk_style: Style,
    /// Whether data goes to a terminal.
    pub(crate) terminal: bool,
    /// Whether progress may be redrawn in place.
    pub(crate) live: bool,
}

impl Output {
    /// Looks at the streams and the environment once.
    pub(crate) fn new(shown: Shown) -> Self {
        let wants_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let width = terminal_width();
        // Without the one that the cursor is in.
        let rows = terminal_size().map(|(_, rows)| usize::from(rows)).filter(|rows| *rows > 0);
        let height = rows.map_or(usize::MAX, |rows| rows - 1);
        let style = |terminal: bool| Style {
            color: terminal && wants_color,
            width: if terminal { width } else { usize::MAX },
            height,
            utc: shown.utc,
        };
        let live = io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            json: shown.json,
            style: style(io::stdout().is_terminal()),
            talk_style: style(io::stderr().is_terminal()),
            terminal: io::stdout().is_terminal(),
            live,
        }
    }

    /// Writes one line of data.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        write_or_end(&mut io::stdout().lock(), text.as_ref().as_bytes());
    }

    /// Writes one value as a line of JSON.
    pub(crate) fn value<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| {
            Failure::new(ark_model::exit::ExitCode::Failed, "json", error.to_string())
        })?;
        self.line(text);
        Ok(())
    }

    /// Writes a list: one JSON object per line, or what `render` makes of it.
    pub(crate) fn list<T: Serialize>(
        &self,
        items: &[T],
        render: impl FnOnce(&[T]) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            items.iter().try_for_each(|item| self.value(item))
        } else {
            self.text(&render(items));
            Ok(())
        }
    }

    /// Writes one thing: a JSON object, or what `render` makes of it.
    pub(crate) fn one<T: Serialize>(
        &self,
        item: &T,
        render: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            self.value(item)
        } else {
            self.text(&render(item));
            Ok(())
        }
    }

    /// Writes text for people as data; nothing when it is empty.
    pub(crate) fn text(&self, text: &str) {
        if !text.is_empty() {
            self.line(text.strip_suffix('\n').unwrap_or(text));
        }
    }

    /// Says something that is not data. With `--json` it is left out.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.json {
            write_or_end(&mut io::stderr().lock(), text.as_ref().as_bytes());
        }
    }

    /// Says something even with `--json`: warnings and questions.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        write_or_end(&mut io::stderr().lock(), text.as_ref().as_bytes());
    }

    /// Says that something happened: in a log each line has its instant.
    pub(crate) fn event(&self, at: Timestamp, text: &str) {
        if self.live {
            self.say(text);
        } else {
            self.say(format!("{} {text}", times::exact(at)));
        }
    }

    /// Prints why the command ended.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.shown {
            return;
        }
        let text =
            if self.json { failure.json().to_string() } else { failure.render(self.talk_style) };
        write_or_end(&mut io::stderr().lock(), text.as_bytes());
    }
}

/// Writes a line. A reader that went away (`ark events | head`) ends the process quietly: there is
/// nobody left to tell.
fn write_or_end(stream: &mut dyn Write, line: &[u8]) {
    let written =
        stream.write_all(line).and_then(|()| stream.write_all(b"\n")).and_then(|()| stream.flush());
    if written.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

/// Columns of the terminal.
pub(crate) fn terminal_width() -> usize {
    let by_system = terminal_size().map(|(columns, _)| usize::from(columns));
    let by_variable = || std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    by_system.or_else(by_variable).unwrap_or(WIDTH_DEFAULT).max(WIDTH_MIN)
}

/// Columns and rows of the terminal that standard output or error is connected to.
pub(crate) fn terminal_size() -> Option<(u16, u16)> {
    [rustix::stdio::stdout(), rustix::stdio::stderr()]
        .into_iter()
        .find_map(|stream| rustix::termios::tcgetwinsize(stream).ok())
        .filter(|size| size.ws_col > 0)
        .map(|size| (size.ws_col, size.ws_row))
}
