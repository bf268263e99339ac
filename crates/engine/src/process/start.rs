//! Handing an instance over: the whole intent appears on disk at once, by the rename of a staged
//! directory, and then its shim is started. A crash between the two is made good by the next start
//! of the same id, or by the next engine.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use ark_model::ids::InstanceId;

use super::record::{InstanceDir, Labels, Limits, Spec, User, write_json};
use super::{Inner, refused, unavailable};
use crate::engine::{ArtifactSource, EngineError, StartSpec};
use crate::{open_files, sys};

/// How directories that are being made are named.
pub(super) const STAGING_PREFIX: &str = ".new-";

impl Inner {
    pub(super) fn start(&self, spec: &StartSpec) -> Result<(), EngineError> {
        check(spec)?;
        if !self.instances.path(spec.id).exists() {
            if self.removed.join(spec.id.to_string()).exists() {
                // It ran and was removed; the caller is late.
                return Ok(());
            }
            self.hand_over(spec).map_err(|error| unavailable("record the instance", error))?;
        }
        let dir = self.instances.dir(spec.id);
        if dir.status().exists() || dir.is_locked() {
            return Ok(());
        }
        // New, or a start that was interrupted before it had a shim. Two shims are no harm: the
        // second finds the lock taken and ends.
        self.spawn_shim(spec.id).map_err(|error| unavailable("start the shim", error))?;
        self.changed();
        Ok(())
    }

    fn hand_over(&self, spec: &StartSpec) -> io::Result<()> {
        static STAGED: AtomicU64 = AtomicU64::new(0);
        let user = self.lock_users().of(&spec.env, &spec.app)?;
        let limits = Limits {
            memory_bytes: spec.memory_bytes,
            cpu_cores: spec.cpu_cores.filter(|cores| *cores > 0.0),
            pids_max: spec.pids_max,
        };
        let volumes = self.volumes.make(spec, user)?;
        let count = STAGED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{STAGING_PREFIX}{}-{}-{count}", spec.id, std::process::id());
        let staged = InstanceDir::new(self.instances.root().join(name));
        let result = self
            .stage(&staged, spec, limits, (user, volumes))
            .and_then(|()| fs::rename(staged.path(), self.instances.path(spec.id)));
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                let _ = fs::remove_dir_all(staged.path());
                // Another call was first: the instance is handed over all the same.
                if self.instances.path(spec.id).exists() { Ok(()) } else { Err(error) }
            }
        }
    }

    fn stage(
        &self,
        staged: &InstanceDir,
        spec: &StartSpec,
        limits: Limits,
        (user, volumes): (Option<User>, Vec<(String, String)>),
    ) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(staged.path())?;
        let blobs = match &spec.artifact {
            ArtifactSource::Directory { manifest, blobs } => {
                write_json(&staged.manifest(), manifest)?;
                Some(std::path::absolute(blobs)?)
            }
            ArtifactSource::Image { .. } | ArtifactSource::None => None,
        };
        let grace_ms = u64::try_from(spec.stop_grace.as_millis()).unwrap_or(u64::MAX);
        let record = Spec {
            id: spec.id,
            labels: Labels { env: spec.env.clone(), app: spec.app.clone(), release: spec.release },
            command: spec.command.clone(),
            variables: spec.variables.iter().cloned().chain(volumes).collect(),
            blobs,
            ports: spec.ports.clone(),
            limits,
            stop_signal: spec.stop_signal,
            stop_grace_ms: grace_ms,
            log_limits: spec.log_limits,
            user,
            open_files: open_files::of_instances(),
            cgroups: self.hierarchies.plan(spec.id, &limits),
        };
        write_json(&staged.spec(), &record)?;
        File::create(staged.lock())?.set_permissions(Permissions::from_mode(0o600))?;
        // Others may pass through to `files`, and nowhere else.
        let mode = if user.is_some() { 0o711 } else { 0o700 };
        fs::set_permissions(staged.path(), Permissions::from_mode(mode))
    }

    /// Starts the shim of an instance that is handed over.
    pub(super) fn spawn_shim(&self, id: InstanceId) -> io::Result<()> {
        let dir = self.instances.dir(id);
        let mut argv = self.shim_command.clone();
        argv.push(dir.path().into());
        let pid = sys::spawn_detached(&argv, &dir.shim_log())?;
        self.arrivals.add(id, pid);
        Ok(())
    }
}

/// Refuses what could never run, before anything is recorded. Values are not shown: they may be
/// secrets.
fn check(spec: &StartSpec) -> Result<(), EngineError> {
    match &spec.artifact {
        ArtifactSource::Directory { manifest, .. } => {
            manifest.check().map_err(|error| refused(format!("the artifact: {error}")))?;
        }
        ArtifactSource::Image { reference, .. } => {
            return Err(refused(format!(
                "it runs directories, and `{reference}` is an image; deploy with --dir or use the docker engine"
            )));
        }
        ArtifactSource::None => {}
    }
    match spec.command.first() {
        None => return Err(refused("`run.command` is missing: it has no image to take one from")),
        Some(program) if program.is_empty() => return Err(refused("`run.command` is empty")),
        Some(_) => {}
    }
    if spec.command.iter().any(|part| part.contains('\0')) {
        return Err(refused("`run.command` holds a NUL byte"));
    }
    for (name, value) in &spec.variables {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(refused(format!("`{}` is no name of a variable", name.escape_debug())));
        }
        if value.contains('\0') {
            return Err(refused(format!("the value of variable {name} holds a NUL byte")));
        }
    }
    for volume in &spec.volumes {
        if volume.name.is_empty()
            || volume.name.starts_with('.')
            || volume.name.contains(['/', '\0'])
        {
            return Err(refused(format!(
                "`{}` is no name of a volume",
                volume.name.escape_debug()
            )));
        }
    }
    if spec.cpu_cores.is_some_and(|cores| !cores.is_finite() || cores < 0.0) {
        return Err(refused("the number of cores is not a number"));
    }
    Ok(())
}

/// Where an instance that was removed is kept for its log.
pub(super) fn removed_path(inner: &Inner, id: InstanceId) -> PathBuf {
    inner.removed.join(id.to_string())
}
