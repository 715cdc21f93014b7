//! StreamSign: what is read of a stream is signed as Sign would, and answered as it is ready.
//!
//! A message is under way from when it is read until its answer is handed to the connection, so a caller who takes no
//! answers is read no further after [`MOST_UNDER_WAY`]. Nothing is kept of a message once it is answered.

use super::answers::End;
use super::{Office, Opened};
use crate::connections::stopped;
use crate::convert::signing::{Checked, correlation_id, sign_request, sign_response, stream_sign_response};
use crate::errors;
use crate::layers::{Place, Standing};
use chancery_api::v1;
use chancery_core::{Error, Requester};
use chancery_fail_point::FailPoint;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};
use tokio_stream::StreamExt;
use tonic::Streaming;
use tracing::{Instrument as _, debug_span};

/// Messages of one stream that are under way at once; in the contract.
const MOST_UNDER_WAY: usize = 64;

/// How often the caller of an open stream is looked at, although nothing is sent: so long at most it outlasts what he was let in
/// for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Answers go here.
type Answers = mpsc::Sender<v1::StreamSignResponse>;

/// Signs what comes, until the caller ends the stream or it must end. What was read by then is answered first.
pub(super) async fn stream_sign(
    office: Office,
    opened: Opened,
    mut messages: Streaming<v1::StreamSignRequest>,
    answers: Answers,
) -> End {
    let Opened { standing, deadline, room } = opened;
    let mut leaving = standing.leaving();
    let mut under_way = JoinSet::new();
    let mut entering: Option<Entering> = None;
    let mut look = interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reading = true;
    let mut end = Ok(());
    loop {
        let room_for_more = under_way.len() < MOST_UNDER_WAY && entering.is_none();
        tokio::select! {
            biased;
            () = stopped(&mut leaving), if reading => {
                reading = false;
                let refusal = errors::connection_ends();
                office.metrics.refused(&refusal);
                end = Err(refusal.into_status());
            }
            _ = look.tick(), if reading => if let Err(status) = standing.look() {
                reading = false;
                end = Err(status);
            },
            Some(ended) = under_way.join_next(), if !under_way.is_empty() => {
                let ended = ended.unwrap_or_else(|error| {
                    Err(office.refuse(&errors::fault(&format!("a message of a stream was not answered: {error}"))))
                });
                if let Err(status) = ended && end.is_ok() {
                    reading = false;
                    end = Err(status);
                }
            }
            message = entered(&mut entering), if entering.is_some() => {
                entering = None;
                let answer = message.answer(office.clone(), standing.clone(), answers.clone());
                under_way.spawn(answer.instrument(debug_span!("message")));
            }
            next = messages.next(), if reading && room_for_more => match next {
                Some(Ok(message)) => {
                    let until = Instant::now() + deadline.each;
                    let until = deadline.whole.map_or(until, |whole| until.min(whole));
                    let room = room.clone();
                    entering = Some(Box::pin(async move {
                        let place = timeout_at(until, room.enter()).await.ok();
                        Arrived { message, until, place }
                    }));
                }
                // Not a message, or the connection is gone.
                Some(Err(status)) => {
                    reading = false;
                    end = Err(status);
                }
                None => reading = false,
            },
            else => return end,
        }
    }
}

/// A message that waits for its place among the calls under way: one at a time, and nothing is read meanwhile.
type Entering = Pin<Box<dyn Future<Output = Arrived> + Send>>;

async fn entered(entering: &mut Option<Entering>) -> Arrived {
    match entering {
        Some(entering) => entering.await,
        None => pending().await,
    }
}

/// A message, ready to be worked on.
struct Arrived {
    message: v1::StreamSignRequest,
    until: Instant,
    /// `None`: there was none in time.
    place: Option<Place>,
}

impl Arrived {
    /// Looks at the caller again, signs, and hands the answer over; an error ends the stream.
    async fn answer(self, office: Office, standing: Standing, answers: Answers) -> End {
        let Self { message: v1::StreamSignRequest { correlation_id: id, request }, until, place } = self;
        let mut from = standing.requester(until)?;
        let result = match place {
            Some(place) => {
                // Until the work is done, also where the stream breaks off; and no longer: that an answer may wait for a slow
                // reader is nobody else's matter.
                from.held.keep(place);
                sign(&office, from, &id, request).await
            }
            None => Err(Error::DeadlineExceeded { record_index: None }),
        };
        let result = result.map_err(|error| office.tell(&error));
        // Where nobody takes it, the whole stream is about to be dropped.
        let _gone = answers.send(stream_sign_response(id, result)).await;
        Ok(())
    }
}

async fn sign(
    office: &Office,
    from: Requester,
    id: &str,
    request: Option<v1::SignRequest>,
) -> Result<v1::SignResponse, Error> {
    correlation_id(id)?;
    let Checked { request, input_checked } = sign_request(request.unwrap_or_default())?;
    let answer = office.core.sign(&from, request).await?;
    office.metrics.signed(&answer);
    FailPoint::AnswerReady.pass();
    Ok(sign_response(answer, input_checked))
}
