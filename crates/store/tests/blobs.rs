//! Blobs on disk: whole or not there.

use std::collections::BTreeMap;
use std::path::Path;

use ark_model::Sha256;
use ark_model::artifact::BLOB_BYTES_MAX;
use ark_store::{BlobError, Blobs, Put};

/// Every file below a folder, by name.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        match entry.file_type().expect("its type").is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.file_name().to_string_lossy().into_owned()),
        }
    }
    found.sort();
    found
}

/// Gives its chunks, then fails.
struct Broken<'a>(&'a [u8]);

impl std::io::Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.len() {
            0 => Err(std::io::Error::other("the line went dead")),
            _ => self.0.read(buffer),
        }
    }
}

#[test]
fn only_what_is_as_announced_is_kept() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let blobs = Blobs::open(dir.path()).expect("blobs");
    let large = vec![7_u8; 700_000];
    for content in [b"".as_slice(), b"hello", &large] {
        let (digest, bytes) = (Sha256::of(content), content.len() as u64);
        assert_eq!(blobs.put(content, digest, bytes).expect("kept"), Put::Stored);
        assert_eq!(blobs.put(content, digest, bytes).expect("kept"), Put::Present);
        assert_eq!(std::fs::read(blobs.path(&digest)).expect("the blob"), content);
        blobs.verify(&digest).expect("whole");
    }
    let before = files(dir.path());
    let digest = Sha256::of(b"announced");
    let refusals = [
        ("another content", blobs.put(&b"otherwise"[..], digest, 9)),
        ("too short", blobs.put(&b"announce"[..], digest, 9)),
        ("too long", blobs.put(&b"announced!"[..], digest, 9)),
        ("the wrong length", blobs.put(&b"announced"[..], digest, 10)),
        ("too large", blobs.put(&b""[..], digest, BLOB_BYTES_MAX + 1)),
        ("broken off", blobs.put(Broken(b"announced"), digest, 9)),
    ];
    for (what, refused) in refusals {
        let good = match what {
            "another content" => matches!(refused, Err(BlobError::Digest { .. })),
            "too large" => matches!(refused, Err(BlobError::TooLarge { .. })),
            "broken off" => matches!(refused, Err(BlobError::Received { .. })),
            _ => matches!(refused, Err(BlobError::Length { .. })),
        };
        assert!(good, "{what}: {refused:?}");
        assert!(!blobs.has(&digest), "{what}");
    }
    assert_eq!(files(dir.path()), before, "nothing is left of what was refused");
}

#[tokio::test]
async fn streams_are_kept_like_files() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let blobs = Blobs::open(dir.path()).expect("blobs");
    for length in [0, 1, 1_000, 256 << 10, (256 << 10) + 1, 1_000_000] {
        let content: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
        let digest = Sha256::of(&content);
        let put = blobs.put_async(&content[..], digest, length as u64).await;
        assert_eq!(put.expect("kept"), Put::Stored, "{length}");
        assert_eq!(std::fs::read(blobs.path(&digest)).expect("the blob"), content);
    }
    let refused = blobs.put_async(&b"more"[..], Sha256::of(b"mor"), 3).await;
    assert!(matches!(refused, Err(BlobError::Length { .. })), "{refused:?}");
    assert_eq!(blobs.list().expect("the list").len(), 6);
}

#[test]
fn what_is_missing_damaged_or_left_over_is_found() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let blobs = Blobs::open(dir.path()).expect("blobs");
    let (whole, cut, absent) = (Sha256::of(b"whole"), Sha256::of(b"cut"), Sha256::of(b"absent"));
    blobs.put(&b"whole"[..], whole, 5).expect("kept");
    blobs.put(&b"cut"[..], cut, 3).expect("kept");
    // As a failing disk would: the file is replaced, because it may not be written to.
    std::fs::remove_file(blobs.path(&cut)).expect("removed");
    std::fs::write(blobs.path(&cut), b"cu").expect("damaged");
    let wanted = BTreeMap::from([(whole, 5), (cut, 3), (absent, 6)]);
    let mut missing = blobs.missing(&wanted);
    missing.sort();
    let mut expected = vec![cut, absent];
    expected.sort();
    assert_eq!(missing, expected);
    assert!(matches!(blobs.verify(&cut), Err(BlobError::Digest { .. })));
    assert!(matches!(blobs.verify(&absent), Err(BlobError::Missing { .. })));
    blobs.put(&b"cut"[..], cut, 3).expect("kept");
    blobs.verify(&cut).expect("sending it again heals it");

    let unfinished = blobs.writer(absent, 6).expect("begun");
    std::mem::forget(unfinished);
    assert_eq!(files(dir.path()).len(), 3);
    let blobs = Blobs::open(dir.path()).expect("blobs");
    assert_eq!(files(dir.path()).len(), 2, "the next start removes what was left unfinished");

    blobs.delete(&cut).expect("deleted");
    blobs.delete(&cut).expect("deleted already");
    let listed = blobs.list().expect("the list");
    assert_eq!(listed.iter().map(|(d, bytes, _)| (*d, *bytes)).collect::<Vec<_>>(), [(whole, 5)]);
}
