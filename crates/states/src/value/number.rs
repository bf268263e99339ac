//! Numbers of JSON: whole ones exactly, fractions as 64-bit floats, everything else as its text.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A JSON number.
#[derive(Clone, Debug)]
pub enum Number {
    /// A whole number of 64 bits.
    Int(i64),
    /// A number with a fraction or an exponent; always finite.
    Float(f64),
    /// A number that neither of the above holds (whole beyond 64 bits, `1e400`): its text, valid JSON.
    Text(Arc<str>),
}

impl Number {
    /// From a text that is a valid JSON number.
    pub(crate) fn parse(text: &str) -> Self {
        if let Ok(whole) = text.parse::<i64>() {
            return Self::Int(whole);
        }
        if text.contains(['.', 'e', 'E'])
            && let Ok(float) = text.parse::<f64>()
            && float.is_finite()
        {
            return Self::Float(float);
        }
        Self::Text(text.into())
    }

    /// A float as JavaScript (and so JSONata) prints it: whole values lose their `.0`. `None` when it
    /// is not finite.
    pub fn from_f64_shortest(float: f64) -> Option<Self> {
        // 2^53: beyond it a float no longer names one whole number, but still prints as one.
        if !float.is_finite() {
            return None;
        }
        if float.fract() == 0.0 && float.abs() < 9.2e18 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "checked: whole and within 64 bits"
            )]
            return Some(Self::Int(float as i64));
        }
        Some(Self::Float(float))
    }

    /// The nearest float; infinite for texts beyond its range.
    #[expect(clippy::cast_precision_loss, reason = "what a float can hold")]
    pub fn as_f64(&self) -> f64 {
        match self {
            Self::Int(whole) => *whole as f64,
            Self::Float(float) => *float,
            Self::Text(text) => text.parse().unwrap_or(f64::NAN),
        }
    }

    /// The whole number of 64 bits, if it is one (also `1.0`).
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(whole) => Some(*whole),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "checked: whole and within 64 bits"
            )]
            Self::Float(float) if float.fract() == 0.0 && float.abs() < 9.2e18 => {
                Some(*float as i64)
            }
            Self::Float(_) | Self::Text(_) => None,
        }
    }

    /// Whether it was written as a whole number (`1`, not `1.0`).
    pub fn is_integer(&self) -> bool {
        match self {
            Self::Int(_) => true,
            Self::Float(_) => false,
            Self::Text(text) => !text.contains(['.', 'e', 'E']),
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    /// By value. Exact between whole numbers of 64 bits, else as floats.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) if a == b => Some(Ordering::Equal),
            _ => self.as_f64().partial_cmp(&other.as_f64()),
        }
    }
}

impl fmt::Display for Number {
    /// As Java prints it, for AWS does: `1.1`, `1.0`, `1.0E7`, `1.0E-4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(whole) => write!(f, "{whole}"),
            Self::Text(text) => f.write_str(text),
            Self::Float(float) => {
                let size = float.abs();
                if size == 0.0 || (1e-3..1e7).contains(&size) {
                    return write!(f, "{float:?}");
                }
                let text = format!("{float:e}");
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let point = if digits.contains('.') { "" } else { ".0" };
                write!(f, "{digits}{point}E{exponent}")
            }
        }
    }
}
