//! Signatures of functions, `<a<n>-s?:n>`: what arguments fit, and which the context fills in.

use super::error::{Error, Result};
use super::value::{Array, Val};

/// A parsed signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Signature {
    parameters: Vec<Parameter>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parameter {
    /// Symbols of values that fit: `s n b l a o f`, and `m` for a missing one.
    accepts: String,
    /// An `a`: single values are made arrays.
    array: bool,
    /// The type of an array's items, `a<s>`.
    items: Option<String>,
    /// `-`: taken from the context when it is not given.
    context: bool,
    /// `?` or `-`
    optional: bool,
    /// `+`
    repeated: bool,
}

/// Most parameters of a signature.
const PARAMETERS_MAX: usize = 32;

impl Signature {
    /// Reads `<...>`; what follows a colon, the result's type, is not checked by the reference.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let inner: Vec<char> = text.chars().skip(1).collect();
        let mut parameters: Vec<Parameter> = Vec::new();
        let mut at = 0;
        while let Some(&c) = inner.get(at) {
            at += 1;
            let (accepts, array) = match c {
                ':' => break,
                's' | 'n' | 'b' | 'l' | 'o' => (format!("{c}m"), false),
                'a' => ("asnblfom".to_owned(), true),
                'f' => ("f".to_owned(), false),
                'j' => ("asnblom".to_owned(), false),
                'x' => ("asnblfom".to_owned(), false),
                '(' => {
                    let end = closing(&inner, at, '(', ')');
                    let choice: String = inner[at..end].iter().collect();
                    if choice.contains('<') {
                        return Err(Error::new("S0402").text(&choice));
                    }
                    at = end + 1;
                    (format!("{choice}m"), false)
                }
                '-' | '?' | '+' | '<' => {
                    if let Some(last) = parameters.last_mut() {
                        match c {
                            '-' => {
                                last.context = true;
                                last.optional = true;
                            }
                            '?' => last.optional = true,
                            '+' => last.repeated = true,
                            _ => {
                                let end = closing(&inner, at, '<', '>');
                                if !last.array && last.accepts != "f" {
                                    return Err(Error::new("S0401").text(&last.accepts));
                                }
                                last.items = Some(inner[at..end].iter().collect());
                                at = end + 1;
                            }
                        }
                    }
                    continue;
                }
                _ => continue,
            };
            if parameters.len() >= PARAMETERS_MAX {
                return Err(Error::message("S0402", "The signature has too many parameters"));
            }
            parameters.push(Parameter {
                accepts,
                array,
                items: None,
                context: false,
                optional: false,
                repeated: false,
            });
        }
        Ok(Self { parameters })
    }

    /// The arguments as the function wants them: the context put in where one is missing, single
    /// values made arrays.
    pub(super) fn validate(&self, given: &[Val], context: &Val) -> Result<Vec<Val>> {
        let symbols: Vec<char> = given.iter().map(symbol).collect();
        let Some(counts) = self.distribute(&symbols) else {
            return Err(self.misfit(given, &symbols));
        };
        let mut validated = Vec::new();
        let mut at = 0;
        for (parameter, count) in self.parameters.iter().zip(counts) {
            if count == 0 {
                if parameter.context {
                    if !parameter.accepts.contains(symbol(context)) {
                        return Err(Error::new("T0411").value(context).second(at + 1));
                    }
                    validated.push(context.clone());
                } else {
                    // An optional one that does not fit here; the next parameter takes the value.
                    validated.push(given.get(at).cloned().unwrap_or(Val::Undefined));
                    at += 1;
                }
                continue;
            }
            for _ in 0..count {
                let value = given.get(at).cloned().unwrap_or(Val::Undefined);
                at += 1;
                validated.push(parameter.fit(value, at)?);
            }
        }
        Ok(validated)
    }

    /// How many values each parameter takes, greedily from the left; `None` when they do not fit.
    fn distribute(&self, symbols: &[char]) -> Option<Vec<usize>> {
        let (rows, columns) = (self.parameters.len(), symbols.len());
        // fits[row][column]: parameters from `row` on can take the values from `column` on.
        let mut fits = vec![vec![false; columns + 1]; rows + 1];
        fits[rows][columns] = true;
        for row in (0..rows).rev() {
            for column in 0..=columns {
                fits[row][column] = self.parameters[row]
                    .counts(symbols, column)
                    .any(|count| fits[row + 1][column + count]);
            }
        }
        if !fits[0][0] {
            return None;
        }
        let mut counts = Vec::with_capacity(rows);
        let mut column = 0;
        for row in 0..rows {
            let count = self.parameters[row]
                .counts(symbols, column)
                .find(|count| fits[row + 1][column + count])?;
            counts.push(count);
            column += count;
        }
        Some(counts)
    }

    /// The error for arguments that do not fit, naming the first that does not.
    fn misfit(&self, given: &[Val], symbols: &[char]) -> Error {
        let mut good_to = 0;
        let mut prefix = Self::default();
        for parameter in &self.parameters {
            prefix.parameters.push(parameter.clone());
            // The longest beginning of the values that these parameters take.
            let Some(taken) =
                (0..=symbols.len()).rev().find(|end| prefix.distribute(&symbols[..*end]).is_some())
            else {
                break;
            };
            good_to = taken;
        }
        let value = given.get(good_to).unwrap_or(&Val::Undefined);
        Error::new("T0410").value(value).second(good_to + 1)
    }
}

impl Parameter {
    /// Possible numbers of values taken from `column` on, the largest first.
    fn counts(&self, symbols: &[char], column: usize) -> impl Iterator<Item = usize> + use<> {
        let most = if self.repeated { symbols.len() } else { 1 };
        let run = symbols[column.min(symbols.len())..]
            .iter()
            .take(most)
            .take_while(|symbol| self.accepts.contains(**symbol))
            .count();
        let least = usize::from(!self.optional);
        (least..=run).rev()
    }

    /// The value as the parameter wants it; `number` is its place from 1.
    fn fit(&self, value: Val, number: usize) -> Result<Val> {
        if !self.array || value.is_undefined() {
            return Ok(value);
        }
        let single = symbol(&value);
        if let Some(items) = &self.items {
            let wanted = items.chars().next().unwrap_or('x');
            let fits = if single == 'a' {
                let kinds = (0..value.len()).filter_map(|index| value.item(index));
                kinds.map(|item| symbol(&item)).all(|kind| kind == wanted)
            } else {
                items.len() == 1 && single == wanted
            };
            if !fits {
                let kind = match wanted {
                    'a' => "arrays",
                    'b' => "booleans",
                    'f' => "functions",
                    'n' => "numbers",
                    'o' => "objects",
                    _ => "strings",
                };
                return Err(Error::new("T0412").text(kind).second(number));
            }
        }
        if single == 'a' { Ok(value) } else { Ok(Val::Array(Array::plain(vec![value]).into())) }
    }
}

fn closing(inner: &[char], from: usize, open: char, close: char) -> usize {
    let mut depth = 1;
    for (offset, c) in inner[from.min(inner.len())..].iter().enumerate() {
        if *c == close {
            depth -= 1;
            if depth == 0 {
                return from + offset;
            }
        } else if *c == open {
            depth += 1;
        }
    }
    inner.len()
}

fn symbol(value: &Val) -> char {
    match value {
        Val::Undefined => 'm',
        Val::Null => 'l',
        Val::Bool(_) => 'b',
        Val::Num(_) => 'n',
        Val::Str(_) => 's',
        Val::Func(_) => 'f',
        value if value.is_array() => 'a',
        _ => 'o',
    }
}
