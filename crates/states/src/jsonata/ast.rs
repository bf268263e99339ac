//! The tree of an expression, as [`super::parser`] makes it and [`super::resolve`] finishes it.

use std::sync::Arc;

use super::regexp::Pattern;
use super::signature::Signature;
use crate::value::Number;

/// One node. The marks below `kind` are those of the reference implementation's tree.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// `[]` was written after it: a single result stays an array.
    pub(super) keep_array: bool,
    /// Filters on a node that is no step of a path.
    pub(super) predicates: Vec<Stage>,
    /// Filters and index bindings on a step of a path.
    pub(super) stages: Vec<Stage>,
    pub(super) group: Option<Pairs>,
    /// `@$name`
    pub(super) focus: Option<Arc<str>>,
    /// `#$name`
    pub(super) index: Option<Arc<str>>,
    /// The step makes or carries a tuple stream.
    pub(super) tuple: bool,
    /// The slot of a `%` that means this step's input.
    pub(super) ancestor: Option<usize>,
    /// An array constructor that is not flattened.
    pub(super) cons_array: bool,
    /// Slots of `%` below that are not resolved yet.
    pub(super) seeking: Vec<usize>,
}

/// Key and value expressions of an object or a grouping.
pub(super) type Pairs = Vec<(Node, Node)>;

#[derive(Debug)]
pub(super) enum Kind {
    Name(Arc<str>),
    Str(Arc<str>),
    Num(Number),
    Null,
    Bool(bool),
    Wildcard,
    Descendants,
    /// `%` with its slot.
    Parent(usize),
    /// `$name`; empty for `$`, `$` for `$$`.
    Variable(Arc<str>),
    Regex(Arc<Pattern>),
    Path {
        steps: Vec<Node>,
        keep_singleton: bool,
    },
    Binary(Operator, Box<Node>, Box<Node>),
    Negate(Box<Node>),
    Array(Vec<Node>),
    Object(Pairs),
    Call {
        procedure: Box<Node>,
        arguments: Vec<Node>,
        tail: bool,
    },
    Partial {
        procedure: Box<Node>,
        arguments: Vec<Node>,
    },
    /// `?` among the arguments of a partial application.
    Placeholder,
    Lambda(Arc<Lambda>),
    Condition(Box<Node>, Box<Node>, Option<Box<Node>>),
    Block(Vec<Node>),
    Bind(Arc<str>, Box<Node>),
    Apply(Box<Node>, Box<Node>),
    Transform(Arc<Transform>),
    Sort(Vec<Term>),
    /// `and`, `or` or `in` where an operand stands: a name.
    Word(Arc<str>),
    /// The end of the text where an operand should stand.
    End,
    // What the parser makes and `resolve` replaces:
    Dot(Box<Node>, Box<Node>),
    Filter(Box<Node>, Box<Node>),
    GroupBy(Box<Node>, Pairs),
    OrderBy(Box<Node>, Vec<Term>),
    Focus(Box<Node>, Arc<str>),
    IndexBind(Box<Node>, Arc<str>),
    RawLambda {
        parameters: Vec<Arc<str>>,
        signature: Option<Signature>,
        body: Box<Node>,
    },
    RawTransform {
        pattern: Box<Node>,
        update: Box<Node>,
        delete: Option<Box<Node>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
    Concat,
    And,
    Or,
    In,
    Range,
}

/// What happens to a step's result before the next step.
#[derive(Debug)]
pub(super) enum Stage {
    Filter(Node),
    Index(Arc<str>),
}

/// One term of an order-by.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) expression: Node,
    pub(super) descending: bool,
}

#[derive(Debug)]
pub(super) struct Lambda {
    pub(super) parameters: Vec<Arc<str>>,
    pub(super) signature: Option<Signature>,
    pub(super) body: Node,
}

#[derive(Debug)]
pub(super) struct Transform {
    pub(super) pattern: Node,
    pub(super) update: Node,
    pub(super) delete: Option<Node>,
}

impl Node {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            keep_array: false,
            predicates: Vec::new(),
            stages: Vec::new(),
            group: None,
            focus: None,
            index: None,
            tuple: false,
            ancestor: None,
            cons_array: false,
            seeking: Vec::new(),
        }
    }
}

impl Operator {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
            Self::Concat => "&",
            Self::And => "and",
            Self::Or => "or",
            Self::In => "in",
            Self::Range => "..",
        }
    }
}
