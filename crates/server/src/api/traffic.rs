//! How the traffic of an app, of a whole environment, or of all of them was over the last hour: slices
//! of equal length out of what the gateway measured. Lost with the process, gathered anew.

use ark_model::api::{ProblemCode, TrafficHistory, TrafficQuery};
use ark_model::{AppName, EnvName};
use axum::extract::State;
use jiff::Timestamp;

use super::error::ApiError;
use super::extract::{Json, Path, Query};
use super::find;
use super::operation::{Operation, Shared};
use crate::recent_traffic::{self, Flows};

/// What is kept, in seconds.
const KEPT_S: i64 = 3_600;
/// The shortest slice, in seconds: what the gateway's reports are gathered in.
const SLICE_S: u32 = 10;
const SLICE_S_DEFAULT: u32 = 60;

pub(super) fn operations() -> Vec<Operation> {
    let about = "Slices of equal length, oldest first, up to the last one that is whole. Kept for \
                 an hour; begins anew with the server.";
    vec![
        Operation::get(
            "/v1/traffic",
            ("getTraffic", "Requests of all environments together over time"),
            of_all,
        )
        .about(about)
        .query::<TrafficQuery>()
        .answers::<TrafficHistory>(200)
        .problems(&[ProblemCode::InvalidValue]),
        Operation::get(
            "/v1/environments/{env}/traffic",
            ("getEnvironmentTraffic", "Requests of all apps of an environment over time"),
            of_environment,
        )
        .about(about)
        .query::<TrafficQuery>()
        .answers::<TrafficHistory>(200)
        .problems(&[ProblemCode::EnvironmentNotFound, ProblemCode::InvalidValue]),
        Operation::get(
            "/v1/environments/{env}/apps/{app}/traffic",
            ("getAppTraffic", "Requests of an app over time, by release"),
            of_app,
        )
        .about(about)
        .query::<TrafficQuery>()
        .answers::<TrafficHistory>(200)
        .problems(&[
            ProblemCode::EnvironmentNotFound,
            ProblemCode::AppNotFound,
            ProblemCode::InvalidValue,
        ]),
    ]
}

async fn of_all(
    State(state): State<Shared>,
    Query(query): Query<TrafficQuery>,
) -> Result<Json<TrafficHistory>, ApiError> {
    let frame = Frame::of(&query, state.settings.started_at, Timestamp::now())?;
    let flows = state.observations.flows_everywhere(i64::from(frame.slice_s));
    Ok(Json(frame.history(&flows)))
}

async fn of_environment(
    State(state): State<Shared>,
    Path(env): Path<EnvName>,
    Query(query): Query<TrafficQuery>,
) -> Result<Json<TrafficHistory>, ApiError> {
    let frame = Frame::of(&query, state.settings.started_at, Timestamp::now())?;
    let wanted = env.clone();
    state.store.read::<_, ApiError, _>(move |tx| find::environment(tx, &wanted)).await?;
    let flows = state.observations.flows_together(&env, i64::from(frame.slice_s));
    Ok(Json(frame.history(&flows)))
}

async fn of_app(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
    Query(query): Query<TrafficQuery>,
) -> Result<Json<TrafficHistory>, ApiError> {
    let frame = Frame::of(&query, state.settings.started_at, Timestamp::now())?;
    let key = (env.clone(), app.clone());
    state.store.read::<_, ApiError, _>(move |tx| find::app(tx, &env, &app)).await?;
    let flows = state.observations.flows(&key, i64::from(frame.slice_s));
    Ok(Json(frame.history(&flows)))
}

/// Which slices are answered: numbers of slices since 1970.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    slice_s: u32,
    first: i64,
    last: i64,
}

impl Frame {
    fn of(query: &TrafficQuery, started: Timestamp, now: Timestamp) -> Result<Self, ApiError> {
        let slice_s = query.slice_s.unwrap_or(SLICE_S_DEFAULT);
        let good = slice_s.is_multiple_of(SLICE_S) && (1..=KEPT_S).contains(&i64::from(slice_s));
        if !good {
            let detail = format!(
                "slices of {slice_s} s are not allowed: a multiple of {SLICE_S} up to {KEPT_S}"
            );
            return Err(ApiError::new(ProblemCode::InvalidValue, detail));
        }
        let length = i64::from(slice_s);
        let number = |at: Timestamp| at.as_second().div_euclid(length);
        // The slice of this moment is still filling, unless an earlier one is the last.
        let whole = number(now) - 1;
        let oldest = number(now) - KEPT_S / length;
        let first = query.since.map_or(oldest, number).max(oldest).max(number(started));
        let last = query.until.map_or(whole, number).min(whole);
        Ok(Self { slice_s, first, last })
    }

    fn history(&self, flows: &std::collections::BTreeMap<i64, Flows>) -> TrafficHistory {
        let slice = |number: i64| {
            let at = Timestamp::from_second(number * i64::from(self.slice_s)).unwrap_or_default();
            recent_traffic::slice(at, flows.get(&number))
        };
        let slices = (self.first..=self.last).map(slice).collect();
        TrafficHistory { slice_s: self.slice_s, slices }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ark_model::ReleaseNumber;

    use super::*;
    use crate::recent_traffic::Flow;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("an instant")
    }

    #[test]
    fn slices_are_whole_and_none_is_left_out() {
        let query = |slice_s, since, until| TrafficQuery {
            slice_s,
            since: Option::map(since, at),
            until: Option::map(until, at),
        };
        let frame = |query: TrafficQuery| {
            let frame = Frame::of(&query, at(10_000), at(12_345)).expect("a frame");
            (frame.slice_s, frame.first, frame.last)
        };
        // The server started at 10,000 s: the slice that holds that is the first.
        assert_eq!(frame(query(None, None, None)), (60, 166, 204));
        assert_eq!(frame(query(Some(600), None, None)), (600, 16, 19));
        assert_eq!(frame(query(Some(10), Some(12_000), Some(12_100))), (10, 1_200, 1_210));
        assert_eq!(frame(query(Some(10), Some(0), Some(99_999))), (10, 1_000, 1_233));
        for bad in [0, 5, 61, 3_610, u32::MAX] {
            let refused = Frame::of(&query(Some(bad), None, None), at(0), at(1));
            assert!(refused.is_err(), "{bad}");
        }
    }

    #[test]
    fn sides_and_their_sum_are_answered() {
        let mut flow = Flow { served: 3, failed: 1, ..Flow::default() };
        (0..4).for_each(|_| flow.latency_us.record(2_000));
        let flows = BTreeMap::from([(7, Flows::from([(Some(ReleaseNumber(2)), flow)]))]);
        let history = Frame { slice_s: 10, first: 6, last: 7 }.history(&flows);
        assert_eq!(history.slices.len(), 2);
        assert!(history.slices[0].sides.is_empty() && history.slices[0].p50_ms.is_none());
        assert_eq!(history.slices[1].at, at(70));
        assert_eq!(history.slices[1].sides[0].release, Some(ReleaseNumber(2)));
        assert!(history.slices[1].p50_ms.is_some_and(|ms| (1.9..2.4).contains(&ms)));
    }
}
