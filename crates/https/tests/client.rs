//! What is asked over plain HTTP on this machine: connections that are kept, that break, and that say nothing. TLS is tested
//! by who uses it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise, also in its helper functions")]

use chancery_https::{Bounds, Client, RequestError};
use http::{Request, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How a connection ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Not before the other side ends it.
    Never,
    /// After an answer, and without a word of it before.
    AfterAnswer,
    /// Instead of an answer.
    Instead,
    /// Nothing is ever said.
    Silence,
}

/// A server, and how many connections it was asked on.
async fn server(body: &'static str, end: End) -> (Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(converse(stream, body, end));
        }
    });
    let patience = if end == End::Silence { Duration::from_millis(100) } else { Duration::from_secs(60) };
    (Client::new(url, None, Bounds { patience, max_bytes: 10 }), connections)
}

async fn converse(mut stream: TcpStream, body: &str, end: End) {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            request.push(byte);
        }
        if end == End::Silence {
            return std::future::pending().await;
        }
        if end == End::Instead {
            return;
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        if end == End::AfterAnswer {
            return;
        }
    }
}

async fn ask(client: &Client) -> Result<String, RequestError> {
    let answer = client.send(Request::get("/").body(bytes::Bytes::new()).unwrap()).await?;
    assert_eq!(answer.status, StatusCode::OK);
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_connection_is_kept_and_one_that_has_ended_is_not_missed() {
    let (client, connections) = server("yes", End::Never).await;
    for _ in 0..5 {
        assert_eq!(ask(&client).await.unwrap(), "yes");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let (client, connections) = server("yes", End::AfterAnswer).await;
    for _ in 0..5 {
        assert_eq!(ask(&client).await.unwrap(), "yes");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn what_is_too_long_too_slow_or_broken_off_is_no_answer() {
    let (client, _) = server("eleven byte", End::Never).await;
    assert!(matches!(ask(&client).await, Err(RequestError::Http(_))));
    let (client, connections) = server("", End::Instead).await;
    assert!(matches!(ask(&client).await, Err(RequestError::Http(_))));
    assert_eq!(connections.load(Ordering::SeqCst), 1, "a new connection is not tried twice");
    let (client, _) = server("", End::Silence).await;
    assert!(matches!(ask(&client).await, Err(RequestError::Timeout(_))));
    let nobody = Client::new(
        "http://127.0.0.1:1".parse().unwrap(),
        None,
        Bounds { patience: Duration::from_secs(60), max_bytes: 1 },
    );
    assert!(matches!(ask(&nobody).await, Err(RequestError::Connect(_))));
}
