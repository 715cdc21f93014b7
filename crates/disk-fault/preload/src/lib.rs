//! Stands between a process and the disk under its SQLite database, and lets calls of the C library fail, as told by rules
//! in a file. `../../README.md` is its manual; the rules themselves are of the crate `chancery-disk-fault`.
//!
//! To be preloaded (`LD_PRELOAD`), never linked: it exports `open`, `read`, `write` and others, which look whether a file is
//! one of the database's, ask the rules, and go on to the next library that has them.

#![allow(unsafe_code, reason = "the calls of the C library are what this is about")]

mod calls;
mod engine;
mod files;
mod next;
