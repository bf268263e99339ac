//! The variables an expression reads that it does not bind itself, and the members it reads of them.
//! Called by [`super::Expression::variables`] and [`super::Expression::members`].

use std::sync::Arc;

use super::ast::{Kind, Node, Pairs, Stage, Term};
use super::eval::with_stack;

/// Tells each name that is neither bound in the expression nor `$` or `$$`; functions of the language
/// are among them.
pub(super) fn tell(tree: &Node, see: &mut dyn FnMut(&str)) {
    Walk { bound: Vec::new(), see, see_member: &mut |_, _| {} }.node(tree);
}

/// Tells each such variable that is followed by the name of a member, with the name: of `$a.b.c` that is
/// `b`.
pub(super) fn tell_members(tree: &Node, see_member: &mut dyn FnMut(&str, &str)) {
    Walk { bound: Vec::new(), see: &mut |_| {}, see_member }.node(tree);
}

struct Walk<'a> {
    /// Names bound where the walk stands, the innermost last.
    bound: Vec<Arc<str>>,
    see: &'a mut dyn FnMut(&str),
    see_member: &'a mut dyn FnMut(&str, &str),
}

impl Walk<'_> {
    fn node(&mut self, node: &Node) {
        with_stack(|| self.node_here(node));
    }

    fn all(&mut self, nodes: &[Node]) {
        nodes.iter().for_each(|node| self.node(node));
    }

    fn pairs(&mut self, pairs: &Pairs) {
        for (key, value) in pairs {
            self.node(key);
            self.node(value);
        }
    }

    fn terms(&mut self, terms: &[Term]) {
        terms.iter().for_each(|term| self.node(&term.expression));
    }

    /// What is bound within is not bound behind it.
    fn within(&mut self, walk: impl FnOnce(&mut Self)) {
        let bound = self.bound.len();
        walk(self);
        self.bound.truncate(bound);
    }

    fn is_own(&self, name: &Arc<str>) -> bool {
        name.is_empty() || &**name == "$" || self.bound.contains(name)
    }

    fn node_here(&mut self, node: &Node) {
        match &node.kind {
            Kind::Name(_)
            | Kind::Str(_)
            | Kind::Num(_)
            | Kind::Null
            | Kind::Bool(_)
            | Kind::Wildcard
            | Kind::Descendants
            | Kind::Parent(_)
            | Kind::Regex(_)
            | Kind::Placeholder
            | Kind::Word(_)
            | Kind::End => {}
            Kind::Variable(name) => {
                if !self.is_own(name) {
                    (self.see)(name);
                }
            }
            Kind::Path { steps, .. } => {
                // Names bound by a step hold for those behind it, and for what is made of the path.
                self.within(|walk| {
                    for (at, step) in steps.iter().enumerate() {
                        if let Kind::Variable(name) = &step.kind
                            && let Some(Kind::Name(member)) =
                                steps.get(at + 1).map(|next| &next.kind)
                            && !walk.is_own(name)
                        {
                            (walk.see_member)(name, member);
                        }
                        walk.node(step);
                    }
                    walk.marks(node);
                });
                return;
            }
            Kind::Binary(_, left, right)
            | Kind::Apply(left, right)
            | Kind::Dot(left, right)
            | Kind::Filter(left, right) => {
                self.node(left);
                self.node(right);
            }
            Kind::Negate(inner) => self.node(inner),
            Kind::Array(items) => self.all(items),
            Kind::Object(pairs) => self.pairs(pairs),
            Kind::Call { procedure, arguments, .. } | Kind::Partial { procedure, arguments } => {
                self.node(procedure);
                self.all(arguments);
            }
            Kind::Lambda(lambda) => self.within(|walk| {
                walk.bound.extend(lambda.parameters.iter().cloned());
                walk.node(&lambda.body);
            }),
            Kind::Condition(condition, then, otherwise) => {
                self.node(condition);
                self.node(then);
                if let Some(otherwise) = otherwise {
                    self.node(otherwise);
                }
            }
            Kind::Block(expressions) => self.within(|walk| walk.all(expressions)),
            Kind::Bind(name, value) => {
                // A function may call itself by the name it is bound to.
                let is_function = matches!(value.kind, Kind::Lambda(_));
                if is_function {
                    self.bound.push(name.clone());
                }
                self.node(value);
                if !is_function {
                    self.bound.push(name.clone());
                }
            }
            Kind::Transform(transform) => {
                self.node(&transform.pattern);
                self.node(&transform.update);
                if let Some(delete) = &transform.delete {
                    self.node(delete);
                }
            }
            Kind::Sort(terms) => self.terms(terms),
            // Before the tree is resolved only.
            Kind::GroupBy(left, pairs) => {
                self.node(left);
                self.pairs(pairs);
            }
            Kind::OrderBy(left, terms) => {
                self.node(left);
                self.terms(terms);
            }
            Kind::Focus(left, _) | Kind::IndexBind(left, _) => self.node(left),
            Kind::RawLambda { body, .. } => self.node(body),
            Kind::RawTransform { pattern, update, delete } => {
                self.node(pattern);
                self.node(update);
                if let Some(delete) = delete {
                    self.node(delete);
                }
            }
        }
        self.marks(node);
    }

    /// What hangs on a node: the names it binds, its filters, its grouping.
    fn marks(&mut self, node: &Node) {
        self.bound.extend(node.focus.iter().chain(&node.index).cloned());
        for stage in node.predicates.iter().chain(&node.stages) {
            match stage {
                Stage::Filter(filter) => self.node(filter),
                Stage::Index(name) => self.bound.push(name.clone()),
            }
        }
        if let Some(group) = &node.group {
            self.pairs(group);
        }
    }
}
