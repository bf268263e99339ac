//! What a definition asks for and the engine that runs it, on this machine, does not hold. Pure; read
//! by plans and by rows of apps.

use ark_engine::{Capabilities, Enforcement, EngineKind};
use ark_model::definition::{self, Definition, NotEnforced, not_enforced};

const ENGINES: [EngineKind; 4] =
    [EngineKind::Process, EngineKind::Docker, EngineKind::Kubernetes, EngineKind::Fake];

/// What a definition asks for, as far as some engine or machine may not hold it: all that has to be
/// kept of the definition to say so later.
#[derive(Debug)]
pub(super) struct Asked {
    /// What is not held by each engine, wherever it runs.
    by_engine: [(EngineKind, Vec<NotEnforced>); 4],
    /// Whether it limits memory, and processors.
    memory: bool,
    cpu: bool,
}

impl Asked {
    pub(super) fn of(definition: &Definition) -> Self {
        let resources = &definition.resources;
        Self {
            by_engine: ENGINES
                .map(|kind| (kind, not_enforced(definition, definition_engine(kind)))),
            memory: resources.max_mem.is_some(),
            cpu: resources.cpu.is_some_and(|cpu| cpu > 0.0),
        }
    }

    /// What this engine, on this machine, does not hold.
    pub(super) fn unenforced(
        &self,
        kind: EngineKind,
        capabilities: &Capabilities,
    ) -> Vec<NotEnforced> {
        let own = self.by_engine.iter().find(|(engine, _)| *engine == kind);
        let mut all = own.map(|(_, list)| list.clone()).unwrap_or_default();
        for (asked, path, enforcement) in [
            (self.memory, "resources.max_mem", &capabilities.memory_limit),
            (self.cpu, "resources.cpu", &capabilities.cpu_limit),
        ] {
            if let (true, Enforcement::NotEnforced { reason }) = (asked, enforcement) {
                all.push(NotEnforced { path: path.to_owned(), reason: reason.clone() });
            }
        }
        all
    }
}

/// The definition's word for an engine.
pub(super) fn definition_engine(kind: EngineKind) -> definition::EngineKind {
    match kind {
        EngineKind::Process => definition::EngineKind::Process,
        EngineKind::Docker => definition::EngineKind::Docker,
        EngineKind::Kubernetes => definition::EngineKind::Kubernetes,
        EngineKind::Fake => definition::EngineKind::Fake,
    }
}

#[cfg(test)]
mod tests {
    use ark_model::definition::Bytes;

    use super::*;

    fn capabilities(memory: Enforcement, cpu: Enforcement) -> Capabilities {
        Capabilities {
            memory_limit: memory,
            cpu_limit: cpu,
            pids_limit: Enforcement::Enforced,
            kill_everything: Enforcement::Enforced,
            app_isolation: Enforcement::Enforced,
        }
    }

    #[test]
    fn what_was_kept_says_what_the_definition_would_for_every_engine_and_machine() {
        let mut definition = Definition::default();
        definition.resources.max_mem = Bytes::from_gib(0.0625);
        definition.resources.cpu = Some(0.5);
        definition.resources.soft_mem_limit = Bytes::from_gib(0.03125);
        assert!(definition.resources.max_mem.is_some(), "the limit was read");
        let asked = Asked::of(&definition);
        let no = || Enforcement::NotEnforced { reason: "no cgroup".to_owned() };
        for kind in ENGINES {
            let own = not_enforced(&definition, definition_engine(kind));
            let held = capabilities(Enforcement::Enforced, Enforcement::Enforced);
            assert_eq!(asked.unenforced(kind, &held), own, "{kind:?}");
            let paths = |list: Vec<NotEnforced>| -> Vec<String> {
                list.into_iter().skip(own.len()).map(|one| one.path).collect()
            };
            let missing = capabilities(no(), no());
            let all = paths(asked.unenforced(kind, &missing));
            assert_eq!(all, ["resources.max_mem", "resources.cpu"], "{kind:?}");
            let missing = capabilities(Enforcement::Enforced, no());
            assert_eq!(paths(asked.unenforced(kind, &missing)), ["resources.cpu"], "{kind:?}");
        }
        let process = asked
            .unenforced(EngineKind::Process, &capabilities(Enforcement::Enforced, no()))
            .into_iter()
            .map(|one| one.path);
        assert!(process.into_iter().any(|path| path == "resources.soft_mem_limit"));
        let nothing = Asked::of(&Definition::default());
        assert!(nothing.unenforced(EngineKind::Process, &capabilities(no(), no())).is_empty());
    }
}
