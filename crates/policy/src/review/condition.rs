//! A policy's condition, read for what it can come to while the circumstances of the call are not known.

use super::outcomes::Outcomes;
use crate::clause::{Probe, parts};
use crate::explain::ClauseOutcome;
use crate::reader::LoadedPolicy;
use cedar_policy::pst::{BinaryOp, Clause as Part, Expr, UnaryOp, Var};
use cedar_policy::{Entities, Request};
use std::sync::Arc;

/// The parts of a condition, in the order in which Cedar evaluates them.
#[derive(Debug)]
pub(crate) struct Condition(Vec<Piece>);

#[derive(Debug)]
struct Piece {
    /// `when { .. }` or `unless { .. }`.
    text: String,
    tree: Tree,
}

/// What a condition came to, and what it hangs on.
pub(crate) struct Judged {
    pub(crate) outcomes: Outcomes,
    /// The parts that decide it and are not surely true.
    pub(crate) open: Vec<String>,
}

/// An expression, taken apart where it asks for circumstances.
#[derive(Debug)]
enum Tree {
    /// Asks for caller, action and resource only: comes to the same under all circumstances.
    Closed(Box<Probe>),
    /// Asks for circumstances: true or false, and perhaps a failure.
    Open {
        can_fail: bool,
    },
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    If(Box<Self>, Box<Self>, Box<Self>),
}

impl Condition {
    /// Takes the condition of a policy apart. A validated policy fails only where arithmetic overflows; of one that is in
    /// force in spite of the schema, everything that asks for circumstances can fail.
    pub(crate) fn of(policy: &LoadedPolicy) -> Self {
        let Ok(parts) = parts(&policy.cedar) else {
            let tree = Tree::Open { can_fail: true };
            return Self(vec![Piece { text: "its condition, which cannot be read".to_owned(), tree }]);
        };
        let piece = |part: Part| {
            let text = part.to_string();
            let tree = match &part {
                Part::When(expr) => Tree::of(expr, policy.valid),
                Part::Unless(expr) => Tree::Not(Box::new(Tree::of(expr, policy.valid))),
            };
            Piece { text, tree }
        };
        Self(parts.into_iter().map(piece).collect())
    }

    /// What it can come to for this caller, action and resource, whatever the circumstances.
    pub(crate) fn judge(&self, request: &Request, entities: &Entities) -> Judged {
        let mut judged = Judged { outcomes: Outcomes::TRUE, open: Vec::new() };
        for Piece { text, tree } in &self.0 {
            let outcomes = tree.outcomes(request, entities);
            judged.outcomes = judged.outcomes.and(outcomes);
            if outcomes != Outcomes::TRUE {
                judged.open.push(text.clone());
            }
            if !outcomes.can_be(Outcomes::TRUE) {
                break; // nothing after this is ever evaluated
            }
        }
        judged
    }
}

impl Tree {
    fn of(expr: &Arc<Expr>, valid: bool) -> Self {
        let asks = Asks::of(expr);
        let open = Self::Open { can_fail: asks.can_fail || !valid };
        if !asks.circumstances {
            return Probe::new(Part::When(Arc::clone(expr)))
                .map_or(Self::Open { can_fail: true }, |probe| Self::Closed(Box::new(probe)));
        }
        let sub = |expr: &Arc<Expr>| Box::new(Self::of(expr, valid));
        match expr.as_ref() {
            Expr::UnaryOp { op: UnaryOp::Not, expr } => Self::Not(sub(expr)),
            Expr::BinaryOp { op: BinaryOp::And, left, right } => Self::And(sub(left), sub(right)),
            Expr::BinaryOp { op: BinaryOp::Or, left, right } => Self::Or(sub(left), sub(right)),
            Expr::IfThenElse { cond, then_expr, else_expr } => Self::If(sub(cond), sub(then_expr), sub(else_expr)),
            // Cedar's, and others than these come to something by all their operands together.
            _ => open,
        }
    }

    fn outcomes(&self, request: &Request, entities: &Entities) -> Outcomes {
        let of = |tree: &Self| tree.outcomes(request, entities);
        match self {
            Self::Closed(probe) => match probe.outcome(request, entities) {
                ClauseOutcome::Satisfied => Outcomes::TRUE,
                ClauseOutcome::NotSatisfied => Outcomes::FALSE,
                ClauseOutcome::Failed(_) => Outcomes::FAILURE,
                // A probe is always reached.
                ClauseOutcome::NotReached => Outcomes::TRUE.or_else(Outcomes::FALSE).or_else(Outcomes::FAILURE),
            },
            Self::Open { can_fail: false } => Outcomes::TRUE.or_else(Outcomes::FALSE),
            Self::Open { can_fail: true } => Outcomes::TRUE.or_else(Outcomes::FALSE).or_else(Outcomes::FAILURE),
            Self::Not(tree) => of(tree).negated(),
            Self::And(left, right) => of(left).and(of(right)),
            Self::Or(left, right) => of(left).or(of(right)),
            Self::If(condition, yes, no) => of(condition).choose(of(yes), of(no)),
        }
    }
}

/// What an expression needs to be evaluated.
#[derive(Debug, Clone, Copy, Default)]
struct Asks {
    /// It asks for the circumstances of the call.
    circumstances: bool,
    /// It can fail although it was validated.
    can_fail: bool,
}

impl Asks {
    const ANYTHING: Self = Self { circumstances: true, can_fail: true };

    /// What is not known by name here asks for anything: a form of expression that a later Cedar has, for example. The
    /// depth of policies is bounded where they are read.
    fn of(expr: &Expr) -> Self {
        let none = Self::default();
        match expr {
            Expr::Literal(_) => none,
            Expr::Var(Var::Context) => Self { circumstances: true, can_fail: false },
            Expr::Var(Var::Principal | Var::Action | Var::Resource) => none,
            Expr::UnaryOp { op, expr } => Self::of(expr).failing(unary_can_fail(*op, expr)),
            Expr::BinaryOp { op, left, right } => Self::of(left).and(Self::of(right)).failing(binary_can_fail(*op)),
            Expr::GetAttr { expr, .. } | Expr::HasAttr { expr, .. } | Expr::Like { expr, .. } => Self::of(expr),
            Expr::Is { expr, in_expr, .. } => Self::of(expr).and(in_expr.as_deref().map_or(none, Self::of)),
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                Self::of(cond).and(Self::of(then_expr)).and(Self::of(else_expr))
            }
            Expr::Set(members) => members.iter().map(|member| Self::of(member)).fold(none, Self::and),
            Expr::Record(fields) => fields.values().map(|field| Self::of(field)).fold(none, Self::and),
            _ => Self::ANYTHING,
        }
    }

    const fn and(self, other: Self) -> Self {
        Self { circumstances: self.circumstances || other.circumstances, can_fail: self.can_fail || other.can_fail }
    }

    const fn failing(self, can_fail: bool) -> Self {
        Self { can_fail: self.can_fail || can_fail, ..self }
    }
}

/// Whether the operator can fail on values of the right type. Validated constructors have literals that they can read.
fn unary_can_fail(op: UnaryOp, operand: &Expr) -> bool {
    match op {
        UnaryOp::Datetime | UnaryOp::Decimal | UnaryOp::Duration | UnaryOp::Ip => !matches!(operand, Expr::Literal(_)),
        UnaryOp::Not
        | UnaryOp::IsEmpty
        | UnaryOp::IsIPv4
        | UnaryOp::IsIPV6
        | UnaryOp::IsLoopback
        | UnaryOp::IsMulticast
        | UnaryOp::ToTime
        | UnaryOp::ToMilliseconds
        | UnaryOp::ToSeconds
        | UnaryOp::ToMinutes
        | UnaryOp::ToHours
        | UnaryOp::ToDays => false,
        // Negation and the beginning of a day can overflow.
        _ => true,
    }
}

fn binary_can_fail(op: BinaryOp) -> bool {
    match op {
        BinaryOp::Eq
        | BinaryOp::NotEq
        | BinaryOp::Less
        | BinaryOp::LessEq
        | BinaryOp::Greater
        | BinaryOp::GreaterEq
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::In
        | BinaryOp::Contains
        | BinaryOp::ContainsAll
        | BinaryOp::ContainsAny
        | BinaryOp::GetTag
        | BinaryOp::HasTag
        | BinaryOp::IsInRange
        | BinaryOp::DecimalLessThan
        | BinaryOp::DecimalLessEq
        | BinaryOp::DecimalGreater
        | BinaryOp::DecimalGreaterEq => false,
        // Sums, differences and products can overflow, of numbers as of times.
        _ => true,
    }
}
