//! What happens to a store on a file when the process is killed, the disk is full, the file is
//! torn or damaged, or somebody else has it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ark_model::event::{EventKind, NewEvent};
use ark_store::{EventFilter, Options, Store, StoreError};
use jiff::Timestamp;

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("an instant")
}

fn open(dir: &Path) -> Store {
    Store::open(dir, now()).expect("the store opens")
}

async fn append(store: &Store, text: String) -> Result<u64, StoreError> {
    store
        .write(move |tx| {
            tx.append_event(NewEvent {
                at: now(),
                kind: EventKind::Gateway,
                by: "test".into(),
                env: None,
                app: None,
                deployment: None,
                instance: None,
                text,
            })
        })
        .await
}

/// The texts of all events, in order.
async fn texts(store: &Store) -> Vec<String> {
    let mut texts = Vec::new();
    let mut after = 0;
    loop {
        let page = store.read(move |tx| tx.events(&EventFilter::default(), after, 1_000)).await;
        let page = page.expect("the read succeeds");
        match page.last() {
            None => return texts,
            Some(last) => after = last.seq,
        }
        texts.extend(page.into_iter().map(|event| event.text));
    }
}

const CHILD_DIR: &str = "ARK_STORE_TEST_DIR";
const CHILD_ROUND: &str = "ARK_STORE_TEST_ROUND";

/// Writes from many tasks, and says on stdout what was acknowledged, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of acknowledged_writes_survive_kill_9"]
async fn child_that_writes_until_it_is_killed() {
    let dir = PathBuf::from(std::env::var_os(CHILD_DIR).expect("the parent names a directory"));
    let round = std::env::var(CHILD_ROUND).expect("the parent names the round");
    let store = open(&dir);
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (store, round) = (store.clone(), round.clone());
            tokio::spawn(async move {
                // Bounded, should the parent be gone.
                for number in 0..100_000 {
                    let text = format!("{round} {task} {number}");
                    append(&store, text.clone()).await.expect("the write succeeds");
                    let line = format!("ack {text}\n");
                    std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the task ends");
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_kill_9() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged = BTreeSet::new();
    for (round, kill_after) in [50, 1, 700, 200, 2_000].into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().expect("this test's path"))
            .args(["--ignored", "--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .env(CHILD_ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut count = 0;
        let mut line = String::new();
        while lines.read_line(&mut line).expect("the pipe is read") > 0 {
            // A line that was cut by the kill has no end and counts for nothing.
            let ack = line.strip_suffix('\n').and_then(|line| line.split_once("ack "));
            if let Some((_, text)) = ack {
                acknowledged.insert(text.to_owned());
                count += 1;
            }
            if count == kill_after {
                child.kill().expect("the child is killed");
            }
            line.clear();
        }
        child.wait().expect("the child ended");
        assert!(count >= kill_after, "round {round} ended by itself after {count}");

        let store = open(dir.path());
        let found = texts(&store).await;
        let unique: BTreeSet<_> = found.iter().cloned().collect();
        assert_eq!(unique.len(), found.len(), "no write was done twice");
        let lost: Vec<_> = acknowledged.difference(&unique).collect();
        assert_eq!(lost, Vec::<&String>::new(), "round {round}");
        // Of each task at most one write was under way and not acknowledged.
        let mut unacknowledged: BTreeMap<&str, u32> = BTreeMap::new();
        for text in unique.difference(&acknowledged) {
            *unacknowledged.entry(text.rsplit_once(' ').expect("three words").0).or_default() += 1;
        }
        assert!(unacknowledged.values().all(|count| *count == 1), "{unacknowledged:?}");
    }
}

#[tokio::test]
async fn a_torn_log_loses_nothing_before_the_tear() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    for number in 0..20 {
        append(&store, format!("{number}")).await.expect("the write succeeds");
    }
    drop(store);
    assert!(!dir.path().join("ark.db-wal").exists(), "closing moves the log into the file");

    let store = open(dir.path());
    for number in 20..40 {
        append(&store, format!("{number}")).await.expect("the write succeeds");
    }
    let main = std::fs::read(dir.path().join("ark.db")).expect("the database");
    let log = std::fs::read(dir.path().join("ark.db-wal")).expect("the log");
    drop(store);
    let all: Vec<_> = (0..40).map(|number| number.to_string()).collect();

    let mut lengths_found = BTreeSet::new();
    for cut in (0..log.len()).step_by(1_777).chain([log.len() - 1, log.len()]) {
        for tail in [Tail::Missing, Tail::Garbage] {
            let copy = tempfile::tempdir().expect("a temporary directory");
            let mut torn = log[..cut].to_vec();
            if let Tail::Garbage = tail {
                torn.resize(log.len(), 0xa5);
            }
            std::fs::write(copy.path().join("ark.db"), &main).expect("a copy");
            std::fs::write(copy.path().join("ark.db-wal"), torn).expect("a copy");
            let store = open(copy.path());
            let found = texts(&store).await;
            assert!(found.len() >= 20, "cut at {cut}: what was in the file is there");
            assert_eq!(found, all[..found.len()], "cut at {cut}: nothing is missing in between");
            append(&store, "on".into()).await.expect("and it can be written to");
            lengths_found.insert(found.len());
        }
    }
    assert!(lengths_found.contains(&20) && lengths_found.contains(&40), "{lengths_found:?}");
    assert!(lengths_found.len() > 10, "tears were found in many places: {lengths_found:?}");
}

#[derive(Clone, Copy)]
enum Tail {
    Missing,
    Garbage,
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    for number in 0..200 {
        append(&store, format!("{number} {}", "x".repeat(200))).await.expect("the write succeeds");
    }
    drop(store);
    let whole = std::fs::read(dir.path().join("ark.db")).expect("the database");
    let overwritten = |from: usize, length: usize| {
        let mut bytes = whole.clone();
        bytes[from..from + length].fill(0xa5);
        bytes
    };
    let half = whole[..whole.len() / 2 / 4096 * 4096].to_vec();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("no database", b"hello, this is not a database at all".repeat(200)),
        ("header overwritten", overwritten(0, 100)),
        ("first page overwritten", overwritten(100, 3_900)),
        ("middle overwritten", overwritten(whole.len() / 2 / 4096 * 4096, 8_192)),
        ("cut in half", half),
    ] {
        let copy = tempfile::tempdir().expect("a temporary directory");
        let file = copy.path().join("ark.db");
        std::fs::write(&file, &bytes).expect("a copy");
        match Store::open(copy.path(), now()) {
            Err(error @ StoreError::Corrupt { .. }) => {
                let text = error.to_string();
                assert!(text.contains(&file.display().to_string()), "{what}: {text}");
                assert!(text.contains("restore"), "{what}: {text}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert!(std::fs::read(&file).expect("the file") == bytes, "{what}: it was changed");
    }

    let copy = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(copy.path().join("ark.db-wal"), b"left over").expect("a log");
    let lost = Store::open(copy.path(), now());
    assert!(matches!(lost, Err(StoreError::Corrupt { .. })), "{lost:?}");
    assert!(!copy.path().join("ark.db").exists(), "no new database hides the loss");
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    drop(open(dir.path()));
    let conn = rusqlite::Connection::open(dir.path().join("ark.db")).expect("the database");
    let known: u32 =
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).expect("its version");
    conn.pragma_update(None, "user_version", known + 1).expect("a newer version");
    drop(conn);
    match Store::open(dir.path(), now()) {
        Err(StoreError::Newer { found, known: ours, .. }) => {
            assert_eq!((found, ours), (known + 1, known));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let conn = rusqlite::Connection::open(dir.path().join("ark.db")).expect("a database");
    conn.execute_batch("CREATE TABLE theirs (a); PRAGMA user_version = 1").expect("a table");
    drop(conn);
    let before = std::fs::read(dir.path().join("ark.db")).expect("the database");
    let refused = Store::open(dir.path(), now());
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    let after = std::fs::read(dir.path().join("ark.db")).expect("the database");
    assert!(before == after, "it was changed");
}

#[tokio::test]
async fn what_is_stored_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let others_may = || -> Vec<PathBuf> {
        let files = std::fs::read_dir(dir.path()).expect("the directory").flatten();
        let open_to_others = |path: &PathBuf| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let mode = std::fs::metadata(path).expect("its rights").permissions().mode();
            name.starts_with("ark.db") && mode & 0o077 != 0
        };
        files.map(|entry| entry.path()).filter(open_to_others).collect()
    };
    let store = open(dir.path());
    append(&store, "kept".into()).await.expect("the write succeeds");
    assert!(dir.path().join("ark.db-wal").exists());
    assert_eq!(others_may(), Vec::<PathBuf>::new());
    drop(store);
    // One that was made with other rights.
    let all = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(dir.path().join("ark.db"), all).expect("its owner may");
    let store = open(dir.path());
    append(&store, "more".into()).await.expect("the write succeeds");
    assert_eq!(others_may(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_data_directory_has_one_owner() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    append(&store, "kept".into()).await.expect("the write succeeds");
    match Store::open(dir.path(), now()) {
        Err(StoreError::InUse { holder, .. }) => {
            assert_eq!(holder, format!("process {}", std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    let clone = store.clone();
    drop(store);
    let still = Store::open(dir.path(), now());
    assert!(matches!(still, Err(StoreError::InUse { .. })), "a clone keeps it open");
    drop(clone);
    let later = Timestamp::from_second(1_800_000_000).expect("an instant");
    let store = Store::open(dir.path(), later).expect("it is free at once");
    let epoch = store.read(ark_store::ReadTx::epoch).await.expect("the read succeeds");
    assert_eq!(i64::try_from(epoch), Ok(now().as_millisecond()), "the epoch is its creation's");
    assert_eq!(texts(&store).await, ["kept"]);
}

#[tokio::test]
async fn the_last_handle_may_be_dropped_by_a_closure() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begun, running) = tokio::sync::oneshot::channel();
    let inner = store.clone();
    let write = tokio::spawn(store.write(move |tx| {
        let _ = begun.send(());
        wait.recv_timeout(Duration::from_secs(20)).expect("the test goes on");
        tx.put_meta("key", "value")?;
        drop(inner);
        Ok::<_, StoreError>(())
    }));
    running.await.expect("the closure runs");
    drop(store);
    write.abort();
    assert!(write.await.is_err(), "nobody waits for the answer any more");
    go.send(()).expect("the closure waits");
    let store = reopen(dir.path()).await;
    let found = store.read(|tx| tx.meta("key")).await.expect("the read succeeds");
    assert_eq!(found.as_deref(), Some("value"), "it was committed all the same");
}

/// Opens the directory as soon as its former owner has let go of it.
async fn reopen(dir: &Path) -> Store {
    for _ in 0..2_000 {
        match Store::open(dir, now()) {
            Err(StoreError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => return other.expect("the store opens"),
        }
    }
    panic!("the store was never closed");
}

#[tokio::test]
async fn a_full_queue_refuses_instead_of_growing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options =
        Options { queue_max: 1, queue_wait_max: Duration::from_millis(50), ..Options::default() };
    let store = Store::open_with(dir.path(), now(), options).expect("the store opens");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begun, running) = tokio::sync::oneshot::channel();
    let blocker = tokio::spawn(store.write(move |tx| {
        let _ = begun.send(());
        wait.recv_timeout(Duration::from_secs(20)).expect("the test goes on");
        tx.put_meta("blocker", "done")
    }));
    running.await.expect("the closure runs");
    let queued = tokio::spawn(store.write(|tx| tx.put_meta("queued", "done")));
    tokio::task::yield_now().await;
    let refused = store.write(|tx| tx.put_meta("refused", "done")).await;
    assert!(matches!(refused, Err(StoreError::Busy { .. })), "{refused:?}");
    // Reads have their own threads and do not wait for the writer.
    assert_eq!(store.read(|tx| tx.meta("blocker")).await.expect("the read succeeds"), None);

    go.send(()).expect("the closure waits");
    blocker.await.expect("the task ends").expect("the write succeeds");
    let queued = queued.await.expect("the task ends");
    assert!(matches!(queued, Err(StoreError::Busy { .. })), "it waited too long: {queued:?}");
    append(&store, "after".into()).await.expect("the write succeeds");
    let found = store
        .read(|tx| ["blocker", "queued", "refused"].into_iter().map(|key| tx.meta(key)).collect())
        .await;
    let found: Vec<_> = found.map_err(|e: StoreError| e.to_string()).expect("the read succeeds");
    assert_eq!(found, [Some("done".to_owned()), None, None]);
}

/// What one closure may have to undo is more than is kept in memory for it: it goes to a temporary file.
#[tokio::test]
async fn a_closure_that_changes_many_pages_is_kept_or_undone_whole() {
    const MANY: usize = 2_000;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let put_all = |value: char, refuse: bool| {
        store.write(move |tx| {
            for number in 0..MANY {
                tx.put_meta(&format!("key {number:05}"), &value.to_string().repeat(4_000))?;
            }
            if refuse { Err(StoreError::Closed) } else { Ok(()) }
        })
    };
    let values = async |store: &Store| {
        let all = store.read(|tx| -> Result<BTreeSet<_>, StoreError> {
            let keys = (0..MANY).map(|number| tx.meta(&format!("key {number:05}")));
            keys.map(|value| Ok(value?.and_then(|value| value.chars().next()))).collect()
        });
        all.await.expect("the read succeeds")
    };
    put_all('a', false).await.expect("all are new");
    put_all('b', false).await.expect("all are changed");
    assert_eq!(values(&store).await, BTreeSet::from([Some('b')]));
    let refused = put_all('c', true).await;
    assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
    assert_eq!(values(&store).await, BTreeSet::from([Some('b')]), "undone whole");
    drop(store);
    assert_eq!(values(&open(dir.path())).await, BTreeSet::from([Some('b')]));
}

/// A backup that writes, or somebody with `sqlite3`.
#[tokio::test]
async fn a_lock_of_another_program_refuses_writes_until_it_is_released() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = Options { lock_wait_max: Duration::from_millis(50), ..Options::default() };
    let store = Store::open_with(dir.path(), now(), options).expect("the store opens");
    append(&store, "before".into()).await.expect("the write succeeds");
    let other = rusqlite::Connection::open(dir.path().join("ark.db")).expect("another program");
    other.execute_batch("BEGIN IMMEDIATE").expect("it has the lock");
    let refused = append(&store, "refused".into()).await.expect_err("nobody can write");
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused:?}");
    assert!(refused.is_transient(), "it is worth another try");
    assert_eq!(texts(&store).await, ["before"], "reads go on");
    other.execute_batch("ROLLBACK").expect("it lets go");
    append(&store, "after".into()).await.expect("the write succeeds");
    drop(store);
    assert_eq!(texts(&open(dir.path())).await, ["before", "after"]);
}

/// A backup that takes its time: the log cannot be emptied while it reads. Writes go on, and afterwards the
/// log is cut to what is kept of it.
#[tokio::test]
async fn a_log_that_grows_under_a_long_read_is_cut_after_it() {
    /// What is kept of a log.
    const KEPT: u64 = 64 << 20;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    append(&store, "before".into()).await.expect("the write succeeds");
    let log = || dir.path().join("ark.db-wal").metadata().expect("a log").len();
    let other = rusqlite::Connection::open(dir.path().join("ark.db")).expect("another program");
    let count = || -> i64 {
        other.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).expect("a number")
    };
    other.execute_batch("BEGIN").expect("it reads");
    assert_eq!(count(), 1);
    let mut written = 1;
    while log() <= KEPT + (8 << 20) {
        append(&store, "x".repeat(4 << 20)).await.expect("writes go on");
        written += 1;
    }
    assert_eq!(count(), 1, "it sees what it began with");
    other.execute_batch("ROLLBACK").expect("it has done");
    // One write empties the log into the file, the next begins it anew.
    for _ in 0..2 {
        append(&store, "after".into()).await.expect("the write succeeds");
        written += 1;
    }
    assert!(log() <= KEPT, "{} bytes", log());
    assert_eq!(count(), written, "all of it is there");
    let texts = texts(&store).await;
    assert_eq!(texts[0], "before");
}

/// A disk that was mounted to be read only, or a file that is: nobody takes the store for broken or for a
/// new one, and it goes on once it may be written.
#[tokio::test]
async fn a_file_that_can_only_be_read_is_refused_and_left_alone() {
    let Some(disk) = Tmpfs::mount("16m") else {
        let name = "a_file_that_can_only_be_read_is_refused_and_left_alone";
        writeln!(std::io::stderr(), "SKIPPED {name}: a tmpfs cannot be mounted").expect("stderr");
        return;
    };
    let dir = disk.dir.path();
    let store = open(dir);
    append(&store, "kept".into()).await.expect("the write succeeds");
    drop(store);
    let (root, file) = (dir.display().to_string(), dir.join("ark.db").display().to_string());
    let run = |command: &str| {
        let mut words = command.split(' ');
        let done = Command::new(words.next().expect("a program")).args(words).status();
        assert!(done.is_ok_and(|status| status.success()), "{command}");
    };
    for (make, undo) in [
        (vec![format!("mount -o remount,ro {root}")], format!("mount -o remount,rw {root}")),
        (
            vec![format!("mount --bind {file} {file}"), format!("mount -o remount,bind,ro {file}")],
            format!("umount {file}"),
        ),
    ] {
        make.iter().for_each(|command| run(command));
        for _ in 0..2 {
            let refused = match Store::open(dir, now()) {
                Ok(store) => append(&store, "lost".into()).await.expect_err("nothing is written"),
                Err(refused) => refused,
            };
            let told = matches!(refused, StoreError::File { .. } | StoreError::Io { .. });
            assert!(told, "{make:?}: {refused:?}");
        }
        run(&undo);
    }
    let store = reopen(dir).await;
    assert_eq!(texts(&store).await, ["kept"]);
    append(&store, "after".into()).await.expect("the write succeeds");
}

#[tokio::test]
async fn a_full_database_refuses_writes_until_there_is_room() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = Options { pages_max: Some(150), ..Options::default() };
    let store = Store::open_with(dir.path(), now(), options).expect("the store opens");
    let kept = fill(&store).await;
    assert_eq!(texts(&store).await, kept, "all that was acknowledged, and no more");
    let pruned = store.write(|tx| tx.prune_events(Timestamp::MAX, 1_000)).await;
    assert_eq!(pruned.expect("making room needs none"), kept.len());
    append(&store, "room again".into()).await.expect("the write succeeds");
    drop(store);
    assert_eq!(texts(&open(dir.path())).await, ["room again"]);
}

/// Appends until the disk is full; answers what was acknowledged.
async fn fill(store: &Store) -> Vec<String> {
    let mut kept = Vec::new();
    for number in 0..10_000 {
        let text = format!("{number} {}", "x".repeat(1_000));
        match append(store, text.clone()).await {
            Ok(_) => kept.push(text),
            Err(StoreError::DiskFull { .. }) => {
                assert!(!kept.is_empty());
                return kept;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("the disk was never full");
}

/// A file system of a given size, unmounted when dropped.
struct Tmpfs {
    dir: tempfile::TempDir,
}

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self { dir })
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.dir.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the file system is unmounted");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    let Some(disk) = Tmpfs::mount("4m") else {
        let name = "a_full_disk_refuses_writes_until_there_is_room";
        writeln!(std::io::stderr(), "SKIPPED {name}: a tmpfs cannot be mounted").expect("stderr");
        return;
    };
    let dir = disk.dir.path();
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).expect("the ballast fits");
    let store = open(dir);
    let mut kept = fill(&store).await;

    // A whole group hears of it: none of these was kept, none says that it was.
    let group: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let store = store.clone();
                async move { append(&store, "z".repeat(100_000)).await }
            })
        })
        .collect();
    for write in group {
        let refused = write.await.expect("the task ends");
        assert!(matches!(refused, Err(StoreError::DiskFull { .. })), "{refused:?}");
    }
    assert_eq!(texts(&store).await, kept, "reads go on");

    std::fs::remove_file(&ballast).expect("the ballast is removed");
    append(&store, "room again".into()).await.expect("the write succeeds");
    kept.push("room again".into());
    assert_eq!(texts(&store).await, kept);
    drop(store);
    let store = open(dir);
    assert_eq!(texts(&store).await, kept);
    drop(store);
}

#[tokio::test]
async fn a_full_disk_leaves_no_half_blob() {
    let Some(disk) = Tmpfs::mount("1m") else {
        let name = "a_full_disk_leaves_no_half_blob";
        writeln!(std::io::stderr(), "SKIPPED {name}: a tmpfs cannot be mounted").expect("stderr");
        return;
    };
    let blobs = ark_store::Blobs::open(disk.dir.path()).expect("blobs");
    let (small, large) = (vec![1; 400_000], vec![2; 2 << 20]);
    let put = |content: &[u8]| {
        let digest = ark_model::Sha256::of(content);
        blobs.put(content, digest, content.len() as u64).map(|_| digest)
    };
    let refused = put(&large);
    assert!(matches!(refused, Err(ark_store::BlobError::File { .. })), "{refused:?}");
    let small = put(&small).expect("what was written of the large one is gone");
    blobs.verify(&small).expect("whole");
    assert_eq!(blobs.list().expect("the list").len(), 1);
}
