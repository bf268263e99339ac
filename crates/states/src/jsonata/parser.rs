//! Tokens to a tree: operator precedence after Pratt, with the reference's binding powers.

use std::sync::Arc;

use super::ast::{Kind, Node, Operator, Pairs, Term};
use super::error::{Error, Result};
use super::eval::with_stack;
use super::lexer::{Lexer, Token};
use super::signature::Signature;

/// Longest expression, in bytes.
const TEXT_BYTES_MAX: usize = 262_144;
/// How high the tree may grow: bounds the recursion of everything that walks it.
const HEIGHT_MAX: usize = 1_000;
/// How deeply operands may nest: bounds the recursion of the parser itself.
const NESTING_MAX: usize = 200;

/// Reads a whole expression.
pub(super) fn parse(text: &str) -> Result<Node> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::message("S0500", "The expression is too long"));
    }
    let mut parser = Parser { lexer: Lexer::new(text), token: Token::End, height: 0, nesting: 0 };
    parser.advance(true)?;
    let node = parser.expression(0)?;
    match &parser.token {
        Token::End => Ok(node),
        token => Err(Error::new("S0201").token(token.shown()).bare(token.is_bare())),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that is looked at.
    token: Token,
    /// Height of the highest tree read since it was last reset.
    height: usize,
    nesting: usize,
}

/// How strongly an operator binds the operand on its left.
fn power(token: &Token) -> u8 {
    let Token::Operator(sign) = token else { return 0 };
    match *sign {
        "[" | "(" | "@" | "#" => 80,
        "." => 75,
        "{" => 70,
        "*" | "/" | "%" => 60,
        "+" | "-" | "&" => 50,
        "=" | "<" | ">" | "!=" | "<=" | ">=" | "~>" | "in" | "^" => 40,
        "and" => 30,
        "or" => 25,
        "?" => 20,
        ":=" => 10,
        _ => 0,
    }
}

impl Parser<'_> {
    fn advance(&mut self, operand: bool) -> Result<Token> {
        let next = self.lexer.next(operand)?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn at(&self, sign: &str) -> bool {
        matches!(&self.token, Token::Operator(found) if *found == sign)
    }

    /// Takes the sign, or says that it was expected. `operand`: whether an operand may follow.
    fn expect(&mut self, sign: &'static str, operand: bool) -> Result<()> {
        if self.at(sign) {
            return self.advance(operand).map(drop);
        }
        let code = if matches!(self.token, Token::End) { "S0203" } else { "S0202" };
        Err(Error::new(code).token(self.token.shown()).bare(self.token.is_bare()).text(sign))
    }

    fn expression(&mut self, binding: u8) -> Result<Node> {
        with_stack(|| self.expression_here(binding))
    }

    fn expression_here(&mut self, binding: u8) -> Result<Node> {
        if self.nesting >= NESTING_MAX {
            return Err(Error::message("S0500", "The expression is nested too deeply"));
        }
        self.nesting += 1;
        let outer = std::mem::take(&mut self.height);
        // Behind these, where an operand stands, a slash divides.
        let operand = match self.token {
            Token::Operator(sign) => !matches!(sign, "*" | "**" | "%"),
            _ => false,
        };
        let token = self.advance(operand)?;
        let mut left = self.prefix(token)?;
        self.grow()?;
        while binding < power(&self.token) {
            let token = self.advance(true)?;
            left = self.infix(left, &token)?;
            self.grow()?;
        }
        self.height = self.height.max(outer);
        self.nesting -= 1;
        Ok(left)
    }

    fn grow(&mut self) -> Result<()> {
        self.height += 1;
        if self.height > HEIGHT_MAX {
            return Err(Error::message("S0500", "The expression has too many operators in a row"));
        }
        Ok(())
    }

    fn boxed(&mut self, binding: u8) -> Result<Box<Node>> {
        self.expression(binding).map(Box::new)
    }

    /// A token where an operand stands.
    fn prefix(&mut self, token: Token) -> Result<Node> {
        let kind = match token {
            Token::Name(name) => Kind::Name(name),
            Token::Variable(name) => Kind::Variable(name),
            Token::Str(text) => Kind::Str(text),
            Token::Num(number) => Kind::Num(number),
            Token::Null => Kind::Null,
            Token::Bool(flag) => Kind::Bool(flag),
            Token::Regex(pattern) => Kind::Regex(pattern),
            // What stands around it may have more to say; else `resolve` refuses it.
            Token::End => Kind::End,
            Token::Operator(sign) => match sign {
                "and" | "or" | "in" => Kind::Word(sign.into()),
                "-" => Kind::Negate(self.boxed(70)?),
                "*" => Kind::Wildcard,
                "**" => Kind::Descendants,
                "%" => Kind::Parent(usize::MAX),
                "(" => self.block()?,
                "[" => self.array()?,
                "{" => Kind::Object(self.pairs()?),
                "|" => self.transform()?,
                _ => return Err(Error::new("S0211").token(sign)),
            },
        };
        Ok(Node::new(kind))
    }

    /// An operator behind its left operand.
    fn infix(&mut self, left: Node, token: &Token) -> Result<Node> {
        let Token::Operator(sign) = token else {
            return Err(Error::new("S0201").token(token.shown()));
        };
        let operator = match *sign {
            "(" => return self.call(left),
            "[" => return self.filter(left),
            "." => {
                let right = self.boxed(75)?;
                return Ok(Node::new(Kind::Dot(Box::new(left), right)));
            }
            "{" => {
                let pairs = self.pairs()?;
                return Ok(Node::new(Kind::GroupBy(Box::new(left), pairs)));
            }
            "^" => return self.order_by(left),
            "@" | "#" => return self.bind_step(left, sign),
            ":=" => {
                let Kind::Variable(name) = left.kind else {
                    return Err(Error::new("S0212").token(":="));
                };
                return Ok(Node::new(Kind::Bind(name, self.boxed(9)?)));
            }
            "?" => {
                let then = self.boxed(0)?;
                let otherwise = if self.at(":") {
                    self.advance(true)?;
                    Some(self.boxed(0)?)
                } else {
                    None
                };
                return Ok(Node::new(Kind::Condition(Box::new(left), then, otherwise)));
            }
            "~>" => {
                let right = self.boxed(40)?;
                return Ok(Node::new(Kind::Apply(Box::new(left), right)));
            }
            "+" => Operator::Add,
            "-" => Operator::Subtract,
            "*" => Operator::Multiply,
            "/" => Operator::Divide,
            "%" => Operator::Modulo,
            "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::AtMost,
            ">" => Operator::More,
            ">=" => Operator::AtLeast,
            "&" => Operator::Concat,
            "and" => Operator::And,
            "or" => Operator::Or,
            "in" => Operator::In,
            _ => return Err(Error::new("S0201").token(*sign)),
        };
        let right = self.boxed(power(token))?;
        Ok(Node::new(Kind::Binary(operator, Box::new(left), right)))
    }

    fn block(&mut self) -> Result<Kind> {
        let mut expressions = Vec::new();
        while !self.at(")") {
            expressions.push(self.expression(0)?);
            if !self.at(";") {
                break;
            }
            self.advance(true)?;
        }
        self.expect(")", false)?;
        Ok(Kind::Block(expressions))
    }

    fn array(&mut self) -> Result<Kind> {
        let mut items = Vec::new();
        if !self.at("]") {
            loop {
                let mut item = self.expression(0)?;
                if self.at("..") {
                    self.advance(true)?;
                    let to = self.boxed(0)?;
                    item = Node::new(Kind::Binary(Operator::Range, Box::new(item), to));
                }
                items.push(item);
                if !self.at(",") {
                    break;
                }
                self.advance(true)?;
            }
        }
        self.expect("]", false)?;
        Ok(Kind::Array(items))
    }

    /// `key: value, ...}`
    fn pairs(&mut self) -> Result<Pairs> {
        let mut pairs = Vec::new();
        if !self.at("}") {
            loop {
                let key = self.expression(0)?;
                self.expect(":", true)?;
                pairs.push((key, self.expression(0)?));
                if !self.at(",") {
                    break;
                }
                self.advance(true)?;
            }
        }
        self.expect("}", false)?;
        Ok(pairs)
    }

    fn transform(&mut self) -> Result<Kind> {
        let pattern = self.boxed(0)?;
        self.expect("|", true)?;
        let update = self.boxed(0)?;
        let delete = if self.at(",") {
            self.advance(true)?;
            Some(self.boxed(0)?)
        } else {
            None
        };
        self.expect("|", false)?;
        Ok(Kind::RawTransform { pattern, update, delete })
    }

    fn filter(&mut self, mut left: Node) -> Result<Node> {
        if self.at("]") {
            // An empty predicate keeps a single result an array; the mark goes to the step itself.
            let mut step = &mut left;
            while let Kind::Filter(inner, _) = &mut step.kind {
                step = inner;
            }
            step.keep_array = true;
            self.advance(false)?;
            return Ok(left);
        }
        let predicate = self.boxed(0)?;
        self.expect("]", false)?;
        Ok(Node::new(Kind::Filter(Box::new(left), predicate)))
    }

    fn order_by(&mut self, left: Node) -> Result<Node> {
        self.expect("(", true)?;
        let mut terms = Vec::new();
        loop {
            let descending = self.at(">");
            if descending || self.at("<") {
                self.advance(true)?;
            }
            terms.push(Term { expression: self.expression(0)?, descending });
            if !self.at(",") {
                break;
            }
            self.advance(true)?;
        }
        self.expect(")", false)?;
        Ok(Node::new(Kind::OrderBy(Box::new(left), terms)))
    }

    fn bind_step(&mut self, left: Node, sign: &str) -> Result<Node> {
        let right = self.expression(80)?;
        let Kind::Variable(name) = right.kind else {
            return Err(Error::new("S0214").token(sign));
        };
        let left = Box::new(left);
        Ok(Node::new(if sign == "@" {
            Kind::Focus(left, name)
        } else {
            Kind::IndexBind(left, name)
        }))
    }

    fn call(&mut self, left: Node) -> Result<Node> {
        let mut arguments = Vec::new();
        let mut partial = false;
        if !self.at(")") {
            loop {
                if self.at("?") {
                    partial = true;
                    arguments.push(Node::new(Kind::Placeholder));
                    self.advance(true)?;
                } else {
                    arguments.push(self.expression(0)?);
                }
                if !self.at(",") {
                    break;
                }
                self.advance(true)?;
            }
        }
        self.expect(")", false)?;
        if let Kind::Name(name) = &left.kind
            && matches!(&**name, "function" | "λ")
        {
            return self.lambda(arguments);
        }
        let procedure = Box::new(left);
        Ok(Node::new(if partial {
            Kind::Partial { procedure, arguments }
        } else {
            Kind::Call { procedure, arguments, tail: false }
        }))
    }

    fn lambda(&mut self, arguments: Vec<Node>) -> Result<Node> {
        let mut parameters: Vec<Arc<str>> = Vec::new();
        for (index, argument) in arguments.into_iter().enumerate() {
            let Kind::Variable(name) = argument.kind else {
                return Err(Error::new("S0208").text_raw((index + 1).to_string()));
            };
            parameters.push(name);
        }
        let signature = if self.at("<") { Some(self.signature()?) } else { None };
        self.expect("{", true)?;
        let body = self.boxed(0)?;
        self.expect("}", false)?;
        Ok(Node::new(Kind::RawLambda { parameters, signature, body }))
    }

    fn signature(&mut self) -> Result<Signature> {
        let mut depth = 1;
        let mut text = "<".to_owned();
        while depth > 0 && !self.at("{") && !matches!(self.token, Token::End) {
            self.advance(false)?;
            if self.at(">") {
                depth -= 1;
            } else if self.at("<") {
                depth += 1;
            }
            text.push_str(&self.token.shown());
        }
        self.expect(">", false)?;
        Signature::parse(&text)
    }
}
