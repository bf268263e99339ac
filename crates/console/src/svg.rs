//! Pieces of markup that drawings share. Whatever is text of somebody else's passes [`escape`].

use std::fmt::Write as _;

use crate::layout::Size;

/// Text as it may stand in markup and between quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Which way lines lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leads {
    /// To the right.
    Across,
    /// Down.
    Down,
}

impl Leads {
    /// `x` and `y` of a place.
    pub(crate) fn xy(self, at: Size) -> (f64, f64) {
        match self {
            Self::Across => (at.along, at.across),
            Self::Down => (at.across, at.along),
        }
    }
}

/// A line along a way, with a point at its end. `moved` is added to each place.
pub(crate) fn line(way: &[Size], leads: Leads, moved: (f64, f64), class: &str) -> String {
    let xy = |at: &Size| {
        let (x, y) = leads.xy(*at);
        (x + moved.0, y + moved.1)
    };
    let Some((first, rest)) = way.split_first() else { return String::new() };
    let (mut x, mut y) = xy(first);
    let mut path = format!("M{x:.1} {y:.1}");
    for at in rest {
        let (to_x, to_y) = xy(at);
        let _ = match leads {
            Leads::Across => {
                let middle = (x + to_x) / 2.0;
                write!(path, "C{middle:.1} {y:.1} {middle:.1} {to_y:.1} {to_x:.1} {to_y:.1}")
            }
            Leads::Down => {
                let middle = (y + to_y) / 2.0;
                write!(path, "C{x:.1} {middle:.1} {to_x:.1} {middle:.1} {to_x:.1} {to_y:.1}")
            }
        };
        (x, y) = (to_x, to_y);
    }
    // The way it comes in says where the point looks.
    let back = way.len() > 1 && way[way.len() - 2].along > way[way.len() - 1].along;
    let by = if back { 6.0 } else { -6.0 };
    let point = match leads {
        Leads::Across => format!("M{x:.1} {y:.1}l{by} -3.5v7z"),
        Leads::Down => format!("M{x:.1} {y:.1}l-3.5 {by}h7z"),
    };
    format!("<path class=\"edge{class}\" d=\"{path}\"/><path class=\"end\" d=\"{point}\"/>")
}
