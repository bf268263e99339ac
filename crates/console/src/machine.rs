//! A drawing of a state machine: its states from above down, what is within a Map or a Parallel in a
//! box of its own, coloured by what became of each. Pure: a definition in the States Language and
//! marks in, markup out. The language's rules are the server's; here a definition is read as far as
//! it can be drawn.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use askama::filters::HtmlSafe;
use serde_json::Value;

use crate::layout::{Layout, Size, layered};
use crate::svg::{Leads, escape, line};
use crate::words::{Tone, shortened};

/// States that are drawn; a machine with more is a list.
const STATES_MAX: usize = 100;
/// Machines within machines that are looked into.
const DEPTH_MAX: usize = 8;
const HEIGHT: f64 = 42.0;
const WIDTH_MIN: f64 = 96.0;
/// The longest name that is drawn whole, in characters, and the room of one.
const NAME_CHARS: usize = 26;
const CHAR: f64 = 7.4;
const GAP: Size = Size { along: 26.0, across: 22.0 };
const PADDING: f64 = 12.0;
const HEAD: f64 = 26.0;
const MARGIN: f64 = 8.0;
const DOT: f64 = 7.0;

/// What became of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) tone: Tone,
    /// In words.
    pub(crate) words: String,
    /// How often it was entered.
    pub(crate) visits: usize,
    /// What is shown of it: an address.
    pub(crate) href: String,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Drawing {
    machine: Placed,
    marks: BTreeMap<String, Mark>,
    words: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Next,
    Choice,
    Caught,
}

#[derive(Debug, Clone, Default)]
struct Machine {
    steps: Vec<Step>,
    ways: Vec<(usize, usize, Way)>,
}

#[derive(Debug, Clone)]
struct Step {
    name: String,
    kind: String,
    /// Ends the machine.
    ends: bool,
    inner: Vec<Machine>,
}

/// A machine with its places. Begin and end are boxes of the layout, behind those of the steps.
#[derive(Debug, Clone, Default)]
struct Placed {
    machine: Machine,
    layout: Layout,
    lines: Vec<(usize, usize, Way)>,
    dots: bool,
    inner: Vec<Vec<Placed>>,
}

impl Drawing {
    /// The drawing of a definition; `None` when it cannot be drawn: it has too many states, or none.
    pub(crate) fn new(definition: &Value, marks: BTreeMap<String, Mark>) -> Option<Self> {
        let mut left = STATES_MAX;
        let machine = read(definition, 0, &mut left)?;
        let mut words = Vec::new();
        say(&machine, "", &mut words);
        Some(Self { machine: place(machine, true), marks, words })
    }

    /// The same in words, a line for each state.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

/// Where a state leads to.
fn ways(state: &Value) -> Vec<(&str, Way)> {
    let mut all: Vec<(&str, Way)> =
        text(state, "Next").map(|to| (to, Way::Next)).into_iter().collect();
    let several = |name: &str| state.get(name).and_then(Value::as_array).into_iter().flatten();
    all.extend(several("Choices").filter_map(|c| text(c, "Next")).map(|to| (to, Way::Choice)));
    all.extend(text(state, "Default").map(|to| (to, Way::Choice)));
    all.extend(several("Catch").filter_map(|c| text(c, "Next")).map(|to| (to, Way::Caught)));
    all
}

/// Reads a machine, its states in the order in which they are reached. `None` when it is none, or
/// when there are more states than may be drawn.
fn read(machine: &Value, depth: usize, left: &mut usize) -> Option<Machine> {
    let states = machine.get("States")?.as_object()?;
    let mut order: Vec<&str> = Vec::new();
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    let begin = text(machine, "StartAt").into_iter();
    // What nothing leads to comes last.
    for root in begin.chain(states.keys().map(String::as_str)) {
        let mut next = VecDeque::from([root]);
        while let Some(name) = next.pop_front() {
            let Some((name, state)) = states.get_key_value(name) else { continue };
            if index.contains_key(name.as_str()) {
                continue;
            }
            *left = left.checked_sub(1)?;
            index.insert(name, order.len());
            order.push(name);
            next.extend(ways(state).into_iter().map(|(to, _)| to));
        }
    }
    let (mut steps, mut lines) = (Vec::new(), Vec::new());
    for (from, name) in order.iter().enumerate() {
        let state = &states[*name];
        for (to, way) in ways(state) {
            let Some(to) = index.get(to) else { continue };
            if !lines.iter().any(|(f, t, _)| (f, t) == (&from, to)) {
                lines.push((from, *to, way));
            }
        }
        let kind = text(state, "Type").unwrap_or_default();
        let mut inner = Vec::new();
        if depth < DEPTH_MAX {
            let branches = state.get("Branches").and_then(Value::as_array).into_iter().flatten();
            let items = ["ItemProcessor", "Iterator"].into_iter().filter_map(|n| state.get(n));
            for machine in branches.chain(items) {
                inner.push(read(machine, depth + 1, left)?);
            }
        }
        steps.push(Step {
            name: (*name).to_owned(),
            kind: kind.to_owned(),
            ends: state.get("End") == Some(&Value::Bool(true))
                || matches!(kind, "Succeed" | "Fail"),
            inner,
        });
    }
    (!steps.is_empty()).then_some(Machine { steps, ways: lines })
}

fn say(machine: &Machine, within: &str, words: &mut Vec<String>) {
    for (from, step) in machine.steps.iter().enumerate() {
        let mut line = format!("{} ({}{within})", step.name, step.kind);
        let to = |wanted: &[Way]| -> Vec<&str> {
            let ways = machine.ways.iter().filter(|(f, _, way)| *f == from && wanted.contains(way));
            ways.map(|(_, to, _)| machine.steps[*to].name.as_str()).collect()
        };
        let (next, choices, caught) = (to(&[Way::Next]), to(&[Way::Choice]), to(&[Way::Caught]));
        if !next.is_empty() {
            line += &format!(", then {}", next.join(", "));
        }
        if !choices.is_empty() {
            line += &format!(", then one of {}", choices.join(", "));
        }
        if !caught.is_empty() {
            line += &format!(", after an error {}", caught.join(", "));
        }
        if step.ends {
            line += ", then the end";
        }
        words.push(line);
        for inner in &step.inner {
            say(inner, &format!(" within {}", step.name), words);
        }
    }
}

fn place(mut machine: Machine, dots: bool) -> Placed {
    let mut inner = Vec::new();
    for step in &mut machine.steps {
        let machines = std::mem::take(&mut step.inner);
        inner.push(machines.into_iter().map(|machine| place(machine, false)).collect::<Vec<_>>());
    }
    let mut boxes: Vec<Size> =
        machine.steps.iter().zip(&inner).map(|(step, inner)| room(step, inner)).collect();
    let mut lines = machine.ways.clone();
    if dots {
        let dot = Size { along: 2.0 * DOT, across: 2.0 * DOT };
        let begin = boxes.len();
        boxes.push(dot);
        lines.push((begin, 0, Way::Next));
        let ends: Vec<usize> = (0..begin).filter(|index| machine.steps[*index].ends).collect();
        if !ends.is_empty() {
            boxes.push(dot);
        }
        lines.extend(ends.into_iter().map(|from| (from, begin + 1, Way::Next)));
    }
    let ends: Vec<(usize, usize)> = lines.iter().map(|(from, to, _)| (*from, *to)).collect();
    let layout = layered(&boxes, &ends, GAP);
    Placed { machine, layout, lines, dots, inner }
}

/// The room of a state with what is within it.
fn room(step: &Step, inner: &[Placed]) -> Size {
    let chars = step.name.chars().count().min(NAME_CHARS) as f64;
    let width = (chars * CHAR + 30.0).max(WIDTH_MIN);
    if inner.is_empty() {
        return Size { along: HEIGHT, across: width };
    }
    // The kind stands beside the name, and a mark before it.
    let width = width + (step.kind.chars().count().min(NAME_CHARS) + 3) as f64 * CHAR;
    let across: f64 = inner.iter().map(|one| one.layout.size.across + PADDING).sum();
    let along = inner.iter().map(|one| one.layout.size.along).fold(0.0, f64::max);
    Size { along: along + HEAD + PADDING, across: (across + PADDING).max(width) }
}

impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.machine.layout.size;
        let (width, height) = (size.across + 2.0 * MARGIN, size.along + 2.0 * MARGIN);
        write!(
            f,
            "<svg class=\"graph machine\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" role=\"group\" \
             aria-label=\"The states and what follows which\">"
        )?;
        self.machine.draw(f, &self.marks, (MARGIN, MARGIN))?;
        f.write_str("</svg>")
    }
}

impl HtmlSafe for Drawing {}

impl Placed {
    fn draw(
        &self,
        f: &mut fmt::Formatter<'_>,
        marks: &BTreeMap<String, Mark>,
        moved: (f64, f64),
    ) -> fmt::Result {
        for ((_, _, way), places) in self.lines.iter().zip(&self.layout.ways) {
            let class = match way {
                Way::Next | Way::Choice => "",
                Way::Caught => " caught",
            };
            f.write_str(&line(places, Leads::Down, moved, class))?;
        }
        for (index, step) in self.machine.steps.iter().enumerate() {
            let corner = self.layout.corners[index];
            let at = (corner.across + moved.0, corner.along + moved.1);
            let inner = &self.inner[index];
            let size = room(step, inner);
            state(f, step, marks.get(&step.name), at, size, inner.is_empty())?;
            // What is narrower than the state's own name stands in the middle below it.
            let filled: f64 = inner.iter().map(|one| one.layout.size.across + PADDING).sum();
            let mut x = at.0 + PADDING + (size.across - filled - PADDING).max(0.0) / 2.0;
            for one in inner {
                one.draw(f, marks, (x, at.1 + HEAD))?;
                x += one.layout.size.across + PADDING;
            }
        }
        if self.dots {
            for corner in &self.layout.corners[self.machine.steps.len()..] {
                let (x, y) = (corner.across + moved.0 + DOT, corner.along + moved.1 + DOT);
                write!(f, "<circle class=\"end\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{DOT}\"/>")?;
            }
        }
        Ok(())
    }
}

fn state(
    f: &mut fmt::Formatter<'_>,
    step: &Step,
    mark: Option<&Mark>,
    (x, y): (f64, f64),
    size: Size,
    alone: bool,
) -> fmt::Result {
    let (name, whole) = (escape(&shortened(&step.name, NAME_CHARS)), escape(&step.name));
    let kind = escape(&shortened(&step.kind, NAME_CHARS));
    let (class, said) = match mark {
        Some(mark) => (mark.tone.class(), escape(&mark.words)),
        None => ("", String::new()),
    };
    let below = match mark {
        Some(mark) if mark.visits > 1 => format!("{kind} · {} times", mark.visits),
        Some(_) | None => kind.clone(),
    };
    if let Some(mark) = mark {
        write!(f, "<a href=\"{}\">", escape(&mark.href))?;
    }
    let title =
        if said.is_empty() { format!("{whole}, {kind}") } else { format!("{whole}: {said}") };
    write!(
        f,
        "<g class=\"state {class}\"><title>{title}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" \
         width=\"{:.1}\" height=\"{:.1}\" rx=\"7\"/>",
        size.across, size.along
    )?;
    let sign = mark.map(|mark| format!("{} ", mark.tone.mark())).unwrap_or_default();
    let middle = x + size.across / 2.0;
    if alone {
        write!(
            f,
            "<text class=\"name\" x=\"{middle:.1}\" y=\"{:.1}\">{sign}{name}</text>\
             <text x=\"{middle:.1}\" y=\"{:.1}\">{below}</text>",
            y + 18.0,
            y + 33.0
        )?;
    } else {
        write!(
            f,
            "<text class=\"name\" x=\"{middle:.1}\" y=\"{:.1}\">{sign}{name} <tspan>{below}</tspan>\
             </text>",
            y + 17.0
        )?;
    }
    f.write_str(if mark.is_some() { "</g></a>" } else { "</g>" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition() -> Value {
        json!({
            "StartAt": "Look",
            "States": {
                "Look": { "Type": "Choice", "Choices": [{ "Next": "All" }], "Default": "Done" },
                "All": {
                    "Type": "Map", "Next": "Done",
                    "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "Tell" }],
                    "ItemProcessor": {
                        "StartAt": "One",
                        "States": { "One": { "Type": "Task", "End": true } }
                    }
                },
                "Tell": { "Type": "Pass", "Next": "Look" },
                "Done": { "Type": "Succeed" }
            }
        })
    }

    #[test]
    fn every_state_is_drawn_once_with_what_became_of_it() {
        let mark = Mark { tone: Tone::Bad, words: "failed".into(), visits: 3, href: "#v1".into() };
        let marks = BTreeMap::from([("One".to_owned(), mark)]);
        let drawing = Drawing::new(&definition(), marks).expect("a drawing");
        let text = drawing.to_string();
        assert_eq!(text.matches("class=\"state ").count(), 5);
        assert_eq!(text.matches("class=\"state bad\"").count(), 1);
        assert_eq!(text.matches("class=\"edge caught\"").count(), 1);
        // Five ways between states, one from the beginning and one to the end.
        assert_eq!(text.matches("class=\"edge").count(), 7, "{text}");
        assert!(text.contains("Task · 3 times") && text.contains("href=\"#v1\""));
        assert!(!text.contains("NaN") && !text.contains("inf"));
        assert!(drawing.words().contains(&"All (Map), then Done, after an error Tell".to_owned()));
        assert!(drawing.words().contains(&"One (Task within All), then the end".to_owned()));
    }

    #[test]
    fn what_cannot_be_drawn_is_none_and_names_stay_text() {
        for definition in [json!(null), json!({}), json!({ "States": {} }), json!({ "States": 1 })]
        {
            assert!(Drawing::new(&definition, BTreeMap::new()).is_none(), "{definition}");
        }
        let mut many = serde_json::Map::new();
        for n in 0..=STATES_MAX {
            many.insert(format!("s{n}"), json!({ "Type": "Pass" }));
        }
        assert!(Drawing::new(&json!({ "States": many }), BTreeMap::new()).is_none());
        let name = "\"><script>alert(1)</script>";
        let evil = json!({ "StartAt": name, "States": { name: { "Type": name, "Next": name } } });
        let text = Drawing::new(&evil, BTreeMap::new()).expect("a drawing").to_string();
        assert!(!text.contains("<script>"), "{text}");
    }
}
