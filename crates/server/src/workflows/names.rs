//! Names of machines, executions and activities: 1 to 80 characters, none of those AWS refuses.

use super::error::{Refusal, WorkflowError};

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 80;

const REFUSED: &str = "?*<>{}[]\"#%\\^|~`$&,;:/";

/// Whether a name may be given.
pub fn is_valid(name: &str) -> bool {
    let chars = name.chars().count();
    (1..=NAME_CHARS_MAX).contains(&chars)
        && !name.chars().any(|c| {
            c.is_whitespace()
                || c.is_control()
                || REFUSED.contains(c)
                || c == '\u{fffe}'
                || c == '\u{ffff}'
        })
}

/// Passes a valid name.
///
/// # Errors
/// [`Refusal::InvalidName`].
pub fn check(name: &str) -> Result<(), WorkflowError> {
    if is_valid(name) {
        Ok(())
    } else {
        Err(Refusal::InvalidName.with(format!("Invalid Name: '{name}'")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_quota_table() {
        for good in ["a", "A-b_c.d", "näme", &"x".repeat(80), "(x)", "a'b", "a=b+c@d!"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in
            ["", " ", "a b", "a:b", "a/b", "a\u{7}", "a\u{85}", &"x".repeat(81), "a*", "a\\b"]
        {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
