//! Choice rules of the JSONPath mode: comparison operators, And, Or, Not.
//!
//! `definition` parses the rules (Next, Assign and Comment are its own); `machine` asks them in
//! order. A mismatch of types is false, not an error.

use std::cmp::Ordering;

use crate::error::{EvalError, SyntaxError};
use crate::jsonpath::Path;
use crate::scope::Scope;
use crate::timestamp;
use crate::value::{Object, Value};

/// How deeply And, Or and Not may stand within each other.
const NESTING_MAX: usize = 64;

/// The condition of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(Rule);

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    And(Vec<Rule>),
    Or(Vec<Rule>),
    Not(Box<Rule>),
    Test(Path, Test),
}

/// What is asked of the variable.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// An order against a value given in the rule or found by a path.
    Order(Kind, Relation, Other),
    /// `StringMatches`.
    Like(Pattern),
    /// `IsNull` and the like; true or false is expected.
    Is(Nature, bool),
}

/// What both sides of a comparison must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Numeric,
    Timestamp,
    Boolean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equals,
    LessThan,
    GreaterThan,
    LessThanEquals,
    GreaterThanEquals,
}

/// The other side of a comparison.
#[derive(Debug, Clone, PartialEq)]
enum Other {
    Value(Value),
    Path(Path),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Null,
    Present,
    Numeric,
    String,
    Boolean,
    Timestamp,
}

/// A `StringMatches` pattern: literal pieces with anything between them.
#[derive(Debug, Clone, PartialEq)]
struct Pattern(Vec<String>);

impl Condition {
    /// Parses the members of a rule; `Next`, `Assign`, `Output` and `Comment` are passed over.
    pub fn parse(rule: &Object) -> Result<Self, SyntaxError> {
        Ok(Self(Rule::parse(rule, 0)?))
    }

    /// Tells the variables that its paths read.
    pub(crate) fn variables(&self, see: &mut dyn FnMut(&str)) {
        self.0.variables(see);
    }

    /// Whether it holds. A `Variable` that leads nowhere is an error for every operator but
    /// `IsPresent`.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        self.0.holds(scope)
    }
}

fn wrong<T>(message: impl Into<String>) -> Result<T, SyntaxError> {
    Err(SyntaxError::new(message))
}

impl Rule {
    fn parse(rule: &Object, depth: usize) -> Result<Self, SyntaxError> {
        if depth > NESTING_MAX {
            return wrong("rules are nested too deeply");
        }
        let mut condition = None;
        for (name, value) in rule {
            let found = match &**name {
                "Next" | "Assign" | "Output" | "Comment" | "Variable" => continue,
                "And" => Self::And(Self::parse_all(name, value, depth)?),
                "Or" => Self::Or(Self::parse_all(name, value, depth)?),
                "Not" => match value.as_object() {
                    Some(inner) => Self::Not(Box::new(Self::parse(inner, depth + 1)?)),
                    None => return wrong("'Not' must be a rule"),
                },
                operator => {
                    let Some(variable) = rule.get("Variable").and_then(Value::as_str) else {
                        return wrong(format!("'{operator}' needs a 'Variable'"));
                    };
                    Self::Test(Path::parse(variable)?, Test::parse(operator, value)?)
                }
            };
            if condition.replace(found).is_some() {
                return wrong("a rule must have exactly one operator");
            }
        }
        match condition {
            Some(condition) => Ok(condition),
            None => wrong("a rule must have an operator"),
        }
    }

    fn parse_all(name: &str, value: &Value, depth: usize) -> Result<Vec<Self>, SyntaxError> {
        let Some(rules) = value.as_array().filter(|rules| !rules.is_empty()) else {
            return wrong(format!("'{name}' must be a list of rules"));
        };
        rules
            .iter()
            .map(|rule| match rule.as_object() {
                Some(rule) => Self::parse(rule, depth + 1),
                None => wrong(format!("'{name}' must be a list of rules")),
            })
            .collect()
    }

    fn variables(&self, see: &mut dyn FnMut(&str)) {
        match self {
            Self::And(rules) | Self::Or(rules) => {
                rules.iter().for_each(|rule| rule.variables(see));
            }
            Self::Not(rule) => rule.variables(see),
            Self::Test(path, test) => {
                path.variables(see);
                if let Test::Order(_, _, Other::Path(other)) = test {
                    other.variables(see);
                }
            }
        }
    }

    fn holds(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        match self {
            Self::And(rules) => {
                for rule in rules {
                    if !rule.holds(scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(rules) => {
                for rule in rules {
                    if rule.holds(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(rule) => Ok(!rule.holds(scope)?),
            Self::Test(variable, Test::Is(Nature::Present, expected)) => {
                match variable.eval(scope) {
                    Ok(_) => Ok(*expected),
                    Err(EvalError::NotFound { .. }) => Ok(!expected),
                    Err(error) => Err(error),
                }
            }
            Self::Test(variable, test) => test.holds(&read(variable, scope)?, scope),
        }
    }
}

/// What a path of a rule leads to, its failure in AWS's words.
fn read(path: &Path, scope: &Scope<'_>) -> Result<Value, EvalError> {
    path.eval(scope).map_err(|error| match error {
        EvalError::NotFound { path, .. } => EvalError::runtime(format!(
            "Invalid path '{path}': The choice state's condition path references an invalid value."
        )),
        EvalError::Undefined | EvalError::Thrown(_) | EvalError::Failed { .. } => error,
    })
}

impl Test {
    fn parse(operator: &str, value: &Value) -> Result<Self, SyntaxError> {
        if operator == "StringMatches" {
            return match value.as_str() {
                Some(pattern) => Ok(Self::Like(Pattern::parse(pattern)?)),
                None => wrong("'StringMatches' must be a string"),
            };
        }
        if let Some(nature) = Nature::of(operator) {
            return match value.as_bool() {
                Some(expected) => Ok(Self::Is(nature, expected)),
                None => wrong(format!("'{operator}' must be true or false")),
            };
        }
        let (bare, by_path) = match operator.strip_suffix("Path") {
            Some(bare) => (bare, true),
            None => (operator, false),
        };
        let Some((kind, relation)) = comparison(bare) else {
            return wrong(format!("'{operator}' is not a comparison operator"));
        };
        if by_path {
            return match value.as_str() {
                Some(path) => Ok(Self::Order(kind, relation, Other::Path(Path::parse(path)?))),
                None => wrong(format!("'{operator}' must be a path")),
            };
        }
        if kind.compare(value, value).is_none() {
            return wrong(format!("'{operator}' must be a {}", kind.name()));
        }
        Ok(Self::Order(kind, relation, Other::Value(value.clone())))
    }

    fn holds(&self, variable: &Value, scope: &Scope<'_>) -> Result<bool, EvalError> {
        scope.fuel.burn_bytes(variable.as_str().map_or(0, str::len));
        match self {
            Self::Like(pattern) => Ok(variable.as_str().is_some_and(|text| pattern.matches(text))),
            Self::Is(nature, expected) => Ok(nature.fits(variable) == *expected),
            Self::Order(kind, relation, other) => {
                let order = match other {
                    Other::Value(other) => kind.compare(variable, other),
                    Other::Path(path) => kind.compare(variable, &read(path, scope)?),
                };
                Ok(order.is_some_and(|order| relation.accepts(order)))
            }
        }
    }
}

/// `StringLessThan` is a String and less than.
fn comparison(operator: &str) -> Option<(Kind, Relation)> {
    const KINDS: [(&str, Kind); 4] = [
        ("String", Kind::String),
        ("Numeric", Kind::Numeric),
        ("Timestamp", Kind::Timestamp),
        ("Boolean", Kind::Boolean),
    ];
    let (rest, kind) =
        KINDS.iter().find_map(|(name, kind)| Some((operator.strip_prefix(name)?, *kind)))?;
    let relation = match rest {
        "Equals" => Relation::Equals,
        _ if kind == Kind::Boolean => return None,
        "LessThan" => Relation::LessThan,
        "GreaterThan" => Relation::GreaterThan,
        "LessThanEquals" => Relation::LessThanEquals,
        "GreaterThanEquals" => Relation::GreaterThanEquals,
        _ => return None,
    };
    Some((kind, relation))
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Numeric => "number",
            Self::Timestamp => "timestamp",
            Self::Boolean => "boolean",
        }
    }

    /// The order of two values of this kind; `None` when one is of another.
    fn compare(self, left: &Value, right: &Value) -> Option<Ordering> {
        match self {
            // UTF-16 units, as Java compares strings.
            Self::String => Some(left.as_str()?.encode_utf16().cmp(right.as_str()?.encode_utf16())),
            Self::Numeric => left.as_number()?.partial_cmp(right.as_number()?),
            Self::Timestamp => {
                Some(timestamp::parse(left.as_str()?)?.cmp(&timestamp::parse(right.as_str()?)?))
            }
            Self::Boolean => Some(left.as_bool()?.cmp(&right.as_bool()?)),
        }
    }
}

impl Relation {
    fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Equals => order.is_eq(),
            Self::LessThan => order.is_lt(),
            Self::GreaterThan => order.is_gt(),
            Self::LessThanEquals => order.is_le(),
            Self::GreaterThanEquals => order.is_ge(),
        }
    }
}

impl Nature {
    fn of(operator: &str) -> Option<Self> {
        Some(match operator {
            "IsNull" => Self::Null,
            "IsPresent" => Self::Present,
            "IsNumeric" => Self::Numeric,
            "IsString" => Self::String,
            "IsBoolean" => Self::Boolean,
            "IsTimestamp" => Self::Timestamp,
            _ => return None,
        })
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Present => true,
            Self::Numeric => value.as_number().is_some(),
            Self::String => value.as_str().is_some(),
            Self::Boolean => value.as_bool().is_some(),
            Self::Timestamp => value.as_str().and_then(timestamp::parse).is_some(),
        }
    }
}

impl Pattern {
    /// `*` stands for anything, `\*` for itself, `\\` for a backslash.
    fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut pieces = Vec::new();
        let mut piece = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' => pieces.push(std::mem::take(&mut piece)),
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '\\')) => piece.push(escaped),
                    _ => return wrong("a backslash must stand before * or another one"),
                },
                c => piece.push(c),
            }
        }
        pieces.push(piece);
        Ok(Self(pieces))
    }

    /// The first piece must begin the text, the last end it; those between are looked for from left
    /// to right, which is enough as nothing but `*` stands between pieces.
    fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return text.is_empty() };
        let Some(mut left) = text.strip_prefix(first.as_str()) else { return false };
        let Some((last, between)) = rest.split_last() else { return left.is_empty() };
        for piece in between {
            match left.find(piece.as_str()) {
                Some(at) => left = &left[at + piece.len()..],
                None => return false,
            }
        }
        left.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuel::Fuel;
    use crate::scope::{Context, Random, Variables};

    macro_rules! json {
        ($($token:tt)*) => { Value::from(&serde_json::json!($($token)*)) };
    }

    fn ask(rule: &Value, input: &Value) -> Result<bool, EvalError> {
        let condition = Condition::parse(rule.as_object().unwrap())
            .unwrap_or_else(|error| panic!("{rule}: {error}"));
        let build = || Value::Null;
        condition.eval(&Scope {
            input,
            context: &Context::new(&build),
            variables: &Variables::default(),
            random: &Random::new(1),
            fuel: &Fuel::ample(),
        })
    }

    #[test]
    fn operators_compare_values_of_their_kind() {
        let values = [
            json!("a"),
            json!("b"),
            json!(""),
            json!(1),
            json!(1.5),
            json!(true),
            json!(null),
            json!([]),
            json!({}),
            json!("2016-08-18T17:33:00Z"),
        ];
        for (operator, right, holds_for) in [
            ("StringEquals", json!("a"), vec![json!("a")]),
            ("StringLessThan", json!("a"), vec![json!(""), json!("2016-08-18T17:33:00Z")]),
            ("StringGreaterThanEquals", json!("b"), vec![json!("b")]),
            ("NumericEquals", json!(1.0), vec![json!(1)]),
            ("NumericGreaterThan", json!(1), vec![json!(1.5)]),
            ("NumericLessThanEquals", json!(1.5), vec![json!(1), json!(1.5)]),
            ("BooleanEquals", json!(true), vec![json!(true)]),
            ("BooleanEquals", json!(false), vec![]),
            (
                "TimestampEquals",
                json!("2016-08-18T18:33:00+01:00"),
                vec![json!("2016-08-18T17:33:00Z")],
            ),
            ("TimestampLessThan", json!("2016-08-18T17:33:00Z"), vec![]),
            ("StringMatches", json!("20*:33:*Z"), vec![json!("2016-08-18T17:33:00Z")]),
            ("IsNull", json!(true), vec![json!(null)]),
            ("IsNumeric", json!(true), vec![json!(1), json!(1.5)]),
            ("IsBoolean", json!(true), vec![json!(true)]),
            ("IsTimestamp", json!(true), vec![json!("2016-08-18T17:33:00Z")]),
        ] {
            for value in &values {
                let rule = json!({"Variable": "$.v", "Next": "N"});
                let mut rule = rule.as_object().unwrap().clone();
                rule.insert(operator.into(), right.clone());
                let input = Value::object([("v", value.clone())]);
                let expected = holds_for.contains(value);
                assert_eq!(ask(&rule.into(), &input), Ok(expected), "{operator} {right} {value}");
            }
        }
    }

    #[test]
    fn a_path_gives_the_other_side() {
        let input = json!({"v": 1, "w": 2, "s": "x"});
        for (other, expected) in [("$.w", true), ("$.v", false), ("$.s", false)] {
            let rule = json!({"Variable": "$.v", "NumericLessThanPath": other, "Next": "N"});
            assert_eq!(ask(&rule, &input), Ok(expected), "{other}");
        }
        for (rule, path) in [
            (json!({"Variable": "$.v", "NumericLessThanPath": "$.no", "Next": "N"}), "$.no"),
            (json!({"Variable": "$.no.x", "NumericLessThanPath": "$.v"}), "$.no.x"),
            (json!({"Variable": "$unset", "StringMatches": "*"}), "$unset"),
        ] {
            let cause = format!(
                "Invalid path '{path}': The choice state's condition path references an invalid value."
            );
            assert_eq!(ask(&rule, &input), Err(EvalError::runtime(cause)), "{rule}");
        }
    }

    #[test]
    fn presence_and_absence() {
        let input = json!({"v": null});
        for (variable, expected) in [("$.v", true), ("$.w", false), ("$.w.x[0]", false)] {
            for wanted in [true, false] {
                let rule = json!({"Variable": variable, "IsPresent": wanted});
                assert_eq!(ask(&rule, &input), Ok(expected == wanted), "{variable} {wanted}");
            }
        }
        for nature in ["IsNull", "IsNumeric", "IsString", "IsBoolean", "IsTimestamp"] {
            let rule = Value::object([("Variable", json!("$.w")), (nature, json!(false))]);
            assert!(matches!(ask(&rule, &input), Err(EvalError::Failed { .. })), "{nature}");
        }
    }

    #[test]
    fn rules_combine() {
        let one = json!({"Variable": "$.v", "NumericEquals": 1});
        let two = json!({"Variable": "$.v", "NumericEquals": 2});
        let input = json!({"v": 1});
        let list = |rules: &[&Value]| Value::array(rules.iter().map(|&rule| rule.clone()));
        for (rule, expected) in [
            (Value::object([("And", list(&[&one, &two]))]), false),
            (Value::object([("Or", list(&[&two, &one]))]), true),
            (Value::object([("Not", two.clone())]), true),
            (Value::object([("Not", Value::object([("Not", one.clone())]))]), true),
        ] {
            assert_eq!(ask(&rule, &input), Ok(expected), "{rule}");
        }
    }

    #[test]
    fn patterns_match_and_escape() {
        for (pattern, text, expected) in [
            ("log-*.txt", "log-1.txt", true),
            ("log-*.txt", "log-.txt", true),
            ("log-*.txt", "log-1.txt ", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a*a", "a", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("\\\\", "\\", true),
            ("**", "x", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().matches(text),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(Pattern::parse("\\x").is_err());
        assert!(Pattern::parse("x\\").is_err());
    }

    #[test]
    fn rules_that_say_nothing_or_too_much_are_refused() {
        for rule in [
            json!({}),
            json!({"Variable": "$.a"}),
            json!({"StringEquals": "x"}),
            json!({"Variable": "$.a", "StringEquals": 1}),
            json!({"Variable": "$.a", "NumericEquals": "1"}),
            json!({"Variable": "$.a", "TimestampEquals": "now"}),
            json!({"Variable": "$.a", "IsNull": "x"}),
            json!({"Variable": "$.a", "Nope": 1}),
            json!({"Variable": "$.a", "StringEquals": "x", "IsNull": true}),
            json!({"Variable": "a", "IsNull": true}),
            json!({"And": []}),
            json!({"And": [1]}),
            json!({"Not": []}),
        ] {
            assert!(Condition::parse(rule.as_object().unwrap()).is_err(), "{rule}");
        }
    }
}
