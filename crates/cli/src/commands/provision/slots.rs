//! `chancery token list --module`: what a module shows, without a service.

use std::io::{self, Write};

use chancery_hsm::{SlotReport, SlotToken, TokenIdentity};
use clap::Args;
use serde::Serialize;

use super::address::{ModuleArguments, absolute, variables};
use super::init::failed;
use crate::commands::serve::worker_command;
use crate::exit::Failure;
use crate::output::{Output, View, rows};

/// A module whose slots are listed.
#[derive(Debug, Args)]
pub struct SlotsOf {
    #[command(flatten)]
    module: ModuleArguments,
}

#[derive(Debug, Serialize)]
struct SlotsView {
    slots: Vec<SlotView>,
}

#[derive(Debug, Serialize)]
struct SlotView {
    slot: u64,
    description: String,
    /// `none`, `unreadable`, `uninitialised` or `initialised`.
    token: &'static str,
    label: String,
    serial: String,
    manufacturer: String,
    model: String,
    note: String,
}

impl SlotsOf {
    /// Lists the slots, where a module is named.
    pub async fn run(self, out: &mut Output<'_>) -> Result<bool, Failure> {
        let ModuleArguments { module: Some(module), environment } = self.module else { return Ok(false) };
        let (module, environment) = (absolute(&module)?, variables(environment)?);
        let slots = chancery_hsm::list_slots(&worker_command(), module, &environment).await.map_err(failed)?;
        out.show(&SlotsView { slots: slots.into_iter().map(SlotView::from).collect() })?;
        Ok(true)
    }
}

impl From<SlotReport> for SlotView {
    fn from(report: SlotReport) -> Self {
        let SlotReport { slot, description, token } = report;
        let nobody = || TokenIdentity {
            label: String::new(),
            serial: String::new(),
            manufacturer: String::new(),
            model: String::new(),
        };
        let (token, identity, note) = match token {
            SlotToken::None => ("none", nobody(), String::new()),
            SlotToken::Unreadable { why } => ("unreadable", nobody(), why),
            SlotToken::Uninitialised(identity) => {
                ("uninitialised", identity, "chancery token init makes a token here".to_owned())
            }
            SlotToken::Initialised { identity, user_pin_is_set, user_pin_is_locked } => {
                let note = match (user_pin_is_set, user_pin_is_locked) {
                    (_, true) => "the user PIN is locked",
                    (false, _) => "no user PIN is set",
                    (true, false) => "",
                };
                ("initialised", identity, note.to_owned())
            }
        };
        let TokenIdentity { label, serial, manufacturer, model } = identity;
        Self { slot, description, token, label, serial, manufacturer, model, note }
    }
}

impl View for SlotsView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |slot: &SlotView| {
            let SlotView { slot, description: _, token, label, serial, manufacturer: _, model, note } = slot;
            [slot.to_string(), (*token).to_owned(), label.clone(), serial.clone(), model.clone(), note.clone()]
        };
        rows(out, ["SLOT", "TOKEN", "LABEL", "SERIAL", "MODEL", ""], self.slots.iter().map(row))
    }
}
