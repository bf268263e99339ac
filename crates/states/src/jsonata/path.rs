//! Paths: steps, filters, tuple streams, sorting, grouping and the transform operator.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;

use indexmap::IndexMap;

use super::ast::{Kind, Node, Pairs, Stage, Term, Transform};
use super::closure::Env;
use super::error::{Error, Result};
use super::eval::{Run, kept, numeric, with_stack};
use super::functions;
use super::value::{Members, Tuple, Val};
use crate::value::Number;

impl Run<'_> {
    pub(super) fn path(
        &self,
        node: &Node,
        steps: &[Node],
        keep_singleton: bool,
        input: &Val,
        env: &Env,
    ) -> Result<Val> {
        let absolute = matches!(steps.first().map(|step| &step.kind), Some(Kind::Variable(_)));
        let mut stream: Vec<Val> = if input.is_array() && !absolute {
            self.room(input.len())?;
            input.items()
        } else {
            vec![input.clone()]
        };
        let mut result = Val::Undefined;
        let mut rows: Option<Vec<Tuple>> = None;
        let mut tuples = false;
        for (at, step) in steps.iter().enumerate() {
            tuples |= step.tuple;
            if at == 0 && step.cons_array {
                // An array constructor at the beginning is not run for each item of the context.
                let all = self.sequence(stream.clone())?;
                result = self.eval(step, &all, env)?;
                // Rows, if any follow, are made of what it gives.
                if step.focus.is_none() {
                    stream = result.items();
                }
            } else if tuples {
                rows = Some(self.tuple_step(step, &stream, rows, env)?);
            } else {
                result = self.step(step, &stream, env, at + 1 == steps.len())?;
            }
            if !tuples && (result.is_undefined() || result.is_array() && result.len() == 0) {
                break;
            }
            if step.focus.is_none() && !tuples && at + 1 < steps.len() {
                stream = result.items();
            }
        }
        if let Some(rows) = rows {
            result = if node.tuple {
                Val::Tuples(Rc::new(rows.clone()))
            } else {
                let values = rows.iter().map(|row| row.get("@").cloned().unwrap_or(Val::Undefined));
                self.sequence(values.collect())?
            };
            if let Some(group) = &node.group {
                return self.group(group, &Val::Tuples(Rc::new(rows)), env);
            }
        }
        if keep_singleton {
            if matches!(&result, Val::Array(array) if array.cons && !array.sequence) {
                result = self.sequence(vec![result])?;
            }
            result = kept(result);
        }
        match &node.group {
            Some(group) => self.group(group, &result, env),
            None => Ok(result),
        }
    }

    /// One step for each value, the results made flat.
    fn step(&self, step: &Node, stream: &[Val], env: &Env, last: bool) -> Result<Val> {
        if let Kind::Sort(terms) = &step.kind {
            // One item alone is not sorted, and stays what it was: the only one of a sequence.
            let mut result = match stream {
                [_] => self.sequence(stream.to_vec())?,
                _ => self.array(self.sort_values(terms, stream.to_vec(), env)?)?,
            };
            for stage in &step.stages {
                if let Stage::Filter(predicate) = stage {
                    result = self.filter(predicate, &result, env)?;
                }
            }
            return Ok(result);
        }
        let mut results = Vec::new();
        for item in stream {
            let mut value = self.eval(step, item, env)?;
            for stage in &step.stages {
                if let Stage::Filter(predicate) = stage {
                    value = self.filter(predicate, &value, env)?;
                }
            }
            if !value.is_undefined() {
                results.push(value);
            }
        }
        let sequence = |value: &Val| matches!(value, Val::Array(array) if array.sequence);
        if last
            && let [only] = results.as_slice()
            && only.is_array()
            && !sequence(only)
        {
            return Ok(results.remove(0));
        }
        let mut flat = Vec::with_capacity(results.len());
        for value in results {
            let whole = matches!(&value, Val::Array(array) if array.cons);
            match value {
                Val::Tuples(rows) => {
                    flat.extend(rows.iter().filter_map(|row| row.get("@").cloned()));
                }
                value if value.is_array() && !whole => {
                    self.room(value.len())?;
                    flat.extend(value.into_items());
                }
                value => flat.push(value),
            }
        }
        self.sequence(flat)
    }

    /// One step on rows, which carry what steps before have bound.
    fn tuple_step(
        &self,
        step: &Node,
        stream: &[Val],
        rows: Option<Vec<Tuple>>,
        env: &Env,
    ) -> Result<Vec<Tuple>> {
        if let Kind::Sort(terms) = &step.kind {
            let sorted = match rows {
                Some(rows) => self.sort_rows(terms, rows, env)?,
                None => {
                    let sorted = self.sort_values(terms, stream.to_vec(), env)?;
                    sorted
                        .into_iter()
                        .enumerate()
                        .map(|(at, value)| {
                            let mut row = Tuple::from_iter([("@".into(), value)]);
                            if let Some(name) = &step.index {
                                row.insert(name.clone(), at.into());
                            }
                            row
                        })
                        .collect()
                }
            };
            return self.row_stages(&step.stages, sorted, env);
        }
        let rows = match rows {
            Some(rows) => rows,
            None => {
                stream.iter().map(|item| Tuple::from_iter([("@".into(), item.clone())])).collect()
            }
        };
        let mut out = Vec::new();
        for row in rows {
            let frame = self.row_frame(env, &row)?;
            let here = row.get("@").cloned().unwrap_or(Val::Undefined);
            let found = match self.eval(step, &here, &frame)? {
                Val::Undefined => continue,
                Val::Tuples(inner) => {
                    for more in inner.iter() {
                        self.room(row.len() + more.len())?;
                        let mut joined = row.clone();
                        joined
                            .extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
                        out.push(joined);
                    }
                    continue;
                }
                value => value.into_items(),
            };
            for (at, value) in found.into_iter().enumerate() {
                self.room(row.len() + 3)?;
                let mut next = row.clone();
                if let Some(focus) = &step.focus {
                    next.insert(focus.clone(), value);
                } else {
                    next.insert("@".into(), value);
                }
                if let Some(index) = &step.index {
                    next.insert(index.clone(), at.into());
                }
                if let Some(label) = step.ancestor.and_then(|slot| self.label(slot)) {
                    next.insert(label, here.clone());
                }
                out.push(next);
            }
        }
        self.row_stages(&step.stages, out, env)
    }

    fn row_stages(&self, stages: &[Stage], rows: Vec<Tuple>, env: &Env) -> Result<Vec<Tuple>> {
        let mut rows = rows;
        for stage in stages {
            match stage {
                Stage::Filter(predicate) => rows = self.filter_rows(predicate, rows, env)?,
                Stage::Index(name) => {
                    for (at, row) in rows.iter_mut().enumerate() {
                        row.insert(name.clone(), at.into());
                    }
                }
            }
        }
        Ok(rows)
    }

    fn row_frame(&self, env: &Env, row: &Tuple) -> Result<Env> {
        let frame = self.frame(env)?;
        for (name, value) in row {
            frame.bind(name.clone(), value.clone());
        }
        Ok(frame)
    }

    // ---- filters ----

    pub(super) fn filter(&self, predicate: &Node, input: &Val, env: &Env) -> Result<Val> {
        if let Val::Tuples(rows) = input {
            let rows = self.filter_rows(predicate, rows.to_vec(), env)?;
            return Ok(Val::Tuples(rows.into()));
        }
        let array = input.is_array();
        let len = if array { input.len() } else { 1 };
        let item_at = |index: usize| if array { input.item(index) } else { Some(input.clone()) };
        if let Kind::Num(number) = &predicate.kind {
            return match position(number.as_f64(), len).and_then(item_at) {
                Some(item) if item.is_array() => Ok(item),
                Some(item) if !item.is_undefined() => self.sequence(vec![item]),
                Some(_) | None => self.sequence(Vec::new()),
            };
        }
        let mut found = Vec::new();
        for index in 0..len {
            let Some(item) = item_at(index) else { continue };
            let verdict = self.eval(predicate, &item, env)?;
            for _ in 0..self.hits(&verdict, index, len)? {
                found.push(item.clone());
            }
        }
        self.sequence(found)
    }

    fn filter_rows(&self, predicate: &Node, rows: Vec<Tuple>, env: &Env) -> Result<Vec<Tuple>> {
        let len = rows.len();
        if let Kind::Num(number) = &predicate.kind {
            let at = position(number.as_f64(), len);
            return Ok(rows
                .into_iter()
                .enumerate()
                .filter(|(index, _)| Some(*index) == at)
                .map(|(_, row)| row)
                .collect());
        }
        let mut found = Vec::new();
        for (index, row) in rows.into_iter().enumerate() {
            let frame = self.row_frame(env, &row)?;
            let here = row.get("@").cloned().unwrap_or(Val::Undefined);
            let verdict = self.eval(predicate, &here, &frame)?;
            for _ in 0..self.hits(&verdict, index, len)? {
                self.room(row.len())?;
                found.push(row.clone());
            }
        }
        Ok(found)
    }

    /// How often a verdict picks the item at `index`: numbers are positions, all else is a truth.
    fn hits(&self, verdict: &Val, index: usize, len: usize) -> Result<usize> {
        if let Some(number) = numeric(verdict)? {
            return Ok(usize::from(position(number, len) == Some(index)));
        }
        if verdict.is_array() && verdict.len() > 0 {
            self.steps(verdict.len())?;
            let numbers: Option<Vec<f64>> = (0..verdict.len())
                .map(|at| verdict.item(at).and_then(|item| item.as_f64()))
                .collect();
            if let Some(numbers) = numbers {
                return Ok(numbers
                    .into_iter()
                    .filter(|number| position(*number, len) == Some(index))
                    .count());
            }
        }
        Ok(usize::from(self.truth(verdict)? == Some(true)))
    }

    // ---- sorting ----

    fn sort_values(&self, terms: &[Term], values: Vec<Val>, env: &Env) -> Result<Vec<Val>> {
        let mut keyed = Vec::with_capacity(values.len());
        for value in values {
            let keys = terms
                .iter()
                .map(|term| self.eval(&term.expression, &value, env))
                .collect::<Result<Vec<_>>>()?;
            keyed.push((keys, value));
        }
        self.sort_keyed(terms, keyed)
    }

    fn sort_rows(&self, terms: &[Term], rows: Vec<Tuple>, env: &Env) -> Result<Vec<Tuple>> {
        let mut keyed = Vec::with_capacity(rows.len());
        for row in rows {
            let frame = self.row_frame(env, &row)?;
            let here = row.get("@").cloned().unwrap_or(Val::Undefined);
            let keys = terms
                .iter()
                .map(|term| self.eval(&term.expression, &here, &frame))
                .collect::<Result<Vec<_>>>()?;
            keyed.push((keys, row));
        }
        self.sort_keyed(terms, keyed)
    }

    fn sort_keyed<T>(&self, terms: &[Term], keyed: Vec<(Vec<Val>, T)>) -> Result<Vec<T>> {
        let sorted = functions::merge_sort(keyed, &mut |left, right| {
            self.steps(1)?;
            let mut order = Ordering::Equal;
            for (term, (left, right)) in terms.iter().zip(left.0.iter().zip(&right.0)) {
                self.compares(left, right)?;
                order = sort_order(left, right, term.descending)?;
                if order != Ordering::Equal {
                    break;
                }
            }
            Ok(order == Ordering::Greater)
        })?;
        Ok(sorted.into_iter().map(|(_, value)| value).collect())
    }

    // ---- grouping ----

    /// An object of the pairs: items with the same key are grouped, then the value is evaluated on
    /// each group.
    pub(super) fn group(&self, pairs: &Pairs, input: &Val, env: &Env) -> Result<Val> {
        if let Val::Tuples(rows) = input {
            return self.group_rows(pairs, rows, env);
        }
        let items = if input.is_array() && input.len() > 0 {
            self.room(input.len())?;
            input.items()
        } else if input.is_array() {
            vec![Val::Undefined]
        } else {
            vec![input.clone()]
        };
        let mut groups: IndexMap<std::sync::Arc<str>, (usize, Vec<Val>, bool)> = IndexMap::new();
        for item in &items {
            for (at, (key, _)) in pairs.iter().enumerate() {
                let Some(key) = group_key(self.eval(key, item, env)?)? else { continue };
                self.reads(key.len())?;
                self.room(1)?;
                match groups.get_mut(&key) {
                    None => {
                        groups.insert(key, (at, vec![item.clone()], false));
                    }
                    Some((other, ..)) if *other != at => {
                        return Err(Error::new("D1009").text(&key));
                    }
                    Some((_, members, joined)) => {
                        if !*joined {
                            *members = members.drain(..).flat_map(Val::into_items).collect();
                            *joined = true;
                        }
                        members.extend(item.clone().into_items());
                    }
                }
            }
        }
        let mut members = Members::new();
        for (key, (at, mut grouped, joined)) in groups {
            let context =
                if joined { self.array(grouped)? } else { grouped.pop().unwrap_or(Val::Undefined) };
            let Some((_, value)) = pairs.get(at) else { continue };
            let value = self.eval(value, &context, env)?;
            if !value.is_undefined() {
                members.insert(key, value);
            }
        }
        self.object(members)
    }

    fn group_rows(&self, pairs: &Pairs, rows: &[Tuple], env: &Env) -> Result<Val> {
        let mut groups: IndexMap<std::sync::Arc<str>, (usize, Vec<&Tuple>)> = IndexMap::new();
        for row in rows {
            let frame = self.row_frame(env, row)?;
            let here = row.get("@").cloned().unwrap_or(Val::Undefined);
            for (at, (key, _)) in pairs.iter().enumerate() {
                let Some(key) = group_key(self.eval(key, &here, &frame)?)? else { continue };
                self.reads(key.len())?;
                self.room(1)?;
                let entry = groups.entry(key.clone()).or_insert_with(|| (at, Vec::new()));
                if entry.0 != at {
                    return Err(Error::new("D1009").text(&key));
                }
                entry.1.push(row);
            }
        }
        let mut members = Members::new();
        for (key, (at, grouped)) in groups {
            let mut reduced = self.reduce_rows(&grouped)?;
            let context = reduced.shift_remove("@").unwrap_or(Val::Undefined);
            let frame = self.row_frame(env, &reduced)?;
            let Some((_, value)) = pairs.get(at) else { continue };
            let value = self.eval(value, &context, &frame)?;
            if !value.is_undefined() {
                members.insert(key, value);
            }
        }
        self.object(members)
    }

    /// Rows made one, the values of each name put together.
    fn reduce_rows(&self, rows: &[&Tuple]) -> Result<Tuple> {
        let [first, rest @ ..] = rows else { return Ok(Tuple::new()) };
        if rest.is_empty() {
            return Ok((*first).clone());
        }
        let mut columns: IndexMap<std::sync::Arc<str>, Vec<Val>> = IndexMap::new();
        for row in rows {
            for (name, value) in *row {
                self.room(1)?;
                columns.entry(name.clone()).or_default().extend(value.clone().into_items());
            }
        }
        columns.into_iter().map(|(name, values)| Ok((name, self.array(values)?))).collect()
    }

    // ---- transform ----

    pub(super) fn transform(&self, transform: &Transform, target: &Val, env: &Env) -> Result<Val> {
        if target.is_undefined() {
            return Ok(Val::Undefined);
        }
        if !target.is_object() && !target.is_array() {
            return Err(Error::new("T0410").value(target).second(1));
        }
        let copy = self.thaw(target)?;
        let matches = match self.eval(&transform.pattern, &copy, env)? {
            Val::Tuples(rows) => rows.iter().filter_map(|row| row.get("@").cloned()).collect(),
            matches => matches.into_items(),
        };
        for found in matches {
            let update = self.eval(&transform.update, &found, env)?;
            if !update.is_undefined() {
                if !update.is_object() {
                    return Err(Error::new("T2011").value(&update));
                }
                for (name, value) in update.entries() {
                    // Frozen, so that no object can come to hold itself.
                    let value = self.freeze(&value)?;
                    if let Val::Cell(cell) = &found {
                        let value = self.thaw(&value)?;
                        cell.borrow_mut().insert(name, value);
                    }
                }
            }
            let Some(delete) = &transform.delete else { continue };
            let deletions = self.eval(delete, &found, env)?;
            if deletions.is_undefined() {
                continue;
            }
            for name in deletions.clone().into_items() {
                let Val::Str(name) = name else {
                    return Err(Error::new("T2012").value(&deletions));
                };
                if let Val::Cell(cell) = &found {
                    cell.borrow_mut().shift_remove(&name);
                }
            }
        }
        self.freeze(&copy)
    }

    /// A copy whose objects can be changed in place.
    fn thaw(&self, value: &Val) -> Result<Val> {
        with_stack(|| {
            if value.is_array() {
                self.room(value.len())?;
                let items = value.items();
                let items = items.iter().map(|item| self.thaw(item));
                return self.array(items.collect::<Result<Vec<_>>>()?);
            }
            if value.is_object() {
                let entries = value.entries();
                self.room(entries.len())?;
                let members = entries
                    .into_iter()
                    .map(|(name, value)| Ok((name, self.thaw(&value)?)))
                    .collect::<Result<Members>>()?;
                return Ok(Val::Cell(Rc::new(RefCell::new(members))));
            }
            Ok(value.clone())
        })
    }

    /// A copy that no longer changes.
    fn freeze(&self, value: &Val) -> Result<Val> {
        with_stack(|| match value {
            Val::Array(array) => {
                let items = array.items.iter().map(|item| self.freeze(item));
                self.array(items.collect::<Result<Vec<_>>>()?)
            }
            Val::Cell(_) | Val::Object(_) => {
                let members = value
                    .entries()
                    .into_iter()
                    .map(|(name, value)| Ok((name, self.freeze(&value)?)))
                    .collect::<Result<Members>>()?;
                self.object(members)
            }
            other => Ok(other.clone()),
        })
    }
}

/// The index that a number means: rounded down, negative from the end.
fn position(number: f64, len: usize) -> Option<usize> {
    let number = number.floor();
    #[expect(clippy::cast_precision_loss, reason = "arrays are far below 2^53 items")]
    let number = if number < 0.0 { number + len as f64 } else { number };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "checked to be an index"
    )]
    if number >= 0.0 && number < len as f64 { Some(number as usize) } else { None }
}

fn group_key(key: Val) -> Result<Option<std::sync::Arc<str>>> {
    match key {
        Val::Undefined => Ok(None),
        Val::Str(key) => Ok(Some(key)),
        other => Err(Error::new("T1003").value(&other)),
    }
}

/// The order of two keys of an order-by; nothing is last.
fn sort_order(left: &Val, right: &Val, descending: bool) -> Result<Ordering> {
    let order = match (left, right) {
        (Val::Undefined, Val::Undefined) => return Ok(Ordering::Equal),
        (Val::Undefined, _) => return Ok(Ordering::Greater),
        (_, Val::Undefined) => return Ok(Ordering::Less),
        (Val::Num(left), Val::Num(right)) => number_order(left, right),
        (Val::Str(left), Val::Str(right)) => left.encode_utf16().cmp(right.encode_utf16()),
        (Val::Num(_) | Val::Str(_), Val::Num(_) | Val::Str(_)) => {
            return Err(Error::new("T2007").value(left).second(right.shown(256)));
        }
        (Val::Num(_) | Val::Str(_), other) | (other, _) => {
            return Err(Error::new("T2008").value(other));
        }
    };
    Ok(if descending { order.reverse() } else { order })
}

pub(super) fn number_order(left: &Number, right: &Number) -> Ordering {
    left.partial_cmp(right).unwrap_or(Ordering::Equal)
}
