//! What there is, by its path.

use super::problem::Problem;
use super::{JWKS_PATH, LOG_PREFIX, jwks, log};
use crate::errors;
use crate::grpc::Office;
use chancery_core::{LogResource, Requester};
use chancery_model::Action;
use http::request::Parts;
use http::{Method, Request, Response};
use tonic::body::Body;

/// Something to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    Jwks,
    Log(LogResource),
}

impl Page {
    /// `None` where there is nothing.
    pub(crate) fn at(path: &str) -> Option<Self> {
        if path == JWKS_PATH {
            return Some(Self::Jwks);
        }
        path.strip_prefix(LOG_PREFIX).and_then(LogResource::parse).map(Self::Log)
    }

    /// The path without what is different from request to request.
    pub(crate) const fn route(self) -> &'static str {
        match self {
            Self::Jwks => JWKS_PATH,
            Self::Log(LogResource::Checkpoint) => "/log/checkpoint",
            Self::Log(LogResource::Tile(_)) => "/log/tile/{level}/{index}",
            Self::Log(LogResource::Entries(_)) => "/log/tile/entries/{index}",
        }
    }

    /// What reading it is, to policy and in the record.
    pub(crate) const fn action(self) -> Action {
        match self {
            Self::Jwks => Action::GetPublicKey,
            Self::Log(_) => Action::ListRecords,
        }
    }
}

/// Answers requests that have passed the gates.
#[derive(Clone)]
pub(crate) struct Pages(pub(crate) Office);

impl Pages {
    pub(crate) async fn answer(self, request: Request<Body>) -> Response<Body> {
        // No request here has a body that means anything; what there is of it is left unread.
        let (parts, _body) = request.into_parts();
        self.respond(parts).await.unwrap_or_else(Problem::into_response)
    }

    async fn respond(&self, parts: Parts) -> Result<Response<Body>, Problem> {
        let Parts { method, uri, headers, mut extensions, .. } = parts;
        let page = Page::at(uri.path()).ok_or_else(Problem::not_found)?;
        if !matches!(method, Method::GET | Method::HEAD) {
            return Err(Problem::method_not_allowed());
        }
        let from = extensions.remove::<Requester>().ok_or_else(|| {
            // The gates let nothing through without one.
            Problem::from_status(&self.0.refuse(&errors::fault("something was read without a caller")))
        })?;
        match page {
            Page::Jwks => jwks::respond(&self.0, &from, uri.query(), &headers).await,
            Page::Log(resource) => log::respond(&self.0, &from, resource).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_page_or_none() {
        let route = |path| Page::at(path).map(Page::route);
        assert_eq!(route("/.well-known/jwks.json"), Some("/.well-known/jwks.json"));
        assert_eq!(route("/log/checkpoint"), Some("/log/checkpoint"));
        assert_eq!(route("/log/tile/1/x001/234.p/7"), Some("/log/tile/{level}/{index}"));
        assert_eq!(route("/log/tile/entries/000"), Some("/log/tile/entries/{index}"));
        for path in
            ["/", "/log", "/log/", "/log/checkpoint/", "/log//checkpoint", "/log/tile/0/0", "/log/../checkpoint"]
        {
            assert_eq!(route(path), None, "{path}");
        }
        assert_eq!(Page::at("/log/tile/0/000").map(Page::action), Some(Action::ListRecords));
        assert_eq!(Page::at(JWKS_PATH).map(Page::action), Some(Action::GetPublicKey));
    }
}
