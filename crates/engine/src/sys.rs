//! The system calls that std has no safe name for: starting a detached process, entering limits
//! between fork and exec, closing inherited descriptors. Called by the shim and the process engine.
//! The only module of Ark with `unsafe`; nothing here decides anything.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;

use rustix::process::{Pid, Signal};
use rustix::thread::{Gid, Uid};

use crate::open_files;

/// Starts a program in a session of its own, with an empty environment, default signals, standard
/// input and output closed off and standard error appended to `stderr`. Returns its pid; the
/// caller must wait for it some time.
///
/// `posix_spawn` instead of fork: it shares the caller's memory until exec, so that a server of a
/// gigabyte starts a shim as fast as a small one.
pub(crate) fn spawn_detached(argv: &[OsString], stderr: &Path) -> io::Result<i32> {
    let Some(program) = argv.first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program is named"));
    };
    let program = c_string(program.as_bytes())?;
    let argv: Vec<CString> =
        argv.iter().map(|arg| c_string(arg.as_bytes())).collect::<io::Result<_>>()?;
    let mut argv_pointers: Vec<*mut libc::c_char> =
        argv.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
    argv_pointers.push(ptr::null_mut());
    let environment = [ptr::null_mut::<libc::c_char>()];
    let stderr = c_string(stderr.as_os_str().as_bytes())?;
    let null = c"/dev/null";
    let flags = libc::POSIX_SPAWN_SETSID as libc::c_int
        | libc::POSIX_SPAWN_SETSIGMASK
        | libc::POSIX_SPAWN_SETSIGDEF;
    let append = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
    let mut pid: libc::pid_t = 0;
    #[allow(unsafe_code, reason = "std cannot ask posix_spawn for a new session")]
    // SAFETY: every pointer outlives the calls; both objects are initialised before use and
    // destroyed once; the arrays end with a null pointer.
    let result = unsafe {
        let mut actions = std::mem::MaybeUninit::uninit();
        let mut attributes = std::mem::MaybeUninit::uninit();
        let mut none = std::mem::MaybeUninit::uninit();
        let mut all = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigfillset(all.as_mut_ptr());
        check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
        let result = check(libc::posix_spawnattr_init(attributes.as_mut_ptr())).and_then(|()| {
            let actions = actions.as_mut_ptr();
            let attributes = attributes.as_mut_ptr();
            let result = (|| {
                check(libc::posix_spawnattr_setflags(attributes, flags as libc::c_short))?;
                check(libc::posix_spawnattr_setsigmask(attributes, none.as_ptr()))?;
                check(libc::posix_spawnattr_setsigdefault(attributes, all.as_ptr()))?;
                for (fd, path, mode) in
                    [(0, null, libc::O_RDONLY), (1, null, libc::O_WRONLY), (2, &*stderr, append)]
                {
                    check(libc::posix_spawn_file_actions_addopen(
                        actions,
                        fd,
                        path.as_ptr(),
                        mode,
                        0o600,
                    ))?;
                }
                check(libc::posix_spawn(
                    &raw mut pid,
                    program.as_ptr(),
                    actions,
                    attributes,
                    argv_pointers.as_ptr(),
                    environment.as_ptr(),
                ))
            })();
            libc::posix_spawnattr_destroy(attributes);
            result
        });
        libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr());
        result
    };
    result.map(|()| pid)
}

fn check(code: libc::c_int) -> io::Result<()> {
    match code {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL byte"))
}

/// Closes every descriptor from 3 on. Only for a process that has just begun and owns none.
pub(crate) fn close_inherited() {
    #[allow(unsafe_code, reason = "no safe wrapper can know that nobody owns the descriptors")]
    // SAFETY: the only caller is the shim's first statement; the process has opened nothing yet.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) } == 0;
    if closed {
        return;
    }
    // Before Linux 5.9.
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> =
        listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        #[allow(unsafe_code, reason = "as above")]
        // SAFETY: as above; the descriptor of the listing itself is closed already and only fails.
        unsafe {
            libc::close(fd);
        }
    }
}

/// What a child does between fork and exec, in this order.
pub(crate) struct ChildSetup {
    /// `cgroup.procs` files it enters; opened by the parent, whose rights count.
    pub(crate) cgroup_procs: Vec<File>,
    /// Whether it leads a session (and process group) of its own.
    pub(crate) new_session: bool,
    /// The user it becomes; `None` stays the caller.
    pub(crate) user: Option<(u32, u32)>,
    /// The soft limit of open files it gets; `None` keeps the caller's.
    pub(crate) open_files: Option<u64>,
    /// The parent whose death ends it with SIGKILL.
    pub(crate) die_with: Option<i32>,
    /// Receives one byte of [`ChildStage`] as each stage begins, so that the parent knows which
    /// one failed.
    pub(crate) stage: OwnedFd,
}

/// The stages of a child's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ChildStage {
    /// It enters its cgroups.
    Limits = b'l',
    /// It becomes its user.
    User = b'u',
    /// It becomes its program.
    Exec = b'e',
}

/// Makes `command` do `setup` before its program begins.
pub(crate) fn prepare_child(command: &mut Command, setup: ChildSetup) {
    let hook = move || child_setup(&setup);
    #[allow(unsafe_code, reason = "code between fork and exec must be async-signal-safe")]
    // SAFETY: `child_setup` only makes system calls (write, setsid, setgroups, setresgid,
    // setresuid, prlimit, prctl, getppid, umask, sigprocmask); it neither allocates nor locks.
    unsafe {
        command.pre_exec(hook);
    }
}

fn child_setup(setup: &ChildSetup) -> io::Result<()> {
    let begin = |stage: ChildStage| rustix::io::write(&setup.stage, &[stage as u8]).map(drop);
    begin(ChildStage::Limits)?;
    for procs in &setup.cgroup_procs {
        (&*procs).write_all(b"0")?;
    }
    begin(ChildStage::User)?;
    if let Some(soft) = setup.open_files {
        open_files::set(soft)?;
    }
    if setup.new_session {
        rustix::process::setsid()?;
    }
    if let Some((uid, gid)) = setup.user {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    if let Some(parent) = setup.die_with {
        // After the change of user, which clears it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid().map(Pid::as_raw_pid) != Some(parent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    // The shim blocks signals to read them from a descriptor; its child must not inherit that.
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    begin(ChildStage::Exec)?;
    Ok(())
}
