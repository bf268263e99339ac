//! What a user saved on this machine: the default environment. `~/.config/ark/config.json`.

use std::path::PathBuf;

use ark_model::EnvName;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The file's content. Unknown keys, of a newer version, are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The environment when neither `-e` nor `ARK_ENV` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) env: Option<EnvName>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Settings {
    /// Reads the file; an absent one holds nothing.
    pub(crate) fn load() -> Result<Self, Failure> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(Failure::file(&path, "read", &error)),
        };
        serde_json::from_str(&text)
            .map_err(|error| Failure::usage(format!("{} is damaged: {error}", path.display())))
    }

    /// Writes the file whole or not at all.
    pub(crate) fn save(&self) -> Result<PathBuf, Failure> {
        let path = path().ok_or_else(|| {
            Failure::usage("no place for settings: neither XDG_CONFIG_HOME nor HOME is set")
        })?;
        let write = || -> std::io::Result<()> {
            let folder = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(folder)?;
            let temporary = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer_pretty(&temporary, self)?;
            temporary.persist(&path)?;
            Ok(())
        };
        write().map_err(|error| Failure::file(&path, "written", &error))?;
        Ok(path)
    }
}

fn path() -> Option<PathBuf> {
    let folder =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_CONFIG_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("ark/config.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_newer_version_are_kept() {
        let text = r#"{"env":"staging","theme":"dark"}"#;
        let settings: Settings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.env.as_ref().map(EnvName::as_str), Some("staging"));
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
    }
}
