//! Operators on two values that are known.

use crate::jsonata::ast::Operator;
use crate::jsonata::error::{Error, Result};
use crate::jsonata::value::{Val, js_number, same_leaf};

pub(super) fn same_scalar(left: &Val, right: &Val) -> bool {
    let scalar = |value: &Val| !value.is_array() && !value.is_object();
    scalar(left) && scalar(right) && same_leaf(left, right)
}

/// A number that JSON can hold.
pub(in crate::jsonata) fn numeric(value: &Val) -> Result<Option<f64>> {
    match value.as_f64() {
        Some(float) if !float.is_finite() => Err(Error::new("D1001").text_raw(js_number(float))),
        float => Ok(float),
    }
}

pub(super) fn arithmetic(operator: Operator, left: &Val, right: &Val) -> Result<Val> {
    let side = |value: &Val, code| match numeric(value)? {
        None if !value.is_undefined() => Err(Error::new(code).token(operator.text()).value(value)),
        number => Ok(number),
    };
    let (first, second) = (side(left, "T2001")?, side(right, "T2002")?);
    let (Some(first), Some(second)) = (first, second) else { return Ok(Val::Undefined) };
    Ok(Val::from(match operator {
        Operator::Add => first + second,
        Operator::Subtract => first - second,
        Operator::Multiply => first * second,
        Operator::Divide => first / second,
        _ => first % second,
    }))
}

pub(super) fn compare(operator: Operator, left: &Val, right: &Val) -> Result<Val> {
    let comparable = |value: &Val| matches!(value, Val::Undefined | Val::Str(_) | Val::Num(_));
    for side in [left, right] {
        if !comparable(side) {
            return Err(Error::new("T2010").token(operator.text()).value(side));
        }
    }
    let order = match (left, right) {
        (Val::Undefined, _) | (_, Val::Undefined) => return Ok(Val::Undefined),
        (Val::Num(left), Val::Num(right)) => left.partial_cmp(right),
        (Val::Str(left), Val::Str(right)) => Some(left.encode_utf16().cmp(right.encode_utf16())),
        _ => {
            return Err(Error::new("T2009")
                .token(operator.text())
                .value(left)
                .second(right.shown(256)));
        }
    };
    Ok(Val::Bool(order.is_some_and(|order| match operator {
        Operator::Less => order.is_lt(),
        Operator::AtMost => order.is_le(),
        Operator::More => order.is_gt(),
        _ => order.is_ge(),
    })))
}
