//! Asks the questions, in as many worker processes as it takes.

use super::{Check, Examination, Examine, Examined, Finding, Level, Needs, recommend};
use crate::token::launch::{self, Launched, receive, see_off};
use crate::wire::{self, Started, Task};
use crate::{DELICATE_GRACE, HsmError, SIGNING_GRACE, START_PATIENCE, WorkerCommand};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;

/// Examines a module and, where one is named, a token, under the token's lock.
///
/// `progress` is told what is being done. When `stop` is done the examination is broken off: what it has found so far is
/// answered, and the worker removes what it made before it leaves.
///
/// # Errors
/// [`HsmError`] where the examination cannot begin: another process holds the token, or no worker can be started. Whatever
/// the module and the token do is a finding and no error.
pub async fn examine(
    worker: &WorkerCommand,
    request: Examine,
    stop: impl Future<Output = ()>,
    mut progress: impl FnMut(&str),
) -> Result<Examination, HsmError> {
    let mut stop = std::pin::pin!(stop);
    let reach = match (&request.label, &request.pin) {
        (None, _) => Needs::Module,
        (Some(_), None) => Needs::Token,
        (Some(_), Some(_)) => Needs::Login,
    };
    let (left, skipped) = plan(&request.checks, reach);
    let mut round = Round { found: Examination { skipped, ..Examination::default() }, reach, left };
    while !round.left.is_empty() {
        if !round.ask(worker, &request, &mut stop, &mut progress).await? {
            let left = std::mem::take(&mut round.left);
            round.found.skipped.extend(left);
        }
    }
    let mut found = round.found;
    // What comes to light while a token is opened belongs to a later check than the one that is about to be made.
    found.findings.sort_by_key(|finding| finding.check);
    found.skipped.sort_unstable();
    found.skipped.dedup();
    found.recommended_signing_threads = recommend::signing_threads(&found.rates);
    Ok(found)
}

/// What is asked, in order, and what was asked for and cannot be.
fn plan(wanted: &[Check], reach: Needs) -> (Vec<Check>, Vec<Check>) {
    let logs_in = wanted.iter().any(|check| check.needs() == Needs::Login);
    Check::ALL
        .into_iter()
        .filter(|check| wanted.contains(check) || (logs_in && *check == Check::Absence))
        .partition(|check| check.needs() <= reach)
}

/// What has been found, and what is left to ask.
struct Round {
    found: Examination,
    reach: Needs,
    left: Vec<Check>,
}

/// How one worker came to its end.
enum End {
    /// It was asked all, or as much as can be asked.
    Through,
    /// The examination is broken off.
    Stopped,
    /// It ended without a word.
    Lost,
    /// It gave no sign of life.
    Hung,
}

impl Round {
    /// Asks what is left in one worker. Answers false where the examination is broken off.
    async fn ask(
        &mut self,
        worker: &WorkerCommand,
        request: &Examine,
        stop: &mut Pin<&mut impl Future<Output = ()>>,
        progress: &mut impl FnMut(&str),
    ) -> Result<bool, HsmError> {
        let what = format!("examining {}", request.module.display());
        let task = Task::Examine(wire::Examine {
            module: request.module.clone(),
            label: request.label.clone(),
            serial: request.serial.clone(),
            pin: request.pin.clone(),
            lock_dir: request.lock_dir.clone(),
            checks: self.left.clone(),
            most_sessions: u32::try_from(request.most_sessions).unwrap_or(u32::MAX),
            milliseconds: u64::try_from(request.measure.as_millis()).unwrap_or(u64::MAX),
        });
        let environment = &request.module_environment;
        let Launched { child, mut control, lanes: _, started } =
            launch::launch(&what, worker, environment, 0, task, START_PATIENCE).await?;
        match started {
            Started::Examining => {}
            other => {
                drop(control);
                see_off(child, DELICATE_GRACE).await;
                return Err(other.into_error(&what));
            }
        }
        let mut doing = Doing { check: None, step: "being started".to_owned(), delicate: false };
        let end = loop {
            let next = timeout(request.patience, receive::<Examined>(&mut control));
            let told = tokio::select! {
                // What was told before the stop is still heard.
                biased;
                told = next => told,
                () = stop.as_mut() => break End::Stopped,
            };
            match told {
                Err(_elapsed) => break End::Hung,
                Ok(Err(_ended)) => break if self.left.is_empty() { End::Through } else { End::Lost },
                Ok(Ok(told)) => self.hear(told, &mut doing, progress),
            }
        };
        drop(control);
        let grace = match end {
            // It has objects to remove.
            End::Through | End::Stopped => DELICATE_GRACE,
            End::Lost | End::Hung => {
                if doing.delicate {
                    DELICATE_GRACE
                } else {
                    SIGNING_GRACE
                }
            }
        };
        let status = see_off(child, grace).await;
        let how = match end {
            End::Through => return Ok(true),
            End::Stopped => return Ok(false),
            End::Lost => match status {
                Some(status) => format!("the process that had loaded the module ended with {status}"),
                None => "the process that had loaded the module ended".to_owned(),
            },
            End::Hung => format!("the module did not come back within {}", seconds(request.patience)),
        };
        self.fell(&doing, &how);
        Ok(true)
    }

    fn hear(&mut self, told: Examined, doing: &mut Doing, progress: &mut impl FnMut(&str)) {
        let found = &mut self.found;
        match told {
            Examined::Begin(check) => {
                *doing =
                    Doing { check: Some(check), step: format!("beginning with the check {check}"), delicate: false };
                progress(check.as_str());
            }
            Examined::Step { doing: step, delicate } => {
                progress(&step);
                *doing = Doing { check: doing.check, step, delicate };
            }
            Examined::Finding(finding) => found.findings.push(finding),
            Examined::Module(module) => found.module = Some(module),
            Examined::Token(token) => found.token = Some(token),
            Examined::Algorithms(algorithms) => found.algorithms = algorithms,
            Examined::SessionsFound(sessions) => found.sessions_found = Some(sessions),
            Examined::Rate(rate) => found.rates.push(rate),
            Examined::NoLogin => self.limit(Needs::Token),
            Examined::NoToken => self.limit(Needs::Module),
            Examined::NoModule => {
                let left = std::mem::take(&mut self.left);
                self.found.skipped.extend(left);
            }
            Examined::End(check) => self.left.retain(|left| *left != check),
        }
    }

    /// Asks no more than can be found out.
    fn limit(&mut self, reach: Needs) {
        self.reach = reach;
        let beyond = |check: &Check| check.needs() > reach;
        self.found.skipped.extend(self.left.iter().copied().filter(beyond));
        self.left.retain(|check| !beyond(check));
    }

    /// A worker was lost over a question: that is a finding, and the question is not asked again.
    fn fell(&mut self, doing: &Doing, how: &str) {
        let check = doing.check.or_else(|| self.left.first().copied()).unwrap_or(Check::Module);
        self.found.findings.push(Finding {
            level: Level::Stops,
            check,
            found: format!("{how}, while {}", doing.step),
            advice:
                "do not use this module in production before its maker has explained it; Chancery survives it, at the \
                     price of a new worker each time"
                    .to_owned(),
        });
        self.left.retain(|left| *left != check);
        if check == Check::Module {
            // What cannot be loaded is not loaded again.
            let left = std::mem::take(&mut self.left);
            self.found.skipped.extend(left);
        }
    }
}

/// What a worker is at.
struct Doing {
    check: Option<Check>,
    step: String,
    delicate: bool,
}

fn seconds(patience: Duration) -> String {
    format!("{} s", patience.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_said() {
        let (left, skipped) = plan(&Check::ALL, Needs::Token);
        assert_eq!(left, [Check::Module, Check::Token, Check::Algorithms]);
        assert_eq!(skipped.len(), Check::ALL.len() - left.len());
        assert_eq!(plan(&Check::ALL, Needs::Login), (Check::ALL.to_vec(), Vec::new()));
    }

    #[test]
    fn whatever_logs_in_is_cleared_up_after() {
        assert_eq!(
            plan(&[Check::Rates, Check::Secrecy], Needs::Login).0,
            [Check::Secrecy, Check::Rates, Check::Absence]
        );
        assert_eq!(plan(&[Check::Token], Needs::Login).0, [Check::Token]);
    }
}
