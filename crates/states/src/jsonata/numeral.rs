//! Numbers as text and back: rounding, decimal pictures (XPath F&O 4.7), integer pictures (4.6).

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

// ---- decimal pictures ----

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
fn regular(groups: &[usize]) -> usize {
    let every = groups.iter().copied().fold(0, gcd);
    let repeats = every > 0 && (1..=groups.len()).all(|n| groups.contains(&(n * every)));
    if repeats { every } else { 0 }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn in_family(digit: char, zero: char) -> char {
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

// ---- integer pictures ----

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
    Title,
}

#[derive(Debug, Clone)]
enum Style {
    Letters(Case),
    Roman(Case),
    Words(Case),
    Decimal { zero: char, separators: Vec<(usize, char)>, every: usize },
}

/// An integer picture: `1`, `001`, `#,##0`, `A`, `i`, `Ww;o`.
#[derive(Debug, Clone)]
pub(super) struct Integer {
    style: Style,
    /// Digits that are always shown.
    pub(super) mandatory: usize,
    /// Digits that may be shown.
    pub(super) optional: usize,
    ordinal: bool,
}

/// The zeros of the decimal digit groups of Unicode that the reference knows.
const ZEROS: [u32; 37] = [
    0x30, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6,
    0x0D66, 0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80,
    0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0,
    0xFF10,
];

const FEW: [&str; 20] = [
    "Zero",
    "One",
    "Two",
    "Three",
    "Four",
    "Five",
    "Six",
    "Seven",
    "Eight",
    "Nine",
    "Ten",
    "Eleven",
    "Twelve",
    "Thirteen",
    "Fourteen",
    "Fifteen",
    "Sixteen",
    "Seventeen",
    "Eighteen",
    "Nineteen",
];
const ORDINALS: [&str; 20] = [
    "Zeroth",
    "First",
    "Second",
    "Third",
    "Fourth",
    "Fifth",
    "Sixth",
    "Seventh",
    "Eighth",
    "Ninth",
    "Tenth",
    "Eleventh",
    "Twelfth",
    "Thirteenth",
    "Fourteenth",
    "Fifteenth",
    "Sixteenth",
    "Seventeenth",
    "Eighteenth",
    "Nineteenth",
];
const DECADES: [&str; 8] =
    ["Twenty", "Thirty", "Forty", "Fifty", "Sixty", "Seventy", "Eighty", "Ninety"];
const MAGNITUDES: [&str; 4] = ["Thousand", "Million", "Billion", "Trillion"];
const ROMAN: [(u32, &str); 13] = [
    (1000, "m"),
    (900, "cm"),
    (500, "d"),
    (400, "cd"),
    (100, "c"),
    (90, "xc"),
    (50, "l"),
    (40, "xl"),
    (10, "x"),
    (9, "ix"),
    (5, "v"),
    (4, "iv"),
    (1, "i"),
];

impl Integer {
    pub(super) fn parse(picture: &str) -> Result<Self> {
        let (primary, modifier) = picture.rsplit_once(';').unwrap_or((picture, ""));
        let ordinal = modifier.starts_with('o');
        let plain = |style| Self { style, mandatory: 0, optional: 0, ordinal };
        Ok(match primary {
            "A" => plain(Style::Letters(Case::Upper)),
            "a" => plain(Style::Letters(Case::Lower)),
            "I" => plain(Style::Roman(Case::Upper)),
            "i" => plain(Style::Roman(Case::Lower)),
            "W" => plain(Style::Words(Case::Upper)),
            "w" => plain(Style::Words(Case::Lower)),
            "Ww" => plain(Style::Words(Case::Title)),
            _ => Self { ordinal, ..Self::decimal(primary)? },
        })
    }

    fn decimal(picture: &str) -> Result<Self> {
        let mut zero = None;
        let (mut mandatory, mut optional) = (0, 0);
        let mut separators = Vec::new();
        for c in picture.chars().rev() {
            let group = ZEROS.iter().find(|zero| (**zero..=**zero + 9).contains(&u32::from(c)));
            match group {
                Some(group) => {
                    mandatory += 1;
                    match zero {
                        None => zero = Some(*group),
                        Some(known) if known != *group => return Err(Error::new("D3131")),
                        Some(_) => {}
                    }
                }
                None if c == '#' => optional += 1,
                None => separators.push((mandatory + optional, c)),
            }
        }
        let Some(zero) = zero.and_then(char::from_u32) else {
            return Err(Error::new("D3130").text(picture));
        };
        let places: Vec<usize> = separators.iter().map(|(place, _)| *place).collect();
        let same = separators.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let every = if same { regular(&places) } else { 0 };
        let style = Style::Decimal { zero, separators, every };
        Ok(Self { style, mandatory, optional, ordinal: false })
    }

    /// Whether separators stand in it.
    pub(super) fn is_grouped(&self) -> bool {
        matches!(&self.style, Style::Decimal { separators, .. } if !separators.is_empty())
    }

    /// A whole number as the picture shows it.
    pub(super) fn format(&self, number: f64) -> Result<String> {
        let negative = number < 0.0;
        let size = number.abs();
        let text = match &self.style {
            Style::Letters(case) => cased(letters(size), *case),
            Style::Roman(case) => cased(roman(size), *case),
            Style::Words(case) => {
                let words = words(size, false, self.ordinal);
                if *case == Case::Title { words } else { cased(words, *case) }
            }
            Style::Decimal { zero, separators, every } => {
                let width = self.mandatory.min(1_000);
                let plain = format!("{size:0width$.0}");
                let digits: Vec<char> = plain.chars().map(|c| in_family(c, *zero)).collect();
                let mut out = String::new();
                for (at, digit) in digits.iter().enumerate() {
                    let right = digits.len() - at;
                    let separator = if *every > 0 {
                        separators.first().filter(|_| right.is_multiple_of(*every))
                    } else {
                        separators.iter().find(|(place, _)| *place == right)
                    };
                    if let Some((_, separator)) = separator
                        && at > 0
                    {
                        out.push(*separator);
                    }
                    out.push(*digit);
                }
                if self.ordinal {
                    out.push_str(ordinal_suffix(&plain));
                }
                out
            }
        };
        Ok(if negative { format!("-{text}") } else { text })
    }

    /// The number that a text in this picture means.
    pub(super) fn read(&self, text: &str) -> Option<f64> {
        match &self.style {
            Style::Letters(_) => read_letters(&text.to_ascii_lowercase()),
            Style::Roman(_) => read_roman(&text.to_ascii_lowercase()),
            Style::Words(_) => read_words(&text.to_lowercase()),
            Style::Decimal { zero, separators, .. } => {
                let text = if self.ordinal {
                    text.trim_end_matches(|c: char| c.is_ascii_alphabetic())
                } else {
                    text
                };
                let digits: String = text
                    .chars()
                    .filter(|c| !separators.iter().any(|(_, separator)| separator == c))
                    .map(|c| {
                        let digit = u32::from(c).wrapping_sub(u32::from(*zero));
                        char::from_digit(digit, 10).unwrap_or(c)
                    })
                    .collect();
                digits.parse().ok().filter(|number: &f64| number.is_finite())
            }
        }
    }

    /// A pattern for texts in this picture; `width` digits when another number follows at once.
    pub(super) fn pattern(&self, width: Option<usize>) -> String {
        match &self.style {
            Style::Letters(Case::Upper) => "[A-Z]+".to_owned(),
            Style::Letters(_) => "[a-z]+".to_owned(),
            Style::Roman(Case::Upper) => "[MDCLXVI]+".to_owned(),
            Style::Roman(_) => "[mdclxvi]+".to_owned(),
            Style::Words(_) => {
                let mut all: Vec<String> =
                    [&ORDINALS[..], &FEW, &DECADES, &MAGNITUDES, &["Hundred"]]
                        .concat()
                        .iter()
                        .flat_map(|word| {
                            [word.replace('y', "ieth"), format!("{word}th"), (*word).to_owned()]
                        })
                        .collect();
                // The longest first, for the first that fits is taken.
                all.sort_by_key(|word| std::cmp::Reverse(word.len()));
                let word = format!("(?:{})", all.join("|"));
                format!("(?i:{word}(?:(?:, | and |[ -]){word})*)")
            }
            Style::Decimal { zero, separators, .. } => {
                let nine = char::from_u32(u32::from(*zero) + 9).unwrap_or('9');
                let mut class = format!("{zero}-{nine}");
                for (_, separator) in separators {
                    class.push_str(&regex::escape(&separator.to_string()));
                }
                let count = width.map_or("+".to_owned(), |width| format!("{{{width}}}"));
                let suffix = if self.ordinal { "(?:th|st|nd|rd)" } else { "" };
                format!("[{class}]{count}{suffix}")
            }
        }
    }
}

fn cased(text: String, case: Case) -> String {
    match case {
        Case::Upper => text.to_uppercase(),
        Case::Lower => text.to_lowercase(),
        Case::Title => text,
    }
}

fn ordinal_suffix(digits: &str) -> &'static str {
    let bytes = digits.as_bytes();
    let teen = bytes.len() > 1 && bytes[bytes.len() - 2] == b'1';
    match bytes.last() {
        Some(b'1') if !teen => "st",
        Some(b'2') if !teen => "nd",
        Some(b'3') if !teen => "rd",
        _ => "th",
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn letters(number: f64) -> String {
    let mut rest = number as u128;
    let mut out = Vec::new();
    while rest > 0 {
        rest -= 1;
        out.push(char::from(b'a' + u8::try_from(rest % 26).unwrap_or(0)));
        rest /= 26;
    }
    out.iter().rev().collect()
}

fn read_letters(text: &str) -> Option<f64> {
    text.bytes().try_fold(0.0, |sum: f64, byte| {
        byte.is_ascii_lowercase().then(|| sum * 26.0 + f64::from(byte - b'a' + 1))
    })
}

fn roman(number: f64) -> String {
    // Larger ones would be a row of m; the reference recurses once for each.
    let mut rest = number.min(1_000_000.0);
    let mut out = String::new();
    for (value, sign) in ROMAN {
        while rest >= f64::from(value) {
            out.push_str(sign);
            rest -= f64::from(value);
        }
    }
    out
}

fn read_roman(text: &str) -> Option<f64> {
    let mut sum = 0.0;
    let mut most = 0.0;
    for c in text.chars().rev() {
        let value = ROMAN.iter().find(|(_, sign)| sign.chars().eq([c]))?.0;
        let value = f64::from(value);
        if value < most {
            sum -= value;
        } else {
            most = value;
            sum += value;
        }
    }
    Some(sum)
}

fn words(number: f64, after: bool, ordinal: bool) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 1000")]
    let small = number.min(1000.0) as usize;
    match small {
        0..=19 => {
            let word = if ordinal { ORDINALS[small] } else { FEW[small] };
            format!("{}{word}", if after { " and " } else { "" })
        }
        20..=99 => {
            let decade = DECADES[small / 10 - 2];
            let mut out = format!("{}{decade}", if after { " and " } else { "" });
            if !small.is_multiple_of(10) {
                out.push('-');
                out.push_str(&words(number % 10.0, false, ordinal));
            } else if ordinal {
                out.pop();
                out.push_str("ieth");
            }
            out
        }
        100..=999 => {
            let hundreds = FEW[small / 100];
            let mut out = format!("{}{hundreds} Hundred", if after { ", " } else { "" });
            if !small.is_multiple_of(100) {
                out.push_str(&words(number % 100.0, true, ordinal));
            } else if ordinal {
                out.push_str("th");
            }
            out
        }
        _ => {
            let mut magnitude = 1;
            while magnitude < 4 && number >= 1000_f64.powi(magnitude + 1) {
                magnitude += 1;
            }
            let factor = 1000_f64.powi(magnitude);
            let front = (number / factor).floor();
            let rest = number - front * factor;
            let name = MAGNITUDES[usize::try_from(magnitude - 1).unwrap_or(0).min(3)];
            let mut out =
                format!("{}{} {name}", if after { ", " } else { "" }, words(front, false, false));
            if rest >= 1.0 {
                out.push_str(&words(rest, true, ordinal));
            } else if ordinal {
                out.push_str("th");
            }
            out
        }
    }
}

fn read_words(text: &str) -> Option<f64> {
    let value_of = |word: &str| -> Option<f64> {
        let index = |list: &[&str]| list.iter().position(|known| known.to_lowercase() == word);
        #[expect(clippy::cast_precision_loss, reason = "an index of a short list")]
        let number = |at: usize| at as f64;
        if let Some(at) = index(&FEW).or_else(|| index(&ORDINALS)) {
            return Some(number(at));
        }
        let decade = word.strip_suffix("ieth").map(|stem| format!("{stem}y"));
        if let Some(at) = index(&DECADES)
            .or_else(|| decade.and_then(|d| DECADES.iter().position(|k| k.to_lowercase() == d)))
        {
            return Some(number(at + 2) * 10.0);
        }
        let stem = word.strip_suffix("th").unwrap_or(word);
        if stem == "hundred" {
            return Some(100.0);
        }
        let at = MAGNITUDES.iter().position(|known| known.to_lowercase() == stem)?;
        Some(1000_f64.powi(i32::try_from(at + 1).ok()?))
    };
    let mut segments = vec![0.0];
    for word in text.split([',', ' ', '-']).filter(|word| !word.is_empty() && *word != "and") {
        let value = value_of(word)?;
        let mut top = segments.pop().unwrap_or(0.0);
        if value < 100.0 {
            if top >= 1000.0 {
                segments.push(top);
                top = 0.0;
            }
            segments.push(top + value);
        } else {
            segments.push(top * value);
        }
    }
    Some(segments.iter().sum())
}
