//! Leases with fencing tokens: who may act on an app, a task, a role. A holder that was paused for
//! too long finds its token stale and cannot write.

use jiff::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, signed, span_micros, unsigned};

/// A lease as it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Of what.
    pub name: String,
    /// By whom.
    pub holder: String,
    /// Grows with each acquisition of any lease. Shown with each write that the lease allows.
    pub token: u64,
    /// When another may take it.
    pub expires_at: Timestamp,
}

impl ReadTx {
    /// Who has the lease, expired or not; `None` when it is released.
    pub fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        let sql = "SELECT holder, token, expires_at FROM leases WHERE name = ?1";
        let row: Option<(String, i64, i64)> =
            self.row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(row.map(|(holder, token, expires_at)| Lease {
            name: name.to_owned(),
            holder,
            token: unsigned(token),
            expires_at: instant(expires_at),
        }))
    }

    /// Passes when the lease was neither released nor taken by another since it was acquired with
    /// `token`. To be called in each closure whose writes the lease is to protect: the check and
    /// the writes are one transaction.
    ///
    /// # Errors
    /// [`StoreError::StaleLease`].
    pub fn check_lease(&self, name: &str, token: u64) -> Result<(), StoreError> {
        let sql = "SELECT token FROM leases WHERE name = ?1";
        let held: Option<i64> = self.row(sql, [name], |row| row.get(0))?;
        if held == Some(signed(token)) {
            return Ok(());
        }
        Err(StoreError::StaleLease { name: name.to_owned(), token })
    }
}

impl WriteTx {
    /// Takes a lease that is free, expired, or the holder's own already (whose older token becomes
    /// stale); `None` while another holds it.
    pub fn acquire_lease(
        &mut self,
        name: &str,
        holder: &str,
        now: Timestamp,
        lifetime: std::time::Duration,
    ) -> Result<Option<Lease>, StoreError> {
        if let Some(held) = self.lease(name)?
            && held.holder != holder
            && micros(held.expires_at) > micros(now)
        {
            return Ok(None);
        }
        // One counter for all leases: a token stays unique even when the lease's row is gone.
        let token = self.next("fencing")?;
        let expires_at = micros(now).saturating_add(span_micros(lifetime));
        let sql = "INSERT OR REPLACE INTO leases (name, holder, token, expires_at)
            VALUES (?1, ?2, ?3, ?4)";
        self.change(sql, params![name, holder, signed(token), expires_at])?;
        self.lease(name)
    }

    /// Prolongs a lease that nobody else has taken meanwhile, even one that has expired.
    ///
    /// # Errors
    /// [`StoreError::StaleLease`].
    pub fn renew_lease(
        &mut self,
        name: &str,
        token: u64,
        now: Timestamp,
        lifetime: std::time::Duration,
    ) -> Result<(), StoreError> {
        self.check_lease(name, token)?;
        let expires_at = micros(now).saturating_add(span_micros(lifetime));
        let sql = "UPDATE leases SET expires_at = ?2 WHERE name = ?1";
        self.change(sql, params![name, expires_at])?;
        Ok(())
    }

    /// Gives a lease back. Nothing happens when it was taken by another already.
    pub fn release_lease(&mut self, name: &str, token: u64) -> Result<(), StoreError> {
        let sql = "DELETE FROM leases WHERE name = ?1 AND token = ?2";
        self.change(sql, params![name, signed(token)])?;
        Ok(())
    }
}

/// Out-of-range instants (a lease for ever) are the last instant there is.
fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}
