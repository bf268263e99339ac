//! A drawing of which app needs which: boxes in columns, the needed ones to the right; how a line is
//! drawn says whether the need is declared, was seen, or both. Pure.

use std::collections::BTreeMap;
use std::fmt;

use ark_model::api::DependencyKnown;
use askama::filters::HtmlSafe;

use crate::layout::{Layout, Size, layered};
use crate::svg::{Leads, escape, line};
use crate::words::shortened;

const BOX_WIDTH: f64 = 150.0;
const BOX_HEIGHT: f64 = 44.0;
const GAP: Size = Size { along: 70.0, across: 14.0 };
const MARGIN: f64 = 8.0;
/// The longest name that is drawn whole, in characters.
const NAME_CHARS: usize = 18;

/// One box.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) href: String,
    /// Under the name.
    pub(crate) words: String,
    pub(crate) class: &'static str,
    /// Names of what it needs, and by what that is known.
    pub(crate) needs: Vec<(String, DependencyKnown)>,
}

/// The class of a line, after a space.
const fn class(known: DependencyKnown) -> &'static str {
    match known {
        DependencyKnown::Both => "",
        DependencyKnown::Declared => " declared",
        DependencyKnown::Observed => " observed",
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    layout: Layout,
    /// Of each line: its class, and what it says to who asks.
    lines: Vec<(&'static str, String)>,
}

impl Graph {
    /// Puts each box to the right of all that need it. What is needed and does not exist is not
    /// drawn.
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        let index: BTreeMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
        let (mut ends, mut lines) = (Vec::new(), Vec::new());
        for (from, node) in nodes.iter().enumerate() {
            for (name, known) in &node.needs {
                let Some(to) = index.get(name.as_str()).filter(|to| **to != from) else { continue };
                ends.push((from, *to));
                lines.push((
                    class(*known),
                    format!("{} needs {name}: {}", node.name, known.words()),
                ));
            }
        }
        let size = Size { along: BOX_WIDTH, across: BOX_HEIGHT };
        let layout = layered(&vec![size; nodes.len()], &ends, GAP);
        Self { nodes, layout, lines }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = Leads::Across.xy(self.layout.size);
        let (width, height) = (width + 2.0 * MARGIN, height + 2.0 * MARGIN);
        write!(
            f,
            "<svg class=\"graph\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"group\" aria-label=\"Which app needs which\">"
        )?;
        for (way, (class, words)) in self.layout.ways.iter().zip(&self.lines) {
            let drawn = line(way, Leads::Across, (MARGIN, MARGIN), class);
            write!(f, "<g><title>{}</title>{drawn}</g>", escape(words))?;
        }
        for (node, corner) in self.nodes.iter().zip(&self.layout.corners) {
            let (x, y) = Leads::Across.xy(*corner);
            let (x, y) = (x + MARGIN, y + MARGIN);
            let (text, below, inside) = (y + 19.0, y + 35.0, x + 10.0);
            let (href, whole) = (escape(&node.href), escape(&node.name));
            let name = escape(&shortened(&node.name, NAME_CHARS));
            let words = escape(&shortened(&node.words, NAME_CHARS));
            let class = node.class;
            write!(
                f,
                "<a href=\"{href}\"><title>{whole}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" \
                 width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"6\"/>\
                 <text class=\"name\" x=\"{inside:.1}\" y=\"{text:.1}\">{name}</text>\
                 <text class=\"{class}\" x=\"{inside:.1}\" y=\"{below:.1}\">{words}</text></a>"
            )?;
        }
        f.write_str("</svg>")
    }
}

impl HtmlSafe for Graph {}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, needs: &[&str]) -> Node {
        Node {
            name: name.into(),
            href: format!("/e/dev/{name}"),
            words: "up".into(),
            class: "good",
            needs: needs.iter().map(|name| ((*name).to_owned(), DependencyKnown::Both)).collect(),
        }
    }

    #[test]
    fn how_a_need_is_known_is_drawn_and_said() {
        let mut web = node("web", &["search"]);
        web.needs.push(("db".to_owned(), DependencyKnown::Declared));
        web.needs.push(("mailer".to_owned(), DependencyKnown::Observed));
        let nodes = ["search", "db", "mailer"].map(|name| node(name, &[]));
        let drawn = Graph::new([vec![web], nodes.to_vec()].concat()).to_string();
        for (class, words) in [
            ("edge", "web needs search: declared and seen"),
            ("edge declared", "web needs db: declared, not seen"),
            ("edge observed", "web needs mailer: seen, not declared"),
        ] {
            let line = format!("<title>{words}</title><path class=\"{class}\" ");
            assert_eq!(drawn.matches(&line).count(), 1, "{line} in {drawn}");
        }
    }

    #[test]
    fn what_is_needed_stands_to_the_right_and_circles_end() {
        let graph = Graph::new(vec![
            node("web", &["search", "db", "none"]),
            node("search", &["db"]),
            node("db", &[]),
        ]);
        let columns: Vec<f64> = graph.layout.corners.iter().map(|corner| corner.along).collect();
        assert_eq!(columns, [0.0, 220.0, 440.0]);
        assert_eq!(graph.to_string().matches("class=\"edge\"").count(), 3);
        let circle = Graph::new(vec![node("a", &["b"]), node("b", &["a"]), node("c", &["c"])]);
        assert_eq!(circle.to_string().matches("class=\"edge\"").count(), 2);
    }

    #[test]
    fn names_stay_text() {
        let graph = Graph::new(vec![node("<img src=x>", &[])]);
        assert!(!graph.to_string().contains("<img"));
    }
}
