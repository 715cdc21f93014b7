//! The anchor: a small file outside of the database that says how far it had come (docs/state-root.md), so that a database
//! of yesterday, which is whole in itself, is not taken for today's.
//!
//! Written by a thread of its own, which syncs it without anybody waiting: at once after a change, and once a second where
//! only records have come.

use crate::hex::Hex;
use crate::tree::Appender;
use chancery_model::{Sha256Hash, Uid};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The version of the file's format. The first had no root of the log.
const FORMAT: u32 = 2;
const WITHOUT_LOG_ROOT: u32 = 1;

/// How often it is written for records alone.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the last one may take.
const LEAVING: Duration = Duration::from_secs(10);

/// How far a database had come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Which database.
    pub database: Uid,
    /// The state's epoch.
    pub epoch: u64,
    /// The index that the next leaf was to get.
    pub next_index: u64,
    /// The root of the Merkle tree over the leaves before it. `None` where the log has a gap, and so no tree, in an anchor
    /// that is only announced, and in one of before.
    pub log_root: Option<Sha256Hash>,
    /// The state root.
    pub root: Sha256Hash,
    /// Its MAC, as the database has it.
    pub mac: [u8; 32],
    /// The log's newest checkpoint, a signed note; `None` before the first.
    pub checkpoint: Option<Arc<str>>,
}

/// As it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: u32,
    database: String,
    epoch: u64,
    next_index: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_root: Option<Hex>,
    root: Hex,
    mac: Hex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
}

impl Anchor {
    /// Reads it; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let damaged = |error| invalid(format!("it is damaged, or no anchor: {error}"));
        let text: Text = serde_json::from_slice(&bytes).map_err(damaged)?;
        let Text { format, database, epoch, next_index, log_root, root, mac, checkpoint } = text;
        if ![WITHOUT_LOG_ROOT, FORMAT].contains(&format) {
            return Err(invalid(format!("its format is {format}, and this program knows {FORMAT}")));
        }
        let hash = |name: &str, hex: &Hex| {
            hex.as_bytes().try_into().map_err(|_length| invalid(format!("its {name} is not of 32 bytes")))
        };
        let database = database.parse().map_err(|error| invalid(format!("its database: {error}")))?;
        let log_root = log_root.map(|root| hash("log_root", &root)).transpose()?;
        let (root, mac, checkpoint) = (hash("root", &root)?, hash("mac", &mac)?, checkpoint.map(Arc::from));
        Ok(Some(Self { database, epoch, next_index, log_root, root, mac, checkpoint }))
    }

    /// Puts it in the place of the one before, all of it or nothing, and on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::rename(self.write_beside(path)?, path)?;
        sync_folder(path)
    }

    /// Writes it beside its place, and on the disk, before the database gets there: where the first anchor of a database, or
    /// of one that was accepted, is not in its place yet, this is the one that was about to be.
    pub(crate) fn announce(&self, path: &Path) -> io::Result<()> {
        if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(io::Error::other("what is there is no file"));
        }
        self.write_beside(path)?;
        sync_folder(path)
    }

    /// Reads what was announced; `None` where there is nothing, or nothing whole.
    #[must_use]
    pub fn announced(path: &Path) -> Option<Self> {
        Self::read(&beside(path)).ok().flatten()
    }

    fn write_beside(&self, path: &Path) -> io::Result<PathBuf> {
        let Self { database, epoch, next_index, log_root, root, mac, checkpoint } = self;
        let text = Text {
            format: FORMAT,
            database: database.to_string(),
            epoch: *epoch,
            next_index: *next_index,
            log_root: log_root.map(Into::into),
            root: (*root).into(),
            mac: (*mac).into(),
            checkpoint: checkpoint.as_deref().map(str::to_owned),
        };
        let mut line = serde_json::to_vec(&text).map_err(io::Error::other)?;
        line.push(b'\n');
        let beside = beside(path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        file.write_all(&line)?;
        file.sync_all()?;
        Ok(beside)
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    beside.into()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// An anchor to be, with the tree of its log: the root over it is made where the anchor is written, and not by the thread that
/// writes the record, for each of its groups.
#[derive(Debug, Clone)]
pub(crate) struct ToAnchor {
    pub anchor: Anchor,
    pub tree: Option<Appender>,
}

impl ToAnchor {
    pub fn with_log_root(self) -> Anchor {
        Anchor { log_root: self.tree.map(|tree| tree.root()), ..self.anchor }
    }
}

/// Writes anchors, the newest that it was given.
pub(crate) struct AnchorKeeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    wanted: Mutex<Wanted>,
    wake: Condvar,
}

#[derive(Default)]
struct Wanted {
    anchor: Option<ToAnchor>,
    at_once: bool,
    stopping: bool,
    abandoned: bool,
}

/// Why the anchor cannot be written; `None` while it can.
pub(crate) type Trouble = watch::Sender<Option<String>>;

impl AnchorKeeper {
    /// `written` is on the disk already. `trouble` is told while what is to be written cannot be.
    pub fn start(path: PathBuf, written: Option<Anchor>, trouble: Arc<Trouble>) -> io::Result<Self> {
        let shared = Arc::new(Shared { path, wanted: Mutex::default(), wake: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("chancery-anchor".to_owned())
            .spawn(move || theirs.run(written, &trouble))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has this one written: at once, or when it is time for it.
    pub fn keep(&self, anchor: ToAnchor, at_once: bool) {
        let mut wanted = self.shared.lock();
        let first = wanted.anchor.replace(anchor).is_none();
        wanted.at_once |= at_once;
        if first || at_once {
            self.shared.wake.notify_one();
        }
    }
}

impl AnchorKeeper {
    /// What waits to be written is not written any more.
    pub fn abandon(&self) {
        let mut wanted = self.shared.lock();
        (wanted.anchor, wanted.stopping, wanted.abandoned) = (None, true, true);
        self.shared.wake.notify_one();
    }
}

impl Drop for AnchorKeeper {
    /// Writes the last one before it goes. A disk that does not answer is not waited for: no record may wait for it, nor a stop.
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_one();
        let Some(thread) = self.thread.take() else { return };
        let end = Instant::now() + LEAVING;
        while !thread.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !thread.is_finished() {
            tracing::error!(path = %self.shared.path.display(), "the anchor is not written: its disk does not answer");
        } else if thread.join().is_err() {
            tracing::error!("the thread that keeps the anchor panicked");
        }
    }
}

impl Shared {
    fn run(&self, mut written: Option<Anchor>, trouble: &Trouble) {
        let mut last = Instant::now();
        while let Some((wanted, stopping)) = self.next(last) {
            last = Instant::now();
            let anchor = wanted.clone().with_log_root();
            if written.as_ref() == Some(&anchor) {
                continue;
            }
            match anchor.write(&self.path) {
                Ok(()) => {
                    written = Some(anchor);
                    if trouble.send_replace(None).is_some() {
                        tracing::info!(path = %self.path.display(), "the anchor is written again");
                    }
                }
                // Until one is written, a database of before would not be noticed.
                Err(error) => {
                    let why = Some(error.to_string());
                    if stopping || *trouble.borrow() != why {
                        tracing::error!(path = %self.path.display(), %error, "the anchor cannot be written");
                    }
                    trouble.send_replace(why);
                    if !stopping {
                        self.again(wanted);
                    }
                }
            }
        }
    }

    /// Tries this one again when it is time, unless there is a newer one.
    fn again(&self, anchor: ToAnchor) {
        let mut wanted = self.lock();
        if !wanted.abandoned {
            wanted.anchor.get_or_insert(anchor);
        }
    }

    /// The next one to write, when it is time, and whether it is the last; `None` when no more will come.
    fn next(&self, last: Instant) -> Option<(ToAnchor, bool)> {
        let mut wanted = self.lock();
        loop {
            let patience = INTERVAL.saturating_sub(last.elapsed());
            let due = wanted.at_once || wanted.stopping || patience.is_zero();
            if due && let Some(anchor) = wanted.anchor.take() {
                wanted.at_once = false;
                return Some((anchor, wanted.stopping));
            }
            wanted = match wanted.anchor {
                None if wanted.stopping => return None,
                Some(_) => self.wake.wait_timeout(wanted, patience).unwrap_or_else(PoisonError::into_inner).0,
                None => self.wake.wait(wanted).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::leaf_hash;

    fn tree(leaves: u64) -> Appender {
        let mut tree = Appender::new();
        (0..leaves).for_each(|leaf| tree.append(leaf_hash(&leaf.to_be_bytes()), |_, _| ()));
        tree
    }

    fn anchor(next_index: u64) -> Anchor {
        to_anchor(next_index).with_log_root()
    }

    fn to_anchor(next_index: u64) -> ToAnchor {
        let (database, checkpoint) = (Uid::from_bytes([7; 16]), (next_index > 4).then(|| "log\n5\n".into()));
        let (log_root, root, mac) = (None, [1; 32], [0xab; 32]);
        let anchor = Anchor { database, epoch: 3, next_index, log_root, root, mac, checkpoint };
        ToAnchor { anchor, tree: Some(tree(next_index)) }
    }

    #[test]
    fn it_comes_back_as_it_was_written_and_what_is_none_is_said() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.anchor");
        assert_eq!(Anchor::read(&path).unwrap(), None);
        anchor(4).write(&path).unwrap();
        anchor(5).write(&path).unwrap();
        assert_eq!(Anchor::read(&path).unwrap(), Some(anchor(5)));
        let text = std::fs::read_to_string(&path).unwrap();
        let wrong = [
            text.replace("\"format\":2", "\"format\":3"),
            text.replace("\"log_root\":\"", "\"log_root\":\"00"),
            text.replace("abab", "abxy"),
            text.replace("0707", "07"),
            text.replace("epoch", "era"),
            String::new(),
        ];
        for wrong in wrong {
            std::fs::write(&path, &wrong).unwrap();
            assert!(Anchor::read(&path).is_err(), "{wrong}");
        }
        // One of before: it knows no root of the log.
        let root = format!("\"log_root\":\"{}\",", Hex::from(anchor(5).log_root.unwrap()));
        let before = text.replace("\"format\":2", "\"format\":1").replace(&root, "");
        std::fs::write(&path, &before).unwrap();
        assert_eq!(Anchor::read(&path).unwrap(), Some(Anchor { log_root: None, ..anchor(5) }));
    }

    /// A pipe that nobody reads takes the place of a share whose server has gone: to open it takes for ever.
    #[test]
    fn a_disk_that_does_not_answer_holds_up_no_end() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.anchor");
        assert!(std::process::Command::new("mkfifo").arg(beside(&path)).status().unwrap().success());
        let keeper = AnchorKeeper::start(path.clone(), None, Arc::new(watch::Sender::new(None))).unwrap();
        keeper.keep(to_anchor(1), true);
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(keeper);
            ended.send(()).unwrap();
        });
        end.recv_timeout(LEAVING + Duration::from_secs(60)).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn one_that_cannot_be_written_is_tried_until_it_can_and_once_more_at_the_end() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.anchor");
        let in_the_way = path.join("in the way");
        let trouble = Arc::new(watch::Sender::new(None));
        let wait = |troubled: bool| {
            let until = Instant::now() + Duration::from_secs(60);
            while trouble.borrow().is_some() != troubled {
                assert!(Instant::now() < until, "{:?}", trouble.borrow());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let keeper = AnchorKeeper::start(path.clone(), None, Arc::clone(&trouble)).unwrap();
        std::fs::create_dir_all(&in_the_way).unwrap();
        keeper.keep(to_anchor(1), true);
        wait(true);
        std::fs::remove_dir_all(&path).unwrap();
        // Nobody hands in another one.
        wait(false);
        assert_eq!(Anchor::read(&path).unwrap(), Some(anchor(1)));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir_all(&in_the_way).unwrap();
        keeper.keep(to_anchor(2), true);
        wait(true);
        std::fs::remove_dir_all(&path).unwrap();
        drop(keeper);
        assert_eq!(Anchor::read(&path).unwrap(), Some(anchor(2)));
    }

    #[test]
    fn what_is_announced_takes_no_place() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.anchor");
        anchor(4).announce(&path).unwrap();
        assert_eq!((Anchor::read(&path).unwrap(), Anchor::announced(&path)), (None, Some(anchor(4))));
        anchor(5).write(&path).unwrap();
        assert_eq!((Anchor::read(&path).unwrap(), Anchor::announced(&path)), (Some(anchor(5)), None));
        assert!(anchor(6).announce(&folder.path().join("none/a.anchor")).is_err());
    }

    #[test]
    fn the_last_one_is_on_the_disk_when_the_keeper_has_gone() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.anchor");
        let keeper = AnchorKeeper::start(path.clone(), Some(anchor(0)), Arc::new(watch::Sender::new(None))).unwrap();
        for index in 1..=100 {
            keeper.keep(to_anchor(index), index % 7 == 0);
        }
        drop(keeper);
        assert_eq!(Anchor::read(&path).unwrap(), Some(anchor(100)));
    }
}
