//! Regular expressions: the reference's (JavaScript's) syntax on a matcher that takes linear time.
//!
//! What such a matcher cannot do, look-around and back references, is a syntax error. Linear is one
//! search: finding all matches may search the rest of the text for each of them, and a pattern of many
//! states takes as much longer. So what a search costs is measured before it is made ([`Meter`]).

use std::sync::Arc;

use regex::{Captures, Regex};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::NFA;
use regex_automata::{Anchored, Input};

use super::error::Error;
use super::eval::Run;
use crate::patterns::{self, CACHE_BYTES_MAX};

/// Groups within each other.
const NESTING_MAX: u32 = 100;
/// Bytes of such an automaton that are built in a step.
const BUILT_PER_STEP: usize = 64;
/// Patterns whose automata one evaluation keeps.
const PATTERNS_KEPT: usize = 16;
/// How often the meter may begin anew with the states it has met, for want of memory, before a search
/// counts as one that follows all states of the pattern at once.
const RESETS_MAX: usize = 3;
/// Bytes that a search goes through in a step.
const BYTES_PER_STEP: usize = 32;
/// States that one byte is held to in a step, when all of them are followed at once.
const STATES_PER_STEP: usize = 16;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    /// `/pattern/flags` as written.
    pub(super) text: String,
    meter: Meter,
}

impl Pattern {
    /// The first match from a byte on. What that looks at is charged by [`Run::searches`]; which groups
    /// it has is found by going through the match again with all states of the pattern.
    ///
    /// # Errors
    /// When the budget has no steps for the groups.
    pub(super) fn captures_at<'t>(
        &self,
        run: &Run<'_>,
        text: &'t str,
        from: usize,
    ) -> Result<Option<Captures<'t>>, Error> {
        if self.regex.captures_len() > 1 {
            let Some(found) = self.regex.find_at(text, from) else { return Ok(None) };
            run.steps(found.len().saturating_mul(self.meter.whole()))?;
        }
        Ok(self.regex.captures_at(text, from))
    }

    /// Compiles a pattern with the flags `i` and `m`; the compiled size is bounded.
    pub(super) fn compile(pattern: &str, flags: &str) -> Result<Self, String> {
        if let Some(flag) = flags.chars().find(|flag| !"im".contains(*flag)) {
            return Err(format!("unknown flag '{flag}'"));
        }
        let (regex, nfa) = patterns::compile(&translate(pattern), flags, NESTING_MAX)?;
        let meter = Meter::of(nfa);
        Ok(Self { regex, text: format!("/{pattern}/{flags}"), meter })
    }
}

/// Follows a search byte by byte, without its captures: how far it has to look.
#[derive(Debug)]
struct Meter {
    /// `None` for a pattern so large that the matcher has no such automaton either.
    dfa: Option<DFA>,
    states: usize,
}

impl Meter {
    fn of(nfa: NFA) -> Self {
        let states = nfa.states().len();
        let config = DFA::config()
            .cache_capacity(CACHE_BYTES_MAX)
            .minimum_cache_clear_count(Some(RESETS_MAX))
            .unicode_word_boundary(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok();
        Self { dfa, states }
    }

    /// Steps of whatever goes through all states once.
    fn whole(&self) -> usize {
        1 + self.states / STATES_PER_STEP
    }

    /// The steps of a search from a byte on.
    fn steps(&self, cache: Option<&mut Cache>, text: &str, from: usize) -> usize {
        let at_once = (1 + text.len() - from).saturating_mul(self.whole());
        let (Some(dfa), Some(cache)) = (&self.dfa, cache) else { return at_once };
        let (built, cleared) = (cache.memory_usage(), cache.clear_count());
        let looked = looks_at(dfa, cache, text, from);
        let cleared = (cache.clear_count() - cleared).saturating_mul(CACHE_BYTES_MAX);
        let built = (cleared + cache.memory_usage()).saturating_sub(built) / BUILT_PER_STEP;
        built + looked.map_or(at_once, |bytes| 1 + bytes / BYTES_PER_STEP)
    }
}

/// How many bytes a search from a place looks at; `None` when it would not be said in linear time.
fn looks_at(dfa: &DFA, cache: &mut Cache, text: &str, from: usize) -> Option<usize> {
    let input = Input::new(text).range(from..).anchored(Anchored::No);
    let mut state = dfa.start_state_forward(cache, &input).ok()?;
    for (count, byte) in text.as_bytes()[from..].iter().enumerate() {
        state = dfa.next_state(cache, state, *byte).ok()?;
        if state.is_dead() {
            return Some(count + 1);
        }
        if state.is_quit() {
            return None;
        }
    }
    Some(text.len() - from)
}

/// The searches of one evaluation. What a pattern's meter has built is kept for the next search, but
/// not beyond the evaluation: it must cost the same whatever was evaluated before it.
#[derive(Debug, Default)]
pub(super) struct Searches {
    /// The latest last.
    known: Vec<(Arc<Pattern>, Option<Cache>)>,
}

impl Searches {
    /// The steps of finding the next match in a text from a byte on.
    pub(super) fn steps(&mut self, pattern: &Arc<Pattern>, text: &str, from: usize) -> usize {
        let meter = &pattern.meter;
        let mut steps = 0;
        let at = self.known.iter().position(|(known, _)| Arc::ptr_eq(known, pattern));
        let at = at.unwrap_or_else(|| {
            steps = meter.whole();
            if self.known.len() >= PATTERNS_KEPT {
                self.known.remove(0);
            }
            self.known.push((pattern.clone(), meter.dfa.as_ref().map(DFA::create_cache)));
            self.known.len() - 1
        });
        match self.known.get_mut(at) {
            Some((_, cache)) => steps + meter.steps(cache.as_mut(), text, from),
            None => steps,
        }
    }
}

/// JavaScript's syntax as this matcher reads it: `\d`, `\w`, `\b` and `\B` mean ASCII, brackets
/// and ampersands inside a class mean themselves, a brace that opens no count means itself.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut in_class = false;
    let chars: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '\\' => {
                let Some(&next) = chars.get(at) else {
                    out.push('\\');
                    break;
                };
                at += 1;
                match next {
                    'd' => out.push_str("[0-9]"),
                    'D' => out.push_str("[^0-9]"),
                    'w' => out.push_str("[0-9A-Za-z_]"),
                    'W' => out.push_str("[^0-9A-Za-z_]"),
                    'b' if in_class => out.push_str("\\x08"),
                    'b' => out.push_str("(?-u:\\b)"),
                    'B' if !in_class => out.push_str("(?-u:\\B)"),
                    '/' => out.push('/'),
                    '<' | '>' => out.push(next),
                    next => {
                        out.push('\\');
                        out.push(next);
                    }
                }
            }
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.get(at) == Some(&'^') {
                    at += 1;
                    out.push('^');
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '{' if !in_class && !opens_count(&chars[at..]) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    out
}

/// Whether what follows a brace is a count: `3}`, `3,}`, `3,5}`.
fn opens_count(rest: &[char]) -> bool {
    let Some(end) = rest.iter().position(|c| *c == '}') else { return false };
    rest.first().is_some_and(char::is_ascii_digit)
        && rest[..end].iter().all(|c| c.is_ascii_digit() || *c == ',')
}
