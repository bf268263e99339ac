//! Whole numbers as text and back: integer pictures (XPath F&O 4.6), words, letters, Roman numerals.

use super::error::{Error, Result};
use super::numeral::{in_family, regular};

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
