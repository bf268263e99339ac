//! What Ark remembers: aggregates, events and leases on SQLite; artifact blobs on disk.
