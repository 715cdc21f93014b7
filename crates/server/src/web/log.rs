//! `GET /log/`: the transparency log, read-only, as C2SP tlog-tiles lays it out (docs/transparency-log.md).
//!
//! Who may list records may read it. Entries are not compressed: a leaf is hashes for the most part.

use super::problem::Problem;
use crate::grpc::Office;
use chancery_core::{LogResource, Requester};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use tonic::body::Body;

/// There is a newer one each second.
const MUTABLE: HeaderValue = HeaderValue::from_static("private, no-cache");
/// A tile with its width in its path never changes. Private: not everybody may have it.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

pub(super) async fn respond(
    office: &Office,
    from: &Requester,
    resource: LogResource,
) -> Result<Response<Body>, Problem> {
    let read = office.core.log_resource(from, resource).await;
    let bytes = read.map_err(|error| Problem::from_status(&office.refuse(&error)))?;
    let bytes = bytes.ok_or_else(|| Problem::not_in_log(resource))?;
    let (content_type, cache) = match resource {
        LogResource::Checkpoint => ("text/plain; charset=utf-8", MUTABLE),
        LogResource::Tile(_) | LogResource::Entries(_) => ("application/octet-stream", IMMUTABLE),
    };
    let mut response = Response::new(Body::new(Full::new(Bytes::from(bytes))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, cache);
    Ok(response)
}
