//! The configuration of a service in production, from answers.
//!
//! In scope: what has to be known ([`Plan`]), how it is typed ([`entries`]) or asked for ([`ask`]), the file that it makes
//! ([`render`], [`file`]) and what there is to do afterwards ([`next`]). Out of scope: secrets, which the file only names;
//! making tokens, certificates or users; and development, which has `chancery dev`.

pub mod ask;
pub mod entries;
pub mod file;
mod given;
pub mod next;
mod plan;
pub mod render;

pub use given::Given;
pub use plan::{ClientAuth, ClientCa, LogFormat, Plan};
