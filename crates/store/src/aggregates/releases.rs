//! Releases: numbered per app and environment, never changed, deleted only by garbage collection.

use std::collections::BTreeSet;

use ark_model::artifact::Artifact;
use ark_model::release::{Release, ReleaseContent};
use ark_model::{AppName, EnvName, ReleaseNumber, Sha256};
use jiff::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, body, page, signed};

/// A release before it has a number.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRelease {
    /// Its environment.
    pub env: EnvName,
    /// Its app.
    pub app: AppName,
    /// What it pins.
    pub content: ReleaseContent,
    /// The version of the configuration it was made from.
    pub config_version: u64,
    /// When.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// The commit the caller's directory was at, when it told.
    pub commit: Option<String>,
}

/// What became of a [`NewRelease`].
#[derive(Debug, Clone, PartialEq)]
pub enum InsertedRelease {
    /// It has a new number.
    New(Release),
    /// The app had a release of exactly this content already: this one.
    Existing(Release),
}

impl InsertedRelease {
    /// The release, new or not.
    pub fn into_release(self) -> Release {
        match self {
            Self::New(release) | Self::Existing(release) => release,
        }
    }
}

impl ReadTx {
    /// One release.
    pub fn release(
        &self,
        env: &EnvName,
        app: &AppName,
        number: ReleaseNumber,
    ) -> Result<Option<Release>, StoreError> {
        let sql = "SELECT body FROM releases WHERE env = ?1 AND app = ?2 AND number = ?3";
        self.record("release", sql, params![env.as_str(), app.as_str(), signed(number.0)])
    }

    /// The release with the highest number, whether or not it was ever deployed.
    pub fn latest_release(
        &self,
        env: &EnvName,
        app: &AppName,
    ) -> Result<Option<Release>, StoreError> {
        Ok(self.releases(env, app, None, 1)?.pop())
    }

    /// Releases below `before`, highest number first.
    pub fn releases(
        &self,
        env: &EnvName,
        app: &AppName,
        before: Option<ReleaseNumber>,
        limit: usize,
    ) -> Result<Vec<Release>, StoreError> {
        let before = before.map_or(i64::MAX, |number| signed(number.0));
        let sql = "SELECT body FROM releases WHERE env = ?1 AND app = ?2 AND number < ?3
            ORDER BY number DESC LIMIT ?4";
        let params = params![env.as_str(), app.as_str(), before, page(limit)];
        self.records("release", sql, params)
    }
}

impl WriteTx {
    /// Gives a release the next number of its app and records it, unless the app has a release of
    /// the same content: then that one is the answer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the environment.
    pub fn insert_release(&mut self, new: NewRelease) -> Result<InsertedRelease, StoreError> {
        let digest = new.content.digest();
        let (env, app) = (new.env.as_str(), new.app.as_str());
        let sql = "SELECT body FROM releases WHERE env = ?1 AND app = ?2 AND digest = ?3";
        let known = self.record("release", sql, params![env, app, digest.to_string()])?;
        if let Some(known) = known {
            return Ok(InsertedRelease::Existing(known));
        }
        let number = self.next_number(&new.env, &new.app, "release")?;
        let artifact = artifact_digest(&new.content.artifact);
        let release = Release {
            env: new.env,
            app: new.app,
            number: ReleaseNumber(number),
            digest,
            content: new.content,
            config_version: new.config_version,
            created_at: new.created_at,
            created_by: new.created_by,
            commit: new.commit,
        };
        let (env, app) = (release.env.as_str(), release.app.as_str());
        let key = format!("{env}/{app} {}", release.number);
        let sql = "INSERT INTO releases (env, app, number, digest, artifact, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let artifact = artifact.map(|digest| digest.to_string());
        let body = body("release", &release)?;
        let params = params![env, app, signed(number), digest.to_string(), artifact, body];
        self.insert("release", &key, sql, params)?;
        Ok(InsertedRelease::New(release))
    }

    /// Deletes the app's releases below `before`, except those in `keep` (what is live, what
    /// instances run, what deployments name). Answers how many. Their numbers are never given
    /// again.
    pub fn delete_releases_before(
        &mut self,
        env: &EnvName,
        app: &AppName,
        before: ReleaseNumber,
        keep: &BTreeSet<ReleaseNumber>,
    ) -> Result<usize, StoreError> {
        let (env, app) = (env.as_str(), app.as_str());
        let sql = "SELECT number FROM releases WHERE env = ?1 AND app = ?2 AND number < ?3";
        let numbers: Vec<i64> =
            self.rows(sql, params![env, app, signed(before.0)], |row| row.get(0))?;
        let kept: BTreeSet<i64> = keep.iter().map(|number| signed(number.0)).collect();
        let mut deleted = 0;
        let sql = "DELETE FROM releases WHERE env = ?1 AND app = ?2 AND number = ?3";
        for number in numbers.into_iter().filter(|number| !kept.contains(number)) {
            deleted += self.change(sql, params![env, app, number])?;
        }
        Ok(deleted)
    }

    /// The next number of a noun that is counted per app and environment, from 1.
    pub(super) fn next_number(
        &mut self,
        env: &EnvName,
        app: &AppName,
        noun: &'static str,
    ) -> Result<u64, StoreError> {
        let (env, app) = (env.as_str(), app.as_str());
        let sql = "INSERT INTO numbers (env, app, noun, last) VALUES (?1, ?2, ?3, 1)
            ON CONFLICT (env, app, noun) DO UPDATE SET last = last + 1";
        self.insert(noun, &format!("{env}/{app}"), sql, params![env, app, noun])?;
        let sql = "SELECT last FROM numbers WHERE env = ?1 AND app = ?2 AND noun = ?3";
        self.number(sql, params![env, app, noun])
    }
}

fn artifact_digest(artifact: &Artifact) -> Option<Sha256> {
    match artifact {
        Artifact::Directory { digest } => Some(*digest),
        Artifact::Image { .. } | Artifact::None => None,
    }
}
