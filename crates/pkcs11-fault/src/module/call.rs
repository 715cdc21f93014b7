//! A call, and whether it meets a rule's conditions.

use super::objects::{self, Name};
use super::thunk::Words;
use super::tracker::sessions;
use crate::function::{Function, Output, Scope, Shape, Subject};
use crate::rules::{Active, When};
use crate::{log, state};
use cryptoki_sys::{CK_ATTRIBUTE, CK_SESSION_HANDLE, CK_SLOT_ID};
use std::cell::OnceCell;

/// A call on its way.
pub(crate) struct Call {
    pub(crate) function: Function,
    pub(crate) shape: Shape,
    /// As the module behind is to get them, but for what single rules change.
    pub(crate) words: Words,
    pub(crate) session: Option<CK_SESSION_HANDLE>,
    /// By the number that the module behind gives it.
    pub(crate) slot: Option<CK_SLOT_ID>,
    names: OnceCell<Vec<Name>>,
}

impl Call {
    /// `words` are those of the program, but for a slot's number, which is that of the module behind.
    pub(crate) fn new(function: Function, words: Words) -> Self {
        let shape = function.shape();
        let (session, slot) = match shape.scope {
            Scope::Module => (None, None),
            Scope::Slot => (None, Some(words.number(0))),
            Scope::Session => {
                let session = words.number(0);
                (Some(session), sessions().get(session).map(|session| session.slot))
            }
        };
        Self { function, shape, words, session, slot, names: OnceCell::new() }
    }

    /// Whether a rule is about this call, counts aside.
    pub(crate) fn meets(&self, rule: &Active) -> bool {
        let When { slot, token, session, output, label, .. } = &rule.rule.when;
        slot.is_none_or(|slot| self.slot == Some(slot))
            && session.is_none_or(|session| self.session == Some(session))
            && output.is_none_or(|output| self.has_room() == Some(output))
            && (rule.effect_needs_room().is_none_or(|needed| self.has_room() == Some(needed)))
            && token.as_ref().is_none_or(|token| {
                self.slot.and_then(objects::token).is_some_and(|info| info.label == token.as_bytes())
            })
            && label.as_ref().is_none_or(|label| self.is_about(|name| name.label == label.as_bytes()))
            && rule.object_id.as_ref().is_none_or(|id| self.is_about(|name| name.id == *id))
    }

    /// Whether there is a place for what the call makes; none if it makes nothing.
    pub(crate) fn has_room(&self) -> Option<bool> {
        match self.shape.output {
            Output::None => None,
            Output::Bytes(at) | Output::Filled(at) => Some(!self.words.pointer::<u8>(at).is_null()),
        }
    }

    fn is_about(&self, is_meant: impl Fn(&Name) -> bool) -> bool {
        self.names.get_or_init(|| self.read_names()).iter().any(is_meant)
    }

    /// The names of the object that the call is about; of both, for a key pair that is made.
    fn read_names(&self) -> Vec<Name> {
        let of_template = |at: usize| {
            // SAFETY: the shape says that a template is here, and its length behind it.
            unsafe { Name::of_template(self.words.pointer::<CK_ATTRIBUTE>(at), self.words.number(at + 1)) }
        };
        let Some(session) = self.session else { return Vec::new() };
        match self.shape.subject {
            Subject::None => Vec::new(),
            Subject::Handle(at) => vec![Name::of_object(session, self.words.number(at))],
            Subject::Template(at) => vec![of_template(at)],
            Subject::Templates(at) => vec![of_template(at), of_template(at + 2)],
            Subject::Key(operation) => {
                let key = sessions().key(session, operation);
                key.into_iter().map(|key| Name::of_object(session, key.handle)).collect()
            }
        }
    }

    /// Whether a rule that fires does what it does: not if it has done so as often as it may. If so, that is in the log.
    pub(crate) fn happens(&self, rule: &Active, what: &str) -> bool {
        let may = state::take_one(rule);
        if may {
            log::injected(self.function, rule, what);
        }
        may
    }

    /// Says that a rule that fires cannot do what it does. The call is to fail then: a fault that did not happen must not
    /// look like one that was survived.
    pub(crate) fn cannot(&self, rule: &Active, why: &str) {
        log::complain(&format!("error: rule {} in {}: {why}", rule.id(), self.function.name()));
    }
}
