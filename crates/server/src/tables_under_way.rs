//! Tables of which it is not known yet whether the gateway has put them in force: being built from
//! the records, or pushed and not answered. Kept by [`crate::observations`] beside the table that
//! was acknowledged.
//!
//! What a table says of an instance only ever goes forward (candidate, active, draining), so an old
//! acknowledgement is never wrong about it. The division of an app's traffic goes back and forth:
//! a table acknowledged before it was changed says "none" while a later one, on its way, may divide
//! again. So how the traffic is divided is certain only when everything under way says the same.
//! Must not know the store, nor the gateway.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use ark_model::Generation;
use ark_model::route::RouteTable;
use ark_model::traffic::Split;

use crate::observations::AppKey;

/// How a table divides the traffic of the apps that have a division.
pub(crate) type Splits = HashMap<AppKey, Split>;

/// Every route of an app says the same.
pub(crate) fn splits(table: &RouteTable) -> Splits {
    let split = |route: &ark_model::route::Route| {
        let key = (route.key.env.clone(), route.key.app.clone());
        Some((key, route.split.clone()?))
    };
    table.routes.iter().filter_map(split).collect()
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct TablesUnderWay {
    /// Apps whose records are being read.
    building: BTreeSet<AppKey>,
    /// Pushed and not answered, oldest first.
    sent: VecDeque<(Generation, Splits)>,
    /// Apps of which somebody asked and got no certain answer.
    asked: HashSet<AppKey>,
}

impl TablesUnderWay {
    /// The records of these apps are about to be read for the next table.
    pub(crate) fn building(&mut self, apps: &BTreeSet<AppKey>) {
        self.building.clone_from(apps);
    }

    /// They were read; this table is pushed, or none when nothing has changed.
    pub(crate) fn built(&mut self, table: Option<&RouteTable>) {
        self.building.clear();
        self.sent.extend(table.map(|table| (table.generation, splits(table))));
    }

    /// This table is in force, and so none from before it.
    pub(crate) fn acknowledged(&mut self, generation: Generation) {
        self.sent.retain(|(sent, _)| *sent > generation);
    }

    /// This one never will be.
    pub(crate) fn refused(&mut self, generation: Generation) {
        self.sent.retain(|(sent, _)| *sent != generation);
    }

    /// The link is another one: nothing is under way on it.
    pub(crate) fn clear(&mut self) {
        self.building.clear();
        self.sent.clear();
    }

    /// Whether the app's traffic is certainly divided as the table in force says. Who is told no is
    /// named by [`Self::answered`] once it is.
    pub(crate) fn certain(&mut self, app: &AppKey, in_force: Option<&Split>) -> bool {
        let certain = self.agrees(app, in_force);
        if !certain {
            self.asked.insert(app.clone());
        }
        certain
    }

    /// The apps that were asked for in vain, and are certain now.
    pub(crate) fn answered(&mut self, in_force: &Splits) -> Vec<AppKey> {
        let asked = std::mem::take(&mut self.asked);
        let (now, later): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|app| self.agrees(app, in_force.get(app)));
        self.asked = later.into_iter().collect();
        now
    }

    fn agrees(&self, app: &AppKey, in_force: Option<&Split>) -> bool {
        !self.building.contains(app)
            && self.sent.iter().all(|(_, splits)| splits.get(app) == in_force)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::ReleaseNumber;
    use ark_model::rollout::Share;

    fn key() -> AppKey {
        ("production".parse().expect("a name"), "web".parse().expect("a name"))
    }

    fn at(percent: u8) -> Split {
        let share = Share { percent, ..Share::default() };
        crate::shares::split(ReleaseNumber(2), &share, crate::shares::Users::Free)
    }

    fn generation(number: u64) -> Generation {
        Generation { epoch: 1, number }
    }

    #[test]
    fn an_old_acknowledgement_says_nothing_while_a_table_that_divides_is_on_its_way() {
        let (none, quarter) = (at(0), at(25));
        let in_force = Splits::from([(key(), none.clone())]);
        let mut tables = TablesUnderWay::default();
        assert!(tables.certain(&key(), Some(&none)));
        tables.building(&BTreeSet::from([key()]));
        assert!(!tables.certain(&key(), Some(&none)), "it may be read just now");
        tables.built(None);
        assert_eq!(tables.answered(&in_force), [key()]);
        tables.sent.push_back((generation(2), Splits::from([(key(), quarter)])));
        assert!(!tables.certain(&key(), Some(&none)), "it may be in force");
        tables.sent.push_back((generation(3), in_force.clone()));
        tables.acknowledged(generation(1));
        assert!(tables.answered(&in_force).is_empty());
        tables.acknowledged(generation(3));
        assert_eq!(tables.answered(&in_force), [key()], "who asked hears of it");
        assert!(tables.answered(&in_force).is_empty(), "once");
    }
}
