//! Charts as SVG: lines over time with real axes and units. Pure: values and words in, markup out.
//! Colours are classes of the stylesheet; there is no inline style. The words beside a chart say
//! what it shows to those who do not see it.

use std::fmt::{self, Write as _};

use askama::filters::HtmlSafe;
use jiff::{SignedDuration, Timestamp};

use crate::svg::escape;

/// The drawing's size in its own units; the page scales it.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 170.0;
/// Room for the labels.
const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;
/// About how wide a label of time is.
const LABEL: f64 = 40.0;
/// The most labels of the upright axis.
const TICKS: f64 = 4.0;

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// In the legend.
    pub(crate) name: String,
    /// Its colour: a class of the stylesheet, `new`, `old`, `bad`, `s1` ...
    pub(crate) class: &'static str,
    /// One value per slice of time; `None` where nothing was measured.
    pub(crate) values: Vec<Option<f64>>,
}

/// What a chart shows.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// What is measured: `Requests`.
    pub(crate) title: String,
    /// Its unit: `per second`.
    pub(crate) unit: &'static str,
    /// The length of a slice, in seconds.
    pub(crate) slice_s: u32,
    pub(crate) lines: Vec<Line>,
    /// When the last slice begins.
    pub(crate) last: Option<Timestamp>,
    /// What the right end is called: `now`, `end`.
    pub(crate) end: &'static str,
    /// The least upper end of the upright axis.
    pub(crate) top_at_least: f64,
}

impl Chart {
    fn slices(&self) -> usize {
        self.lines.iter().map(|line| line.values.len()).max().unwrap_or(0)
    }

    fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.lines.iter().flat_map(|line| line.values.iter().flatten().copied())
    }

    /// Whether anything was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }

    /// What the chart shows, in words: for those who do not see it.
    fn words(&self) -> String {
        let mut text = format!("{}, {}", self.title, self.unit);
        for line in &self.lines {
            let most = line.values.iter().flatten().copied().fold(f64::NAN, f64::max);
            let last = line.values.iter().rev().find_map(|value| *value);
            if let Some(last) = last {
                let _ =
                    write!(text, "; {}: last {}, at most {}", line.name, short(last), short(most));
            }
        }
        text
    }
}

/// Bytes of charts with their frames in markup.
pub(crate) fn bytes(charts: &[Chart]) -> usize {
    const FRAME: usize = 260;
    let legend = |chart: &Chart| chart.lines.iter().map(|line| line.name.len() + 40).sum::<usize>();
    charts.iter().map(|chart| FRAME + chart.to_string().len() + legend(chart)).sum()
}

/// A step of the upright axis that people can count in: 1, 2 or 5 times a power of ten.
fn step(top: f64) -> f64 {
    let rough = (top / TICKS).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let times = rough / power;
    let nice = if times <= 1.0 {
        1.0
    } else if times <= 2.0 {
        2.0
    } else if times <= 5.0 {
        5.0
    } else {
        10.0
    };
    nice * power
}

/// `1.5 k`, `40`, `0.25`.
fn short(value: f64) -> String {
    let trim = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    match value.abs() {
        large if large >= 1_000_000.0 => trim(format!("{:.2}", value / 1_000_000.0)) + " M",
        large if large >= 10_000.0 => trim(format!("{:.1}", value / 1_000.0)) + " k",
        middle if middle >= 100.0 => format!("{value:.0}"),
        _ => trim(format!("{value:.2}")),
    }
}

/// Steps of the axis of time that people count in, in seconds.
const TIME_STEPS: [i64; 20] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
    86_400, 172_800, 604_800,
];
/// The most labels beside the last.
const TIMES: i64 = 4;

/// The step for so many seconds in slices of so many.
fn time_step(seconds: i64, slice_s: i64) -> i64 {
    let least = ((seconds + TIMES - 1) / TIMES).max(slice_s).max(1);
    TIME_STEPS.into_iter().find(|step| *step >= least).unwrap_or(least)
}

/// How long before the end of the chart an instant lies.
fn before(seconds: i64, end: &str) -> String {
    match seconds {
        0 => end.to_owned(),
        s if s % 86_400 == 0 => format!("−{} d", s / 86_400),
        s if s % 3_600 == 0 => format!("−{} h", s / 3_600),
        s if s % 60 == 0 => format!("−{} min", s / 60),
        s => format!("−{s} s"),
    }
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slices = self.slices().max(2);
        let most = self.values().fold(self.top_at_least, f64::max).max(f64::MIN_POSITIVE);
        let step = step(most);
        let top = (most / step).ceil() * step;
        let x = |index: usize| LEFT + (WIDTH - LEFT - RIGHT) * index as f64 / (slices - 1) as f64;
        let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);
        let words = escape(&self.words());
        write!(
            f,
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{words}\">"
        )?;
        let mut value = 0.0;
        while value <= top + step / 2.0 {
            let (at, text) = (y(value), short(value));
            let (right, label) = (WIDTH - RIGHT, at + 3.5);
            write!(
                f,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>\
                 <text class=\"n\" x=\"{}\" y=\"{label:.1}\">{text}</text>",
                LEFT - 6.0
            )?;
            value += step;
        }
        self.instants(f, slices)?;
        for line in &self.lines {
            self.line(f, line, &x, &y)?;
        }
        self.hovers(f, slices, &x)?;
        f.write_str("</svg>")
    }
}

impl Chart {
    /// The axis of time: some labels at whole steps before the end, which is the last.
    fn instants(&self, f: &mut fmt::Formatter<'_>, slices: usize) -> fmt::Result {
        let slice_s = i64::from(self.slice_s).max(1);
        let seconds = i64::try_from(slices - 1).unwrap_or(0) * slice_s;
        let step = time_step(seconds, slice_s);
        for times in (0..=seconds / step).rev() {
            let ago = times * step;
            let at = WIDTH - RIGHT - (WIDTH - LEFT - RIGHT) * ago as f64 / seconds as f64;
            let anchor = match ago {
                0 => "end",
                _ if at < LEFT + LABEL / 2.0 => "start",
                _ => "middle",
            };
            let (below, text) = (HEIGHT - 6.0, before(ago, self.end));
            write!(f, "<text text-anchor=\"{anchor}\" x=\"{at:.1}\" y=\"{below}\">{text}</text>")?;
        }
        Ok(())
    }

    fn line(
        &self,
        f: &mut fmt::Formatter<'_>,
        line: &Line,
        x: &dyn Fn(usize) -> f64,
        y: &dyn Fn(f64) -> f64,
    ) -> fmt::Result {
        write!(f, "<path class=\"line {}\" d=\"", line.class)?;
        let (mut drawing, mut alone) = (false, Vec::new());
        for (index, value) in line.values.iter().enumerate() {
            let Some(value) = value else {
                drawing = false;
                continue;
            };
            let (x, y) = (x(index), y(*value));
            let command = if drawing { 'L' } else { 'M' };
            write!(f, "{command}{x:.1} {y:.1}")?;
            if !drawing && line.values.get(index + 1).is_none_or(Option::is_none) {
                alone.push((x, y));
            }
            drawing = true;
        }
        f.write_str("\"/>")?;
        // A value alone makes no line; it is a dot that can be seen.
        for (x, y) in alone {
            let class = line.class;
            write!(f, "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\"/>")?;
        }
        Ok(())
    }

    /// What a pointer finds over each slice.
    fn hovers(
        &self,
        f: &mut fmt::Formatter<'_>,
        slices: usize,
        x: &dyn Fn(usize) -> f64,
    ) -> fmt::Result {
        let width = x(1) - x(0);
        for index in 0..slices {
            let said: Vec<String> = self
                .lines
                .iter()
                .filter_map(|line| {
                    let value = line.values.get(index).copied().flatten()?;
                    Some(format!("{} {}", line.name, short(value)))
                })
                .collect();
            if said.is_empty() {
                continue;
            }
            let seconds = i64::try_from(slices - 1 - index).unwrap_or(0) * i64::from(self.slice_s);
            let (at, high) = (x(index) - width / 2.0, HEIGHT - TOP - BOTTOM);
            let begun =
                self.last.and_then(|at| at.checked_sub(SignedDuration::from_secs(seconds)).ok());
            let exact = begun.map(|at| at.strftime(" (%Y-%m-%d %H:%M:%S UTC)").to_string());
            let (relative, exact) = (before(seconds, self.end), exact.unwrap_or_default());
            let said = escape(&format!("{relative}{exact}: {}", said.join(", ")));
            write!(
                f,
                "<rect class=\"hover\" x=\"{at:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                 height=\"{high}\"><title>{said}</title></rect>"
            )?;
        }
        Ok(())
    }
}

impl HtmlSafe for Chart {}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: Vec<Option<f64>>) -> Chart {
        Chart {
            title: "Requests".into(),
            unit: "per second",
            slice_s: 60,
            last: "2026-01-01T00:30:00Z".parse().ok(),
            end: "now",
            lines: vec![Line { name: "<v1>".into(), class: "new", values }],
            top_at_least: 1.0,
        }
    }

    #[test]
    fn axes_are_ones_people_count_in() {
        for (top, expect) in [(1.0, 0.5), (3.0, 1.0), (42.0, 20.0), (100.0, 50.0), (990.0, 500.0)] {
            assert_eq!(step(top), expect, "{top}");
        }
        for (value, expect) in
            [(0.0, "0"), (0.5, "0.5"), (40.0, "40"), (1_500.0, "1500"), (15_000.0, "15 k")]
        {
            assert_eq!(short(value), expect);
        }
    }

    #[test]
    fn a_gap_is_a_gap_and_names_stay_text() {
        let values = vec![Some(1.0), Some(2.0), None, Some(3.0), None, Some(1.0), Some(1.0)];
        let text = chart(values).to_string();
        assert_eq!(text.matches('M').count() - text.matches("class=\"grid\"").count(), 3, "{text}");
        assert_eq!(text.matches("<circle class=\"dot new\"").count(), 1, "a value alone is seen");
        assert!(!text.contains("<v1>") && text.contains("&lt;v1&gt;"));
        let exact = "<title>−6 min (2026-01-01 00:24:00 UTC): &lt;v1&gt; 1</title>";
        assert!(text.contains(exact), "a pointer finds the instant: {text}");
        assert!(!text.contains("NaN") && !text.contains("inf"));
    }

    #[test]
    fn labels_of_time_keep_their_distance() {
        for (slices, expect) in [
            (7, vec!["−6 min", "−4 min", "−2 min", "now"]),
            (8, vec!["−6 min", "−4 min", "−2 min", "now"]),
            (5, vec!["−4 min", "−3 min", "−2 min", "−1 min", "now"]),
            (14, vec!["−10 min", "−5 min", "now"]),
            (61, vec!["−1 h", "−45 min", "−30 min", "−15 min", "now"]),
            (600, vec!["−9 h", "−6 h", "−3 h", "now"]),
            (2, vec!["−1 min", "now"]),
        ] {
            let text = chart(vec![Some(1.0); slices]).to_string();
            let label = |part: &str| Some(part.split_once('>')?.1.split_once('<')?.0.to_owned());
            let told: Vec<String> =
                text.split("<text text-anchor=").skip(1).filter_map(label).collect();
            assert_eq!(told, expect, "{slices}");
        }
    }

    #[test]
    fn time_is_counted_in_whole_steps() {
        for (seconds, slice_s, expect) in [
            (78, 2, 30),
            (330, 10, 120),
            (230, 10, 60),
            (60, 60, 60),
            (2, 1, 1),
            (0, 1, 1),
            (9 * 3_600, 64, 10_800),
            (28 * 86_400, 3_600, 604_800),
        ] {
            let step = time_step(seconds, slice_s);
            assert!(seconds / step <= TIMES, "{seconds} by {step}");
            assert_eq!(step, expect, "{seconds}");
        }
    }

    #[test]
    fn nothing_and_one_value_are_drawn_too() {
        for values in [vec![], vec![None], vec![Some(0.0)], vec![Some(f64::from(u32::MAX)); 360]] {
            let text = chart(values).to_string();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
        assert!(chart(vec![None]).is_empty());
    }
}
