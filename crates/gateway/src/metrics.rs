//! Measurements in Prometheus's text format (0.0.4). Kept by the gateway for its own socket and by
//! the server for `GET /metrics`: both take in reports and render sums by route and release, so that
//! no series ends with an instance, and a number only grows.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use ark_model::gateway::{Counters, RefusalKind, Report};
use ark_model::histogram::{Histogram, lower_bound, upper_bound};
use ark_model::ids::{BootId, InstanceId, ReleaseNumber};
use ark_model::route::RouteKey;

/// `Content-Type` of what [`Totals::render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The most counters remembered; beyond it those of the longest gone are forgotten, all at once.
const LAST_MAX: usize = 200_000;
/// Upper bounds of latency buckets: powers of two from 2^7 (128) to 2^26 microseconds (67 s), where
/// the gateway's own buckets end too.
const LATENCY_BOUNDS: std::ops::RangeInclusive<u32> = 7..=26;
/// Upper bounds of answer sizes: each fourth power of two from 2^8 to 2^28 bytes.
const SIZE_BOUNDS: [u32; 6] = [8, 12, 16, 20, 24, 28];

/// Sums by what a series stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    route: RouteKey,
    /// `None` for requests that reached no target.
    release: Option<ReleaseNumber>,
}

/// What is so now, not what was counted.
#[derive(Debug, Clone, Copy, Default)]
struct Now {
    targets: u64,
    ready: u64,
    in_flight: u64,
    streams: u64,
}

/// What a place's counters are known by.
type Place = (RouteKey, Option<InstanceId>);

/// See the module.
#[derive(Debug, Default)]
pub struct Totals {
    boot: Option<BootId>,
    sums: BTreeMap<Series, Counters>,
    /// The last known counters of this boot.
    last: HashMap<Place, Counters>,
    now: HashMap<(RouteKey, InstanceId), (ReleaseNumber, Now)>,
    refusals: BTreeMap<RefusalKind, u64>,
    /// Refusals of gateways before.
    refusals_before: BTreeMap<RefusalKind, u64>,
}

impl Totals {
    /// Takes in a report, whole or with changes alone. One that was taken in before changes nothing.
    pub fn take_in(&mut self, report: &Report) {
        if self.boot != Some(report.boot) {
            self.boot = Some(report.boot);
            self.last.clear();
            self.now.clear();
            for (kind, count) in std::mem::take(&mut self.refusals) {
                *self.refusals_before.entry(kind).or_default() += count;
            }
        }
        if self.last.len() > LAST_MAX {
            let now = &self.now;
            self.last.retain(|(route, instance), _| {
                instance.is_none_or(|instance| now.contains_key(&(route.clone(), instance)))
            });
        }
        for target in &report.targets {
            let place = (target.route.clone(), Some(target.instance));
            let series = Series { route: target.route.clone(), release: Some(target.release) };
            self.add(place, series, &target.counters);
            let now = Now {
                targets: 1,
                ready: u64::from(target.readiness.as_ref().is_some_and(|r| r.ready)),
                in_flight: u64::from(target.in_flight),
                streams: u64::from(target.streams),
            };
            let key = (target.route.clone(), target.instance);
            if target.readiness.is_none() && now.in_flight + now.streams == 0 {
                self.now.remove(&key);
            } else {
                self.now.insert(key, (target.release, now));
            }
        }
        for route in &report.routes {
            let series = Series { route: route.route.clone(), release: None };
            self.add((route.route.clone(), None), series, &route.counters);
        }
        self.refusals.clone_from(&report.refusals);
    }

    fn add(&mut self, place: Place, series: Series, counters: &Counters) {
        let sum = self.sums.entry(series).or_default();
        match self.last.get_mut(&place) {
            Some(last) => {
                if last != counters {
                    sum.add(&counters.since(last));
                    last.clone_from(counters);
                }
            }
            None => {
                sum.add(counters);
                self.last.insert(place, counters.clone());
            }
        }
    }

    /// All of it as text.
    pub fn render(&self) -> String {
        let mut page = Page::default();
        self.render_requests(&mut page);
        self.render_spreads(&mut page);
        self.render_now(&mut page);
        page.begin("ark_gateway_refusals_total", "counter", "Requests refused before any route.");
        let mut refusals = self.refusals_before.clone();
        for (kind, count) in &self.refusals {
            *refusals.entry(*kind).or_default() += count;
        }
        for (kind, count) in refusals {
            let kind = serde_json::to_value(kind).unwrap_or_default();
            page.line("", &[("kind", kind.as_str().unwrap_or("other"))], count as f64);
        }
        page.text
    }

    fn render_requests(&self, page: &mut Page) {
        page.begin("ark_gateway_requests_total", "counter", "Requests by how they ended.");
        for (series, sum) in &self.sums {
            for (outcome, count) in [
                ("served", sum.served),
                ("failed", sum.failed),
                ("cut", sum.cut),
                ("client_gone", sum.client_gone),
            ] {
                page.series("", series, &[("outcome", outcome)], count as f64);
            }
        }
        page.begin("ark_gateway_responses_total", "counter", "Answers by class of status.");
        for (series, sum) in &self.sums {
            for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(sum.by_class) {
                page.series("", series, &[("class", class)], count as f64);
            }
        }
        type Value = fn(&Counters) -> u64;
        let counters: [(&str, &str, Value); 8] = [
            ("retries", "Attempts repeated on another target.", |c| c.retried),
            ("broken_off", "Requests that a target broke off, repeated elsewhere.", |c| {
                c.broken_off
            }),
            ("retries_refused", "Retries that the budget forbade.", |c| c.retries_refused),
            ("shed", "Requests refused by a concurrency limit.", |c| c.shed),
            ("rate_limited", "Requests refused by a rate limit.", |c| c.rate_limited),
            ("ejections", "Targets left out after failures in a row.", |c| c.ejections),
            ("mirrored", "Copies of requests.", |c| c.mirrored),
            ("response_bytes", "Bytes of response bodies.", |c| c.response_bytes),
        ];
        for (name, help, value) in counters {
            page.begin(&format!("ark_gateway_{name}_total"), "counter", help);
            for (series, sum) in &self.sums {
                page.series("", series, &[], value(sum) as f64);
            }
        }
    }

    fn render_spreads(&self, page: &mut Page) {
        let help = "Time to the last byte of the answer; streams are left out.";
        page.begin("ark_gateway_request_duration_seconds", "histogram", help);
        let bounds: Vec<u32> = LATENCY_BOUNDS.collect();
        for (series, sum) in &self.sums {
            page.histogram(series, &sum.latency_us, &bounds, 1e-6);
        }
        let help = "Bytes of response bodies; streams are left out.";
        page.begin("ark_gateway_response_size_bytes", "histogram", help);
        for (series, sum) in &self.sums {
            page.histogram(series, &sum.answer_bytes, &SIZE_BOUNDS, 1.0);
        }
    }

    fn render_now(&self, page: &mut Page) {
        let mut by_series: BTreeMap<Series, Now> = BTreeMap::new();
        for ((route, _), (release, now)) in &self.now {
            let series = Series { route: route.clone(), release: Some(*release) };
            let sum = by_series.entry(series).or_default();
            sum.targets += now.targets;
            sum.ready += now.ready;
            sum.in_flight += now.in_flight;
            sum.streams += now.streams;
        }
        type Value = fn(&Now) -> u64;
        let gauges: [(&str, &str, Value); 4] = [
            ("targets", "Instances in the route table.", |now| now.targets),
            ("targets_ready", "Instances that pass their check.", |now| now.ready),
            ("in_flight", "Requests inside now.", |now| now.in_flight),
            ("streams", "Streams open now.", |now| now.streams),
        ];
        for (name, help, value) in gauges {
            page.begin(&format!("ark_gateway_{name}"), "gauge", help);
            for (series, now) in &by_series {
                page.series("", series, &[], value(now) as f64);
            }
        }
    }
}

/// Text being written.
#[derive(Debug, Default)]
struct Page {
    text: String,
    name: String,
}

impl Page {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.name);
        // Writing to a text does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn series(&mut self, suffix: &str, series: &Series, more: &[(&str, &str)], value: f64) {
        let release = series.release.map(|release| release.0.to_string()).unwrap_or_default();
        let mut labels = vec![
            ("env", series.route.env.as_str()),
            ("app", series.route.app.as_str()),
            ("expose", series.route.expose.as_str()),
            ("release", release.as_str()),
        ];
        labels.extend_from_slice(more);
        self.line(suffix, &labels, value);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let words: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let _ = writeln!(self.text, "{}{suffix}{{{}}} {value}", self.name, words.join(","));
    }

    /// `bounds` are powers of two, which are bounds of the histogram's own buckets. The sum takes
    /// each value as the middle of its bucket.
    fn histogram(&mut self, series: &Series, values: &Histogram, bounds: &[u32], unit: f64) {
        let count = values.count();
        for power in bounds {
            let bound = 1_u64 << power;
            let below: u64 = values
                .iter()
                .filter(|(bucket, _)| lower_bound(*bucket) < bound && upper_bound(*bucket) <= bound)
                .map(|(_, count)| count)
                .sum();
            let text = (bound as f64 * unit).to_string();
            self.series("_bucket", series, &[("le", &text)], below as f64);
        }
        self.series("_bucket", series, &[("le", "+Inf")], count as f64);
        let sum = values.mean().map_or(0.0, |mean| mean * count as f64 * unit);
        self.series("_sum", series, &[], sum);
        self.series("_count", series, &[], count as f64);
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::gateway::TargetReport;

    fn report(boot: u128, seq: u64, served: u64) -> Report {
        let mut counters = Counters { served, ..Counters::default() };
        (0..served).for_each(|_| counters.latency_us.record(1_000));
        let target = TargetReport {
            route: RouteKey {
                env: "test".parse().unwrap(),
                app: "web".parse().unwrap(),
                expose: "http".to_owned(),
            },
            instance: InstanceId(uuid::Uuid::from_u128(9)),
            release: ReleaseNumber(3),
            readiness: None,
            in_flight: 2,
            streams: 0,
            counters,
        };
        Report {
            boot: BootId(uuid::Uuid::from_u128(boot)),
            seq,
            applied: None,
            targets: vec![target],
            routes: vec![],
            refusals: [(RefusalKind::Smuggling, 4)].into(),
            lost: vec![],
            certificates: vec![],
            calls: vec![],
        }
    }

    #[test]
    fn sums_grow_over_reports_and_lives_of_the_gateway() {
        let mut totals = Totals::default();
        for report in [report(1, 1, 5), report(1, 2, 7), report(1, 3, 7), report(2, 1, 3)] {
            totals.take_in(&report);
        }
        let text = totals.render();
        let labels = "env=\"test\",app=\"web\",expose=\"http\",release=\"3\"";
        for line in [
            format!("ark_gateway_requests_total{{{labels},outcome=\"served\"}} 10"),
            format!("ark_gateway_request_duration_seconds_bucket{{{labels},le=\"0.000512\"}} 0"),
            format!("ark_gateway_request_duration_seconds_bucket{{{labels},le=\"0.001024\"}} 10"),
            format!("ark_gateway_request_duration_seconds_count{{{labels}}} 10"),
            format!("ark_gateway_in_flight{{{labels}}} 2"),
            "ark_gateway_refusals_total{kind=\"smuggling\"} 8".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok() && series.ends_with('}'), "{line}");
        }
    }
}
