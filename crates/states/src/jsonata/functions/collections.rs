//! Functions of arrays and objects, and those that take functions.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::super::error::{Error, Result};
use super::super::eval::{Run, kept, with_stack};
use super::super::path::number_order;
use super::super::value::{Members, Val};
use super::argument;

/// Calls `func` with as many of the arguments as it takes, at least the first.
fn invoke(run: &Run<'_>, func: &Val, all: [Val; 3]) -> Result<Val> {
    let arity = if let Val::Func(func) = func { func.arity() } else { 1 };
    run.apply(func, all.into_iter().take(arity.max(1)).collect(), &Val::Null)
}

pub(super) fn map(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let (array, func) = (argument(arguments, 0), argument(arguments, 1));
    if array.is_undefined() {
        return Ok(Val::Undefined);
    }
    let mut out = Vec::new();
    for index in 0..array.len() {
        let item = array.item(index).unwrap_or(Val::Undefined);
        let value = invoke(run, func, [item, index.into(), array.clone()])?;
        if !value.is_undefined() {
            out.push(value);
        }
    }
    run.sequence(out)
}

pub(super) fn filter(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let (array, func) = (argument(arguments, 0), argument(arguments, 1));
    if array.is_undefined() {
        return Ok(Val::Undefined);
    }
    let mut out = Vec::new();
    for index in 0..array.len() {
        let item = array.item(index).unwrap_or(Val::Undefined);
        let verdict = invoke(run, func, [item.clone(), index.into(), array.clone()])?;
        if run.truth(&verdict)? == Some(true) {
            out.push(item);
        }
    }
    run.sequence(out)
}

pub(super) fn single(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let (array, func) = (argument(arguments, 0), argument(arguments, 1));
    if array.is_undefined() {
        return Ok(Val::Undefined);
    }
    let mut found = None;
    for index in 0..array.len() {
        let item = array.item(index).unwrap_or(Val::Undefined);
        let fits = func.is_undefined()
            || run.truth(&invoke(run, func, [item.clone(), index.into(), array.clone()])?)?
                == Some(true);
        if fits && found.replace(item).is_some() {
            return Err(Error::new("D3138"));
        }
    }
    found.ok_or_else(|| Error::new("D3139"))
}

pub(super) fn reduce(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let (array, func) = (argument(arguments, 0), argument(arguments, 1));
    if array.is_undefined() {
        return Ok(Val::Undefined);
    }
    let arity = if let Val::Func(func) = func { func.arity() } else { 0 };
    if arity < 2 {
        return Err(Error::new("D3050"));
    }
    let start = argument(arguments, 2);
    let (mut folded, from) = match (start, array.item(0)) {
        (Val::Undefined, Some(first)) => (first, 1),
        (start, _) => (start.clone(), 0),
    };
    for index in from..array.len() {
        let item = array.item(index).unwrap_or(Val::Undefined);
        let mut given = vec![folded, item];
        if arity >= 3 {
            given.push(index.into());
        }
        if arity >= 4 {
            given.push(array.clone());
        }
        folded = run.apply(func, given, &Val::Null)?;
    }
    Ok(folded)
}

pub(super) fn zip(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let len = arguments.iter().map(Val::len).min().unwrap_or(0);
    let mut out = Vec::new();
    for index in 0..len {
        let row = arguments.iter().map(|array| array.item(index).unwrap_or(Val::Undefined));
        out.push(run.array(row.collect())?);
    }
    run.array(out)
}

pub(super) fn sift(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let (object, func) = (argument(arguments, 0), argument(arguments, 1));
    let mut members = Members::new();
    for (key, value) in object.entries() {
        let given = [value.clone(), Val::Str(key.clone()), object.clone()];
        if run.truth(&invoke(run, func, given)?)? == Some(true) {
            members.insert(key, value);
        }
    }
    if members.is_empty() { Ok(Val::Undefined) } else { run.object(members) }
}

pub(super) fn each(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let (object, func) = (argument(arguments, 0), argument(arguments, 1));
    let mut out = Vec::new();
    for (key, value) in object.entries() {
        let value = invoke(run, func, [value, Val::Str(key), object.clone()])?;
        if !value.is_undefined() {
            out.push(value);
        }
    }
    run.sequence(out)
}

pub(super) fn keys(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let mut found: indexmap::IndexSet<Arc<str>> = indexmap::IndexSet::new();
    collect_keys(run, argument(arguments, 0), &mut found)?;
    run.sequence(found.into_iter().map(Val::Str).collect())
}

fn collect_keys(
    run: &Run<'_>,
    value: &Val,
    found: &mut indexmap::IndexSet<Arc<str>>,
) -> Result<()> {
    run.steps(1)?;
    for index in 0..value.len() {
        if let Some(item) = value.item(index) {
            with_stack(|| collect_keys(run, &item, found))?;
        }
    }
    for (key, _) in value.entries() {
        run.steps(1)?;
        found.insert(key);
    }
    Ok(())
}

pub(super) fn lookup(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let key = argument(arguments, 1).as_str().unwrap_or_default();
    run.lookup(argument(arguments, 0), key)
}

pub(super) fn append(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let (first, second) = (argument(arguments, 0), argument(arguments, 1));
    if first.is_undefined() {
        return Ok(second.clone());
    }
    if second.is_undefined() {
        return Ok(first.clone());
    }
    run.room(first.len() + second.len())?;
    let mut items = first.clone().into_items();
    items.extend(second.clone().into_items());
    run.array(items)
}

pub(super) fn spread(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let value = argument(arguments, 0);
    if !value.is_array() && !value.is_object() {
        return Ok(value.clone());
    }
    let mut out = Vec::new();
    spread_into(run, value, &mut out)?;
    // What items gave was put together to an array, which stays one.
    if value.is_array() && value.len() > 0 { run.array(out) } else { run.sequence(out) }
}

fn spread_into(run: &Run<'_>, value: &Val, out: &mut Vec<Val>) -> Result<()> {
    for index in 0..value.len() {
        let Some(item) = value.item(index) else { continue };
        if item.is_array() || item.is_object() {
            with_stack(|| spread_into(run, &item, out))?;
        } else {
            run.room(1)?;
            out.push(item);
        }
    }
    for (key, member) in value.entries() {
        out.push(run.object(Members::from_iter([(key, member)]))?);
    }
    Ok(())
}

pub(super) fn merge(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let objects = argument(arguments, 0);
    if objects.is_undefined() {
        return Ok(Val::Undefined);
    }
    run.steps(objects.len())?;
    let mut members = Members::new();
    for index in 0..objects.len() {
        let Some(object) = objects.item(index) else { continue };
        for (key, value) in object.entries() {
            run.steps(1)?;
            members.insert(key, value);
        }
    }
    run.object(members)
}

pub(super) fn reverse(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    match argument(arguments, 0) {
        Val::Undefined => Ok(Val::Undefined),
        array if array.len() <= 1 => Ok(array.clone()),
        array => {
            let mut items = array.items();
            items.reverse();
            run.array(items)
        }
    }
}

/// Fisher and Yates' shuffle.
pub(super) fn shuffle(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let array = argument(arguments, 0);
    if array.is_undefined() {
        return Ok(Val::Undefined);
    }
    let mut items = array.items();
    for last in (1..items.len()).rev() {
        let span = u128::try_from(last + 1).unwrap_or(1);
        let drawn = (u128::from(run.states.random.next_u64()) * span) >> 64;
        items.swap(last, usize::try_from(drawn).unwrap_or(last));
    }
    run.array(items)
}

/// How far [`digest`] looks into a value.
const DIGEST_DEPTH: usize = 3;

/// A number that is the same for values that are, so that only few of many must be compared.
fn digest(run: &Run<'_>, value: &Val, seeds: &RandomState, depth: usize) -> Result<u64> {
    run.steps(1)?;
    let within = |part: &Val| {
        if depth == 0 { Ok(0) } else { digest(run, part, seeds, depth - 1) }
    };
    if value.is_array() {
        let mut all = seeds.hash_one(('a', value.len()));
        if depth > 0 {
            for item in (0..value.len()).filter_map(|index| value.item(index)) {
                all = seeds.hash_one((all, within(&item)?));
            }
        }
        return Ok(all);
    }
    if value.is_object() {
        let mut all = seeds.hash_one(('o', value.members()));
        if depth > 0 {
            for (key, member) in value.entries() {
                run.reads(key.len())?;
                // In any order.
                all = all.wrapping_add(seeds.hash_one((&*key, within(&member)?)));
            }
        }
        return Ok(all);
    }
    Ok(match value {
        Val::Str(text) => {
            run.reads(text.len())?;
            seeds.hash_one(&**text)
        }
        // Whole numbers that only differ beyond a float's digits are left to the comparison.
        Val::Num(number) => match number.as_f64() {
            0.0 => seeds.hash_one(0_u64),
            float => seeds.hash_one(float.to_bits()),
        },
        other => seeds.hash_one(other.type_name()),
    })
}

pub(super) fn distinct(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let array = argument(arguments, 0);
    if !array.is_array() || array.len() <= 1 {
        return Ok(array.clone());
    }
    let mut out: Vec<Val> = Vec::new();
    let seeds = RandomState::new();
    let mut alike: HashMap<u64, Vec<usize>> = HashMap::new();
    for item in array.items() {
        let places = alike.entry(digest(run, &item, &seeds, DIGEST_DEPTH)?).or_default();
        let mut known = false;
        for other in places.iter().filter_map(|place| out.get(*place)) {
            known = known || run.same(other, &item)?;
        }
        if !known {
            run.bytes(2 * size_of::<usize>())?;
            places.push(out.len());
            out.push(item);
        }
    }
    // A sequence stays one, so that a single value is itself.
    if matches!(array, Val::Array(own) if own.sequence) {
        run.sequence(out)
    } else {
        run.array(out)
    }
}

pub(super) fn sort(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let (array, func) = (argument(arguments, 0), argument(arguments, 1));
    if array.is_undefined() {
        return Ok(Val::Undefined);
    }
    if array.len() <= 1 {
        return Ok(array.clone());
    }
    let items = array.items();
    run.room(items.len())?;
    let sorted = if func.is_undefined() {
        let numbers = items.iter().all(|item| matches!(item, Val::Num(_)));
        let texts = items.iter().all(|item| matches!(item, Val::Str(_)));
        if !numbers && !texts {
            return Err(Error::new("D3070"));
        }
        merge_sort(items, &mut |left, right| {
            run.steps(1)?;
            run.compares(left, right)?;
            Ok(match (left, right) {
                (Val::Num(left), Val::Num(right)) => number_order(left, right).is_gt(),
                (Val::Str(left), Val::Str(right)) => {
                    left.encode_utf16().cmp(right.encode_utf16()).is_gt()
                }
                _ => false,
            })
        })?
    } else {
        merge_sort(items, &mut |left, right| {
            let swap = run.apply(func, vec![left.clone(), right.clone()], &Val::Null)?;
            Ok(run.truth(&swap)? == Some(true))
        })?
    };
    let sorted = run.array(sorted)?;
    Ok(match array {
        Val::Array(own) if own.keep => kept(sorted),
        _ => sorted,
    })
}

/// A stable merge sort; `swap` says whether the first is to come after the second, and may fail.
pub(in super::super) fn merge_sort<T>(
    items: Vec<T>,
    swap: &mut dyn FnMut(&T, &T) -> Result<bool>,
) -> Result<Vec<T>> {
    if items.len() <= 1 {
        return Ok(items);
    }
    let mut left = items;
    let right = left.split_off(left.len() / 2);
    let left = merge_sort(left, swap)?;
    let right = merge_sort(right, swap)?;
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(first), Some(second)) = (left.peek(), right.peek()) {
        let next = if swap(first, second)? { right.next() } else { left.next() };
        out.extend(next);
    }
    out.extend(left);
    out.extend(right);
    Ok(out)
}
