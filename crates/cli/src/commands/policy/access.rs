//! `chancery policy access`: who can do what.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use chancery_api::v1;
use chancery_client::Client;
use chancery_model::Action;
use clap::Args;
use serde::Serialize;

use super::super::PAGE;
use super::folder;
use crate::exit::{Exit, Failure};
use crate::input::Source;
use crate::names::{CallerArgument, ReviewedArgument, shorten};
use crate::output::{Output, View, rows};
use crate::view::access::{AccessView, RowView};

/// Arguments of `policy access`.
#[derive(Debug, Args)]
pub struct Access {
    /// Only what this caller can do
    #[arg(long, value_name = "CALLER")]
    caller: Option<CallerArgument>,
    /// Only what can be done to this: RING (with its keys), RING/KEY, tokens/TOKEN, callers/CALLER, or one of tokens,
    /// callers, policySet and auditLog
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<ReviewedArgument>,
    /// Only this action
    #[arg(long, value_name = "ACTION", value_parser = super::super::action(), ignore_case = true)]
    action: Option<Action>,
    /// List also what is denied
    #[arg(long)]
    denied: bool,
    /// Under this policy set instead of the one in force: a folder of *.cedar, or a file; can be given several times
    #[arg(long = "policy", value_name = "PATH")]
    documents: Vec<Source>,
}

impl Access {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { caller, resource, action, denied, documents } = self;
        let request = v1::ListEffectiveAccessRequest {
            caller: caller.map(|CallerArgument(id)| format!("callers/{id}")).unwrap_or_default(),
            resource: resource.map(|ReviewedArgument(name)| name).unwrap_or_default(),
            action: action.map(|action| action.as_str().to_owned()).unwrap_or_default(),
            include_denied: denied,
            page_size: PAGE,
            page_token: String::new(),
            documents: folder::read(&documents)?,
        };
        let Listed { rows, policy_set, whole: _ } = list(client, request, Pages::All).await?;
        out.show(&AccessView::new(rows, &policy_set))?;
        Ok(Exit::Done)
    }
}

/// How much of a list is read.
#[derive(Debug, Clone, Copy)]
pub enum Pages {
    /// All of it.
    All,
    /// At most so many pages.
    First(usize),
}

/// What was read of a list.
struct Listed {
    rows: Vec<v1::EffectiveAccess>,
    policy_set: Vec<u8>,
    /// Whether that was all.
    whole: bool,
}

async fn list(client: &Client, mut request: v1::ListEffectiveAccessRequest, pages: Pages) -> Result<Listed, Failure> {
    let mut listed = Listed { rows: Vec::new(), policy_set: Vec::new(), whole: false };
    let mut read = 0;
    loop {
        let answer = client.policy().list_effective_access(request.clone()).await;
        let v1::ListEffectiveAccessResponse { access, next_page_token, policy_set_sha256 } =
            answer.map_err(|status| client.error(status))?.into_inner();
        if read > 0 && policy_set_sha256 != listed.policy_set {
            return Err(Failure::refused("the policy set was replaced while access was being listed")
                .hint("run the command again: the answer would mix two sets"));
        }
        read += 1;
        listed.policy_set = policy_set_sha256;
        listed.rows.extend(access);
        listed.whole = next_page_token.is_empty();
        let enough = match pages {
            Pages::All => false,
            Pages::First(number) => read >= number,
        };
        if listed.whole || enough {
            return Ok(listed);
        }
        request.page_token = next_page_token;
    }
}

/// Whose access a proposed set would change.
#[derive(Debug, Serialize)]
pub struct AccessChanges {
    changes: Vec<AccessChange>,
    /// Whether everything was compared.
    whole: bool,
}

#[derive(Debug, Serialize)]
struct AccessChange {
    caller: String,
    resource: String,
    action: String,
    before: String,
    after: String,
}

/// Who, to what, what.
type Call = (String, String, String);

impl AccessChanges {
    /// Compares who can do what under the set in force and under the one given.
    pub async fn between(client: &Client, documents: &[v1::PolicyDocument], pages: Pages) -> Result<Self, Failure> {
        let request = v1::ListEffectiveAccessRequest { page_size: PAGE, ..v1::ListEffectiveAccessRequest::default() };
        let before = list(client, request.clone(), pages).await?;
        let proposed = v1::ListEffectiveAccessRequest { documents: documents.to_vec(), ..request };
        let after = list(client, proposed, pages).await?;
        Ok(Self::of(before, after))
    }

    fn of(before: Listed, after: Listed) -> Self {
        let call = |row: &v1::EffectiveAccess| (row.caller.clone(), row.resource.clone(), row.action.clone());
        // Lists are in the same order, and end where their pages do: behind the shorter one, nothing is known.
        let ends = [&before, &after].into_iter().filter(|listed| !listed.whole);
        let end: Option<Call> = ends.map(|listed| listed.rows.last().map(call).unwrap_or_default()).min();
        let known = |call: &Call| end.as_ref().is_none_or(|end| (&call.0, &call.1) < (&end.0, &end.1));
        let by_call = |listed: Listed| -> BTreeMap<Call, v1::EffectiveAccess> {
            listed.rows.into_iter().map(|row| (call(&row), row)).collect()
        };
        let (before, after) = (by_call(before), by_call(after));
        let calls: BTreeSet<&Call> = before.keys().chain(after.keys()).filter(|call| known(call)).collect();
        let change = |call: &Call| {
            let (before, after) = (in_words(before.get(call)), in_words(after.get(call)));
            let (caller, resource, action) = call.clone();
            (before != after).then_some(AccessChange { caller, resource, action, before, after })
        };
        Self { changes: calls.into_iter().filter_map(change).collect(), whole: end.is_none() }
    }
}

/// The access and what it depends on; what is not listed is denied.
fn in_words(access: Option<&v1::EffectiveAccess>) -> String {
    access.map_or_else(|| "DENIED".to_owned(), |access| RowView::from(access.clone()).in_words())
}

impl View for AccessChanges {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.changes.is_empty() && self.whole {
            return writeln!(out, "Access: nobody's changes, of the callers, rings and keys that there are");
        }
        // Actions that change alike are one line.
        let mut lines: BTreeMap<[&str; 4], Vec<&str>> = BTreeMap::new();
        for AccessChange { caller, resource, action, before, after } in &self.changes {
            lines.entry([caller, resource, before, after]).or_default().push(action);
        }
        writeln!(out, "Access:")?;
        let line = |([caller, resource, before, after], actions): ([&str; 4], Vec<&str>)| {
            let caller = caller.strip_prefix("callers/").unwrap_or(caller).to_owned();
            [caller, shorten(resource), actions.join(" "), before.to_owned(), after.to_owned()]
        };
        rows(out, ["CALLER", "RESOURCE", "ACTIONS", "BEFORE", "AFTER"], lines.into_iter().map(line))?;
        if !self.whole {
            writeln!(
                out,
                "not all access was compared: there is more than can be while you wait; `chancery policy diff --access` compares all"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::effective_access::Access as Word;

    fn row(caller: &str, action: &str, access: Word) -> v1::EffectiveAccess {
        v1::EffectiveAccess {
            caller: format!("callers/{caller}"),
            action: action.to_owned(),
            resource: "keyRings/dev/keys/k".to_owned(),
            access: access.into(),
            ..v1::EffectiveAccess::default()
        }
    }

    fn listed(rows: &[v1::EffectiveAccess], whole: bool) -> Listed {
        Listed { rows: rows.to_vec(), policy_set: Vec::new(), whole }
    }

    fn text(view: &impl View) -> String {
        let mut out = Vec::new();
        view.write_table(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn access_that_changes_is_shown_with_what_it_was_and_becomes() {
        let before =
            [row("a", "Sign", Word::Allowed), row("a", "Verify", Word::Allowed), row("b", "Sign", Word::Allowed)];
        let after = [row("b", "Sign", Word::Allowed), row("c", "Sign", Word::Conditional)];
        let changes = AccessChanges::of(listed(&before, true), listed(&after, true));
        assert_eq!(
            text(&changes),
            "Access:\nCALLER  RESOURCE  ACTIONS      BEFORE   AFTER\n\
             a       dev/k     Sign Verify  ALLOWED  DENIED\n\
             c       dev/k     Sign         DENIED   CONDITIONAL\n"
        );
        let none = AccessChanges::of(listed(&before, true), listed(&before, true));
        assert_eq!(text(&none), "Access: nobody's changes, of the callers, rings and keys that there are\n");
    }

    #[test]
    fn what_was_not_read_is_not_taken_for_denied() {
        let before =
            [row("a", "Sign", Word::Allowed), row("b", "Sign", Word::Allowed), row("c", "Sign", Word::Allowed)];
        let changes = AccessChanges::of(listed(&before, true), listed(&before[1..2], false));
        let callers: Vec<&str> = changes.changes.iter().map(|change| change.caller.as_str()).collect();
        assert_eq!(callers, ["callers/a"], "of b and c it is not known whether they lose anything");
        assert!(text(&changes).contains("not all access was compared"));
    }
}
