//! A tree of files.

use std::path::{Path, PathBuf};

use super::finder::{Finding, Place, find};
use crate::exit::Failure;

/// Files that are longer are looked at in pieces of this many bytes.
const PIECE: usize = 8 << 20;
/// What the pieces have in common, so that nothing is cut in two.
const COMMON: usize = 64 * 1024;

pub(super) fn scan(path: &Path) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let failed = |error| Failure::file("read", &path, error);
        // Not followed: what a link leads to is found where it lies, or is not of this tree.
        let metadata = std::fs::symlink_metadata(&path).map_err(failed)?;
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?.path();
                // The objects of git are packed; what is in them is found with --history.
                if entry.file_name().is_none_or(|name| name != ".git") {
                    waiting.push(entry);
                }
            }
        } else if metadata.is_file() {
            file(&path, &mut findings)?;
        }
    }
    findings.sort();
    Ok(findings)
}

fn file(path: &PathBuf, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    let text = std::fs::read(path).map_err(|error| Failure::file("read", path, error))?;
    let shown = path.display().to_string();
    let mut start = 0;
    let mut first_line = 1;
    loop {
        let piece = text.get(start..text.len().min(start + PIECE)).unwrap_or_default();
        for (line, kind, fingerprint) in find(piece, first_line) {
            let place = Place { file: shown.clone(), line, commit: None };
            let finding = Finding { place, kind, fingerprint };
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        if start + PIECE >= text.len() {
            return Ok(());
        }
        let next = start + PIECE - COMMON;
        first_line += text.get(start..next).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
        start = next;
    }
}
