//! Asking others over HTTPS: requests bounded in size and time, to one address whose certificate an authority of ours issued.
//!
//! In scope: addresses, connections, and what is kept of them between two requests. Out of scope: what is asked, and what
//! the answer means. No redirect is followed, and no proxy asked.

mod client;
mod url;

pub use client::{Answer, Bounds, Client, RequestError};
pub use url::{HttpsUrl, InvalidUrl, Url};
