//! On what kind of file system a path lies, as `/proc/self/mountinfo` (proc_pid_mountinfo(5)) tells.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The type of the file system that holds `path`, or its nearest ancestor that exists: `ext4`, `tmpfs`, ... `None` where
/// the system does not tell.
pub(super) fn file_system(path: &Path) -> Option<String> {
    let existing = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok())?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    deepest(&table, &existing).map(str::to_owned)
}

/// The type of the deepest mount above `path`; of several at one place, the one that was mounted last and hides the others.
fn deepest<'t>(table: &'t str, path: &Path) -> Option<&'t str> {
    let mounts = table.lines().filter_map(mount).filter(|(point, _)| path.starts_with(point));
    // The last of the largest: `max_by_key` keeps the later of equals.
    mounts.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind)
}

/// Mount point and type of a line: the fifth field, and the first after the dash that ends the optional ones.
fn mount(line: &str) -> Option<(PathBuf, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let point = before.split(' ').nth(4)?;
    Some((unescape(point), after.split(' ').next()?))
}

/// Blanks, tabs, line ends and backslashes are written as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let octal = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = others.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
24 27 0:6 / /dev rw - devtmpfs devtmpfs rw
25 24 0:23 / /dev/shm rw,relatime shared:4 master:2 - tmpfs tmpfs rw
30 27 0:30 / /mnt/a\\040b rw - nfs4 server:/x rw
31 27 0:31 / /mnt/twice rw - ext4 /dev/vdb rw
32 31 0:32 / /mnt/twice rw - ramfs ramfs rw
";

    #[test]
    fn the_deepest_and_last_mount_decides() {
        for (path, kind) in [
            ("/var/lib", "ext4"),
            ("/dev/shm/chancery", "tmpfs"),
            ("/dev/shmx", "devtmpfs"),
            ("/mnt/a b/c", "nfs4"),
            ("/mnt/twice", "ramfs"),
        ] {
            assert_eq!(deepest(TABLE, Path::new(path)), Some(kind), "{path}");
        }
        assert_eq!(deepest("not a table", Path::new("/")), None);
    }

    #[test]
    fn this_system_tells() {
        assert_eq!(file_system(Path::new("/proc/self/not/there")).as_deref(), Some("proc"));
    }
}
