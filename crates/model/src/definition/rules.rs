//! Rules about several values at once: names that stand twice, keys that contradict each other,
//! keys that mean nothing for this kind of work.

use std::collections::HashMap;

use super::diagnostic::Code;
use super::judge::find;
use super::report::Report;
use super::yaml::{Node, Value};
use super::{
    AlarmKind, AutoDeploy, DataStore, Definition, EngineRequirement, RunKind, Step, Strategy,
    check_runnable,
};
use super::{EngineKind, HeaderStep, Protocol, ScalingMetric};
use crate::ids::AppName;
use crate::traffic::{MAINTENANCE_PAGE_BYTES_MAX, RULE_BYTES_MAX, RULES_MAX};

/// Judges a definition as a whole, of this app where that is known. `root` is the tree it came from.
pub(super) fn judge(
    definition: &Definition,
    app: Option<&AppName>,
    root: &Node,
    report: &mut Report<'_>,
) {
    let mut rules = Rules { definition, root, report };
    rules.kind();
    rules.names();
    rules.dependencies(app);
    rules.resources();
    rules.autoscaling();
    rules.deploy();
    rules.steps();
    rules.health_checks();
    rules.requests();
    rules.requests_told_apart();
    rules.alarms();
    rules.no_effect();
}

/// Judges the file of a data store as a whole.
pub(super) fn judge_store(store: &DataStore, root: &Node, report: &mut Report<'_>) {
    let mut add = |written: bool, code: Code, key: &str, message: String| {
        if written {
            let place = find(root, key).map(|(_, place)| place);
            report.add(code, place, key, message);
        }
    };
    let kind = store.kind;
    match kind.product() {
        Some(_) => {
            let unread = |key| {
                format!(
                    "`{key}` does nothing for a {kind}: Ark runs it as `version` and `image` say"
                )
            };
            add(store.dev.is_some(), Code::NoEffect, "dev", unread("dev"));
            add(store.prod.is_some(), Code::NoEffect, "prod", unread("prod"));
        }
        None => {
            let refused =
                |key| format!("`{key}` is for types postgres and redis; this one is {kind}");
            add(store.version.is_some(), Code::WrongKind, "version", refused("version"));
            add(store.image.is_some(), Code::WrongKind, "image", refused("image"));
        }
    }
}

struct Rules<'d, 'r, 'a> {
    definition: &'d Definition,
    root: &'d Node,
    report: &'r mut Report<'a>,
}

impl Rules<'_, '_, '_> {
    /// Whether the file has a value there, be it the default.
    fn has(&self, path: &str) -> bool {
        find(self.root, path).is_some_and(|(node, _)| !matches!(node.value, Value::Null))
    }

    fn add(&mut self, code: Code, path: &str, message: impl Into<String>) {
        let place = find(self.root, path).map(|(_, place)| place);
        self.report.add(code, place, path, message);
    }

    fn kind(&mut self) {
        let run = &self.definition.run;
        if run.kind == RunKind::Cron && !self.has("run.schedule") {
            self.add(
                Code::MissingKey,
                "run.type",
                "an app of type cron needs `run.schedule`, like \"0 3 * * *\"",
            );
        }
        if run.kind != RunKind::Cron {
            for key in ["schedule", "timezone", "overlap", "missed", "jitter"] {
                let path = format!("run.{key}");
                if self.has(&path) {
                    let message =
                        format!("`{path}` is for apps of type cron; this one is a {}", run.kind);
                    self.add(Code::WrongKind, &path, message);
                }
            }
        }
        if run.kind != RunKind::Lambda && self.has("run.keep_warm") {
            let message =
                format!("`run.keep_warm` is for apps of type lambda; this one is a {}", run.kind);
            self.add(Code::WrongKind, "run.keep_warm", message);
        }
        if !run.kind.ends() {
            for key in ["retries", "timeout"] {
                let path = format!("run.{key}");
                if self.has(&path) {
                    let message = format!(
                        "`{path}` is for apps of type cron and job; this one is a {}",
                        run.kind
                    );
                    self.add(Code::WrongKind, &path, message);
                }
            }
        }
        // A file whose command is there and wrong has been told so already.
        if run.requires == EngineRequirement::ProcessOnly
            && !self.has("run.command")
            && let Err(diagnostic) = check_runnable(self.definition, EngineKind::Process)
        {
            self.add(diagnostic.code, "run.type", diagnostic.message.clone());
        }
    }

    fn names(&mut self) {
        let definition = self.definition;
        let ports = definition.expose.iter().map(|expose| expose.name.clone());
        self.each_once("expose", "name", "the name", ports);
        let volumes = definition.volumes.iter().map(|volume| volume.name.clone());
        self.each_once("volumes", "name", "the name", volumes);
        let folders = definition.volumes.iter().map(|volume| volume.path.clone());
        self.each_once("volumes", "path", "the path", folders);
        self.routes();
    }

    /// Indexes count the items that were right; in a file with a wrong item among them the place
    /// may be an item too early, and the wrong one is reported anyway.
    fn each_once(
        &mut self,
        list: &str,
        key: &str,
        what: &str,
        values: impl Iterator<Item = String>,
    ) {
        let mut first = HashMap::new();
        for (index, value) in values.enumerate() {
            if let Some(earlier) = first.get(&value) {
                let item = format!("{list}[{index}]");
                let path = format!("{item}.{key}");
                let path = if self.has(&path) { path } else { item };
                let message = format!("`{path}` has {what} `{value}` of `{list}[{earlier}]`");
                self.add(Code::DuplicateName, &path, message);
            } else {
                first.insert(value, index);
            }
        }
    }

    /// One host and path lead to one port.
    fn routes(&mut self) {
        let mut first: HashMap<(String, String), usize> = HashMap::new();
        let definition = self.definition;
        for (index, expose) in definition.expose.iter().enumerate() {
            for host in &expose.hosts {
                let route = (host.clone(), expose.path.clone());
                let earlier = *first.entry(route).or_insert(index);
                if earlier != index {
                    let path = format!("expose[{index}].hosts");
                    let message = format!(
                        "`{path}`: {host}{} leads to `expose[{earlier}]` already",
                        expose.path
                    );
                    self.add(Code::DuplicateName, &path, message);
                }
            }
        }
    }

    /// One that waits for itself never begins.
    fn dependencies(&mut self, app: Option<&AppName>) {
        let Some(app) = app else { return };
        let definition = self.definition;
        let itself = definition.dependencies.iter().position(|name| name == app.as_str());
        if let Some(index) = itself {
            let message = format!("`{app}` depends on itself: name other apps only");
            self.add(Code::Contradiction, &format!("dependencies[{index}]"), message);
        }
    }

    fn resources(&mut self) {
        let resources = &self.definition.resources;
        if let (Some(soft), Some(max)) = (resources.soft_mem_limit, resources.max_mem)
            && soft > max
        {
            let message = format!(
                "`resources.soft_mem_limit` ({} GiB) is more than `resources.max_mem` ({} GiB)",
                soft.gib(),
                max.gib()
            );
            self.add(Code::Contradiction, "resources.soft_mem_limit", message);
        }
    }

    fn autoscaling(&mut self) {
        let scaling = &self.definition.autoscaling;
        let (min, max) = (scaling.min_count, scaling.max_count);
        if let Some(max) = max
            && min.unwrap_or(1) > max
        {
            let message = format!(
                "`autoscaling.max_count` ({max}) is less than `autoscaling.min_count` ({})",
                min.map_or_else(|| "1 when absent".to_owned(), |min| min.to_string())
            );
            self.add(Code::Contradiction, "autoscaling.max_count", message);
        }
        let target = self.has("autoscaling.metric_target");
        match scaling.metric {
            Some(metric) if !target => {
                let metric = match metric {
                    ScalingMetric::Cpu => "cpu",
                    ScalingMetric::ActivePercent => "active-percent",
                };
                let message =
                    format!("`autoscaling.metric` {metric} needs `autoscaling.metric_target`");
                self.add(Code::MissingKey, "autoscaling.metric", message);
            }
            None if target && !self.has("autoscaling.metric") => {
                let message = "`autoscaling.metric_target` needs `autoscaling.metric`";
                self.add(Code::MissingKey, "autoscaling.metric_target", message);
            }
            Some(_) | None => {}
        }
    }

    fn deploy(&mut self) {
        let deploy = &self.definition.deploy;
        let needs_room = match deploy.strategy {
            Strategy::Rolling | Strategy::Canary => true,
            Strategy::BlueGreen | Strategy::Recreate => false,
        };
        if needs_room && deploy.max_surge.is_zero() && deploy.max_unavailable.is_zero() {
            let message = "`deploy.max_surge` and `deploy.max_unavailable` are both zero: no instance could ever be replaced";
            self.add(Code::Contradiction, "deploy.max_surge", message);
        }
        for (path, value) in [
            ("deploy.ready_timeout", Some(deploy.ready_timeout)),
            ("deploy.progress_deadline", Some(deploy.progress_deadline)),
            ("deploy.min_healthy_time", deploy.min_healthy_time),
        ] {
            let Some(value) = value else { continue };
            // Of two defaults of ours, or a default and a shorter deadline, the shorter holds.
            if value > deploy.deadline && self.has(path) {
                let message = format!(
                    "`{path}` ({value}) is longer than `deploy.deadline` ({})",
                    deploy.deadline
                );
                self.add(Code::Contradiction, path, message);
            }
        }
        // Waiting for an instance to count is no progress. A shorter default of ours is made room for.
        if let Some(time) = deploy.min_healthy_time
            && (deploy.progress_deadline..=deploy.deadline).contains(&time)
        {
            let message = format!(
                "`deploy.min_healthy_time` ({time}) is not shorter than `deploy.progress_deadline` \
                 ({}): the deployment would be given up before an instance counts; raise \
                 `deploy.progress_deadline`",
                deploy.progress_deadline
            );
            self.add(Code::Contradiction, "deploy.min_healthy_time", message);
        }
    }

    fn steps(&mut self) {
        let definition = self.definition;
        let mut weight = 0;
        let whole = find(self.root, "deploy.steps").is_some_and(|(node, _)| match &node.value {
            Value::List(items) => items.len() == definition.deploy.steps.len(),
            _ => false,
        });
        // A wrong step among them may have been the one that is missed.
        let whole_or_absent = whole || !self.has("deploy.steps");
        for (index, step) in definition.deploy.steps.iter().enumerate() {
            if let Step::Header(rule) = step
                && whole
            {
                self.header(&format!("deploy.steps[{index}].header"), rule);
            }
            let Step::Weight(next) = step else { continue };
            if *next < weight && whole {
                let path = format!("deploy.steps[{index}].weight");
                let message = format!(
                    "`{path}` ({next}) is less than the step before ({weight}): the new side only grows"
                );
                self.add(Code::Contradiction, &path, message);
            }
            weight = *next;
        }
        let mut canary = definition.deploy.strategy == Strategy::Canary
            || definition.deploy_config.canary_in_prod;
        let approved = definition.deploy.steps.iter().any(|step| matches!(step, Step::Approval {}));
        for (env, how) in &definition.deploy_config.strategies {
            let path = format!("deploy_config.strategies.{env}");
            if *how == AutoDeploy::CanaryConfirm {
                canary = true;
                if !approved && whole_or_absent {
                    let message = format!(
                        "`{path}` is canary-confirm, and none of `deploy.steps` is an `approval`"
                    );
                    self.add(Code::Contradiction, &path, message);
                }
            }
            if !definition.deploy_config.auto_deploy_envs.contains(env) {
                let message = format!(
                    "`{path}` has no effect: `deploy_config.autoDeployEnvs` does not name {env}"
                );
                self.add(Code::NoEffect, &path, message);
            }
        }
        if !definition.deploy.steps.is_empty() && !canary {
            let message = format!(
                "`deploy.steps` are for the strategy canary; this one is {}",
                definition.deploy.strategy
            );
            self.add(Code::NoEffect, "deploy.steps", message);
        }
    }

    fn health_checks(&mut self) {
        for index in 0..self.definition.expose.len() {
            let path = format!("expose[{index}].health_check");
            let tcp = find(self.root, &format!("{path}.type"))
                .is_some_and(|(node, _)| matches!(&node.value, Value::Text(text) if text == "tcp"));
            let path = format!("{path}.path");
            if tcp && self.has(&path) {
                let message = format!("`{path}` means nothing for a check of type tcp");
                self.add(Code::Contradiction, &path, message);
            }
        }
    }

    /// What is said of requests on a port that has none.
    fn requests(&mut self) {
        for index in 0..self.definition.expose.len() {
            if self.definition.expose[index].protocol != Protocol::Tcp {
                continue;
            }
            for key in ["limits", "maintenance"] {
                let path = format!("expose[{index}].{key}");
                if self.has(&path) {
                    let message = format!("`{path}` means nothing for the protocol tcp");
                    self.add(Code::Contradiction, &path, message);
                }
            }
        }
    }

    /// What the gateway would refuse, and the tables of all apps with it.
    fn requests_told_apart(&mut self) {
        let definition = self.definition;
        let headers = definition.deploy.steps.iter().filter(|step| matches!(step, Step::Header(_)));
        if headers.count() > RULES_MAX {
            let message = format!("`deploy.steps` has more than {RULES_MAX} steps with `header`");
            self.add(Code::Contradiction, "deploy.steps", message);
        }
        for (index, expose) in definition.expose.iter().enumerate() {
            let path = format!("expose[{index}].limits.operators");
            if expose.limits.operators.len() > RULES_MAX {
                let message = format!("`{path}` has more than {RULES_MAX} entries");
                self.add(Code::Contradiction, &path, message);
            }
            for (entry, rule) in expose.limits.operators.iter().enumerate() {
                self.header(&format!("{path}[{entry}]"), rule);
            }
            let page = expose.maintenance.as_ref().map_or(0, |maintenance| maintenance.page.len());
            if page > MAINTENANCE_PAGE_BYTES_MAX {
                let path = format!("expose[{index}].maintenance.page");
                let message =
                    format!("`{path}` has {page} bytes; at most {MAINTENANCE_PAGE_BYTES_MAX}");
                self.add(Code::Contradiction, &path, message);
            }
        }
    }

    fn header(&mut self, path: &str, rule: &HeaderStep) {
        if rule.name.is_some() == rule.cookie.is_some() {
            let message = format!("`{path}` must have exactly one of `name` and `cookie`");
            self.add(Code::Contradiction, path, message);
        }
        if rule.value.as_ref().is_some_and(|value| value.len() > RULE_BYTES_MAX) {
            let path = format!("{path}.value");
            let message = format!("`{path}` is longer than {RULE_BYTES_MAX} bytes");
            self.add(Code::Contradiction, &path, message);
        }
    }

    fn alarms(&mut self) {
        let alarms = self.definition.alarms.as_deref().unwrap_or_default();
        for (index, alarm) in alarms.iter().enumerate() {
            let share = match alarm.kind {
                AlarmKind::InternalErrorAlarm | AlarmKind::BadRequestAlarm => true,
                AlarmKind::KinesisLimitsAlarm | AlarmKind::KinesisDelaysAlarm => false,
            };
            if let Some(threshold) = alarm.parameters.threshold
                && share
                && threshold > 1.0
            {
                let path = format!("alarms[{index}].parameters.threshold");
                let message =
                    format!("`{path}` is a share of requests from 0 to 1; found {threshold}");
                self.add(Code::OutOfRange, &path, message);
            }
        }
    }

    /// Settings that are right by themselves and do nothing here.
    fn no_effect(&mut self) {
        let definition = self.definition;
        let kind = definition.run.kind;
        let (ends, alone) = match kind {
            RunKind::Cron | RunKind::Job => (true, true),
            RunKind::Daemon | RunKind::Lambda => (false, true),
            RunKind::Service | RunKind::Worker => (false, false),
        };
        if ends && !definition.expose.is_empty() {
            let message = format!("`expose` has no effect: no requests are sent to a {kind}");
            self.add(Code::NoEffect, "expose", message);
        }
        if alone && self.has("autoscaling") {
            let message = format!("`autoscaling` has no effect on a {kind}");
            self.add(Code::NoEffect, "autoscaling", message);
        }
        if kind != RunKind::Lambda && self.has("lambda") {
            let message =
                format!("`lambda` has no effect: the app is a {kind}; write `run.type: lambda`");
            self.add(Code::NoEffect, "lambda", message);
        }
        let strategy = definition.deploy.strategy;
        if definition.deploy_config.canary_in_prod
            && strategy != Strategy::Canary
            && self.has("deploy.strategy")
        {
            let message = format!(
                "`deploy.strategy` {strategy} holds outside production only: `deploy_config.canaryInProd` says canary there"
            );
            self.add(Code::NoEffect, "deploy.strategy", message);
        }
    }
}
