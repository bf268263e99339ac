//! Counts of requests and connections refused before any route was looked for. A slow path: all threads share one
//! cell per kind.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ark_model::gateway::RefusalKind;

/// All kinds, in the order of their cells.
const KINDS: [RefusalKind; 13] = [
    RefusalKind::Malformed,
    RefusalKind::Smuggling,
    RefusalKind::SlowHead,
    RefusalKind::SlowBody,
    RefusalKind::HeadTooLarge,
    RefusalKind::Unsupported,
    RefusalKind::NoRoute,
    RefusalKind::ProxyHeader,
    RefusalKind::TlsHandshake,
    RefusalKind::Http2Protocol,
    RefusalKind::Http2Flood,
    RefusalKind::Stranger,
    RefusalKind::Silent,
];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    cells: [AtomicU64; KINDS.len()],
}

impl Refusals {
    pub(crate) fn count(&self, kind: RefusalKind) {
        if let Some(at) = KINDS.iter().position(|own| *own == kind) {
            self.cells[at].fetch_add(1, Relaxed);
        }
    }

    /// Kinds that were counted.
    pub(crate) fn report(&self) -> BTreeMap<RefusalKind, u64> {
        let counts = self.cells.iter().map(|cell| cell.load(Relaxed));
        KINDS.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}
