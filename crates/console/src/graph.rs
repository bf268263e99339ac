//! A drawing of which app needs which: boxes in columns, the needed ones to the right. Pure.

use std::collections::BTreeMap;
use std::fmt;

use askama::filters::HtmlSafe;

const BOX_WIDTH: usize = 150;
const BOX_HEIGHT: usize = 44;
const COLUMN: usize = 220;
const ROW: usize = 58;
const MARGIN: usize = 8;
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
    /// Names of what it needs.
    pub(crate) needs: Vec<String>,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    /// Column and row of each.
    places: Vec<(usize, usize)>,
}

impl Graph {
    /// Puts each box to the right of all that need it. What is needed and does not exist is not
    /// drawn; a circle is cut where it closes.
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        let index: BTreeMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
        let mut column = vec![0; nodes.len()];
        // The longest path without a circle has fewer steps than there are boxes.
        for _ in 0..nodes.len() {
            let mut moved = false;
            for (from, node) in nodes.iter().enumerate() {
                for to in node.needs.iter().filter_map(|name| index.get(name.as_str())) {
                    if *to != from
                        && column[*to] < column[from] + 1
                        && column[from] + 1 < nodes.len()
                    {
                        column[*to] = column[from] + 1;
                        moved = true;
                    }
                }
            }
            if !moved {
                break;
            }
        }
        let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
        let places = column
            .into_iter()
            .map(|column| {
                let row = rows.entry(column).or_default();
                *row += 1;
                (column, *row - 1)
            })
            .collect();
        Self { nodes, places }
    }

    /// Each app with what it needs, in words.
    pub(crate) fn words(&self) -> Vec<String> {
        let needs = self.nodes.iter().filter(|node| !node.needs.is_empty());
        needs.map(|node| format!("{} needs {}", node.name, node.needs.join(", "))).collect()
    }

    fn corner(&self, index: usize) -> (usize, usize) {
        let (column, row) = self.places[index];
        (MARGIN + column * COLUMN, MARGIN + row * ROW)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn cut(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = |of: fn(&(usize, usize)) -> usize| self.places.iter().map(of).max().unwrap_or(0);
        let width = 2 * MARGIN + most(|place| place.0) * COLUMN + BOX_WIDTH;
        let height = 2 * MARGIN + most(|place| place.1) * ROW + BOX_HEIGHT;
        write!(
            f,
            "<svg class=\"graph\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"group\" aria-label=\"Which app needs which\">"
        )?;
        for (from, node) in self.nodes.iter().enumerate() {
            for (to, needed) in self.nodes.iter().enumerate() {
                if from == to || !node.needs.contains(&needed.name) {
                    continue;
                }
                let ((x1, y1), (x2, y2)) = (self.corner(from), self.corner(to));
                let (x1, y1, y2) = (x1 + BOX_WIDTH, y1 + BOX_HEIGHT / 2, y2 + BOX_HEIGHT / 2);
                let (a, b) = (x1 + 30, x2.saturating_sub(30));
                write!(f, "<path class=\"edge\" d=\"M{x1} {y1}C{a} {y1} {b} {y2} {x2} {y2}\"/>")?;
                write!(f, "<circle class=\"end\" cx=\"{x2}\" cy=\"{y2}\" r=\"3.5\"/>")?;
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let (x, y) = self.corner(index);
            let (text, below, inside) = (y + 19, y + 35, x + 10);
            let (href, whole) = (escape(&node.href), escape(&node.name));
            let (name, words) = (escape(&cut(&node.name)), escape(&cut(&node.words)));
            let class = node.class;
            write!(
                f,
                "<a href=\"{href}\"><title>{whole}</title><rect x=\"{x}\" y=\"{y}\" \
                 width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"6\"/>\
                 <text class=\"name\" x=\"{inside}\" y=\"{text}\">{name}</text>\
                 <text class=\"{class}\" x=\"{inside}\" y=\"{below}\">{words}</text></a>"
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
            needs: needs.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_needed_stands_to_the_right_and_circles_end() {
        let graph = Graph::new(vec![
            node("web", &["search", "db", "none"]),
            node("search", &["db"]),
            node("db", &[]),
        ]);
        let columns: Vec<usize> = graph.places.iter().map(|place| place.0).collect();
        assert_eq!(columns, [0, 1, 2]);
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
