//! Base images that a registry gives only to whom it knows. A build is one request without a session, and
//! so its builder has no credentials; what a Dockerfile is made from at registries that are set is fetched
//! before, and the builder finds it here. Called by `build`. What is at other registries, or cannot be
//! fetched, is the builder's to find, and its words say what is missing.

use std::collections::{BTreeMap, BTreeSet};

use ark_model::artifact::ManifestNode;

use super::Inner;
use crate::engine::{BuildSpec, blob_path};

/// The longest Dockerfile that is looked at, in bytes.
const DOCKERFILE_BYTES_MAX: u64 = 1 << 20;
/// The most images that are fetched for one build.
const BASES_MAX: usize = 32;

impl Inner {
    /// The images that a build is made from and that registries give to whom they know.
    pub(super) async fn private_bases(&self, spec: &BuildSpec) -> Vec<String> {
        let is_it = |path: &str| path == spec.dockerfile;
        let entry = spec.manifest.entries.iter().find(|entry| is_it(&entry.path));
        let Some(ManifestNode::File { sha256, bytes, .. }) = entry.map(|entry| &entry.node) else {
            return Vec::new();
        };
        if *bytes > DOCKERFILE_BYTES_MAX {
            return Vec::new();
        }
        let text = tokio::fs::read(blob_path(&spec.blobs, *sha256)).await.unwrap_or_default();
        let mut bases = bases(&String::from_utf8_lossy(&text));
        bases.retain(|base| self.options.registries.know_us(base));
        bases.truncate(BASES_MAX);
        bases
    }
}

/// The images that a Dockerfile is made from: its frontend (`# syntax=`), and what `FROM`, `COPY --from=`
/// and `RUN --mount=from=` name that is none of its stages. Arguments have the values that stand before
/// the first `FROM`; a name with one that has none is left out.
fn bases(dockerfile: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut stages = BTreeSet::from(["scratch".to_owned()]);
    let mut arguments = BTreeMap::new();
    let mut is_before = true;
    if let Some(frontend) = directive(dockerfile, "syntax") {
        found.push(frontend.to_owned());
    }
    for line in instructions(dockerfile) {
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
        let mut flags = Vec::new();
        let mut words = words.peekable();
        while let Some(flag) = words.next_if(|word| word.starts_with("--")) {
            flags.push(flag);
        }
        let named = match instruction.as_str() {
            "ARG" if is_before => {
                for (name, value) in words.filter_map(|word| word.split_once('=')) {
                    if let Some(value) = with_values(value.trim_matches(['"', '\'']), &arguments) {
                        arguments.insert(name.to_owned(), value);
                    }
                }
                continue;
            }
            "FROM" => {
                is_before = false;
                let base = words.next().unwrap_or_default();
                let is_named = words.next().is_some_and(|word| word.eq_ignore_ascii_case("AS"));
                let name = words.next().filter(|_| is_named).map(str::to_lowercase);
                let base = with_values(base, &arguments).filter(|base| !is_stage(&stages, base));
                stages.extend(name);
                base.into_iter().collect()
            }
            "COPY" | "ADD" | "RUN" => {
                let named = flags.iter().filter_map(|flag| from_of(flag));
                named.filter(|name| !is_stage(&stages, name)).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        for name in named {
            if !name.is_empty() && !name.contains('$') && !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

fn is_stage(stages: &BTreeSet<String>, name: &str) -> bool {
    stages.contains(&name.to_lowercase()) || name.bytes().all(|byte| byte.is_ascii_digit())
}

/// `--from=NAME`, and of `--mount=type=bind,from=NAME,target=/x` the same.
fn from_of(flag: &str) -> Option<&str> {
    if let Some(name) = flag.strip_prefix("--from=") {
        return Some(name);
    }
    flag.strip_prefix("--mount=")?.split(',').find_map(|part| part.strip_prefix("from="))
}

/// The value of `# NAME=VALUE`, which stands before everything but other such lines.
fn directive<'d>(dockerfile: &'d str, wanted: &str) -> Option<&'d str> {
    let mut directives =
        dockerfile.lines().map_while(|line| line.trim().strip_prefix('#')?.split_once('='));
    directives
        .find_map(|(name, value)| name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim()))
}

/// Its lines without comments, those that go on joined.
fn instructions(dockerfile: &str) -> Vec<String> {
    let escape = directive(dockerfile, "escape").filter(|escape| *escape == "`").unwrap_or("\\");
    let mut lines = Vec::new();
    let mut whole = String::new();
    for line in dockerfile.lines().map(str::trim) {
        if line.starts_with('#') {
            continue;
        }
        match line.strip_suffix(escape) {
            Some(part) => whole = whole + part + " ",
            None => lines.push(std::mem::take(&mut whole) + line),
        }
    }
    lines.push(whole);
    lines
}

/// A text with `$NAME`, `${NAME}` and `${NAME:-value}` replaced; none where a value is missing.
fn with_values(text: &str, arguments: &BTreeMap<String, String>) -> Option<String> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        whole += before;
        let (name, default, left) = match after.strip_prefix('{') {
            Some(braced) => {
                let (inner, left) = braced.split_once('}')?;
                let (name, default) =
                    inner.split_once(":-").map_or((inner, None), |(n, d)| (n, Some(d)));
                (name, default, left)
            }
            None => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
                (&after[..end], None, &after[end..])
            }
        };
        let value = arguments.get(name).map(String::as_str).filter(|value| !value.is_empty());
        whole += value.or(default)?;
        rest = left;
    }
    Some(whole + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dockerfile_is_made_from() {
        for (dockerfile, expected) in [
            ("FROM r.test/base:1\nRUN make\n", &["r.test/base:1"][..]),
            (
                "from --platform=linux/amd64 r.test/base AS build\nFROM build\nFROM scratch\n",
                &["r.test/base"],
            ),
            (
                "FROM a AS One\nFROM b\nCOPY --from=one /x /x\nCOPY --chown=1 --from=r.test/c:2 /x /x\n\
              COPY --from=0 /x /x\n",
                &["a", "b", "r.test/c:2"],
            ),
            (
                "ARG TAG=7\nARG HOST=r.test\nFROM $HOST/base:${TAG}\nFROM ${HOST}/${NAME:-other}\n",
                &["r.test/base:7", "r.test/other"],
            ),
            ("ARG A=\"r.test/quoted\"\nFROM ${A}\n", &["r.test/quoted"]),
            // A value that is given only to the build cannot be known.
            ("ARG BASE\nFROM $BASE\n", &[]),
            ("FROM a\nARG B=r.test/late\nFROM $B\n", &["a"]),
            ("# a comment\n#syntax=r.test/frontend:1\nFROM a\n", &["a"]),
            (
                "# syntax = r.test/frontend:1\n# check=skip=all\nFROM \\\n  # said in between\n  a\n",
                &["r.test/frontend:1", "a"],
            ),
            (
                "FROM a\nRUN --mount=type=cache,target=/c --mount=type=bind,from=r.test/tools,target=/t make\n",
                &["a", "r.test/tools"],
            ),
            ("FROM a\nFROM a\nCMD [\"--from=x\"]\n", &["a"]),
            ("FROM a\nRUN echo `date`\nFROM b\n", &["a", "b"]),
            ("# escape=`\nFROM `\na\nRUN dir c:\\\nFROM b\n", &["a", "b"]),
            ("", &[]),
            ("FROM\nFROM ${\nFROM a AS\n", &["a"]),
        ] {
            assert_eq!(bases(dockerfile), expected, "{dockerfile}");
        }
    }
}
