//! What became of certificates, until the server has written it down as events: kept on disk, since the
//! server may be away for longer than this gateway lives. Told with every report until a report that
//! told it is known to be stored; its number says what was told twice.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_model::gateway::{CertificateChange, CertificateNews};
use jiff::Timestamp;

use super::kept::{self, KeptNews};
use crate::conductor::with_sources;

/// The most that is kept for a server that is away; of more, the oldest are forgotten.
const NEWS_MAX: usize = 200;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct News {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Where it is kept; `None` until the loop that makes news has begun.
    directory: Option<PathBuf>,
    kept: KeptNews,
    /// Reports by number, each with the last news that it was the first to tell.
    told: VecDeque<(u64, u64)>,
}

impl News {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change below is complete before it could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what the gateway before could not tell.
    pub(super) fn open(&self, directory: &Path) {
        let mut inner = self.inner();
        inner.directory = Some(directory.to_owned());
        inner.kept = kept::read_news(directory);
    }

    /// Something happened.
    pub(super) fn add(&self, host: &str, change: CertificateChange, now: Timestamp) {
        let mut inner = self.inner();
        // Above all before it, whatever the clock says: what was told and forgotten is still the last.
        // The clock is there for a file that was lost.
        let number = (inner.kept.last + 1).max(u64::try_from(now.as_microsecond()).unwrap_or(0));
        inner.kept.last = number;
        let news = &mut inner.kept.news;
        news.push(CertificateNews { number, at: now, host: host.to_owned(), change });
        let surplus = news.len().saturating_sub(NEWS_MAX);
        news.drain(..surplus);
        inner.keep();
    }

    /// What the report of this number tells.
    pub(crate) fn report(&self, seq: u64) -> Vec<CertificateNews> {
        let mut inner = self.inner();
        if let Some(number) = inner.kept.news.last().map(|last| last.number)
            && inner.told.back().is_none_or(|(_, told)| *told < number)
        {
            inner.told.push_back((seq, number));
        }
        inner.kept.news.clone()
    }

    /// The server has stored a report of this number.
    pub(crate) fn stored(&self, seq: u64) {
        let mut inner = self.inner();
        let mut stored = None;
        while let Some((_, number)) = inner.told.pop_front_if(|(first, _)| *first <= seq) {
            stored = Some(number);
        }
        if let Some(stored) = stored {
            inner.kept.news.retain(|news| news.number > stored);
            inner.keep();
        }
    }
}

impl Inner {
    fn keep(&self) {
        let Some(directory) = &self.directory else { return };
        if let Err(error) = kept::write_news(directory, &self.kept) {
            tracing::warn!(error = %with_sources(&error), "news of certificates are not written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(n: u32) -> CertificateChange {
        CertificateChange::Failed { reason: "no".to_owned(), times: n, next: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn it_is_told_until_it_is_stored_by_this_gateway_or_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let hosts = |news: &[CertificateNews]| -> Vec<String> {
            news.iter().map(|news| news.host.clone()).collect()
        };
        let news = News::default();
        news.open(dir.path());
        assert_eq!(news.report(1), []);
        news.add("a.com", CertificateChange::Issued { until: None }, at(10));
        // The clock went back.
        news.add("b.com", failed(1), at(5));
        let told = news.report(2);
        assert_eq!(hosts(&told), ["a.com", "b.com"]);
        assert!(told[0].number < told[1].number);
        news.add("c.com", failed(1), at(11));
        assert_eq!(news.report(3).len(), 3);
        // What the server stored was sent before the third was known.
        news.stored(2);
        assert_eq!(hosts(&news.report(4)), ["c.com"]);
        let next = News::default();
        next.open(dir.path());
        assert_eq!(hosts(&next.report(1)), ["c.com"]);
        next.stored(0);
        assert_eq!(next.report(2).len(), 1);
        next.stored(1);
        assert_eq!(next.report(3), []);
        assert_eq!(kept::read_news(dir.path()).news, []);
    }

    #[test]
    fn a_clock_that_was_set_back_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let (first, next) = (News::default(), News::default());
        first.open(dir.path());
        first.add("a.com", failed(1), at(1_000_000));
        let told = first.report(1).pop().unwrap().number;
        first.stored(1);
        // Nothing is left to be told, and the gateway is started anew days before.
        first.add("b.com", failed(1), at(5));
        let second = first.report(2).pop().unwrap().number;
        first.stored(2);
        next.open(dir.path());
        assert_eq!(next.report(1), []);
        next.add("c.com", failed(1), at(6));
        let third = next.report(2).pop().unwrap().number;
        assert!(told < second && second < third, "{told} {second} {third}");
    }

    #[test]
    fn the_file_of_before_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let news = News::default();
        news.open(dir.path());
        news.add("a.com", failed(1), Timestamp::UNIX_EPOCH);
        let all = news.report(1);
        kept::write_as_a_list(dir.path(), &all);
        assert_eq!(kept::read_news(dir.path()), KeptNews { last: all[0].number, news: all });
    }

    #[test]
    fn a_server_that_is_away_for_long_finds_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let news = News::default();
        news.open(dir.path());
        for n in 0..NEWS_MAX as u32 + 5 {
            news.add("a.com", failed(n), Timestamp::UNIX_EPOCH);
        }
        let told = news.report(1);
        assert_eq!(told.len(), NEWS_MAX);
        assert_eq!(told.last().map(|news| news.change.clone()), Some(failed(NEWS_MAX as u32 + 4)));
    }
}
