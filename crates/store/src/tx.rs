//! The two kinds of transaction that closures receive. The aggregates add their questions to
//! [`ReadTx`] and their changes to [`WriteTx`]; every question may be asked of a `WriteTx` too.
//!
//! Only `group` and `threads` begin and end transactions; nothing here does.

use std::ops::Deref;

use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;
use crate::{BODY_BYTES_MAX, PAGE_MAX};

/// A transaction that reads one consistent state.
#[derive(Debug)]
pub struct ReadTx {
    conn: Connection,
}

/// A transaction that may write. What it reads includes what it wrote, and what closures before it
/// in the same group wrote.
#[derive(Debug)]
pub struct WriteTx {
    read: ReadTx,
}

impl Deref for WriteTx {
    type Target = ReadTx;
    fn deref(&self) -> &ReadTx {
        &self.read
    }
}

impl ReadTx {
    pub(crate) fn new(conn: Connection) -> Self {
        Self { conn }
    }

    pub(crate) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// The first row, if there is one.
    pub(crate) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.conn.prepare_cached(sql)?.query_row(params, map).optional()?)
    }

    /// All rows. The statement bounds their number.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let rows = statement.query_map(params, map)?.collect::<Result<_, _>>()?;
        Ok(rows)
    }

    /// The record in the first column of the first row.
    pub(crate) fn record<T: DeserializeOwned>(
        &self,
        noun: &'static str,
        sql: &str,
        params: impl Params,
    ) -> Result<Option<T>, StoreError> {
        match self.row(sql, params, |row| row.get::<_, String>(0))? {
            Some(body) => parse(noun, &body).map(Some),
            None => Ok(None),
        }
    }

    /// The records in the first column of all rows.
    pub(crate) fn records<T: DeserializeOwned>(
        &self,
        noun: &'static str,
        sql: &str,
        params: impl Params,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let body = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            records.push(parse(noun, body)?);
        }
        Ok(records)
    }

    /// The number in the first column of the first row, 0 without a row.
    pub(crate) fn number(&self, sql: &str, params: impl Params) -> Result<u64, StoreError> {
        let number: Option<Option<i64>> = self.row(sql, params, |row| row.get(0))?;
        Ok(number.flatten().map_or(0, unsigned))
    }
}

impl WriteTx {
    pub(crate) fn new(conn: Connection) -> Self {
        Self { read: ReadTx::new(conn) }
    }

    /// Runs a statement; answers how many rows it changed.
    pub(crate) fn change(&mut self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        Ok(self.conn().prepare_cached(sql)?.execute(params)?)
    }

    /// Runs an insertion. A key that exists and a missing environment become errors that say so.
    pub(crate) fn insert(
        &mut self,
        noun: &'static str,
        key: &dyn std::fmt::Display,
        sql: &str,
        params: impl Params,
    ) -> Result<(), StoreError> {
        use rusqlite::ffi;
        let inserted = self.conn().prepare_cached(sql)?.execute(params);
        let code = match &inserted {
            Ok(_) => return Ok(()),
            Err(error) => error.sqlite_error().map(|e| e.extended_code),
        };
        match code {
            Some(ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_UNIQUE) => {
                Err(StoreError::Exists { noun, key: key.to_string() })
            }
            Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => {
                Err(StoreError::not_found("the environment of", &format!("{noun} {key}")))
            }
            Some(_) | None => inserted.map(|_| ()).map_err(StoreError::from),
        }
    }
}

/// The JSON body of a record.
pub(crate) fn body<T: Serialize>(noun: &'static str, record: &T) -> Result<String, StoreError> {
    let text = serde_json::to_string(record).map_err(|source| StoreError::Record {
        noun,
        key: "to be written".to_owned(),
        source: source.into(),
    })?;
    if text.len() > BODY_BYTES_MAX {
        return Err(StoreError::Limit { noun: "bytes of one record", max: BODY_BYTES_MAX as u64 });
    }
    Ok(text)
}

pub(crate) fn parse<T: DeserializeOwned>(noun: &'static str, body: &str) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|source| {
        // Long enough to find the record by hand, too short to hold much of anything.
        let key = body.chars().take(60).collect();
        StoreError::Record { noun, key, source: source.into() }
    })
}

/// SQLite's integers are signed. Nothing counted here comes near the limit; should a caller pass
/// nonsense, it is cut rather than wrapped.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The way back from [`signed`].
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A page's limit as SQL wants it.
pub(crate) fn page(limit: usize) -> i64 {
    signed(limit.min(PAGE_MAX) as u64)
}

/// Instants are compared as microseconds since 1970.
pub(crate) fn micros(at: jiff::Timestamp) -> i64 {
    at.as_microsecond()
}

/// A span of time in microseconds, cut at some 292,000 years.
pub(crate) fn span_micros(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The snake-case word that serde gives a plain enum: columns hold the same words as bodies.
pub(crate) fn word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}
