//! Events: a list, and a stream that begins where the reader left off.

use std::time::Duration;

use ark_model::api::{EventsMissed, EventsQuery, Page, ProblemCode, StreamLagged};
use ark_model::event::Event;
use ark_store::{EventFilter, EventsFrom};
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::error::ApiError;
use super::extract::{Json, Query, page_limit};
use super::operation::{Content, Operation, Shared, subschema};
use super::stream::{Outlet, Over, events, json_event, last_event_id};

/// Events read at once for a stream.
const READ_AT_ONCE: usize = 200;
/// Commits that follow each other within this time are looked at together.
const GATHER: Duration = Duration::from_millis(20);
/// A stream looks for events this often even when no commit was noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/events", ("listEvents", "Events after a number, oldest first"), list)
            .about(
                "Asking with `after=<next>` goes on. With `newest`, newest first, and `before=<next>` \
                 goes on. Of a kind within an environment or an app at most 5000 events are looked \
                 at for one page: it may be short, or empty, and have a `next`.",
            )
            .query::<EventsQuery>()
            .answers::<Page<Event>>(200)
            .problems(&[ProblemCode::InvalidValue]),
        Operation::get("/v1/events/stream", ("followEvents", "Events as they happen"), follow)
            .about(
                "Server-sent events named `event`, whose `id` is the event's number. A client that \
             reconnects with `Last-Event-ID` misses nothing, unless the events in between are no \
             longer kept: then `event: missed` comes first. A reader that is too slow gets \
             `event: lagged` with its resume point as the last one. Comments are heartbeats.",
            )
            .query::<EventsQuery>()
            .streams(200, Content::Events(subschema::<Event>))
            .problems(&[ProblemCode::InvalidValue]),
    ]
}

fn filter(query: &EventsQuery) -> EventFilter {
    EventFilter {
        env: query.env.clone(),
        app: query.app.clone(),
        deployment: query.deployment,
        kinds: query.kind.into_iter().collect(),
    }
}

async fn list(
    State(state): State<Shared>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Page<Event>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let from = match query.newest {
        true => EventsFrom::Before(query.before.unwrap_or(u64::MAX)),
        false => EventsFrom::After(query.after.unwrap_or(0)),
    };
    let filter = filter(&query);
    let page = state
        .store
        .read::<_, ApiError, _>(move |tx| Ok(tx.events_page(&filter, from, limit)?))
        .await?;
    let next = page.more.then(|| page.reached.to_string());
    Ok(Json(Page { items: page.events, next }))
}

async fn follow(
    State(state): State<Shared>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let resumed = last_event_id(&headers).map(str::parse::<u64>).transpose().map_err(|_| {
        ApiError::new(ProblemCode::InvalidValue, "Last-Event-ID is not the number of an event")
    })?;
    let (latest, oldest) = state
        .store
        .read::<_, ApiError, _>(|tx| Ok((tx.latest_event()?, tx.oldest_event()?)))
        .await?;
    // A number beyond the newest is from before a restored backup: there is no such event.
    let after = resumed.or(query.after).unwrap_or(latest).min(latest);
    let missed = oldest.filter(|oldest| after + 1 < *oldest).map(|oldest| EventsMissed { oldest });
    let following = Following { filter: filter(&query), after, store: state.store.clone() };
    events(&state, move |outlet| following.run(outlet, missed))
}

struct Following {
    filter: EventFilter,
    after: u64,
    store: ark_store::Store,
}

impl Following {
    async fn run(mut self, outlet: Outlet, missed: Option<EventsMissed>) {
        if let Some(missed) = missed {
            let event = json_event("missed", None, &missed);
            if outlet.send(event, || None).await.is_err() {
                return;
            }
        }
        let mut commits = self.store.commits();
        loop {
            commits.mark_unchanged();
            match self.send_new(&outlet).await {
                Err(Over) => return,
                Ok(true) => continue,
                Ok(false) => {}
            }
            tokio::select! {
                changed = commits.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = outlet.closed() => return,
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Sends what is new; answers whether there may be more at once.
    async fn send_new(&mut self, outlet: &Outlet) -> Result<bool, Over> {
        let (filter, after) = (self.filter.clone(), self.after);
        let read = self
            .store
            .read::<_, ApiError, _>(move |tx| {
                Ok(tx.events_page(&filter, EventsFrom::After(after), READ_AT_ONCE)?)
            })
            .await;
        let Ok(found) = read else {
            // The store is busy or closing; the reader comes back with its resume point.
            return Err(Over);
        };
        for event in found.events {
            let sent = self.after;
            let lagged = || Some(json_event("lagged", None, &StreamLagged { after: sent }));
            let id = Some(event.seq.to_string());
            outlet.send(json_event("event", id, &event), lagged).await?;
            self.after = event.seq;
        }
        // What was looked at in vain is not looked at again after the next commit.
        self.after = self.after.max(found.reached);
        Ok(found.more)
    }
}
