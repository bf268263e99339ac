//! Paths within a project as people write them: `./docker//App.dockerfile`. Used for what launch files and
//! Compose files name, before anything looks for it; touches no file.

/// The path without what means nothing, or `None` when it leads out of the project.
pub(crate) fn inside(path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside_or_is_none() {
        for (path, expected) in [
            ("Dockerfile", Some("Dockerfile")),
            ("./Dockerfile", Some("Dockerfile")),
            ("./docker//web/../App.dockerfile", Some("docker/App.dockerfile")),
            ("web/../../Dockerfile", None),
            ("../Dockerfile", None),
            ("/Dockerfile", None),
        ] {
            assert_eq!(inside(path).as_deref(), expected, "{path}");
        }
    }
}
