//! `ark sample`: the sample app. Started by an engine, never by people.

use crate::failure::{Ended, Exit};
use crate::sample;

/// One thread keeps an instance small.
pub(crate) fn run() -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = runtime.map_err(anyhow::Error::from).and_then(|rt| rt.block_on(sample::run()));
    Ok(match ran {
        Ok(()) => Exit::DONE,
        Err(error) => {
            sample::log(&format!("error: {error:#}"));
            Exit(1)
        }
    })
}
