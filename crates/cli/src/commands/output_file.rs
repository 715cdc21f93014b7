//! Files that commands write on request.

use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::exit::Failure;

/// The file to write into. `-` is none: standard output has the command's answer.
pub fn parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if path == Path::new("-") {
            return Err("name a file: standard output is for the command's answer (a file of this name is ./-)");
        }
        Ok(path)
    })
}

/// Refuses to write over what is read, or over what is written as well.
pub fn check_apart(files: &[(&str, Option<&Path>)]) -> Result<(), Failure> {
    let named: Vec<(&str, &Path)> = files.iter().filter_map(|(what, file)| Some((*what, (*file)?))).collect();
    for (number, (what, file)) in named.iter().enumerate() {
        for (earlier, other) in named.iter().take(number) {
            if are_one(file, other) {
                return Err(Failure::usage(format!("{what} would overwrite {earlier} in {}", file.display())));
            }
        }
    }
    Ok(())
}

/// Whether two names are one file, which need not be there yet. What is no file, /dev/null for example, keeps nothing.
fn are_one(one: &Path, other: &Path) -> bool {
    if fs::metadata(one).is_ok_and(|found| !found.is_file()) {
        return false;
    }
    let place = |path: &Path| {
        let there = fs::canonicalize(path).ok();
        there.or_else(|| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
        })
    };
    one == other || place(one).is_some_and(|place_of_one| place(other) == Some(place_of_one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_over_what_is_read_or_written_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (there, link, not_yet) = (path("there"), path("link"), path("new"));
        fs::write(&there, "x").unwrap();
        std::os::unix::fs::symlink(&there, &link).unwrap();
        let refused = |one: &Path, other: &Path| {
            check_apart(&[("the first", Some(one)), ("nothing", None), ("the second", Some(other))]).is_err()
        };
        assert!(refused(&there, &link) && refused(&not_yet, &folder.path().join(".").join("new")));
        assert!(refused(Path::new("x.sig"), Path::new("./x.sig")), "in the present folder");
        assert!(!refused(&there, &not_yet));
        assert!(!refused(Path::new("/dev/null"), Path::new("/dev/null")));
        let error = check_apart(&[("the signature", Some(&there)), ("the receipt", Some(&link))]).unwrap_err();
        assert!(error.report().0.contains("the receipt would overwrite the signature"), "{:?}", error.report());
    }
}
