//! The names that an expression reads where it has nothing to read from. Called by
//! [`super::Expression::top_level_names`].
//!
//! An expression of a workflow begins without a context: what it gets are variables, `$states` among
//! them. A path that begins with a name therefore leads nowhere, unless it stands where something else
//! is the context: behind a step, in a filter, in a function's body.

use std::sync::Arc;

use super::ast::{Kind, Node};
use super::eval::with_stack;

/// The names, each once, in the order of the text.
pub(super) fn names(tree: &Node) -> Vec<Arc<str>> {
    let mut found = Vec::new();
    node(tree, &mut found);
    found
}

fn node(tree: &Node, found: &mut Vec<Arc<str>>) {
    with_stack(|| node_here(tree, found));
}

fn all<'n>(nodes: impl IntoIterator<Item = &'n Node>, found: &mut Vec<Arc<str>>) {
    nodes.into_iter().for_each(|part| node(part, found));
}

fn node_here(tree: &Node, found: &mut Vec<Arc<str>>) {
    match &tree.kind {
        Kind::Name(name) => {
            if !found.contains(name) {
                found.push(name.clone());
            }
        }
        // The steps behind the first have its result for a context.
        Kind::Path { steps, .. } => all(steps.first(), found),
        Kind::Binary(_, left, right) | Kind::Apply(left, right) => {
            all([&**left, &**right], found);
        }
        Kind::Negate(inner) | Kind::Bind(_, inner) => node(inner, found),
        Kind::Array(items) | Kind::Block(items) => all(items, found),
        Kind::Object(pairs) => all(pairs.iter().flat_map(|(key, value)| [key, value]), found),
        Kind::Call { procedure, arguments, .. } | Kind::Partial { procedure, arguments } => {
            // Calling a name fails when it runs, with an error that says which function was meant.
            if !matches!(procedure.kind, Kind::Path { .. }) {
                node(procedure, found);
            }
            all(arguments, found);
        }
        Kind::Condition(condition, then, otherwise) => {
            all([&**condition, &**then].into_iter().chain(otherwise.as_deref()), found);
        }
        // Functions have a context of their own, or are given one.
        Kind::Lambda(_)
        | Kind::Transform(_)
        | Kind::RawLambda { .. }
        | Kind::RawTransform { .. } => {}
        Kind::Str(_)
        | Kind::Num(_)
        | Kind::Null
        | Kind::Bool(_)
        | Kind::Wildcard
        | Kind::Descendants
        | Kind::Parent(_)
        | Kind::Variable(_)
        | Kind::Regex(_)
        | Kind::Placeholder
        | Kind::Word(_)
        | Kind::End => {}
        // Only behind the first step of a path, or before the tree is resolved.
        Kind::Sort(_)
        | Kind::Dot(..)
        | Kind::Filter(..)
        | Kind::GroupBy(..)
        | Kind::OrderBy(..)
        | Kind::Focus(..)
        | Kind::IndexBind(..) => {}
    }
}
