//! What the regular expressions of one definition may take, compiled.
//!
//! `jsonata` and `jsonpath` compile each through [`compile`], which bounds it by itself and all of a
//! definition together: a definition has room for tens of thousands. The budget is kept by thread, as
//! expressions and paths are read in many places, alone as well as within a definition ([`bounded`]).

use std::cell::Cell;

use regex::{Regex, RegexBuilder};
use regex_automata::nfa::thompson::{Compiler, Config, NFA};
use regex_automata::util::syntax;

/// Bytes of one compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// What a lazy automaton keeps of a pattern, in bytes.
pub(crate) const CACHE_BYTES_MAX: usize = 1 << 20;
/// Bytes of all compiled patterns of a definition.
const ALL_BYTES_MAX: usize = 16 << 20;

thread_local! {
    /// What is left for what is being read; `None` outside of it.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Ends what [`bounded`] began, also when it panics.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        LEFT.set(None);
    }
}

/// Reads something whose patterns have one budget; within another they have that one's.
pub(crate) fn bounded<T>(read: impl FnOnce() -> T) -> T {
    if LEFT.get().is_some() {
        return read();
    }
    LEFT.set(Some(ALL_BYTES_MAX));
    let _end = End;
    read()
}

/// Compiles a pattern with those of the flags `i`, `m`, `s` and `x` that are given, for the matcher and as
/// the automaton behind it; `nesting` bounds its groups within each other.
pub(crate) fn compile(pattern: &str, flags: &str, nesting: u32) -> Result<(Regex, NFA), String> {
    let [i, m, s, x] = ['i', 'm', 's', 'x'].map(|flag| flags.contains(flag));
    let syntax = syntax::Config::new()
        .nest_limit(nesting)
        .case_insensitive(i)
        .multi_line(m)
        .dot_matches_new_line(s)
        .ignore_whitespace(x);
    let nfa = nfa(pattern, syntax)?;
    let regex = RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .nest_limit(nesting)
        .case_insensitive(i)
        .multi_line(m)
        .dot_matches_new_line(s)
        .ignore_whitespace(x)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large".to_owned(),
            _ => "the pattern is not supported".to_owned(),
        })?;
    Ok((regex, nfa))
}

/// The automaton of a pattern, within its own bound and the budget.
fn nfa(pattern: &str, syntax: syntax::Config) -> Result<NFA, String> {
    let left = LEFT.get().unwrap_or(ALL_BYTES_MAX);
    let together = || "the patterns are too large together".to_owned();
    if left == 0 {
        return Err(together());
    }
    let built = Compiler::new()
        .syntax(syntax)
        .configure(Config::new().nfa_size_limit(Some(PATTERN_BYTES_MAX)))
        .build(pattern);
    let bytes = match &built {
        Ok(nfa) => nfa.memory_usage(),
        Err(error) if error.size_limit().is_some() => PATTERN_BYTES_MAX,
        Err(_) => 0,
    };
    if LEFT.get().is_some() {
        LEFT.set(Some(left.saturating_sub(bytes)));
    }
    match built {
        Ok(_) if bytes > left => Err(together()),
        Ok(nfa) => Ok(nfa),
        Err(error) if error.size_limit().is_some() => Err("the pattern is too large".to_owned()),
        Err(_) => Err("the pattern is not supported".to_owned()),
    }
}
