//! How often the judge errs. Quick by default; `ARK_JUDGE_RUNS=5000` for the figures of
//! `docs/judge.md` (use `--release`), which the test prints.

use ark_model::Verdict;
use ark_planner::judge::{Look, Settings, early_look_due, verdict};
use jiff::Timestamp;

use crate::traffic::{Clusters, Dice, Shape, Side, windows};

const SHAPES: [Shape; 8] = [
    Shape::LogNormal(0.3),
    Shape::LogNormal(0.6),
    Shape::LogNormal(1.0),
    Shape::LogNormal(1.5),
    Shape::Pareto(1.5),
    Shape::Bimodal,
    Shape::Exponential,
    Shape::Constant,
];

/// All shapes in a long run; otherwise those that differ most.
fn shapes() -> impl Iterator<Item = Shape> {
    let few = [Shape::LogNormal(0.3), Shape::LogNormal(1.0), Shape::Pareto(1.5), Shape::Bimodal];
    SHAPES.into_iter().filter(move |shape| is_long() || few.contains(shape))
}

/// What the long run is asked for by.
fn asked() -> Option<u32> {
    std::env::var("ARK_JUDGE_RUNS").ok().and_then(|n| n.parse().ok())
}

fn is_long() -> bool {
    asked().is_some()
}

fn runs() -> u32 {
    asked().unwrap_or(16)
}

#[expect(clippy::print_stdout, reason = "the figures are for people")]
fn say(text: &str) {
    println!("{text}");
}

/// Share of runs that fail.
fn failing(runs: u32, new: Side, old: Side, slices: usize, clusters: Clusters) -> f64 {
    let settings = Settings::default();
    let failed = (0..runs)
        .filter(|run| {
            let mut dice = Dice::new(u64::from(*run) * 7919 + new.requests);
            let (new, old) = windows(&mut dice, new, old, slices, clusters);
            verdict(&new, &old, Look::Last, &settings, Timestamp::UNIX_EPOCH).verdict
                == Verdict::Fail
        })
        .count();
    failed as f64 / f64::from(runs)
}

/// Most failing runs that a true share of `share` explains (3.3 deviations, and one).
fn at_most(share: f64, runs: u32) -> f64 {
    let n = f64::from(runs);
    share + 3.3 * (share * (1.0 - share) / n).sqrt() + 1.0 / n
}

#[test]
fn equal_sides_are_rarely_told_apart() {
    let runs = runs();
    let sizes: &[_] = match is_long() {
        true => &[(100, 100), (100, 1_900), (1_000, 1_000), (1_000, 3_000), (1_000, 19_000)],
        false => &[(100, 100), (100, 1_900), (1_000, 3_000)],
    };
    for (new_requests, old_requests) in sizes.iter().copied() {
        for shape in shapes() {
            let new = Side::new(43, new_requests, shape);
            let old = Side::new(42, old_requests, shape);
            let share = failing(runs, new, old, 60, Clusters::None);
            say(&format!("equal {new_requests}:{old_requests} {shape:?}: {:.2} %", share * 100.0));
            assert!(share <= at_most(0.01, runs), "{shape:?} {new_requests}: {share}");
        }
    }
}

/// Clusters that both sides share do no harm; those of one side do, unless the window is long
/// against them. `wanted` is what was measured over thousands of runs, rounded up.
#[test]
fn equal_sides_whose_requests_come_in_clusters_are_rarely_told_apart() {
    let runs = runs();
    for (clusters, slices, wanted) in [
        (Clusters::Shared(0.5), 60, 0.01),
        (Clusters::Pauses(10.0), 60, 0.02),
        (Clusters::Pauses(10.0), 240, 0.01),
        (Clusters::Wander(0.2), 60, 0.04),
        (Clusters::Wander(0.2), 240, 0.01),
    ] {
        let shape = Shape::LogNormal(0.6);
        let (new, old) = (Side::new(43, 1_000, shape), Side::new(42, 3_000, shape));
        let share = failing(runs, new, old, slices, clusters);
        say(&format!("equal, {clusters:?} over {slices} slices: {:.2} %", share * 100.0));
        assert!(share <= at_most(wanted, runs), "{clusters:?} over {slices}: {share}");
    }
}

#[test]
fn one_percent_of_errors_against_none_is_found_in_a_thousand_requests() {
    let runs = runs();
    let sizes: &[u64] = if is_long() { &[1_000, 2_000, 3_000, 19_000] } else { &[2_000, 3_000] };
    for old_requests in sizes.iter().copied() {
        let shape = Shape::LogNormal(0.6);
        let new = Side { errors: 0.01, ..Side::new(43, 1_000, shape) };
        let old = Side { errors: 0.0, ..Side::new(42, old_requests, shape) };
        let share = failing(runs, new, old, 60, Clusters::None);
        say(&format!("1 % errors, 1000:{old_requests}: found in {:.1} %", share * 100.0));
        if old_requests >= 2_000 {
            assert!(1.0 - share <= at_most(0.05, runs), "against {old_requests}: {share}");
        }
    }
}

/// From which quantile of the shape on requests take 30 % longer, and how often that is found at
/// least; what is not asserted is out of reach with a thousand requests.
#[test]
fn latencies_up_by_thirty_percent_are_found_in_a_thousand_requests() {
    let runs = runs();
    let sizes: &[u64] = if is_long() { &[1_000, 3_000, 19_000] } else { &[3_000] };
    let edges: &[f64] = if is_long() { &[0.0, 0.5, 0.9, 0.95, 0.98] } else { &[0.0, 0.9] };
    for old_requests in sizes.iter().copied() {
        for slower_above in edges.iter().copied() {
            for shape in shapes() {
                let new = Side { slower_above, times: 1.3, ..Side::new(43, 1_000, shape) };
                let old = Side::new(42, old_requests, shape);
                let share = failing(runs, new, old, 60, Clusters::None);
                say(&format!(
                    "30 % slower above {slower_above}, 1000:{old_requests} {shape:?}: found in {:.1} %",
                    share * 100.0
                ));
                if is_within_reach(shape, slower_above, old_requests) {
                    assert!(
                        1.0 - share <= at_most(0.05, runs),
                        "{shape:?} {slower_above}: {share}"
                    );
                }
            }
        }
    }
}

fn is_within_reach(shape: Shape, slower_above: f64, old_requests: u64) -> bool {
    let tail_is_short =
        matches!(shape, Shape::LogNormal(0.3) | Shape::Bimodal | Shape::Exponential);
    match slower_above {
        // All requests.
        0.0 => shape != Shape::LogNormal(1.5) || old_requests >= 19_000,
        // The slowest tenth, or twentieth.
        0.9 | 0.95 => tail_is_short && old_requests >= 3_000,
        // The slowest fiftieth.
        0.98 => tail_is_short && old_requests >= 19_000,
        _ => false,
    }
}

/// A whole canary: three analyses of a minute, with early looks at each doubling.
#[test]
fn a_whole_deployment_of_equal_sides_is_rarely_stopped() {
    let runs = runs();
    let settings = Settings { analyses: 3, ..Settings::default() };
    let mut stopped = 0;
    for run in 0..runs {
        let mut dice = Dice::new(u64::from(run) + 1);
        let mut looks = 0;
        'deployment: for (new_requests, old_requests) in
            [(150, 2_850), (750, 2_250), (1_500, 1_500)]
        {
            let shape = SHAPES[run as usize % SHAPES.len()];
            let new = Side::new(43, new_requests, shape);
            let old = Side::new(42, old_requests, shape);
            let (new, old) = windows(&mut dice, new, old, 60, Clusters::None);
            let (mut new_sofar, mut old_sofar) = (new.clone(), old.clone());
            let mut early = 0;
            for second in 1..60 {
                new_sofar.slices = new.slices[..second].to_vec();
                old_sofar.slices = old.slices[..second].to_vec();
                if early_look_due(&settings, early, new_sofar.sum().requests()) {
                    let look = Look::Early { before: looks };
                    (early, looks) = (early + 1, looks + 1);
                    let said =
                        verdict(&new_sofar, &old_sofar, look, &settings, Timestamp::UNIX_EPOCH);
                    if said.verdict == Verdict::Fail {
                        stopped += 1;
                        break 'deployment;
                    }
                }
            }
            let said = verdict(&new, &old, Look::Last, &settings, Timestamp::UNIX_EPOCH);
            if said.verdict == Verdict::Fail {
                stopped += 1;
                break;
            }
        }
    }
    let share = f64::from(stopped) / f64::from(runs);
    say(&format!("equal sides, whole deployment: {:.2} %", share * 100.0));
    assert!(share <= at_most(0.01, runs), "{share}");
}
