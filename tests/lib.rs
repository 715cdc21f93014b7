//! The tests live in one file per feature beside this one.
