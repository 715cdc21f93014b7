//! What a process that holds secrets asks of the system: that nobody gets to see its memory.

use std::io;

/// Makes the memory of this process its own, for its whole life: no core is written, no other process of the same user
/// reads it or attaches to it, and no program that it starts gains rights by a set-uid bit.
///
/// To be called first of all, while there is one thread and no secret: the ban on gaining rights is the calling thread's
/// and goes to those that it starts, and what was in memory before could already have been read. A program that is started
/// inherits all of it but the mark "not dumpable", and has to call this itself.
///
/// Who has `CAP_SYS_PTRACE` can still read everything, `root` for one.
///
/// # Errors
/// What the system said. The process should not go on to secrets then.
pub fn keep_memory_private() -> io::Result<()> {
    // Each of the two covers for the other. A core that goes to a program (`|` in core_pattern) is not held back by the
    // limit, but by the mark below; and the mark is lost again where somebody sets it, a vendor's library with a debugging
    // aid for example, while the hard limit cannot be raised without privilege.
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    #[cfg(target_os = "linux")]
    {
        // The files of /proc/<pid> are root's from here on. What we read there ourselves (/proc/self) stays open to us.
        nix::sys::prctl::set_dumpable(false)?;
        nix::sys::prctl::set_no_new_privs()?;
    }
    Ok(())
}
