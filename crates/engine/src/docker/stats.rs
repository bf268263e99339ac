//! What a container uses, by one question to the daemon.

use std::time::Duration;

use ark_model::ids::InstanceId;
use bollard::query_parameters::StatsOptionsBuilder;
use futures::StreamExt;

use super::{Inner, connection, container_name, unavailable};
use crate::engine::{EngineError, Stats};

impl Inner {
    pub(super) async fn stats(&self, id: InstanceId) -> Result<Stats, EngineError> {
        self.running(id).await?;
        let docker = self.connection.get().await?;
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let mut answers = std::pin::pin!(docker.stats(&container_name(id), Some(options)));
        let answer = match answers.next().await {
            Some(Ok(answer)) => answer,
            Some(Err(error)) if connection::status(&error) == Some(404) => {
                return Err(EngineError::Unknown(id));
            }
            Some(Err(error)) => return Err(unavailable("ask for a container's use", error)),
            None => return Err(EngineError::NotRunning(id)),
        };
        let memory = answer.memory_stats.unwrap_or_default();
        // Pages of files that can be dropped at any time are no use of memory. Version 1 of the
        // control groups calls them one thing, version 2 another.
        let details = memory.stats.unwrap_or_default();
        let inactive = details
            .get("total_inactive_file")
            .or_else(|| details.get("inactive_file"))
            .copied()
            .unwrap_or(0);
        let cpu = answer.cpu_stats.and_then(|cpu| cpu.cpu_usage);
        let nanoseconds = cpu.and_then(|usage| usage.total_usage).unwrap_or(0);
        let processes = answer.pids_stats.and_then(|pids| pids.current).unwrap_or(0);
        Ok(Stats {
            rss_bytes: memory.usage.unwrap_or(0).saturating_sub(inactive),
            cpu_time: Duration::from_nanos(nanoseconds),
            // The first process, which only reaps, is the engine's own.
            processes: u32::try_from(processes.saturating_sub(1)).unwrap_or(u32::MAX),
        })
    }
}
