//! One call: its deadline, its attempts.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use crate::retry::{Repeat, pushback};
use crate::{Client, ClientError, Connection};

impl Client {
    /// When a call that begins now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout()
    }

    /// Makes a call, within the client's time and by its retry policy.
    pub(crate) async fn call<Q, A, F>(
        &self,
        repeat: Repeat,
        request: Q,
        send: impl Fn(Connection, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.call_until(self.deadline(), repeat, request, send).await
    }

    /// The same with a deadline that several calls share.
    pub(crate) async fn call_until<Q, A, F>(
        &self,
        deadline: Instant,
        repeat: Repeat,
        request: Q,
        send: impl Fn(Connection, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let bounded = |connection, left, mut message: Request<Q>| {
            message.set_timeout(left);
            send(connection, message)
        };
        self.attempts(deadline, repeat, request, bounded).await
    }

    /// Opens a stream: the client's time is for the opening, and the stream has no deadline.
    pub(crate) async fn open<Q, A, F>(
        &self,
        repeat: Repeat,
        request: Q,
        send: impl Fn(Connection, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let unbounded = |connection, _left, message| send(connection, message);
        self.attempts(self.deadline(), repeat, request, unbounded).await
    }

    async fn attempts<Q, A, F>(
        &self,
        deadline: Instant,
        repeat: Repeat,
        request: Q,
        send: impl Fn(Connection, Duration, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let late = || ClientError::TimedOut { endpoint: Some(self.endpoint().to_owned()) };
        let mut attempt = 1;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late());
            }
            let sent = send(self.connection(), left, Request::new(request.clone()));
            let error = match timeout_at(deadline, sent).await {
                Ok(Ok(response)) => {
                    self.budget().success();
                    return Ok(response.into_inner());
                }
                Ok(Err(status)) => self.error(status),
                Err(_elapsed) => return Err(late()),
            };
            let Some(wait) = self.wait_before_repeating(repeat, attempt, &error) else { return Err(error) };
            if wait >= deadline.saturating_duration_since(Instant::now()) {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// How long to wait before the call is sent again; `None`: not again.
    fn wait_before_repeating(&self, repeat: Repeat, attempt: u32, error: &ClientError) -> Option<Duration> {
        let pushback = pushback(error)?;
        // Also a failure that is not repeated says how the service is.
        let within_budget = self.budget().failure();
        let policy = self.retry_policy();
        (repeat == Repeat::Safe && within_budget && attempt < policy.max_attempts)
            .then(|| pushback + policy.backoff(attempt))
    }
}
