//! Connections: accepted, shaken hands with, served over HTTP/2 or HTTP/1.1, and brought to an end without losing an
//! answer.
//!
//! tonic's own server leaves open how long a handshake may take, how many connections there are and what happens when
//! the process has no file descriptors left, and it cuts a call off at its deadline before the call can say what became
//! of it. So the accept loop is ours and tonic begins where a request is whole.

mod lent;
mod places;
mod refusals;

use self::lent::{Lent, lend};
use self::places::{Free, Place, Places};
use self::refusals::Refusals;
use crate::config::Limits;
use crate::identity::Peer;
use crate::metrics::{ConnectionRefusal, Metrics};
use crate::tls::Tls;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::body::Body;
use tower::{Service, ServiceExt};

/// Pause after the system refused to accept a connection, for example for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// hyper's own minimum, below which it panics.
const HTTP1_LEAST_BUFFER: usize = 8192;

/// How long, and how much, a client may go on sending before the socket is closed, when it was refused or was told to leave.
/// The latter may also have sent what the service has not taken yet of its calls (the window of an HTTP/2 connection).
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: u64 = 64 * 1024;

/// Everything a connection needs.
#[derive(Clone)]
pub(crate) struct Connections<S> {
    pub(crate) tls: Tls,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// Answers requests; finds the [`Peer`] among their extensions as `Arc<Peer>`.
    pub(crate) service: S,
}

impl<S, F> Connections<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = F>
        + Clone
        + Send
        + Sync
        + 'static,
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    /// Serves until `stop` says true; then accepts nothing more, and waits for what is under way for
    /// [`Limits::shutdown_grace`]. Answers how many connections had to be cut off.
    pub(crate) async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) -> usize {
        let places = Arc::new(Places::new(&self.limits));
        let mut open = JoinSet::new();
        let refusals = Refusals::default();
        let mut summary = refusals::summaries();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(ended) = open.join_next(), if !open.is_empty() => log_panic(ended),
                _ = summary.tick() => refusals.tell(),
                (stream, address, free) = accept(&listener, &places) => match places.take(free, address.ip()) {
                    Ok((place, handshake)) => {
                        let (stop, refusals, places) = (stop.clone(), refusals.clone(), Arc::clone(&places));
                        let connection = self.clone().connection(stream, address, (handshake, places), stop, refusals);
                        open.spawn(async move {
                            connection.await;
                            drop(place);
                        });
                    }
                    // Closed here and now, so that an address that has its share cannot even keep others waiting.
                    Err(kind) => {
                        drop(stream);
                        self.refused(&Refusal::Address(kind), address, &refusals);
                    }
                },
            }
        }
        // Closes the port at once, so that new callers go to another replica instead of waiting here.
        drop(listener);
        let drained = async {
            while let Some(ended) = open.join_next().await {
                log_panic(ended);
            }
        };
        let in_time = tokio::time::timeout(self.limits.shutdown_grace, drained).await.is_ok();
        let cut_off = if in_time { 0 } else { open.len() };
        open.shutdown().await;
        refusals.tell();
        cut_off
    }

    async fn connection(
        self,
        stream: TcpStream,
        address: SocketAddr,
        (handshake_place, places): (Place, Arc<Places>),
        mut stop: watch::Receiver<bool>,
        refusals: Refusals,
    ) {
        let handshake = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            handshake = self.handshake(stream, address) => handshake,
            () = places.crowded() => Err(Refusal::Crowded),
        };
        drop(handshake_place);
        let end = match handshake {
            Ok((stream, peer)) => {
                let _open = self.metrics.connection_opened();
                self.converse(stream, Arc::new(peer), stop).await
            }
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = end {
            self.refused(&refusal, address, &refusals);
        }
    }

    /// Counts and logs a connection that came to nothing.
    fn refused(&self, refusal: &Refusal, address: SocketAddr, refusals: &Refusals) {
        self.metrics.connection_refused(refusal.kind());
        let error = refusal as &dyn std::error::Error;
        // Whoever reaches the port brings this about as often as they like.
        if refusals.count(refusal.kind()) {
            tracing::info!(source = %address, error, "connection refused");
        } else {
            tracing::debug!(source = %address, error, "connection refused");
        }
    }

    /// TLS, and the peer's certificate read, once.
    async fn handshake(&self, stream: TcpStream, source: SocketAddr) -> Result<(TlsStream<TcpStream>, Peer), Refusal> {
        // An answer is one small write: waiting for more to send only delays it.
        stream.set_nodelay(true).map_err(Refusal::Socket)?;
        let material = arc_swap::Guard::into_inner(self.tls.current());
        let handshake = TlsAcceptor::from(Arc::clone(&material.config)).accept(stream).into_fallible();
        let stream = match tokio::time::timeout(self.limits.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err((error, stream))) => {
                farewell(stream, FAREWELL_BYTES).await;
                return Err(Refusal::Tls(error));
            }
            Err(_elapsed) => return Err(Refusal::Timeout(self.limits.handshake_timeout)),
        };
        let (_, session) = stream.get_ref();
        let chain = session.peer_certificates().map(|chain| chain.iter().map(|der| der.clone().into_owned()).collect());
        let peer = Peer::new(source, chain.unwrap_or_default(), &material.authorities);
        Ok((stream, peer))
    }

    /// Serves until nobody wants anything more, and closes so that the last answers arrive.
    ///
    /// # Errors
    /// [`Refusal::Unused`].
    async fn converse(
        &self,
        stream: TlsStream<TcpStream>,
        peer: Arc<Peer>,
        stop: watch::Receiver<bool>,
    ) -> Result<(), Refusal> {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let (stream, returned) = lend(stream);
        self.answer(stream, is_http2, peer, stop).await?;
        if let Ok(stream) = returned.await {
            let window = u64::from(self.limits.initial_connection_window_bytes.get());
            farewell(stream.into_inner().0, window + FAREWELL_BYTES).await;
        }
        Ok(())
    }

    /// Serves by the protocol that the handshake agreed on. A client that offers none speaks HTTP/1.1, as before there was
    /// ALPN.
    ///
    /// # Errors
    /// [`Refusal::Unused`].
    async fn answer(
        &self,
        stream: Lent<TlsStream<TcpStream>>,
        is_http2: bool,
        peer: Arc<Peer>,
        stop: watch::Receiver<bool>,
    ) -> Result<(), Refusal> {
        let service = service_fn(|request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Arc::clone(&peer));
            self.service.clone().oneshot(request)
        });
        let (limits, stream) = (&self.limits, TokioIo::new(stream));
        if is_http2 {
            let connection = pin!(self.http2().serve_connection(stream, service));
            let lifetime = Lifetime { max_age: limits.max_connection_age, ..Lifetime::of(limits) };
            drive(connection, |it| it.graceful_shutdown(), lifetime, &peer, stop).await
        } else {
            let connection = pin!(self.http1().serve_connection(stream, service));
            // It has no PING by which a dead peer is found out, so it does not get old: a key set is fetched in one breath.
            let age = limits.max_connection_age.unwrap_or(limits.max_deadline).min(limits.max_deadline);
            let lifetime = Lifetime { max_age: Some(age), ..Lifetime::of(limits) };
            let driven = drive(connection, |it| it.graceful_shutdown(), lifetime, &peer, stop);
            tokio::time::timeout(age + limits.keepalive_timeout, driven).await.unwrap_or(Ok(()))
        }
    }

    /// No request is longer than its headers allow, nor a connection idle for longer than a silent HTTP/2 one may be.
    fn http1(&self) -> http1::Builder {
        let limits = &self.limits;
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // From the connection or the answer before to the end of the headers.
            .header_read_timeout(limits.keepalive_timeout)
            .max_buf_size(
                usize::try_from(limits.max_header_list_bytes.get()).unwrap_or(usize::MAX).max(HTTP1_LEAST_BUFFER),
            );
        builder
    }

    fn http2(&self) -> http2::Builder<TokioExecutor> {
        let limits = &self.limits;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_concurrent_streams.get())
            .max_header_list_size(limits.max_header_list_bytes.get())
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout)
            .initial_stream_window_size(limits.initial_stream_window_bytes.get())
            .initial_connection_window_size(limits.initial_connection_window_bytes.get())
            .max_send_buf_size(limits.max_response_bytes.get())
            // The `date` header means nothing to gRPC.
            .auto_date_header(false);
        builder
    }
}

/// How long a connection lives.
struct Lifetime {
    /// After this it is asked to go.
    max_age: Option<Duration>,
    /// After this it is asked to go where no registered caller has called over it.
    unused: Duration,
    /// And after so much more it is closed.
    farewell: Duration,
}

impl Lifetime {
    fn of(limits: &Limits) -> Self {
        Self { max_age: limits.max_connection_age, unused: limits.unused_timeout, farewell: limits.keepalive_timeout }
    }
}

/// Serves a connection until it ends; asks it to leave when the service stops, it is too old, or nobody is on it. Whoever is on
/// it is waited for then; nobody is not.
///
/// # Errors
/// [`Refusal::Unused`].
async fn drive<C>(
    mut connection: Pin<&mut C>,
    leave: impl Fn(Pin<&mut C>),
    lifetime: Lifetime,
    peer: &Peer,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Refusal>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut stopped = pin!(stopped(&mut stop));
    let mut too_old = pin!(async {
        match lifetime.max_age {
            Some(age) => tokio::time::sleep(age).await,
            None => pending().await,
        }
    });
    let mut nobody = pin!(tokio::time::sleep(lifetime.unused));
    let (mut leaving, mut given_notice, mut used) = (false, false, false);
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(source = %peer.source, error = &error as &dyn std::error::Error, "connection broke off");
                }
                return if given_notice && !peer.is_used() { Err(Refusal::Unused(lifetime.unused)) } else { Ok(()) };
            }
            () = &mut stopped, if !leaving => {}
            () = &mut too_old, if !leaving => {}
            () = &mut nobody, if !used => {
                used = peer.is_used();
                if used {
                    continue;
                }
                if given_notice {
                    return Err(Refusal::Unused(lifetime.unused));
                }
                given_notice = true;
                nobody.as_mut().reset(Instant::now() + lifetime.farewell);
                if leaving {
                    continue;
                }
            }
        }
        // HTTP/2 says GOAWAY: calls that are open end in their own time, new ones go to a new connection. HTTP/1.1 closes
        // after the answer that it is at. What is open without an end of its own is told to end.
        leaving = true;
        leave(connection.as_mut());
        peer.leave();
    }
}

/// Waits until the service stops; also where whoever could say so is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _said_or_gone = stop.wait_for(|stop| *stop).await;
}

/// Waits for room first, then for a connection: above the limits, connections wait in the kernel's queue.
async fn accept(listener: &TcpListener, places: &Places) -> (TcpStream, SocketAddr, Free) {
    let free = places.free().await;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, address, free),
            // The peer went away before it was accepted.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Ends a connection so that what was said last arrives. A socket that is closed with bytes unread is reset, and the client may
/// then never see it: with TLS 1.3 it has sent its first requests before it gets the alert that says why the handshake failed,
/// and it may be sending another one while it is told to leave.
async fn farewell(mut stream: TcpStream, bytes: u64) {
    let unread = async {
        stream.shutdown().await?;
        let mut rest = stream.take(bytes);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whether the client listened or not, it is gone.
    let _ended = tokio::time::timeout(FAREWELL_PATIENCE, unread).await;
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(error = &error as &dyn std::error::Error, "a connection's task panicked");
    }
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the socket failed")]
    Socket(#[source] io::Error),
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    #[error("the TLS handshake took longer than {0:?}")]
    Timeout(Duration),
    #[error("the TLS handshake was not finished soon, and there was no place for another (max_handshakes)")]
    Crowded,
    #[error("its address has all that one may have ({field})", field = share(*.0))]
    Address(ConnectionRefusal),
    #[error("no registered caller called over it in {0:?} (unused_timeout_seconds)")]
    Unused(Duration),
}

/// The field that bounds what an address has.
const fn share(kind: ConnectionRefusal) -> &'static str {
    match kind {
        ConnectionRefusal::AddressHandshakes => "max_handshakes_per_address",
        _ => "max_connections_per_address",
    }
}

impl Refusal {
    const fn kind(&self) -> ConnectionRefusal {
        match self {
            Self::Socket(_) => ConnectionRefusal::Socket,
            Self::Tls(_) => ConnectionRefusal::Tls,
            Self::Timeout(_) => ConnectionRefusal::Timeout,
            Self::Crowded => ConnectionRefusal::Crowded,
            Self::Address(kind) => *kind,
            Self::Unused(_) => ConnectionRefusal::Unused,
        }
    }
}

#[cfg(test)]
mod tests;
