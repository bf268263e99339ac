//! The store's own numbers (epoch, generation), and small values that belong to no aggregate.

use ark_model::Generation;
use jiff::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, signed};

impl ReadTx {
    /// Milliseconds since 1970 at which this store was created, or at which the last epoch began.
    pub fn epoch(&self) -> Result<u64, StoreError> {
        self.counter("epoch")
    }

    /// The last generation given out; number 0 when none was.
    pub fn generation(&self) -> Result<Generation, StoreError> {
        Ok(Generation { epoch: self.epoch()?, number: self.counter("generation")? })
    }

    /// A small value kept by name, `None` if it was never written.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
    }

    pub(super) fn counter(&self, name: &'static str) -> Result<u64, StoreError> {
        self.number("SELECT value FROM counters WHERE name = ?1", [name])
    }
}

impl WriteTx {
    /// The next generation. It is given once: if the closure fails, the number is given again.
    pub fn next_generation(&mut self) -> Result<Generation, StoreError> {
        let number = self.next("generation")?;
        Ok(Generation { epoch: self.epoch()?, number })
    }

    /// Begins a new epoch, in which generations count from 1 again and rank above all before. For a
    /// store that was restored from a backup: a gateway shows that by having applied a generation
    /// above [`ReadTx::generation`].
    pub fn begin_epoch(&mut self, now: Timestamp) -> Result<Generation, StoreError> {
        let now = u64::try_from(now.as_millisecond()).unwrap_or(0);
        // Above the last one even when the clock went back.
        self.set_counter("epoch", now.max(self.epoch()? + 1))?;
        self.set_counter("generation", 0)?;
        self.generation()
    }

    /// Keeps a small value by name. Never a secret.
    pub fn put_meta(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.change(sql, params![key, value])?;
        Ok(())
    }

    /// Forgets a small value.
    pub fn delete_meta(&mut self, key: &str) -> Result<(), StoreError> {
        self.change("DELETE FROM meta WHERE key = ?1", [key])?;
        Ok(())
    }

    pub(super) fn next(&mut self, name: &'static str) -> Result<u64, StoreError> {
        let value = self.counter(name)? + 1;
        self.set_counter(name, value)?;
        Ok(value)
    }

    pub(super) fn set_counter(&mut self, name: &'static str, to: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO counters (name, value) VALUES (?1, ?2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.change(sql, params![name, signed(to)])?;
        Ok(())
    }
}
