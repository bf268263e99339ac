//! `.dockerignore`: what is kept out of a build's context. Patterns are anchored at the context, the
//! last that fits a path or a folder above it decides, and `!` takes a path back in. Differences to
//! Docker's own: `**` stands for folders only where it is a whole part of a pattern.

use globset::{GlobBuilder, GlobMatcher};

/// The most lines of one file.
const LINES_MAX: usize = 10_000;

/// The lines of one file.
#[derive(Debug, Default)]
pub(crate) struct DockerIgnore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    takes_back: bool,
    glob: GlobMatcher,
}

impl DockerIgnore {
    /// Reads a file's text. `needed` is never kept out: the builder reads it itself.
    pub(crate) fn parse(text: &str, needed: &[&str]) -> Result<Self, String> {
        let lines = text.trim_start_matches('\u{feff}').lines().take(LINES_MAX);
        let lines = lines.filter(|line| !line.starts_with('#')).map(str::trim);
        let mut rules = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (takes_back, pattern) = match line.strip_prefix('!') {
                Some(pattern) => (true, pattern.trim()),
                None => (false, line),
            };
            let pattern = clean(pattern);
            if pattern.is_empty() {
                continue;
            }
            rules.push(Rule { takes_back, glob: glob(&pattern)? });
        }
        for path in needed {
            rules.push(Rule { takes_back: true, glob: glob(&globset::escape(path))? });
        }
        Ok(Self { rules })
    }

    /// Whether a path, relative to the context, is kept out.
    pub(crate) fn ignores(&self, path: &str) -> bool {
        let fits = |rule: &&Rule| {
            let above = path.match_indices('/').map(|(at, _)| &path[..at]);
            above.chain([path]).any(|part| rule.glob.is_match(part))
        };
        self.rules.iter().rfind(fits).is_some_and(|rule| !rule.takes_back)
    }

    /// Whether something below a folder that is kept out may be taken back in.
    pub(crate) fn takes_back(&self) -> bool {
        self.rules.iter().any(|rule| rule.takes_back)
    }
}

/// Without what means nothing: `./a//b/` is `a/b`.
fn clean(pattern: &str) -> String {
    let mut parts = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A pattern as Go's `filepath.Match` reads it, with `**`.
fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    // Braces mean nothing there.
    let mut plain = String::new();
    for character in pattern.chars() {
        if matches!(character, '{' | '}') && !plain.ends_with('\\') {
            plain.push('\\');
        }
        plain.push(character);
    }
    let glob = GlobBuilder::new(&plain).literal_separator(true).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_out() {
        for (text, path, ignored) in [
            ("", "a", false),
            ("a", "a", true),
            ("a", "b/a", false),
            ("a", "a/b/c", true),
            ("/a/", "a", true),
            ("./a//b", "a/b", true),
            ("*.log", "x.log", true),
            ("*.log", "d/x.log", false),
            ("**/*.log", "d/e/x.log", true),
            ("**/*.log", "x.log", true),
            ("*/temp*", "one/temporary/x", true),
            ("*/temp*", "one/two/temp", false),
            ("temp?", "tempa", true),
            ("# a", "a", false),
            ("*\n!a", "a", false),
            ("*\n!a", "b", true),
            ("*\n!a/b", "a/b/c", false),
            ("*\n!a/b", "a/c", true),
            ("!a\na", "a", true),
            ("[ab]c", "bc", true),
            ("a{b,c}", "ab", false),
            ("a{b,c}", "a{b,c}", true),
            ("..", "a", false),
            ("*", "Dockerfile", false),
            ("*", "docker/App.dockerfile", true),
        ] {
            let rules = DockerIgnore::parse(text, &["Dockerfile"]).unwrap();
            assert_eq!(rules.ignores(path), ignored, "{text:?} and {path}");
        }
        assert!(DockerIgnore::parse("a[", &[]).is_err());
    }
}
