//! What may be the name of a container image: the grammar of Docker's references. Who takes a name from
//! a person checks it here, before a daemon is asked.

/// The longest name without tag and digest, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The longest tag, in bytes.
const TAG_BYTES_MAX: usize = 128;
/// The fewest digits of a digest.
const DIGEST_DIGITS_MIN: usize = 32;
/// How much of a wrong name is shown.
const SHOWN_CHARS_MAX: usize = 80;

/// Checks a reference: `web`, `web:1`, `registry.test:5000/shop/web:1@sha256:61ab…`.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_reference(text: &str) -> Result<(), String> {
    judge(text).map_err(|why| {
        format!("`{}` is no image: {why}; write NAME, NAME:TAG or NAME@DIGEST", short(text))
    })
}

/// What is wrong may be anything, of any length.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

fn judge(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest.filter(|digest| !is_digest(digest)) {
        return Err(format!("`{}` is no digest like sha256:61ab…", short(digest)));
    }
    // A colon before the last slash is that of a port.
    let after_host = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest.get(after_host..).and_then(|last| last.split_once(':')) {
        Some((last, tag)) => (&rest[..after_host + last.len()], Some(tag)),
        None => (rest, None),
    };
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(format!("`{}` is no tag of letters, digits, `_`, `.` and `-`", short(tag)));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("its name has more than {NAME_BYTES_MAX} bytes"));
    }
    let path = match name.split_once('/') {
        Some((host, path)) if names_a_host(host) => {
            if !is_host(host) {
                return Err(format!("`{}` is no host of a registry", short(host)));
            }
            path
        }
        _ => name,
    };
    match path.split('/').find(|part| !is_part(part)) {
        None => Ok(()),
        Some("") => Err("a part of its name is empty".to_owned()),
        Some(part) => Err(format!(
            "`{}` may have lower-case letters and digits, with `.`, `_`, `__` or `-` between them",
            short(part)
        )),
    }
}

/// Whether what stands before the first slash is a registry's host, and not part of a name.
fn names_a_host(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return false,
            },
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty()
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_address = text.starts_with('[')
        && !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    (is_address || (!text.starts_with('[') && host.split('.').all(label)))
        && port.is_none_or(digits)
}

/// `[a-z0-9]+`, with `.`, `_`, `__` or any number of `-` between.
fn is_part(text: &str) -> bool {
    let letter = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    letter(first)
        && letter(last)
        && bytes.split(letter).all(|between| {
            matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = text.bytes();
    text.len() <= TAG_BYTES_MAX
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let parts = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['+', '.', '-', '_']).all(parts)
        && digits.len() >= DIGEST_DIGITS_MIN
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_docker() {
        let digest = format!("sha256:{}", "6a".repeat(32));
        let long = "a".repeat(TAG_BYTES_MAX);
        for good in [
            "web",
            "web:1",
            "shop/web:V1.2-rc_3",
            "a__b/c--d.e_f:1",
            "localhost/web",
            "registry.test:5000/shop/web:1",
            "Registry.test/web",
            "UPPER/web",
            "127.0.0.1:9/no/such:image",
            "[::1]:5000/web",
            "[fe80::1]/web",
            &format!("web@{digest}"),
            &format!("registry.test/web:1@{digest}"),
            // The id of an image that is here.
            &digest,
            &format!("web:{long}"),
        ] {
            assert_eq!(check_reference(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            " base:1",
            "base:1 ",
            "UPPER:x",
            "shop/Web",
            "a@b",
            "web@sha256:short",
            "web@sha256:",
            &format!("web@{digest}@{digest}"),
            "web:",
            ":1",
            "web:-1",
            "web:a:b",
            "web:ä",
            "käse",
            "/web",
            "web/",
            "shop//web",
            "a___b",
            "a..b",
            "-web",
            "web_",
            "a b:1",
            "web:1;rm",
            "--help",
            "registry.test:port/web",
            "-x.test/web",
            "[::1/web",
            "[::1]x/web",
            "[]/web",
            "https://registry.test/web",
            &format!("web:{long}a"),
            &"a/".repeat(200),
        ] {
            assert!(check_reference(bad).is_err(), "{bad}");
        }
        let told = check_reference("UPPER:x").unwrap_err();
        assert!(told.starts_with("`UPPER:x` is no image: `UPPER` may have lower-case"), "{told}");
    }
}
