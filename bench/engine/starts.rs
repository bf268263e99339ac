//! Starts per second of the process engine, the time from `start` to running and to the first
//! answered request, and what many instances cost. Run with
//! `cargo bench -p ark-engine --bench starts [-- COUNT]`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_engine::{
    ArtifactSource, Engine, LogLimits, ProcessEngine, StartSpec, StopOptions, blob_path,
};
use ark_model::artifact::{Manifest, ManifestEntry, ManifestNode};
use ark_model::ids::{InstanceId, Sha256};
use ark_model::instance::{EngineState, PortBinding};
use futures::stream::{self, StreamExt};

/// Instances that are started when nothing else is said.
const COUNT: usize = 300;
/// How many starts are under way at once.
const PARALLEL: usize = 8;
/// Nothing here takes longer, or it has failed.
const DEADLINE: Duration = Duration::from_secs(120);
/// How large the file is that every instance gets a copy of, besides the program.
const ARTIFACT_BYTES: usize = 1 << 20;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let first = arguments.next();
    if first.as_deref() == Some("serve") {
        let address = arguments.next().ok_or("serve ADDRESS")?;
        return serve(address.parse()?);
    }
    let count = first.map_or(Ok(COUNT), |text| text.parse())?;
    tokio::runtime::Runtime::new()?.block_on(measure(count))
}

/// The program of every instance: answers each connection with one line of HTTP.
fn serve(address: SocketAddr) -> Result<(), Failure> {
    let listener = TcpListener::bind(address)?;
    for connection in listener.incoming() {
        let mut connection = connection?;
        let _ = connection.read(&mut [0; 1024]);
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    Ok(())
}

async fn measure(count: usize) -> Result<(), Failure> {
    let place = tempfile::tempdir()?;
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o711))?;
    let shim = vec![env!("CARGO_BIN_EXE_ark-shim-test").into()];
    let engine: Arc<dyn Engine> = Arc::new(ProcessEngine::new(place.path(), shim)?);
    writeln!(std::io::stdout(), "{}", machine())?;
    let (directory, bytes) = artifact(&place.path().join("blobs"))?;
    let program = std::env::current_exe()?.display().to_string();
    let megabytes = format!("a directory of {:.1} MB, copied and checked", bytes as f64 / 1e6);
    for (name, artifact, program) in [
        ("no files", ArtifactSource::None, program.as_str()),
        (megabytes.as_str(), directory, "./program"),
    ] {
        let specs = specs(count, &artifact, program)?;
        writeln!(std::io::stdout(), "\n{count} instances, {PARALLEL} starts at once, {name}:\n")?;
        let result = measure_starts(&engine, &specs, place.path()).await;
        if result.is_err() {
            for spec in &specs {
                let _ = engine.kill(spec.id).await;
            }
            let _ = until_all_ended(&engine).await;
        }
        result?;
        for spec in &specs {
            engine.remove(spec.id).await?;
        }
    }
    Ok(())
}

async fn measure_starts(
    engine: &Arc<dyn Engine>,
    specs: &[StartSpec],
    data_dir: &Path,
) -> Result<(), Failure> {
    let count = specs.len();
    let begun = Instant::now();
    let times: Vec<Times> = stream::iter(specs.iter().cloned())
        .map(|spec| start(Arc::clone(engine), spec))
        .buffer_unordered(PARALLEL)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    let all_started = begun.elapsed();

    let listing = Instant::now();
    let listed = engine.list().await?;
    let list_time = listing.elapsed();
    if listed.len() != count {
        return Err(format!("{} of {count} instances are listed", listed.len()).into());
    }
    let shim_kib = shim_pss_kib(data_dir, specs)?;

    let stopping = Instant::now();
    for spec in specs {
        engine.stop(spec.id, StopOptions::default()).await?;
    }
    until_all_ended(engine).await?;
    let all_stopped = stopping.elapsed();

    let mut out = std::io::stdout().lock();
    let rate = count as f64 / all_started.as_secs_f64();
    writeln!(out, "| measure | value | goal |\n| --- | --- | --- |")?;
    writeln!(out, "| starts per second, each until its first answer | {rate:.0} | 50 |")?;
    for (name, pick) in [
        ("`start` returns", (|times: &Times| times.handed_over) as fn(&Times) -> Duration),
        ("running", |times| times.running),
        ("first answer", |times| times.answered),
    ] {
        let mut sorted: Vec<Duration> = times.iter().map(pick).collect();
        sorted.sort_unstable();
        let at =
            |part: f64| sorted[((sorted.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        writeln!(
            out,
            "| {name}, median and 95th of 100 | {:.1} ms, {:.1} ms | |",
            at(0.5),
            at(0.95)
        )?;
    }
    writeln!(out, "| `list` of all | {:.1} ms | |", list_time.as_secs_f64() * 1e3)?;
    writeln!(out, "| memory of one shim (PSS, median) | {shim_kib} KiB | |")?;
    writeln!(out, "| all stopped | {:.2} s | |", all_stopped.as_secs_f64())?;
    Ok(())
}

struct Times {
    handed_over: Duration,
    running: Duration,
    answered: Duration,
}

async fn start(engine: Arc<dyn Engine>, spec: StartSpec) -> Result<Times, String> {
    let begun = Instant::now();
    let wall = jiff::Timestamp::now();
    engine.start(&spec).await.map_err(|error| error.to_string())?;
    let handed_over = begun.elapsed();
    let address = spec.ports[0].address;
    let answered = tokio::task::spawn_blocking(move || first_answer(address, begun))
        .await
        .map_err(|error| error.to_string())??;
    // A program may answer before its shim has written that it runs.
    while begun.elapsed() < DEADLINE {
        let listed = engine.list().await.map_err(|error| error.to_string())?;
        let state = listed.into_iter().find(|one| one.id == spec.id).map(|one| one.state);
        if let Some(EngineState::Running { since, .. }) = state {
            let running = since.duration_since(wall).unsigned_abs();
            return Ok(Times { handed_over, running, answered });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err(format!("instance {} answered and never ran", spec.id))
}

fn first_answer(address: SocketAddr, begun: Instant) -> Result<Duration, String> {
    while begun.elapsed() < DEADLINE {
        if let Ok(mut connection) = TcpStream::connect(address)
            && connection.write_all(b"GET / HTTP/1.1\r\n\r\n").is_ok()
            && connection.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0)
        {
            return Ok(begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(format!("{address} never answered"))
}

async fn until_all_ended(engine: &Arc<dyn Engine>) -> Result<(), Failure> {
    let mut changes = engine.changes();
    let begun = Instant::now();
    loop {
        changes.mark_unchanged();
        let listed = engine.list().await?;
        if listed.iter().all(|one| matches!(one.state, EngineState::Exited { .. })) {
            return Ok(());
        }
        if begun.elapsed() > DEADLINE {
            return Err("instances did not end".into());
        }
        let _ = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await;
    }
}

/// This program and a file, as a directory artifact.
fn artifact(blobs: &Path) -> Result<(ArtifactSource, usize), Failure> {
    let program = std::fs::read(std::env::current_exe()?)?;
    let bytes = program.len() + ARTIFACT_BYTES;
    let mut entries = Vec::new();
    for (path, content, executable) in
        [("data", vec![7; ARTIFACT_BYTES], false), ("program", program, true)]
    {
        let sha256 = Sha256::of(&content);
        let blob = blob_path(blobs, sha256);
        std::fs::create_dir_all(blob.parent().ok_or("a blob has a folder")?)?;
        std::fs::write(blob, &content)?;
        let node = ManifestNode::File { sha256, bytes: content.len() as u64, executable };
        entries.push(ManifestEntry { path: path.to_owned(), node });
    }
    let manifest = Manifest { entries };
    Ok((ArtifactSource::Directory { manifest, blobs: blobs.to_owned() }, bytes))
}

fn specs(
    count: usize,
    artifact: &ArtifactSource,
    program: &str,
) -> Result<Vec<StartSpec>, Failure> {
    // All are held until all are known, so that no two are the same.
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    let mut specs = Vec::with_capacity(count);
    for listener in held {
        let address = listener.local_addr()?;
        specs.push(StartSpec {
            id: InstanceId(uuid::Uuid::now_v7()),
            env: "production".parse()?,
            app: "web".parse()?,
            release: "1".parse()?,
            node: ark_model::NodeName::local(),
            command: [program, "serve", &address.to_string()].map(str::to_owned).into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            artifact: artifact.clone(),
            host_names: Vec::new(),
            ports: vec![PortBinding { expose: "default".to_owned(), address }],
            published: Vec::new(),
            memory_bytes: Some(64 << 20),
            memory_soft_bytes: None,
            volumes: Vec::new(),
            user: None,
            rights: ark_model::definition::Rights::default(),
            cpu_cores: Some(1.0),
            pids_max: Some(64),
            stop_signal: ark_model::definition::StopSignal::Term,
            stop_grace: Duration::from_secs(10),
            log_limits: LogLimits::default(),
        });
    }
    Ok(specs)
}

/// The median of what each shim has for itself, shared pages divided among their users.
fn shim_pss_kib(data_dir: &Path, specs: &[StartSpec]) -> Result<u64, Failure> {
    let mut sizes = Vec::new();
    for spec in specs {
        let path = data_dir.join("instances").join(spec.id.to_string()).join("status.json");
        let status: serde_json::Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let rollup =
            std::fs::read_to_string(format!("/proc/{}/smaps_rollup", status["shim"]["pid"]))?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        sizes.push(
            pss.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0),
        );
    }
    sizes.sort_unstable();
    Ok(sizes.get(sizes.len() / 2).copied().unwrap_or(0))
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let line = |text: String, key: &str| {
        let found = text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        found.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "{cores} cores of {}, {} of memory, Linux {}",
        line(read("/proc/cpuinfo"), "model name"),
        line(read("/proc/meminfo"), "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim()
    )
}
