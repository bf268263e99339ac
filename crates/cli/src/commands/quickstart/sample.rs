//! The launch file of the sample app, as the quickstart deploys it: Ark's own `launch/sample.yml`
//! with the path of this program, another version, and, for the broken one, a fault on purpose.

use std::path::Path;

/// The file as it is in the repository.
const TEXT: &str = include_str!("../../../../../launch/sample.yml");
/// Its command, and its version.
const COMMAND: &str = "command: [ark, sample]";
const VERSION: &str = "VERSION: \"1\"";

/// The app.
pub(super) const APP: &str = "sample";
/// The environment it is deployed to.
pub(super) const ENV: &str = "production";

/// Whether a version works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It does.
    Good,
    /// Its health check never passes.
    NeverReady,
}

/// The launch file of one version.
pub(super) fn launch_text(ark: &Path, version: u32, health: Health) -> String {
    // A JSON string is a YAML string, whatever the path holds.
    let path = serde_json::Value::from(ark.to_string_lossy()).to_string();
    let fault = match health {
        Health::Good => "",
        Health::NeverReady => "\n  BROKEN: never-ready",
    };
    TEXT.replace(COMMAND, &format!("command: [{path}, sample]"))
        .replace(VERSION, &format!("VERSION: \"{version}\"{fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::definition::{LaunchFile, parse};

    #[test]
    fn each_version_is_a_good_definition_of_its_own() {
        for (version, health, broken) in [
            (1, Health::Good, None),
            (2, Health::Good, None),
            (3, Health::NeverReady, Some("never-ready")),
        ] {
            let text = launch_text(Path::new("/opt/a \"b\"/ark"), version, health);
            let parsed = parse("sample.yml", text.as_bytes());
            assert_eq!(parsed.diagnostics, [], "{text}");
            let Some(LaunchFile::App(definition)) = parsed.launch else { panic!("{text}") };
            let command = definition.run.command.clone().unwrap();
            assert_eq!(command, ["/opt/a \"b\"/ark", "sample"]);
            assert_eq!(definition.env_defaults["VERSION"], version.to_string());
            assert_eq!(definition.env_defaults.get("BROKEN").map(String::as_str), broken);
            assert_eq!(definition.count(), 3);
        }
    }
}
