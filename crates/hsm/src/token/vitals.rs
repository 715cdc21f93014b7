//! How large a worker process is, as the system says, and whether that is too much.

use std::fs;

/// Threads that a module may have beside those that sign, and the main thread: those that it starts itself.
const MODULE_THREADS: u32 = 256;

/// What a worker takes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vitals {
    /// Resident memory in bytes.
    pub(super) memory_bytes: u64,
    pub(super) threads: u32,
}

/// What a worker may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) memory_bytes: u64,
    /// Threads that sign.
    pub(super) lanes: usize,
}

/// How a worker stands to its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Size {
    Fit,
    /// Above four fifths of a bound.
    Near,
    /// Above one: which, in words.
    Over(String),
}

impl Vitals {
    /// Of a process. `None` where the system does not say: it has no procfs, or hides in it what is not ours to read.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    /// From a `status` file of proc(5).
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        let kibibytes = field("VmRSS:")?;
        let threads = u32::try_from(field("Threads:")?).ok()?;
        Some(Self { memory_bytes: kibibytes.saturating_mul(1024), threads })
    }

    /// How it stands to its bounds.
    pub(super) fn size(self, bounds: Bounds) -> Size {
        let Self { memory_bytes, threads } = self;
        let most_threads = u32::try_from(bounds.lanes).unwrap_or(u32::MAX).saturating_add(1 + MODULE_THREADS);
        if memory_bytes > bounds.memory_bytes {
            return Size::Over(format!(
                "its worker uses {memory_bytes} bytes of memory, and max_worker_memory_bytes is {}",
                bounds.memory_bytes
            ));
        }
        if threads > most_threads {
            return Size::Over(format!(
                "its worker has {threads} threads, and {most_threads} are the most that it may"
            ));
        }
        let near = |now: u64, most: u64| now > most / 5 * 4;
        if near(memory_bytes, bounds.memory_bytes) || near(threads.into(), most_threads.into()) {
            return Size::Near;
        }
        Size::Fit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_measured() {
        let text = "Name:\tchancery\nVmPeak:\t  999 kB\nVmRSS:\t   11500 kB\nThreads:\t5\n";
        assert_eq!(Vitals::parse(text), Some(Vitals { memory_bytes: 11_500 * 1024, threads: 5 }));
        assert_eq!(Vitals::parse("Name:\tchancery\nThreads:\t1\n"), None, "a process that has ended has no memory");
        if cfg!(target_os = "linux") {
            let own = Vitals::of(std::process::id()).unwrap();
            assert!(own.memory_bytes > 100_000 && own.threads >= 1, "{own:?}");
        }
        assert_eq!(Vitals::of(u32::MAX), None);
    }

    #[test]
    fn memory_and_threads_are_bounded() {
        let bounds = Bounds { memory_bytes: 1000, lanes: 2 };
        let size = |memory_bytes, threads| Vitals { memory_bytes, threads }.size(bounds);
        assert_eq!(size(800, 3), Size::Fit);
        assert_eq!(size(801, 3), Size::Near);
        assert_eq!(size(1000, 3), Size::Near);
        assert!(matches!(size(1001, 3), Size::Over(why) if why.contains("1001 bytes")));
        assert_eq!(size(1, 259), Size::Near);
        assert!(matches!(size(1, 260), Size::Over(why) if why.contains("260 threads")));
    }
}
