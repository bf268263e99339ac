//! The launch format, key by key. To add a key: one line in a table here, a field in the type of
//! the same name, and a row in `docs/definitions.md`.

mod platform;
mod rollout;
mod store;

use super::shape::{Entries, Key, List, Map, Shape, TextRule, days};
use platform::{
    ALARM, AUTOSCALING, AWS, BUILD, DEPLOY_CONFIG, EVENTS, LAMBDA, MESH_CONFIG, POD_CONFIG,
    TELEMETRY,
};
use rollout::{DEPLOY, DRAIN};

pub(super) use store::STORE;

/// A list of texts under one rule, none twice.
const fn names(noun: &'static str, rule: TextRule) -> List {
    List::of(noun, Shape::Text(rule)).once()
}

static COMMAND: List = List::of("a program or an argument", Shape::Scalar).filled();
static CAPABILITIES: List =
    List::of("a capability", Shape::Word(super::rights::CAPABILITIES)).once();
static VARIABLES: List = names("the name of a variable", TextRule::Variable);
static OWNERS: List = names("an address", TextRule::Owner);
static LABELS: List = names("a name", TextRule::Label);
static HOSTS: List = names("a host name", TextRule::Host);
static TEXTS: List = names("a text", TextRule::Filled);

/// Milliseconds that a time to wait may have at most unless a key says otherwise.
const DAY: u64 = days(1);

static RUN: Map = Map::of(
    "How the app runs.",
    &[
        Key::new(
            "type",
            Shape::Text(TextRule::RunType),
            "The kind of work. The cluster chooses the engine; `process` asks for the process engine.",
        )
        .default("\"docker\""),
        Key::new(
            "command",
            Shape::List(&COMMAND),
            "Program and arguments: what the process engine runs, and `ark start -l` for every type.",
        ),
        Key::new(
            "schedule",
            Shape::Text(TextRule::Schedule),
            "When a `cron` app runs: minute, hour, day of month, month, day of week; or `@daily` and the like.",
        ),
        Key::new(
            "timezone",
            Shape::Text(TextRule::Timezone),
            "IANA name of the time zone the schedule is read in.",
        )
        .default("\"UTC\""),
        Key::new(
            "overlap",
            Shape::Word(&[
                ("forbid", "the new run is skipped"),
                ("allow", "both run"),
                ("replace", "the running one is stopped first"),
            ]),
            "What a run of a `cron` app does while the one before it still runs.",
        )
        .default("\"forbid\""),
        Key::new(
            "missed",
            Shape::Word(&[
                ("run-once", "one run makes up for all that were missed"),
                ("skip", "missed runs are left out"),
            ]),
            "What happens to runs of a `cron` app that were missed.",
        )
        .default("\"run-once\""),
        Key::new(
            "jitter",
            Shape::Duration { min_ms: 0, max_ms: DAY },
            "Each firing of a `cron` app is late by a fixed time of its own below this.",
        )
        .default("\"0s\""),
        Key::new(
            "retries",
            Shape::Int { min: 0, max: crate::run::RETRIES_MAX as i64 },
            "How often a run of a `cron` or `job` app is tried again after a failure.",
        )
        .default("0"),
        Key::new(
            "timeout",
            Shape::Duration { min_ms: 1_000, max_ms: days(30) },
            "How long one attempt of a run of a `cron` or `job` app may take.",
        )
        .default("\"1d\""),
        Key::new(
            "keep_warm",
            Shape::Duration { min_ms: 0, max_ms: DAY },
            "How long the instance of a `lambda` is kept after its last request.",
        )
        .default("\"5m\""),
        Key::new(
            "privileged",
            Shape::Bool,
            "Whether a container may do what the host may; refused unless the server allows it.",
        )
        .default("false"),
        Key::new(
            "writable_root",
            Shape::Bool,
            "Whether a container may write to its image's files, not only to `/tmp`, `/run` and its volumes.",
        )
        .default("false"),
        Key::new(
            "capabilities",
            Shape::List(&CAPABILITIES),
            "Linux capabilities of a container beside `NET_BIND_SERVICE`; those that reach beyond it are refused unless the server allows them.",
        )
        .default("[]"),
        Key::new(
            "stop_signal",
            Shape::Word(&[
                ("SIGTERM", "end politely"),
                ("SIGINT", "as ^C does"),
                ("SIGQUIT", "nginx: finish requests, then end"),
                ("SIGHUP", "hang up"),
                ("SIGUSR1", "the app's own"),
                ("SIGUSR2", "the app's own"),
                ("SIGWINCH", "Apache: finish requests, then end"),
                ("SIGKILL", "end at once"),
            ]),
            "The signal that asks an instance to end.",
        )
        .default("\"SIGTERM\""),
        Key::new(
            "stop_grace",
            Shape::Duration { min_ms: 0, max_ms: DAY },
            "Time between the stop signal and SIGKILL.",
        )
        .default("\"30s\""),
        Key::new(
            "architecture",
            Shape::Word(&[("arm64", "64-bit ARM"), ("x86_64", "64-bit x86")]),
            "CPU architecture, when the artifact exists for one only.",
        ),
    ],
);

static RESOURCES: Map = Map::of(
    "What one instance may use.",
    &[
        Key::new(
            "cpu",
            Shape::Number { min: 0.0, max: 1024.0 },
            "CPU cores it uses at most; no limit when 0 or absent.",
        ),
        Key::new(
            "max_mem",
            Shape::Number { min: 0.001, max: 65_536.0 },
            "Memory in GiB; an instance that uses more is killed.",
        ),
        Key::new(
            "soft_mem_limit",
            Shape::Number { min: 0.0, max: 65_536.0 },
            "Memory in GiB that is reserved; at most `max_mem`.",
        ),
    ],
);

static HEALTH_CHECK: Map = Map::of(
    "How the gateway knows that an instance is ready.",
    &[
        Key::new(
            "type",
            Shape::Word(&[
                ("http", "a GET request is answered with 2xx"),
                ("tcp", "a connection is accepted"),
            ]),
            "What is asked; `http` when there is a path, else `tcp`.",
        ),
        Key::new(
            "path",
            Shape::Text(TextRule::RequestPath),
            "Path of the request; `/` when the type is `http` and there is none.",
        ),
        Key::new(
            "interval",
            Shape::Duration { min_ms: 10, max_ms: DAY },
            "Time between two checks.",
        )
        .default("\"1s\""),
        Key::new("timeout", Shape::Duration { min_ms: 1, max_ms: DAY }, "Time an answer may take.")
            .default("\"5s\""),
        Key::new(
            "successes",
            Shape::Int { min: 1, max: 1000 },
            "Successes in a row that make an instance ready.",
        )
        .default("1"),
        Key::new(
            "failures",
            Shape::Int { min: 1, max: 1000 },
            "Failures in a row that make it unready.",
        )
        .default("3"),
    ],
);

static RATE: Map = Map::of(
    "How many requests may come; beyond it the gateway answers 429.",
    &[
        Key::new("per_s", Shape::Int { min: 1, max: 1_000_000 }, "Requests a second.").required(),
        Key::new(
            "burst",
            Shape::Int { min: 1, max: 1_000_000 },
            "How many may come at once; `per_s` when absent.",
        ),
    ],
);

static LIMITS: Map = Map::of(
    "Which requests the gateway lets in. Requests for the health check's path always are.",
    &[
        Key::new("rate", Shape::Map(&RATE), "Of all clients together."),
        Key::new("rate_per_client", Shape::Map(&RATE), "Of one client's address."),
        Key::new(
            "concurrency",
            Shape::Int { min: 1, max: 1_000_000 },
            "Requests inside at once, streams left out; beyond it the gateway answers 503.",
        ),
        Key::new(
            "adaptive",
            Shape::Word(&[
                ("gradient2", "by how much longer answers take than in the long run"),
                ("vegas", "by the estimated queue"),
                (
                    "aimd",
                    "one more with each good second, a tenth less after answers of more than 5 s",
                ),
            ]),
            "How the gateway finds the concurrency limit itself, up to `concurrency` or 1,000.",
        ),
        Key::new(
            "operators",
            Shape::List(&OPERATORS),
            "Requests that none of these limits concerns.",
        )
        .default("[]"),
        Key::new(
            "body_mib",
            Shape::Int { min: 1, max: 1 << 20 },
            "Largest request body in MiB; beyond it 413. Any size when absent.",
        ),
        Key::new(
            "answer_within",
            Shape::Duration { min_ms: 100, max_ms: DAY },
            "From a request's end to the head of its answer; then 504. 60 s when absent.",
        ),
        Key::new(
            "slow_start",
            Shape::Duration { min_ms: 0, max_ms: DAY },
            "How long an instance that joins others gets less than its share; 30 s when absent.",
        ),
    ],
);

static OPERATORS: List = List::of("an operator's request", Shape::Map(&rollout::HEADER));

static MAINTENANCE: Map = Map::of(
    "That the gateway answers every request itself.",
    &[
        Key::new("status", Shape::Int { min: 400, max: 599 }, "The status.").default("503"),
        Key::new(
            "retry_after",
            Shape::Duration { min_ms: 1000, max_ms: 30 * DAY },
            "What clients are told of when to come back, in whole seconds.",
        ),
        Key::new(
            "page",
            Shape::Text(TextRule::Free),
            "HTML when it begins with `<`, else plain text; the gateway's own when absent.",
        ),
    ],
);

const PORT: Shape = Shape::Int { min: 1, max: 65_535 };

static PORTS: List = List::of("a port", Shape::Map(&EXPOSE));
static EXPOSE: Map = Map::of(
    "A port of the app.",
    &[
        Key::new(
            "name",
            Shape::Text(TextRule::Label),
            "Name for discovery: `SERVICE_<APP>_<NAME>_HOST`.",
        )
        .default("\"default\""),
        Key::new(
            "port",
            PORT,
            "Port inside a container. A process gets its own by the variable `PORT`.",
        )
        .required(),
        Key::new(
            "protocol",
            Shape::Word(&[
                ("http", "HTTP/1.1 with upgrades"),
                ("h2c", "HTTP/2 without TLS"),
                ("grpc", "gRPC without TLS"),
                ("tcp", "bytes, passed on"),
            ]),
            "What is spoken on the port.",
        )
        .default("\"http\""),
        Key::new(
            "hosts",
            Shape::List(&HOSTS),
            "Host names that lead here, beside `<app>.<env>.localhost`.",
        )
        .default("[]"),
        Key::new("path", Shape::Text(TextRule::RoutePath), "Path prefix that leads here.")
            .default("\"/\""),
        Key::new(
            "health_check",
            Shape::Map(&HEALTH_CHECK),
            "How the gateway knows that an instance is ready; a connection when absent.",
        ),
        Key::new(
            "limits",
            Shape::Map(&LIMITS),
            "Which requests the gateway lets in; all when absent.",
        ),
        Key::new(
            "maintenance",
            Shape::Map(&MAINTENANCE),
            "While it is there, the gateway answers every request itself.",
        ),
        Key::new("bind", PORT, "Port of a proxy in front, in old files; Ark does not use it."),
        Key::new(
            "load_balancer_port",
            PORT,
            "Port of a public load balancer, in old files; Ark does not use it.",
        ),
        Key::new(
            "load_balancer_proto",
            Shape::Word(&[("http", "plain HTTP"), ("https", "HTTP over TLS"), ("tcp", "bytes")]),
            "Protocol of that load balancer.",
        ),
    ],
);

static VOLUMES: List = List::of("a volume", Shape::Map(&VOLUME));
static VOLUME: Map = Map::of(
    "A folder that outlives its instance.",
    &[
        Key::new("name", Shape::Text(TextRule::Label), "Its name.").required(),
        Key::new("path", Shape::Text(TextRule::FolderPath), "Where the instance finds it.")
            .required(),
    ],
);

static ENV_DEFAULTS: Entries = Entries { key: TextRule::Variable, value: Shape::Scalar };
static DATABASES: List = names("a data store", TextRule::Database);
static ALARMS: List = List::of("an alarm", Shape::Map(&ALARM));
static ELBS: Entries = Entries { key: TextRule::Filled, value: Shape::List(&TEXTS) };

/// The file of an app.
pub(super) static APP: Map = Map::of(
    "An app of Ark. The name of the file is the name of the app; `{}` is a whole definition.",
    &[
        Key::new("run", Shape::Map(&RUN), "How the app runs."),
        Key::new(
            "env",
            Shape::List(&VARIABLES),
            "Names of the environment variables the app needs; values are set with `ark config set`.",
        )
        .default("[]"),
        Key::new(
            "env_defaults",
            Shape::Entries(&ENV_DEFAULTS),
            "Values for variables that the configuration does not set.",
        )
        .default("{}"),
        Key::new(
            "resources",
            Shape::Map(&RESOURCES),
            "What one instance may use.",
        ),
        Key::new("expose", Shape::List(&PORTS), "Ports of the app; none makes it a worker.")
            .default("[]"),
        Key::new(
            "dependencies",
            Shape::List(&LABELS),
            "Apps it needs, never itself; each gives it discovery variables.",
        )
        .default("[]"),
        Key::new(
            "externalUrlUsage",
            Shape::List(&HOSTS),
            "Public hosts whose address it gets as `EXTERNAL_URL_<HOST>`.",
        )
        .default("[]"),
        Key::new("deploy", Shape::Map(&DEPLOY), "How a new release takes over."),
        Key::new("drain", Shape::Map(&DRAIN), "How long work on the old side may go on."),
        Key::new(
            "autoscaling",
            Shape::Map(&AUTOSCALING),
            "How many instances run.",
        ),
        Key::new(
            "alarms",
            Shape::List(&ALARMS),
            "Alarms; the default ones when absent, none when empty.",
        ),
        Key::new("volumes", Shape::List(&VOLUMES), "Folders that outlive an instance.")
            .default("[]"),
        Key::new(
            "databases",
            Shape::List(&DATABASES),
            "Data stores it uses: `<kind>:<region>:<name>`, where `{env}` stands for the environment.",
        )
        .default("[]"),
        Key::new("aws", Shape::Map(&AWS), "Grants of the app's role in AWS."),
        Key::new(
            "use_iam_roles",
            Shape::Bool,
            "An older way to ask for a role of its own.",
        )
        .legacy("grants are written under `aws` now"),
        Key::new("pod_config", Shape::Map(&POD_CONFIG), "The group of pods it runs in."),
        Key::new(
            "deploy_config",
            Shape::Map(&DEPLOY_CONFIG),
            "What a new build of the main branch does.",
        ),
        Key::new("mesh_config", Shape::Map(&MESH_CONFIG), "Membership in an older mesh.")
            .legacy("the gateway does what the mesh did; nothing is needed instead"),
        Key::new("telemetry", Shape::Map(&TELEMETRY), "Traces and metrics."),
        Key::new(
            "lambda",
            Shape::Map(&LAMBDA),
            "Limits and event sources of a function.",
        ),
        Key::new("events", Shape::Entries(&EVENTS), "Event sources of a function.")
            .legacy("event sources are written under `lambda.Events` now"),
        Key::new("build", Shape::Map(&BUILD), "How the artifact is built."),
        Key::new("team", Shape::Text(TextRule::Team), "The owning team."),
        Key::new("shepherds", Shape::List(&OWNERS), "Addresses of responsible engineers.")
            .default("[]"),
        Key::new(
            "elbs",
            Shape::Entries(&ELBS),
            "Names of load balancers per environment, in old files; Ark does not use them.",
        ),
        Key::new(
            "access_scope",
            Shape::Text(TextRule::Filled),
            "Who may reach it: `org-wide`.",
        ),
        Key::new(
            "access_groups",
            Shape::List(&TEXTS),
            "Groups that may reach it: `everyone`.",
        )
        .default("[]"),
    ],
)
.moved(&[
    ("command", "run.command"),
    ("schedule", "run.schedule"),
    ("timezone", "run.timezone"),
    ("stop_signal", "run.stop_signal"),
    ("stop_grace", "run.stop_grace"),
    ("architecture", "run.architecture"),
    ("cpu", "resources.cpu"),
    ("max_mem", "resources.max_mem"),
    ("memory", "resources.max_mem"),
    ("port", "expose[].port"),
    ("ports", "expose"),
    ("health_check", "expose[].health_check"),
    ("hosts", "expose[].hosts"),
    ("strategy", "deploy.strategy"),
    ("hooks", "deploy.hooks"),
    ("steps", "deploy.steps"),
    ("min_count", "autoscaling.min_count"),
    ("max_count", "autoscaling.max_count"),
    ("instances", "autoscaling.min_count"),
    ("replicas", "autoscaling.min_count"),
    ("autoDeployEnvs", "deploy_config.autoDeployEnvs"),
    ("canaryInProd", "deploy_config.canaryInProd"),
    ("environment", "env"),
]);
