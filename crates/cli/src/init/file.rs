//! The file appears whole, is one that the service reads, and replaces nothing that it was not asked to replace.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use chancery_server::config::{self, Config};

use crate::exit::Failure;

/// Refuses early, before anybody has answered questions, what [`write`] would refuse.
pub fn refuse_existing(path: &Path, force: bool) -> Result<(), Failure> {
    if !force && path.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
}

/// Writes the configuration for everybody to read (mode 644: it holds no secrets), its folder where there is none, and
/// answers it as the service reads it.
pub fn write(path: &Path, text: &str, force: bool) -> Result<Config, Failure> {
    let failed = |error| Failure::file("write", path, error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .map_err(|error| Failure::file("create the folder", folder, error))?;
    let mut new = tempfile::Builder::new().prefix(".chancery.toml.").tempfile_in(folder).map_err(failed)?;
    new.write_all(text.as_bytes()).map_err(failed)?;
    // By hand: whatever the umask, the service's user has to read it.
    new.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    let read = |path: &Path| {
        config::load(path).map_err(|errors| {
            Failure::failed("what init would have written is no configuration; nothing was written").because(errors)
        })
    };
    read(new.path())?;
    let named = if force { new.persist(path) } else { new.persist_noclobber(path) };
    named.map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => failed(error.error),
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    read(path)
}

fn exists(path: &Path) -> Failure {
    Failure::local(format!("{} is there already and is not overwritten", path.display()))
        .hint("edit it, name another file with --config, or replace it with --force")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::plan::tests::plan;
    use crate::init::render::render;

    fn text() -> String {
        let mut plan = plan();
        plan.settle().unwrap();
        render(&plan)
    }

    #[test]
    fn nothing_is_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/chancery.toml");
        write(&path, &text(), false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        std::fs::write(&path, "mine").unwrap();
        let (said, _) = write(&path, &text(), false).unwrap_err().report();
        assert!(said.contains("--force"), "{said}");
        assert!(refuse_existing(&path, false).is_err() && refuse_existing(&path, true).is_ok());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        write(&path, &text(), true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else stays");
    }

    #[test]
    fn what_the_service_could_not_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chancery.toml");
        assert!(write(&path, "instance = 7", false).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
