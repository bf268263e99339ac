//! What an expression reads from its context where it has none. Called by
//! [`super::Expression::top_level_names`].
//!
//! An expression of a workflow begins without a context: what it gets are variables, `$states` among
//! them. A path that begins with a name leads nowhere there, and `$` is nothing. Behind a step, in a
//! filter, a grouping, an order and a transform something else is the context; a function's body has
//! the one in which the function is written.

use std::collections::HashSet;
use std::sync::Arc;

use super::ast::{Kind, Node};
use super::eval::with_stack;

/// The first `most` names, each once, in the order of the text; the context itself is `$`.
pub(super) fn names(tree: &Node, most: usize) -> Vec<Arc<str>> {
    let mut walk = Walk { most, found: Vec::new(), seen: HashSet::new() };
    walk.node(tree);
    walk.found
}

struct Walk<'t> {
    most: usize,
    found: Vec<Arc<str>>,
    /// Those found: an expression may have tens of thousands.
    seen: HashSet<&'t str>,
}

impl<'t> Walk<'t> {
    fn node(&mut self, tree: &'t Node) {
        if self.found.len() < self.most {
            with_stack(|| self.node_here(tree));
        }
    }

    fn all(&mut self, nodes: impl IntoIterator<Item = &'t Node>) {
        nodes.into_iter().for_each(|part| self.node(part));
    }

    fn name(&mut self, name: &'t str) {
        if self.seen.insert(name) {
            self.found.push(name.into());
        }
    }

    fn node_here(&mut self, tree: &'t Node) {
        match &tree.kind {
            Kind::Name(name) => self.name(name),
            Kind::Variable(name) if name.is_empty() => self.name("$"),
            // The steps behind the first have its result for a context.
            Kind::Path { steps, .. } => self.all(steps.first()),
            Kind::Binary(_, left, right) | Kind::Apply(left, right) => {
                self.all([&**left, &**right]);
            }
            Kind::Negate(inner) | Kind::Bind(_, inner) => self.node(inner),
            Kind::Array(items) | Kind::Block(items) => self.all(items),
            Kind::Object(pairs) => self.all(pairs.iter().flat_map(|(key, value)| [key, value])),
            Kind::Call { procedure, arguments, .. } | Kind::Partial { procedure, arguments } => {
                self.node(procedure);
                self.all(arguments);
            }
            Kind::Condition(condition, then, otherwise) => {
                self.all([&**condition, &**then].into_iter().chain(otherwise.as_deref()));
            }
            Kind::Lambda(lambda) => self.node(&lambda.body),
            Kind::Transform(_)
            | Kind::Str(_)
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
            | Kind::IndexBind(..)
            | Kind::RawLambda { .. }
            | Kind::RawTransform { .. } => {}
        }
    }
}
