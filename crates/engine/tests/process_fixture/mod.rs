//! A process engine in a temporary data directory, for the suite and for what is this engine's own.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use ark_engine::{CgroupUse, Engine, ProcessEngine, ProcessOptions, StartSpec};
use ark_model::ids::InstanceId;
use tempfile::TempDir;

use crate::conformance::{self, Fixture, Program, plain_spec};

pub(crate) struct ProcessFixture {
    place: TempDir,
    cgroups: CgroupUse,
    engine: Option<Arc<ProcessEngine>>,
}

impl ProcessFixture {
    pub(crate) fn new(cgroups: CgroupUse) -> Self {
        let place = tempfile::tempdir().unwrap();
        // So that other users can pass through to their apps' files.
        std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let mut fixture = Self { place, cgroups, engine: None };
        fixture.restart();
        fixture
    }

    /// Ends the engine object without another in its place.
    pub(crate) fn stop_engine(&mut self) {
        self.engine = None;
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.place.path().canonicalize().unwrap()
    }

    /// The directory of an instance.
    pub(crate) fn dir(&self, id: InstanceId) -> PathBuf {
        self.data_dir().join("instances").join(id.to_string())
    }
}

impl Fixture for ProcessFixture {
    fn engine(&self) -> Arc<dyn Engine> {
        let engine: Arc<dyn Engine> = Arc::clone(self.engine.as_ref().unwrap()) as _;
        engine
    }

    fn restart(&mut self) {
        self.engine = None;
        let shim = vec![env!("CARGO_BIN_EXE_ark-shim-test").into()];
        let options = ProcessOptions { cgroups: self.cgroups, ..ProcessOptions::default() };
        let engine = ProcessEngine::with_options(self.place.path(), shim, options).unwrap();
        self.engine = Some(Arc::new(engine));
    }

    fn spec(&self, program: &Program) -> StartSpec {
        plain_spec(program.command())
    }
}

/// Leaves no process behind, however a test ends.
impl Drop for ProcessFixture {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else { return };
        let everything = async move {
            for one in engine.list().await.unwrap_or_default() {
                let _ = engine.kill(one.id).await;
            }
            for one in engine.list().await.unwrap_or_default() {
                let engine: Arc<dyn Engine> = Arc::clone(&engine) as _;
                conformance::until(&engine, one.id, "ended", |state| {
                    !matches!(
                        state,
                        ark_model::instance::EngineState::Running { .. }
                            | ark_model::instance::EngineState::Stopping { .. }
                            | ark_model::instance::EngineState::Preparing
                    )
                })
                .await;
            }
        };
        let cleaner = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(everything);
        });
        let _ = cleaner.join();
    }
}
