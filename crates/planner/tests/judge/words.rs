//! What the judge says, to the letter.

use ark_model::histogram::Histogram;
use ark_model::judgement::{Measure, Outcome};
use ark_model::{Judgement, ReleaseNumber, Verdict};
use ark_planner::judge::{Look, Settings, SideWindow, Slice, verdict};
use jiff::Timestamp;

fn slice(requests: u64, failed: u64) -> Slice {
    let mut slice = Slice { served: requests - failed, failed, ..Slice::default() };
    (0..requests).for_each(|i| slice.latency_us.record(10_000 + 20 * (i % 500)));
    slice
}

fn judge(new: Slice, old: Slice, look: Look) -> Judgement {
    let new = SideWindow::whole(ReleaseNumber(43), new);
    let old = SideWindow::whole(ReleaseNumber(42), old);
    verdict(&new, &old, look, &Settings::default(), Timestamp::UNIX_EPOCH)
}

#[track_caller]
fn check(judgement: &Judgement, verdict: Verdict, reasons: &[&str]) {
    assert_eq!(judgement.verdict, verdict, "{judgement:#?}");
    assert_eq!(judgement.reasons(), reasons, "{judgement:#?}");
}

#[test]
fn errors_are_said_in_numbers() {
    let judgement = judge(slice(1_020, 14), slice(19_400, 0), Look::Last);
    check(
        &judgement,
        Verdict::Fail,
        &["5xx: 14 of 1,020 requests (1.4 %) on v43, 0 of 19,400 on v42; chance below 1 in 10^9"],
    );
    assert_eq!((judgement.new.requests, judgement.old.requests), (1_020, 19_400));
}

#[test]
fn cut_requests_are_errors() {
    let cut = Slice { cut: 9, ..slice(1_000, 0) };
    let reason = "5xx and cut: 9 of 1,009 requests (0.9 %) on v43, 0 of 19,400 on v42; chance below 1 in 10^9";
    check(&judge(cut, slice(19_400, 0), Look::Last), Verdict::Fail, &[reason]);
}

/// Test 47 of the rollouts' design: no requests, two requests, no numbers.
#[test]
fn too_little_is_never_a_pass() {
    for (new, old, reason) in [
        (0, 0, "0 on v43, 0 on v42"),
        (2, 40, "2 on v43, 40 on v42"),
        (99, 5_000, "99 on v43, 5,000 on v42"),
        (5_000, 99, "5,000 on v43, 99 on v42"),
    ] {
        let reason = format!("too few requests to judge: {reason}; 100 on each side are needed");
        // Not even when all of the few failed: that is for readiness and the instances' own ends.
        for failed in [0, new] {
            check(
                &judge(slice(new, failed), slice(old, 0), Look::Last),
                Verdict::Inconclusive,
                &[reason.as_str()],
            );
        }
    }
}

#[test]
fn an_early_look_fails_but_never_passes() {
    let look = Look::Early { before: 0 };
    let good = judge(slice(500, 0), slice(5_000, 0), look);
    assert_eq!(good.verdict, Verdict::Inconclusive);
    assert_eq!(judge(slice(500, 100), slice(5_000, 0), look).verdict, Verdict::Fail);
    assert_eq!(judge(slice(500, 0), slice(5_000, 0), Look::Last).verdict, Verdict::Pass);
}

#[test]
fn a_pass_says_what_was_compared() {
    let judgement = judge(slice(1_000, 0), slice(5_000, 0), Look::Last);
    assert_eq!(judgement.verdict, Verdict::Pass);
    let reasons = judgement.reasons();
    assert_eq!(reasons[0], "5xx: 0 of 1,000 requests on v43, 0 of 5,000 on v42");
    assert!(reasons[1].starts_with("p50 latency: 15 ms ("), "{}", reasons[1]);
}

#[test]
fn a_difference_too_small_to_stop_for_is_tolerated() {
    // A third more errors, beyond all chance, and yet 4 of 100,000.
    let judgement = judge(slice(10_000_000, 1_600), slice(10_000_000, 1_200), Look::Last);
    assert_eq!(judgement.verdict, Verdict::Pass);
    let errors = &judgement.findings[0];
    assert_eq!((errors.measure, errors.outcome), (Measure::Errors, Outcome::Tolerated));
}

#[test]
fn fewer_errors_and_faster_answers_pass() {
    let mut faster = Slice { served: 1_000, ..Slice::default() };
    (0..1_000).for_each(|i| faster.latency_us.record(4_000 + i));
    assert_eq!(judge(faster, slice(5_000, 300), Look::Last).verdict, Verdict::Pass);
}

/// How a side is made bad.
type Change = fn(&mut Slice);

/// A bad deployment can answer 200 or 4xx.
#[test]
fn what_is_no_5xx_counts_too() {
    let old = || {
        let mut slice = slice(5_000, 0);
        slice.client_errors = 250;
        slice.redirects = 100;
        (0..5_000).for_each(|i| slice.answer_bytes.record(3_000 + i));
        slice
    };
    let new = |change: Change| {
        let mut slice = slice(1_000, 0);
        slice.client_errors = 50;
        slice.redirects = 20;
        (0..1_000).for_each(|i| slice.answer_bytes.record(3_000 + 5 * i));
        change(&mut slice);
        slice
    };
    assert_eq!(judge(new(|_| ()), old(), Look::Last).verdict, Verdict::Pass);
    let cases: [(Change, Measure, &str); 5] = [
        (
            |s| s.client_errors = 120,
            Measure::ClientErrors,
            "4xx: 120 of 1,000 requests (12 %) on v43, 250 of 5,000 (5.0 %) on v42",
        ),
        (
            |s| s.redirects = 900,
            Measure::StatusMix,
            "3xx, more than before: 900 of 1,000 requests (90 %) on v43, 100 of 5,000 (2.0 %) on v42",
        ),
        (
            |s| s.client_gone = 200,
            Measure::ClientGone,
            "given up by the client: 200 of 1,200 requests (17 %) on v43, 0 of 5,000 on v42",
        ),
        (
            |s| {
                s.answer_bytes = Histogram::default();
                (0..1_000).for_each(|_| s.answer_bytes.record(0));
            },
            Measure::AnswerSize,
            "answer sizes: 100 % of the answers below 1 KiB on v43, 0 % below 2 KiB on v42",
        ),
        (
            |s| {
                s.latency_us = Histogram::default();
                (0..1_000).for_each(|i| s.latency_us.record(20_000 + 20 * (i % 500)));
            },
            Measure::LatencyP50,
            "p50 latency: 25 ms (25 ms to 25 ms) on v43, 15 ms (15 ms to 15 ms) on v42, 67 % slower",
        ),
    ];
    for (change, measure, words) in cases {
        let judgement = judge(new(change), old(), Look::Last);
        assert_eq!(judgement.verdict, Verdict::Fail, "{measure:?}: {judgement:#?}");
        let found = judgement.findings.iter().find(|f| f.measure == measure).expect("a finding");
        assert_eq!(found.outcome, Outcome::Worse, "{judgement:#?}");
        assert!(found.words.starts_with(words), "{}", found.words);
    }
}
