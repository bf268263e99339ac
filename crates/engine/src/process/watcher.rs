//! A thread that notices: shims announce every new status in one watched directory, and a dead
//! shim is seen through a descriptor of its process. It settles what a dead shim left, reaps the
//! shims this process started, and wakes whoever waits on `changes`. Everything it does, a call of
//! `list` would do as well; it only does it at once.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ark_model::ids::InstanceId;
use ark_model::instance::ProcessIdentity;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fs::inotify;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::record::EVENTS;
use super::{Inner, host};

/// How often shims without a descriptor (too many files open) are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often everything is looked at, in case an announcement was lost, and old logs deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The most events taken at a time.
const EVENTS_MAX: usize = 256;

/// Who an event is from; a shim has a number from `FIRST_SHIM` on.
const INOTIFY: u64 = 0;
const WAKE: u64 = 1;
const FIRST_SHIM: u64 = 2;

/// Shims that were just started, on their way to the watcher.
pub(super) struct Arrivals {
    waiting: Mutex<Vec<(InstanceId, ProcessIdentity)>>,
    stopped: AtomicBool,
    wake: OwnedFd,
}

impl Arrivals {
    pub(super) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { waiting: Mutex::default(), stopped: AtomicBool::new(false), wake })
    }

    /// A shim this process started; its pid cannot be given out again until it is reaped.
    pub(super) fn add(&self, id: InstanceId, pid: i32) {
        let start_ticks = host::stat(pid).map(|stat| stat.start_ticks).unwrap_or_default();
        self.lock().push((id, ProcessIdentity { pid, start_ticks }));
        self.wake();
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Full means that a wake-up is pending already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn take(&self) -> Vec<(InstanceId, ProcessIdentity)> {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(InstanceId, ProcessIdentity)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread; ends when dropped.
pub(super) struct Watcher {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    pub(super) fn start(inner: Arc<Inner>) -> io::Result<Self> {
        let mut watch = Watch::new(Arc::clone(&inner))?;
        let thread = std::thread::Builder::new()
            .name("engine-watcher".to_owned())
            .spawn(move || watch.run())?;
        Ok(Self { inner, thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.inner.arrivals.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Watch {
    inner: Arc<Inner>,
    epoll: OwnedFd,
    /// `None` where the kernel has no watch left for this user: then everything is looked at once a
    /// second.
    inotify: Option<OwnedFd>,
    next: u64,
    /// Watched shims by number, with the descriptor that tells of their end.
    shims: HashMap<u64, (InstanceId, ProcessIdentity, Option<OwnedFd>)>,
    /// The numbers, by instance.
    numbers: HashMap<InstanceId, u64>,
}

impl Watch {
    fn new(inner: Arc<Inner>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let events = inner.instances.root().join(EVENTS);
        let inotify = watch_folder(&events)
            .inspect_err(|error| tracing::warn!(%error, "announcements of shims are not watched"))
            .ok();
        let wake = (WAKE, inner.arrivals.wake.as_fd());
        let watched = inotify.as_ref().map(|fd| (INOTIFY, fd.as_fd()));
        for (number, fd) in watched.into_iter().chain([wake]) {
            epoll::add(&epoll, fd, EventData::new_u64(number), EventFlags::IN)?;
        }
        let (shims, numbers) = (HashMap::new(), HashMap::new());
        Ok(Self { inner, epoll, inotify, next: FIRST_SHIM, shims, numbers })
    }

    fn run(&mut self) {
        self.look_at_all();
        let sweep_interval = if self.inotify.is_some() { SWEEP_INTERVAL } else { POLL_INTERVAL };
        let mut sweep_at = Instant::now() + sweep_interval;
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while !self.inner.arrivals.stopped.load(Ordering::Acquire) {
            let polled = self.shims.values().any(|(_, _, pidfd)| pidfd.is_none());
            let until_sweep = sweep_at.saturating_duration_since(Instant::now());
            let timeout = if polled { until_sweep.min(POLL_INTERVAL) } else { until_sweep };
            let timespec = Timespec::try_from(timeout).ok();
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timespec.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the process engine cannot watch its shims");
                    std::thread::sleep(POLL_INTERVAL);
                }
            }
            let numbers: Vec<u64> = events.iter().map(|event| event.data.u64()).collect();
            self.handle(&numbers);
            if polled {
                self.poll_shims();
            }
            if Instant::now() >= sweep_at {
                sweep_at = Instant::now() + sweep_interval;
                self.look_at_all();
                self.inner.sweep_removed();
                self.inner.changed();
            }
        }
    }

    fn handle(&mut self, numbers: &[u64]) {
        for &number in numbers {
            match number {
                WAKE => {
                    for (id, shim) in self.inner.arrivals.take() {
                        self.watch(id, shim);
                    }
                }
                INOTIFY => self.read_announcements(),
                shim => self.shim_ended(shim),
            }
        }
        if !numbers.is_empty() {
            self.inner.changed();
        }
    }

    fn read_announcements(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut ids = Vec::new();
        let mut overflow = false;
        let Some(inotify) = &self.inotify else { return };
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            overflow |= event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().and_then(|name| name.to_str().ok());
            ids.extend(name.and_then(|name| name.parse::<InstanceId>().ok()));
        }
        if overflow {
            self.look_at_all();
            return;
        }
        for id in ids {
            self.look_at(id);
        }
    }

    fn look_at_all(&mut self) {
        for id in self.inner.instances.ids().unwrap_or_default() {
            self.look_at(id);
        }
    }

    /// Watches the shim of an instance that lives, if it is not watched yet.
    fn look_at(&mut self, id: InstanceId) {
        if self.numbers.contains_key(&id) {
            return;
        }
        let Some((_, Some(status))) = self.inner.instances.look(id) else { return };
        if let (false, Some(shim)) = (status.is_terminal(), status.shim) {
            self.watch(id, shim);
        }
    }

    fn watch(&mut self, id: InstanceId, shim: ProcessIdentity) {
        let number = self.next;
        self.next += 1;
        let pidfd = rustix::process::Pid::from_raw(shim.pid).and_then(|pid| {
            let flags = rustix::process::PidfdFlags::empty();
            let pidfd = rustix::process::pidfd_open(pid, flags).ok()?;
            let same = host::stat(shim.pid).is_some_and(|s| s.start_ticks == shim.start_ticks);
            let data = EventData::new_u64(number);
            (same && epoll::add(&self.epoll, &pidfd, data, EventFlags::IN).is_ok()).then_some(pidfd)
        });
        self.shims.insert(number, (id, shim, pidfd));
        // A shim that was started twice is watched twice; only its instance's newest counts here.
        self.numbers.insert(id, number);
    }

    fn poll_shims(&mut self) {
        let gone: Vec<u64> = self
            .shims
            .iter()
            .filter(|(_, (_, shim, pidfd))| {
                pidfd.is_none() && host::identity(shim.pid) != Some(*shim)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            self.shim_ended(number);
        }
    }

    fn shim_ended(&mut self, number: u64) {
        let Some((id, shim, pidfd)) = self.shims.remove(&number) else { return };
        if self.numbers.get(&id) == Some(&number) {
            self.numbers.remove(&id);
        }
        reap(shim, pidfd.as_ref());
        let dir = self.inner.instances.dir(id);
        if !dir.read_status().is_some_and(|status| status.is_terminal()) {
            self.inner.settle(id);
        }
        self.inner.changed();
    }
}

fn watch_folder(folder: &Path) -> rustix::io::Result<OwnedFd> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&inotify, folder, inotify::WatchFlags::CLOSE_WRITE)?;
    Ok(inotify)
}

/// Waits for a shim that has ended, if it is a child of this process; other children are left to
/// their owners.
fn reap(shim: ProcessIdentity, pidfd: Option<&OwnedFd>) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match pidfd {
        Some(pidfd) => {
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), options);
        }
        None => {
            let zombie = host::stat(shim.pid)
                .is_some_and(|stat| stat.zombie && stat.start_ticks == shim.start_ticks);
            if let (true, Some(pid)) = (zombie, rustix::process::Pid::from_raw(shim.pid)) {
                let _ = waitid(WaitId::Pid(pid), options);
            }
        }
    }
}
