//! Refuses policies that are too deep before Cedar reads them: its parser, its validator and the destructors of its
//! trees recurse without a bound, and a stack that overflows ends the whole process.

use crate::lexer::{Token, tokens};

/// Brackets within brackets, those of the conditions counted. Cedar's parser needs some 50 KiB of stack for each in a
/// debug build, and a worker thread has 2 MiB.
const MAX_BRACKETS: usize = 32;

/// `!` or `-` in a row; Cedar's own limit.
const MAX_UNARY: u32 = 4;

/// `if` in one policy. Cedar's validator copies the branch of an `if` whose condition is constant, and then checks both
/// copies: each further `if` doubles its time, and 31 take it a minute.
const MAX_IFS: u32 = 12;

/// Steps from the root of a policy's tree to a leaf, counted generously. Beyond some 120 in a debug build on 2 MiB
/// Cedar's validator runs out of stack, and then it says nothing and lets the rest pass unread.
const MAX_STEPS: u32 = 96;

/// Why a text is not given to Cedar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooDeep {
    /// The byte where the limit is passed.
    pub(crate) offset: usize,
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

/// What is known of an open bracket, or of the policy around all brackets.
#[derive(Debug, Default)]
struct Level {
    /// The character that closes it; none for the policy itself.
    closing: Option<char>,
    /// Infix operators and conditions of the present element; each puts what stands before it one step deeper.
    infix: u32,
    /// Steps of the present operand: its `!`, its `.` and its groups.
    operand: u32,
    /// The most steps of an operand of the present element.
    operands: u32,
    /// The most steps of an element before the present one.
    elements: u32,
}

impl Level {
    fn infix(&mut self) {
        self.infix += 1;
        self.end_operand();
    }

    fn end_operand(&mut self) {
        self.operands = self.operands.max(self.operand);
        self.operand = 0;
    }

    fn end_element(&mut self) {
        self.elements = self.steps();
        (self.infix, self.operand, self.operands) = (0, 0, 0);
    }

    fn steps(&self) -> u32 {
        self.elements.max(self.infix + self.operands.max(self.operand))
    }
}

/// Finds the first place where a document is deeper than we let Cedar read.
pub(crate) fn check(text: &str) -> Result<(), TooDeep> {
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::default();
    let (mut ifs, mut unary) = (0_u32, None);
    for (offset, token) in tokens(text) {
        unary = match (token, unary) {
            (Token::Symbol(sign @ ('!' | '-')), Some((same, run))) if sign == same => Some((sign, run + 1)),
            (Token::Symbol(sign @ ('!' | '-')), _) => Some((sign, 1_u32)),
            _ => None,
        };
        if let Some((sign, run)) = unary
            && run > MAX_UNARY
        {
            let message = format!("more than {MAX_UNARY} {sign} in a row");
            return Err(TooDeep { offset, message, help: "two of them cancel each other: leave them out" });
        }
        match token {
            Token::Symbol(open @ ('(' | '[' | '{')) => {
                if outer.len() == MAX_BRACKETS {
                    let message = format!("brackets are nested deeper than {MAX_BRACKETS}");
                    return Err(TooDeep { offset, message, help: "leave out brackets, or write several policies" });
                }
                let closing = Some(match open {
                    '(' => ')',
                    '[' => ']',
                    _ => '}',
                });
                outer.push(std::mem::replace(&mut level, Level { closing, ..Level::default() }));
            }
            // One that closes nothing closes nothing here either: at worst the text looks deeper than it is.
            Token::Symbol(close @ (')' | ']' | '}')) if level.closing == Some(close) => {
                let steps = level.steps();
                level = outer.pop().unwrap_or_default();
                level.operand += steps + 1;
            }
            // Cedar goes on after a semicolon, whatever was open before it.
            Token::Symbol(';') => {
                outer.clear();
                level = Level::default();
                ifs = 0;
            }
            Token::Symbol(',') => level.end_element(),
            Token::Symbol('.' | '!') => level.operand += 1,
            Token::Symbol('<' | '>' | '=') | Token::Word("then" | "else") => level.end_operand(),
            Token::Symbol('+' | '-' | '*' | '/' | '%') | Token::Logical | Token::Word("when" | "unless") => {
                level.infix();
            }
            Token::Word("if") => {
                level.infix();
                ifs += 1;
                if ifs > MAX_IFS {
                    let message = format!("the policy has more than {MAX_IFS} if");
                    return Err(TooDeep { offset, message, help: "write several policies" });
                }
            }
            Token::Symbol(_) | Token::Word(_) | Token::Text => {}
        }
        if level.steps() > MAX_STEPS {
            let message = format!("the policy has more than {MAX_STEPS} operators that build upon each other");
            let help = "write several policies, or ask whether a value is in a list: [\"a\", \"b\"].contains(value)";
            return Err(TooDeep { offset, message, help });
        }
    }
    Ok(())
}
