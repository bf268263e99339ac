//! Numbers as text and back: rounding, bases, decimal pictures (XPath F&O 4.7). Integer pictures are
//! [`integer`](super::integer)'s.

use super::error::{Error, Result};
use super::value::{Val, js_number};

/// Largest number of digits behind a point that a picture may ask for.
const FRACTION_DIGITS_MAX: usize = 100;

/// Reads a number in JSON's syntax, or `0x`, `0o`, `0b`.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    if let Some(digits) = text.strip_prefix('0') {
        let (radix, digits) = match digits.as_bytes().first() {
            Some(b'x' | b'X') => (16, &digits[1..]),
            Some(b'o' | b'O') => (8, &digits[1..]),
            Some(b'b' | b'B') => (2, &digits[1..]),
            _ => (10, text),
        };
        if radix != 10 {
            if digits.is_empty() {
                return None;
            }
            return digits.chars().try_fold(0.0, |sum: f64, c| {
                c.to_digit(radix).map(|digit| sum * f64::from(radix) + f64::from(digit))
            });
        }
    }
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    at += whole;
    if whole == 0 {
        return None;
    }
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        let fraction = digits(at);
        at += fraction;
        if fraction == 0 {
            return None;
        }
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at.min(bytes.len()));
        at += exponent;
        if exponent == 0 {
            return None;
        }
    }
    if at < bytes.len() {
        return None;
    }
    text.parse().ok().filter(|float: &f64| float.is_finite())
}

/// Rounds to a number of places (negative: before the point), halves to the even digit.
pub(super) fn round_half_even(number: f64, places: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let places = places as i32;
    // Shifted in the text, for a multiplication would bring its own error.
    let shifted = shift(number, places);
    let mut rounded = (shifted + 0.5).floor();
    if (rounded - shifted).abs() == 0.5 && (rounded % 2.0).abs() == 1.0 {
        rounded -= 1.0;
    }
    if !rounded.is_finite() {
        return number;
    }
    let back = shift(rounded, places.saturating_neg());
    if back == 0.0 { 0.0 } else { back }
}

fn shift(number: f64, places: i32) -> f64 {
    if places == 0 || number == 0.0 || !number.is_finite() {
        return number;
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent = exponent.parse::<i32>().unwrap_or(0).saturating_add(places);
    format!("{digits}e{exponent}").parse().unwrap_or(number)
}

/// A whole number in another base.
pub(super) fn format_base(number: f64, radix: u32) -> String {
    if radix == 10 || number.abs() >= 1.7e38 {
        return js_number(number);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^127")]
    let mut rest = number.abs() as u128;
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(rest % u128::from(radix)).unwrap_or(0);
        digits.push(char::from_digit(digit, radix).unwrap_or('0'));
        rest /= u128::from(radix);
        if rest == 0 {
            break;
        }
    }
    if number < 0.0 {
        digits.push('-');
    }
    digits.iter().rev().collect()
}

/// The characters of a decimal format.
struct Symbols {
    decimal: char,
    grouping: char,
    exponent: char,
    minus: String,
    percent: char,
    per_mille: char,
    zero: char,
    digit: char,
    pattern: char,
}

impl Symbols {
    fn from(options: &Val) -> Self {
        let text = |name: &str| options.member(name).and_then(|v| v.as_str().map(str::to_owned));
        let one = |name: &str, default: char| {
            text(name).and_then(|text| text.chars().next()).unwrap_or(default)
        };
        Self {
            decimal: one("decimal-separator", '.'),
            grouping: one("grouping-separator", ','),
            exponent: one("exponent-separator", 'e'),
            minus: text("minus-sign").unwrap_or_else(|| "-".to_owned()),
            percent: one("percent", '%'),
            per_mille: one("per-mille", '\u{2030}'),
            zero: one("zero-digit", '0'),
            digit: one("digit", '#'),
            pattern: one("pattern-separator", ';'),
        }
    }

    fn is_family(&self, c: char) -> bool {
        (u32::from(self.zero)..=u32::from(self.zero) + 9).contains(&u32::from(c))
    }

    fn is_active(&self, c: char) -> bool {
        self.is_family(c)
            || [self.decimal, self.exponent, self.grouping, self.digit, self.pattern].contains(&c)
    }
}

/// One sub-picture, taken apart.
struct Picture {
    prefix: String,
    suffix: String,
    whole: Vec<char>,
    fraction: Vec<char>,
    exponent: Option<Vec<char>>,
    scale: i32,
    has_decimal: bool,
}

impl Picture {
    fn read(text: &str, symbols: &Symbols) -> Result<Self> {
        let chars: Vec<char> = text.chars().collect();
        let bounds = |c: &char| symbols.is_active(*c) && *c != symbols.exponent;
        let begin = chars.iter().position(bounds).unwrap_or(chars.len());
        let end = chars.iter().rposition(bounds).map_or(begin, |at| at + 1);
        let active = &chars[begin..end];
        // An exponent separator at the very end counts as well, though it has no digits.
        let at_exponent = chars[begin..].iter().position(|c| *c == symbols.exponent);
        let (mantissa, exponent) = match at_exponent.filter(|at| *at <= active.len()) {
            Some(at) => (&active[..at], Some(active.get(at + 1..).unwrap_or_default().to_vec())),
            None => (active, None),
        };
        let at_decimal = mantissa.iter().position(|c| *c == symbols.decimal);
        let (whole, fraction) = match at_decimal {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let count = |wanted: char| chars.iter().filter(|c| **c == wanted).count();
        let picture = Self {
            prefix: chars[..begin].iter().collect(),
            suffix: chars[end..].iter().collect(),
            whole: whole.to_vec(),
            fraction: fraction.to_vec(),
            exponent,
            scale: match (count(symbols.percent), count(symbols.per_mille)) {
                (0, 0) => 0,
                (1, 0) => 2,
                (0, 1) => 3,
                (many, _) if many > 1 => return Err(Error::new("D3082")),
                (_, many) if many > 1 => return Err(Error::new("D3083")),
                _ => return Err(Error::new("D3084")),
            },
            has_decimal: at_decimal.is_some(),
        };
        if count(symbols.decimal) > 1 {
            return Err(Error::new("D3081"));
        }
        picture.check(mantissa, active, symbols)?;
        Ok(picture)
    }

    fn check(&self, mantissa: &[char], active: &[char], symbols: &Symbols) -> Result<()> {
        let digit = |c: &char| *c == symbols.digit || symbols.is_family(*c);
        let beside = |pair: [char; 2]| mantissa.windows(2).any(|window| window == pair);
        let first_family = self.whole.iter().position(|c| symbols.is_family(*c));
        let first_digit = self.fraction.iter().position(|c| *c == symbols.digit);
        let exponent = self.exponent.as_deref();
        let problems = [
            ("D3085", !mantissa.iter().any(digit)),
            ("D3086", active.iter().any(|c| !symbols.is_active(*c))),
            (
                "D3087",
                beside([symbols.grouping, symbols.decimal])
                    || beside([symbols.decimal, symbols.grouping]),
            ),
            ("D3088", !self.has_decimal && self.whole.last() == Some(&symbols.grouping)),
            ("D3089", beside([symbols.grouping, symbols.grouping])),
            ("D3090", first_family.is_some_and(|at| self.whole[at..].contains(&symbols.digit))),
            (
                "D3091",
                first_digit
                    .is_some_and(|at| self.fraction[at..].iter().any(|c| symbols.is_family(*c))),
            ),
            ("D3092", self.scale != 0 && exponent.is_some_and(|digits| !digits.is_empty())),
            (
                "D3093",
                exponent.is_some_and(|digits| {
                    digits.is_empty() || digits.iter().any(|c| !symbols.is_family(*c))
                }),
            ),
        ];
        // Of several problems the reference tells the last.
        match problems.iter().rfind(|(_, found)| *found) {
            Some((code, _)) => Err(Error::new(code)),
            None => Ok(()),
        }
    }

    /// How many digits stand on the far side of each grouping separator.
    fn groups(part: &[char], symbols: &Symbols, to_left: bool) -> Vec<usize> {
        let digit = |c: &&char| **c == symbols.digit || symbols.is_family(**c);
        part.iter()
            .enumerate()
            .filter(|(_, c)| **c == symbols.grouping)
            .map(|(at, _)| {
                let side = if to_left { &part[..at] } else { &part[at..] };
                side.iter().filter(digit).count()
            })
            .collect()
    }

    fn format(&self, number: f64, negative: bool, symbols: &Symbols) -> String {
        let family = |part: &[char]| part.iter().filter(|c| symbols.is_family(**c)).count();
        let optional = |part: &[char]| part.iter().filter(|c| **c == symbols.digit).count();
        let mut whole_least = family(&self.whole);
        let scaling = whole_least;
        let mut fraction_least = family(&self.fraction).min(FRACTION_DIGITS_MAX);
        let mut fraction_most =
            (fraction_least + optional(&self.fraction)).min(FRACTION_DIGITS_MAX);
        if whole_least == 0 && fraction_most == 0 {
            if self.exponent.is_some() {
                fraction_least = 1;
                fraction_most = 1;
            } else {
                whole_least = 1;
            }
        }
        if self.exponent.is_some() && whole_least == 0 && optional(&self.whole) > 0 {
            whole_least = 1;
        }
        if whole_least == 0 && fraction_least == 0 {
            fraction_least = 1;
            fraction_most = fraction_most.max(1);
        }
        let mut mantissa = shift(number.abs(), self.scale);
        let mut exponent = 0_i32;
        if self.exponent.is_some() && mantissa != 0.0 {
            let scaling = i32::try_from(scaling).unwrap_or(0);
            let (most, least) = (10_f64.powi(scaling), 10_f64.powi(scaling - 1));
            while mantissa < least && exponent > -400 {
                mantissa *= 10.0;
                exponent -= 1;
            }
            while mantissa > most && exponent < 400 {
                mantissa /= 10.0;
                exponent += 1;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "at most 100")]
        let rounded = round_half_even(mantissa, fraction_most as f64);
        let text = format!("{rounded:.fraction_most$}");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let whole = format!("{}{whole}", "0".repeat(whole_least.saturating_sub(whole.len())));
        let fraction =
            format!("{fraction}{}", "0".repeat(fraction_least.saturating_sub(fraction.len())));
        let digits = |text: &str| -> Vec<char> {
            text.chars().map(|c| in_family(c, symbols.zero)).collect()
        };
        let mut out = self.group_whole(&digits(&whole), symbols);
        if self.has_decimal && !fraction.is_empty() {
            out.push(symbols.decimal);
            let groups = Self::groups(&self.fraction, symbols, true);
            for (at, digit) in digits(&fraction).into_iter().enumerate() {
                if at > 0 && groups.contains(&at) {
                    out.push(symbols.grouping);
                }
                out.push(digit);
            }
        }
        if let Some(pattern) = &self.exponent {
            out.push(symbols.exponent);
            if exponent < 0 {
                out.push_str(&symbols.minus);
            }
            let size = family(pattern);
            out.extend(digits(&format!("{:0size$}", exponent.abs())));
        }
        let minus = if negative { symbols.minus.as_str() } else { "" };
        format!("{minus}{}{out}{}", self.prefix, self.suffix)
    }

    fn group_whole(&self, digits: &[char], symbols: &Symbols) -> String {
        let groups = Self::groups(&self.whole, symbols, false);
        let every = regular(&groups);
        let mut out = String::new();
        for (at, digit) in digits.iter().enumerate() {
            let right = digits.len() - at;
            let here =
                if every > 0 { right.is_multiple_of(every) } else { groups.contains(&right) };
            if at > 0 && here {
                out.push(symbols.grouping);
            }
            out.push(*digit);
        }
        out
    }
}

/// The distance at which separators repeat; 0 when they do not.
pub(super) fn regular(groups: &[usize]) -> usize {
    let every = groups.iter().copied().fold(0, gcd);
    let repeats = every > 0 && (1..=groups.len()).all(|n| groups.contains(&(n * every)));
    if repeats { every } else { 0 }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(super) fn in_family(digit: char, zero: char) -> char {
    digit.to_digit(10).and_then(|d| char::from_u32(u32::from(zero) + d)).unwrap_or(digit)
}

/// `$formatNumber`.
pub(super) fn format_number(number: f64, picture: &str, options: &Val) -> Result<String> {
    let symbols = Symbols::from(options);
    let parts: Vec<&str> = picture.split(symbols.pattern).collect();
    let (positive, negative) = match parts.as_slice() {
        [one] => (*one, None),
        [one, two] => (*one, Some(*two)),
        _ => return Err(Error::new("D3080")),
    };
    let positive = Picture::read(positive, &symbols)?;
    let negative = negative.map(|text| Picture::read(text, &symbols)).transpose()?;
    Ok(match negative {
        Some(negative) if number < 0.0 => negative.format(number, false, &symbols),
        _ => positive.format(number, number < 0.0, &symbols),
    })
}
