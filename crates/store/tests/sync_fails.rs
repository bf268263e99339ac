//! A disk that fails to sync: nothing is acknowledged meanwhile, reads go on, and what was acknowledged
//! before and after is kept. Only the C library's `fsync` and `fdatasync` are made to fail, from outside,
//! in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use ark_store::{Store, StoreError};
use jiff::Timestamp;

/// Both fail while the file of this name is there.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void) {
    const char *mark = getenv("ARK_STORE_TEST_SYNC_FAILS");
    return mark && access(mark, F_OK) == 0;
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    if (fails()) { errno = EIO; return -1; }
    return real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (fails()) { errno = EIO; return -1; }
    return real(fd);
}
"#;
const MARK: &str = "ARK_STORE_TEST_SYNC_FAILS";
const DIR: &str = "ARK_STORE_TEST_SYNC_DIR";

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("an instant")
}

async fn put(store: &Store, key: &'static str) -> Result<(), StoreError> {
    store.write(move |tx| tx.put_meta(key, "kept")).await
}

async fn has(store: &Store, key: &'static str) -> bool {
    store.read(move |tx| tx.meta(key)).await.expect("reads go on").is_some()
}

#[tokio::test]
#[ignore = "the child of nothing_is_acknowledged_that_could_not_be_synced"]
async fn child_whose_disk_fails() {
    let dir = PathBuf::from(std::env::var_os(DIR).expect("the parent names a directory"));
    let mark = PathBuf::from(std::env::var_os(MARK).expect("the parent names a mark"));
    let store = Store::open(&dir, now()).expect("the store opens");
    put(&store, "before").await.expect("the disk is sound");
    std::fs::write(&mark, "").expect("the mark");
    for _ in 0..3 {
        let refused = put(&store, "refused").await.expect_err("nothing can be synced");
        assert!(matches!(refused, StoreError::Io { .. }), "{refused:?}");
        assert!(refused.is_transient());
        assert!(has(&store, "before").await && !has(&store, "refused").await);
    }
    std::fs::remove_file(&mark).expect("no mark");
    put(&store, "after").await.expect("the disk is sound again");
    // As a crash would leave it: nothing is closed.
    std::process::exit(0);
}

#[tokio::test]
async fn nothing_is_acknowledged_that_could_not_be_synced() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let shim = shim(dir.path());
    let data = dir.path().join("data");
    let ended = Command::new(std::env::current_exe().expect("this test's path"))
        .args(["--ignored", "--exact", "child_whose_disk_fails", "--nocapture"])
        .env("LD_PRELOAD", &shim)
        .env(DIR, &data)
        .env(MARK, dir.path().join("mark"))
        .output()
        .expect("the child runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let store = Store::open(&data, now()).expect("the store opens");
    assert!(has(&store, "before").await && has(&store, "after").await);
}

fn shim(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&source, SHIM).expect("a source");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl");
    let built = cc.status().expect("Rust's linker is cc");
    assert!(built.success(), "the shim is built");
    library
}
