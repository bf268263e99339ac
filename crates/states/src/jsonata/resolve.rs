//! The parser's tree made ready to run: paths flattened, filters put to their steps, `%` bound to
//! the steps whose input it means, calls in tail position marked.

use super::ast::{Kind, Lambda, Node, Stage, Term, Transform};
use super::error::{Error, Result};
use super::eval::with_stack;
use crate::value::Number;

/// A `%` on its search: which step's input it means.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The number of the name under which the value is bound.
    label: usize,
    /// How many steps are still to go up; 0 when found.
    level: i32,
}

/// Finishes a tree; also the label of each slot of `%`.
pub(super) fn resolve(node: Node) -> Result<(Node, Vec<usize>)> {
    let mut resolver = Resolver { slots: Vec::new() };
    let node = resolver.node(node)?;
    if matches!(node.kind, Kind::Parent(_)) || !node.seeking.is_empty() {
        return Err(Error::new("S0217"));
    }
    Ok((node, resolver.slots.into_iter().map(|slot| slot.label).collect()))
}

struct Resolver {
    slots: Vec<Slot>,
}

impl Resolver {
    fn boxed(&mut self, node: Node) -> Result<Box<Node>> {
        self.node(node).map(Box::new)
    }

    fn all(&mut self, nodes: Vec<Node>, seeking: &mut Vec<usize>) -> Result<Vec<Node>> {
        nodes
            .into_iter()
            .map(|node| {
                let node = self.node(node)?;
                push_ancestry(seeking, &node);
                Ok(node)
            })
            .collect()
    }

    fn node(&mut self, node: Node) -> Result<Node> {
        with_stack(|| self.node_here(node))
    }

    fn node_here(&mut self, node: Node) -> Result<Node> {
        let keep_array = node.keep_array;
        let mut seeking = Vec::new();
        let kind = match node.kind {
            Kind::Dot(left, right) => return self.dot(*left, *right).map(|n| keep(n, keep_array)),
            Kind::Filter(left, right) => {
                return self.filter(*left, *right).map(|n| keep(n, keep_array));
            }
            Kind::OrderBy(left, terms) => {
                return self.order_by(*left, terms).map(|n| keep(n, keep_array));
            }
            Kind::GroupBy(left, pairs) => {
                let mut result = self.node(*left)?;
                if result.group.is_some() {
                    return Err(Error::new("S0210"));
                }
                let mut group = Vec::new();
                for (key, value) in pairs {
                    group.push((self.node(key)?, self.node(value)?));
                }
                result.group = Some(group);
                return Ok(keep(result, keep_array));
            }
            Kind::Focus(left, name) => {
                let mut result = self.node(*left)?;
                let step = last_step(&mut result);
                if !step.stages.is_empty() || !step.predicates.is_empty() {
                    return Err(Error::new("S0215"));
                }
                if matches!(step.kind, Kind::Sort(_)) {
                    return Err(Error::new("S0216"));
                }
                step.keep_array |= keep_array;
                step.focus = Some(name);
                step.tuple = true;
                return Ok(keep(result, keep_array));
            }
            Kind::IndexBind(left, name) => {
                let mut result = self.node(*left)?;
                if !matches!(result.kind, Kind::Path { .. }) {
                    result.stages = std::mem::take(&mut result.predicates);
                    result = path_of(result);
                }
                let step = last_step(&mut result);
                if step.stages.is_empty() {
                    step.index = Some(name);
                } else {
                    step.stages.push(Stage::Index(name));
                }
                step.tuple = true;
                return Ok(keep(result, keep_array));
            }
            Kind::Name(name) | Kind::Word(name) => {
                let mut step = Node::new(Kind::Name(name));
                step.keep_array = keep_array;
                let mut path = path_of(step);
                if let Kind::Path { keep_singleton, .. } = &mut path.kind {
                    *keep_singleton = keep_array;
                }
                return Ok(keep(path, keep_array));
            }
            Kind::End => return Err(Error::new("S0207").token("(end)")),
            Kind::Parent(_) => {
                let slot = self.slots.len();
                self.slots.push(Slot { label: slot, level: 1 });
                Kind::Parent(slot)
            }
            Kind::Negate(inner) => {
                let inner = self.boxed(*inner)?;
                if let Kind::Num(number) = &inner.kind {
                    Kind::Num(match number {
                        Number::Int(whole) => Number::Int(-whole),
                        other => Number::Float(-other.as_f64()),
                    })
                } else {
                    push_ancestry(&mut seeking, &inner);
                    Kind::Negate(inner)
                }
            }
            Kind::Binary(operator, left, right) => {
                let (left, right) = (self.boxed(*left)?, self.boxed(*right)?);
                push_ancestry(&mut seeking, &left);
                push_ancestry(&mut seeking, &right);
                Kind::Binary(operator, left, right)
            }
            Kind::Bind(name, value) => {
                let value = self.boxed(*value)?;
                push_ancestry(&mut seeking, &value);
                Kind::Bind(name, value)
            }
            Kind::Apply(left, right) => {
                let (left, right) = (self.boxed(*left)?, self.boxed(*right)?);
                let keep_either = left.keep_array || right.keep_array || keep_array;
                push_ancestry(&mut seeking, &left);
                push_ancestry(&mut seeking, &right);
                let mut apply = Node::new(Kind::Apply(left, right));
                apply.seeking = seeking;
                return Ok(keep(apply, keep_either));
            }
            Kind::Array(items) => Kind::Array(self.all(items, &mut seeking)?),
            Kind::Object(pairs) => {
                let mut resolved = Vec::new();
                for (key, value) in pairs {
                    let (key, value) = (self.node(key)?, self.node(value)?);
                    push_ancestry(&mut seeking, &key);
                    push_ancestry(&mut seeking, &value);
                    resolved.push((key, value));
                }
                Kind::Object(resolved)
            }
            Kind::Call { procedure, arguments, .. } => {
                let arguments = self.all(arguments, &mut seeking)?;
                Kind::Call { procedure: self.boxed(*procedure)?, arguments, tail: false }
            }
            Kind::Partial { procedure, arguments } => {
                let arguments = self.all(arguments, &mut seeking)?;
                Kind::Partial { procedure: self.boxed(*procedure)?, arguments }
            }
            Kind::RawLambda { parameters, signature, body } => {
                let mut body = self.node(*body)?;
                mark_tail_calls(&mut body);
                Kind::Lambda(Lambda { parameters, signature, body }.into())
            }
            Kind::RawTransform { pattern, update, delete } => {
                let pattern = self.node(*pattern)?;
                let update = self.node(*update)?;
                let delete = delete.map(|delete| self.node(*delete)).transpose()?;
                Kind::Transform(Transform { pattern, update, delete }.into())
            }
            Kind::Condition(condition, then, otherwise) => {
                let condition = self.boxed(*condition)?;
                push_ancestry(&mut seeking, &condition);
                let then = self.boxed(*then)?;
                push_ancestry(&mut seeking, &then);
                let otherwise = match otherwise {
                    Some(otherwise) => {
                        let otherwise = self.boxed(*otherwise)?;
                        push_ancestry(&mut seeking, &otherwise);
                        Some(otherwise)
                    }
                    None => None,
                };
                Kind::Condition(condition, then, otherwise)
            }
            Kind::Block(expressions) => {
                let expressions = self.all(expressions, &mut seeking)?;
                let cons_array = expressions.iter().any(|part| match &part.kind {
                    Kind::Path { steps, .. } => steps.first().is_some_and(|step| step.cons_array),
                    _ => part.cons_array,
                });
                let mut block = Node::new(Kind::Block(expressions));
                block.cons_array = cons_array;
                block.seeking = seeking;
                return Ok(keep(block, keep_array));
            }
            // Leaves, and what only this pass makes.
            kind => kind,
        };
        let mut result = Node::new(kind);
        result.seeking = seeking;
        Ok(keep(result, keep_array))
    }

    fn dot(&mut self, left: Node, right: Node) -> Result<Node> {
        let left = self.node(left)?;
        let mut result = match &left.kind {
            Kind::Path { .. } => left,
            Kind::Parent(slot) => {
                let slot = *slot;
                let mut path = path_of(left);
                path.seeking.push(slot);
                path
            }
            _ => path_of(left),
        };
        let mut right = self.node(right)?;
        let Kind::Path { steps, keep_singleton } = &mut result.kind else { return Ok(result) };
        match right.kind {
            Kind::Path { steps: more, keep_singleton: keep_more } => {
                *keep_singleton |= keep_more;
                steps.extend(more);
            }
            _ => {
                right.stages = std::mem::take(&mut right.predicates);
                steps.push(right);
            }
        }
        for step in steps.iter_mut() {
            let literal = match &step.kind {
                Kind::Num(number) => number.to_string(),
                Kind::Null => "null".to_owned(),
                Kind::Bool(flag) => flag.to_string(),
                Kind::Str(text) => {
                    step.kind = Kind::Name(text.clone());
                    continue;
                }
                _ => continue,
            };
            return Err(Error::new("S0213").text_raw(literal));
        }
        *keep_singleton |= steps.iter().any(|step| step.keep_array);
        // An array constructor at either end is not flattened.
        if let Some(first) = steps.first_mut()
            && matches!(first.kind, Kind::Array(_))
        {
            first.cons_array = true;
        }
        if let Some(last) = steps.last_mut()
            && matches!(last.kind, Kind::Array(_))
        {
            last.cons_array = true;
        }
        self.resolve_ancestry(&mut result)?;
        Ok(result)
    }

    fn filter(&mut self, left: Node, right: Node) -> Result<Node> {
        let mut result = self.node(left)?;
        let in_path = matches!(result.kind, Kind::Path { .. });
        if last_step(&mut result).group.is_some() {
            return Err(Error::new("S0209"));
        }
        let predicate = self.node(right)?;
        let step = last_step(&mut result);
        for &slot in &predicate.seeking {
            if self.slots[slot].level == 1 {
                self.seek_parent(step, slot)?;
            } else {
                self.slots[slot].level -= 1;
            }
        }
        push_ancestry(&mut step.seeking, &predicate);
        let stage = Stage::Filter(predicate);
        if in_path {
            step.stages.push(stage);
        } else {
            step.predicates.push(stage);
        }
        Ok(result)
    }

    fn order_by(&mut self, left: Node, terms: Vec<Term>) -> Result<Node> {
        let left = self.node(left)?;
        let mut result = if matches!(left.kind, Kind::Path { .. }) { left } else { path_of(left) };
        let mut seeking = Vec::new();
        let mut resolved = Vec::new();
        for term in terms {
            let expression = self.node(term.expression)?;
            push_ancestry(&mut seeking, &expression);
            resolved.push(Term { expression, descending: term.descending });
        }
        let mut sort = Node::new(Kind::Sort(resolved));
        sort.seeking = seeking;
        if let Kind::Path { steps, .. } = &mut result.kind {
            steps.push(sort);
        }
        self.resolve_ancestry(&mut result)?;
        Ok(result)
    }

    /// Lets a `%` climb over `node`.
    fn seek_parent(&mut self, node: &mut Node, slot: usize) -> Result<()> {
        match &mut node.kind {
            Kind::Name(_) | Kind::Wildcard => {
                self.slots[slot].level -= 1;
                if self.slots[slot].level == 0 {
                    if let Some(known) = node.ancestor {
                        self.slots[slot].label = self.slots[known].label;
                    }
                    node.ancestor = Some(slot);
                    node.tuple = true;
                }
                Ok(())
            }
            Kind::Parent(_) => {
                self.slots[slot].level += 1;
                Ok(())
            }
            Kind::Block(expressions) => {
                if let Some(last) = expressions.last_mut() {
                    node.tuple = true;
                    self.seek_parent(last, slot)?;
                }
                Ok(())
            }
            Kind::Path { steps, .. } => {
                node.tuple = true;
                for (at, step) in steps.iter_mut().rev().enumerate() {
                    if at > 0 && self.slots[slot].level <= 0 {
                        break;
                    }
                    self.seek_parent(step, slot)?;
                }
                Ok(())
            }
            _ => Err(Error::new("S0217")),
        }
    }

    /// Finds the steps that the `%`s of a path's last step mean, or leaves them to the path.
    fn resolve_ancestry(&mut self, path: &mut Node) -> Result<()> {
        let Kind::Path { steps, .. } = &mut path.kind else { return Ok(()) };
        let Some(last) = steps.last() else { return Ok(()) };
        let mut slots = last.seeking.clone();
        if let Kind::Parent(slot) = last.kind {
            slots.push(slot);
        }
        for slot in slots {
            // Counted from the end: the step before the last is the first to be tried.
            let mut left = steps.len() - 1;
            while self.slots[slot].level > 0 {
                if left == 0 {
                    path.seeking.push(slot);
                    break;
                }
                left -= 1;
                // Of several steps that bind the focus only the first counts.
                while left > 0 && steps[left].focus.is_some() && steps[left - 1].focus.is_some() {
                    left -= 1;
                }
                self.seek_parent(&mut steps[left], slot)?;
            }
        }
        Ok(())
    }
}

fn keep(mut node: Node, keep_array: bool) -> Node {
    node.keep_array |= keep_array;
    node
}

fn path_of(step: Node) -> Node {
    Node::new(Kind::Path { steps: vec![step], keep_singleton: false })
}

fn last_step(node: &mut Node) -> &mut Node {
    let is_path = matches!(&node.kind, Kind::Path { steps, .. } if !steps.is_empty());
    if !is_path {
        return node;
    }
    match &mut node.kind {
        Kind::Path { steps, .. } => {
            let last = steps.len() - 1;
            &mut steps[last]
        }
        // Seen to be a path above.
        _ => unreachable!("a path"),
    }
}

fn push_ancestry(seeking: &mut Vec<usize>, node: &Node) {
    seeking.extend(&node.seeking);
    if let Kind::Parent(slot) = node.kind {
        seeking.push(slot);
    }
}

fn mark_tail_calls(node: &mut Node) {
    if !node.predicates.is_empty() || node.group.is_some() {
        return;
    }
    match &mut node.kind {
        Kind::Call { tail, .. } => *tail = true,
        Kind::Condition(_, then, otherwise) => {
            mark_tail_calls(then);
            if let Some(otherwise) = otherwise {
                mark_tail_calls(otherwise);
            }
        }
        Kind::Block(expressions) => {
            if let Some(last) = expressions.last_mut() {
                mark_tail_calls(last);
            }
        }
        _ => {}
    }
}
