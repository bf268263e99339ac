//! Releases of an app, and what changed from each to the next.

use ark_model::api::{ChangeKind, ReleaseDiff, ReleaseRow};

use crate::fault::Fault;
use crate::room::{Room, cut, weight};
use crate::visit::Visit;
use crate::words::{self, When};

/// Changes that are named; more are counted.
const CHANGES_MAX: usize = 12;
/// The longest texts, in bytes of markup: a value, a name, an artifact, a commit.
const VALUE: usize = 80;
const NAME: usize = 200;
const ARTIFACT: usize = 160;
const COMMIT_CHARS: usize = 12;
/// Bytes of a release and of a change without their texts.
const LINE: usize = 560;
const CHANGE: usize = 90;
const BY: usize = 60;

pub(in crate::pages) struct ReleaseLine {
    pub(in crate::pages) number: String,
    pub(in crate::pages) index: u64,
    /// The one before, with which it is compared.
    pub(in crate::pages) before: Option<u64>,
    pub(in crate::pages) live: bool,
    pub(in crate::pages) commit: Option<String>,
    pub(in crate::pages) artifact: String,
    pub(in crate::pages) when: When,
    pub(in crate::pages) by: String,
    /// What differs from the release before; `None` for the first.
    pub(in crate::pages) changes: Option<Vec<Change>>,
    /// Changes that are not named.
    pub(in crate::pages) more: usize,
}

/// One difference.
#[derive(Debug)]
pub(in crate::pages) struct Change {
    /// `configuration LOG_LEVEL`, `deploy.max_surge`.
    pub(in crate::pages) what: String,
    pub(in crate::pages) kind: &'static str,
    pub(in crate::pages) from: Option<String>,
    pub(in crate::pages) to: Option<String>,
}

impl Change {
    /// Its bytes in markup.
    pub(in crate::pages) fn bytes(&self) -> usize {
        let value = |text: &Option<String>| text.as_deref().map_or(0, weight);
        CHANGE + weight(&self.what) + value(&self.from) + value(&self.to)
    }
}

/// The newest releases, each compared with the one before; changes as long as there is room.
pub(super) async fn release_lines(
    visit: &Visit,
    base: &str,
    rows: &[ReleaseRow],
    shown: usize,
    room: &mut Room,
) -> Result<Vec<ReleaseLine>, Fault> {
    let mut lines = Vec::new();
    for (index, row) in rows.iter().take(shown).enumerate() {
        let changes = match rows.get(index + 1) {
            Some(older) => {
                let address = format!("{base}/diff?from={}&to={}", older.number, row.number);
                visit.find::<ReleaseDiff>(&address).await?.map(|diff| changes(&diff))
            }
            None => None,
        };
        let (changes, more) = match changes {
            Some(mut all) => {
                let more = all.len().saturating_sub(CHANGES_MAX);
                all.truncate(CHANGES_MAX);
                room.take(LINE);
                let (named, hidden) = room.fit(all, Change::bytes);
                (Some(named), more + hidden)
            }
            None => (None, 0),
        };
        lines.push(ReleaseLine {
            number: row.number.to_string(),
            index: row.number.0,
            before: rows.get(index + 1).map(|older| older.number.0),
            live: row.live,
            commit: row.commit.as_deref().map(|commit| commit.chars().take(COMMIT_CHARS).collect()),
            artifact: cut(&words::artifact(&row.artifact), ARTIFACT),
            when: When::ago(row.created_at, visit.now),
            by: cut(&row.created_by, BY),
            changes,
            more,
        });
    }
    Ok(lines)
}

/// All differences, the artifact first.
pub(in crate::pages) fn changes(diff: &ReleaseDiff) -> Vec<Change> {
    of(diff.artifact.as_ref(), &diff.config, &diff.definition)
}

/// Differences of an artifact, of configuration, of a definition.
pub(in crate::pages) fn of(
    artifact: Option<&ark_model::api::TextChange>,
    config: &[ark_model::api::ConfigChange],
    definition: &[ark_model::api::DefinitionChange],
) -> Vec<Change> {
    let artifact = artifact.map(|change| Change {
        what: "artifact".to_owned(),
        kind: "changed",
        from: change.from.as_deref().map(short),
        to: change.to.as_deref().map(short),
    });
    let config = config.iter().map(|change| Change {
        what: cut(
            &format!("{} {}", if change.secret { "secret" } else { "configuration" }, change.name),
            NAME,
        ),
        kind: word(change.change),
        from: change.from.as_deref().map(short).filter(|_| !change.secret),
        to: change.to.as_deref().map(short).filter(|_| !change.secret),
    });
    let definition = definition.iter().map(|change| Change {
        what: cut(&change.path, NAME),
        kind: word(change.change),
        from: change.from.as_ref().map(|value| short(&value.to_string())),
        to: change.to.as_ref().map(|value| short(&value.to_string())),
    });
    artifact.into_iter().chain(config).chain(definition).collect()
}

fn short(value: &str) -> String {
    cut(value, VALUE)
}

const fn word(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Changed => "changed",
    }
}
