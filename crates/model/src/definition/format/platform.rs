//! Sections about alarms, scaling, and the platform below.

use super::super::shape::{Entries, Key, List, Map, Shape, TextRule};
use super::{LABELS, TEXTS};

const COUNT: Shape = Shape::Int { min: 0, max: 10_000 };

pub(super) static AUTOSCALING: Map = Map::of(
    "How many instances run.",
    &[
        Key::new(
            "min_count",
            COUNT,
            "At least so many; also the number before anything is measured.",
        )
        .default("1"),
        Key::new("max_count", COUNT, "At most so many."),
        Key::new(
            "metric",
            Shape::Word(&[
                ("cpu", "CPU use in percent"),
                ("active-percent", "share of time that workers are busy"),
            ]),
            "What the number follows.",
        ),
        Key::new(
            "metric_target",
            Shape::Number { min: 1.0, max: 100.0 },
            "Value of the metric to keep to, in percent.",
        ),
    ],
);

static PARAMETERS: Map = Map::of(
    "When an alarm fires.",
    &[
        Key::new(
            "threshold",
            Shape::Number { min: 0.0, max: 1e15 },
            "Share of requests from 0 to 1; for `KinesisDelaysAlarm` milliseconds.",
        ),
        Key::new(
            "evaluationPeriods",
            Shape::Int { min: 1, max: 10_000 },
            "So many periods in a row.",
        ),
        Key::new("period", Shape::Int { min: 1, max: 86_400 }, "Length of a period in seconds."),
    ],
);

static EXTRA_PARAMETERS: Map = Map::of(
    "What narrows an alarm down.",
    &[
        Key::new(
            "source",
            Shape::Word(&[
                ("Total", "every answer"),
                ("Target", "answers of the app"),
                ("ELB", "answers of the load balancer itself"),
            ]),
            "Which counter of errors is meant.",
        ),
        Key::new(
            "errorMinimum",
            Shape::Int { min: 0, max: 1_000_000_000 },
            "No alarm under so many errors in a period.",
        ),
        Key::new(
            "requestMinimum",
            Shape::Int { min: 0, max: 1_000_000_000 },
            "No alarm under so many requests in a period.",
        ),
    ],
);

pub(super) static ALARM: Map = Map::of(
    "An alarm.",
    &[
        Key::new(
            "type",
            Shape::Word(&[
                ("InternalErrorAlarm", "share of 5xx answers"),
                ("BadRequestAlarm", "share of 4xx answers"),
                ("KinesisDelaysAlarm", "a consumer of a stream is behind"),
                ("KinesisLimitsAlarm", "a stream is close to its limits"),
            ]),
            "What it watches.",
        )
        .required(),
        Key::new(
            "severity",
            Shape::Word(&[
                ("minor", "look at it in working hours"),
                ("major", "look at it today"),
                ("critical", "wake someone"),
            ]),
            "How bad it is.",
        )
        .required(),
        Key::new("parameters", Shape::Map(&PARAMETERS), "When it fires."),
        Key::new("extraParameters", Shape::Map(&EXTRA_PARAMETERS), "What narrows it down."),
        Key::new(
            "channel",
            Shape::Text(TextRule::Filled),
            "Chat channel; the team's own for this severity when absent.",
        ),
        Key::new(
            "team",
            Shape::Text(TextRule::Team),
            "Team that is told, when it is not the owner.",
        ),
        Key::new("runbookURL", Shape::Text(TextRule::Free), "Page that says what to do."),
        Key::new("tips", Shape::Text(TextRule::Free), "Words shown with the alert."),
    ],
)
.moved(&[
    ("threshold", "parameters.threshold"),
    ("evaluationPeriods", "parameters.evaluationPeriods"),
    ("period", "parameters.period"),
    ("source", "extraParameters.source"),
    ("errorMinimum", "extraParameters.errorMinimum"),
    ("requestMinimum", "extraParameters.requestMinimum"),
]);

static MANAGED: Map = Map::of(
    "Reusable policies.",
    &[Key::new("clever", Shape::List(&TEXTS), "Names of the organisation's own policies.")],
);

static GRANTS: Map = Map::of(
    "What may be read and written, by name.",
    &[
        Key::new("read", Shape::List(&TEXTS), "May be read.").default("[]"),
        Key::new("write", Shape::List(&TEXTS), "May be written.").default("[]"),
    ],
);

pub(super) static AWS: Map = Map::of(
    "Grants of the app's role in AWS.",
    &[
        Key::new("custom", Shape::Bool, "The role has a policy file written by hand."),
        Key::new("managed", Shape::Map(&MANAGED), "Reusable policies."),
        Key::new("s3", Shape::Map(&GRANTS), "Buckets."),
        Key::new("dynamodb", Shape::Map(&GRANTS), "Tables."),
        Key::new("sqs", Shape::Map(&GRANTS), "Queues."),
    ],
);

static POD_SELECTOR: Map = Map::of(
    "Labels a pod must have.",
    &[
        Key::new("production", Shape::Bool, "For production or not."),
        Key::new(
            "function",
            Shape::Text(TextRule::Filled),
            "What the pod is for: `sso`, `default`.",
        ),
        Key::new("region", Shape::Text(TextRule::Filled), "Region of the pod."),
    ],
);

static POD_SIDE: Map = Map::of(
    "One side of the pod section.",
    &[
        Key::new(
            "migrationState",
            Shape::Word(&[
                ("deployable", "can be deployed there"),
                ("discoverable", "gets traffic by discovery"),
                ("podOnly", "runs only there"),
            ]),
            "How far the move into pods has come.",
        )
        .legacy("every app runs in a pod group now"),
        Key::new("podSelector", Shape::Map(&POD_SELECTOR), "Labels a pod must have.")
            .legacy("`pod_config.group` names the pods now"),
    ],
);

pub(super) static POD_CONFIG: Map = Map::of(
    "The group of pods the app runs in.",
    &[
        Key::new("group", Shape::Text(TextRule::Filled), "Name of the group."),
        Key::new("devGroup", Shape::Text(TextRule::Filled), "Name of the group in development."),
        Key::new("dev", Shape::Map(&POD_SIDE), "Development side."),
        Key::new("prod", Shape::Map(&POD_SIDE), "Production side; as `dev`."),
    ],
);

static STRATEGIES: Entries = Entries {
    key: TextRule::Label,
    value: Shape::Word(&[
        ("no-confirm", "deployed at once"),
        ("confirm-then-deploy", "built, and deployed when a person says so"),
        ("canary-confirm", "a canary that a person approves"),
    ]),
};

pub(super) static DEPLOY_CONFIG: Map = Map::of(
    "What a new build of the main branch does.",
    &[
        Key::new("autoDeployEnvs", Shape::List(&LABELS), "Environments it goes to by itself.")
            .default("[]"),
        Key::new(
            "strategies",
            Shape::Entries(&STRATEGIES),
            "How it goes to each of them: `no-confirm` (when absent), `confirm-then-deploy` (a person types the command), `canary-confirm` (strategy canary, whose steps ask for an approval).",
        ),
        Key::new("canaryInProd", Shape::Bool, "Strategy canary in production.").default("false"),
        Key::new(
            "blockDevDeploys",
            Shape::Bool,
            "No deployments to development environments; Ark lists it as not enforced.",
        )
        .default("false"),
    ],
);

static MESH_SIDE: Map = Map::of(
    "One side of the mesh section.",
    &[Key::new(
        "state",
        Shape::Word(&[("hybrid", "load balancer and mesh"), ("mesh_only", "mesh alone")]),
        "How far the move into the mesh has come.",
    )],
)
.moved(&[("migrationState", "state")]);

pub(super) static MESH_CONFIG: Map = Map::of(
    "Membership in an older mesh.",
    &[
        Key::new("dev", Shape::Map(&MESH_SIDE), "Development side."),
        Key::new("prod", Shape::Map(&MESH_SIDE), "Production side; as `dev`."),
        Key::new(
            "crossRegionRoute",
            Shape::Word(&[("sso", "for single sign-on"), ("non-sso", "for everything else")]),
            "A route for clients in other regions.",
        ),
        Key::new("setupInternalRoute", Shape::Bool, "A route for clients outside the mesh."),
    ],
);

static EXPORTERS: Map = Map::of(
    "Where measurements go.",
    &[Key::new("exporters", Shape::List(&TEXTS), "Names of exporters: `datadog`.").default("[]")],
);

pub(super) static TELEMETRY: Map = Map::of(
    "Traces and metrics of the app.",
    &[
        Key::new("enabled", Shape::Bool, "On or off.").default("false"),
        Key::new("tracing", Shape::Map(&EXPORTERS), "Traces."),
        Key::new("metrics", Shape::Map(&EXPORTERS), "Metrics."),
    ],
);

static EVENT_PROPERTIES: Map = Map::of(
    "Details of an event source.",
    &[
        Key::new("Stream", Shape::Text(TextRule::Filled), "The stream: an ARN, or `${VARIABLE}`."),
        Key::new("BatchSize", Shape::Int { min: 1, max: 10_000 }, "Records in one call."),
        Key::new(
            "StartingPosition",
            Shape::Word(&[
                ("LATEST", "what comes from now on"),
                ("TRIM_HORIZON", "the oldest there is"),
                ("AT_TIMESTAMP", "from an instant on"),
            ]),
            "Where reading starts.",
        ),
    ],
)
.open();

static EVENT: Map = Map::of(
    "An event source of a function.",
    &[
        Key::new("Type", Shape::Text(TextRule::Filled), "`DynamoDB`, `Kinesis`, ...").required(),
        Key::new("Properties", Shape::Map(&EVENT_PROPERTIES), "Details of the source."),
    ],
);

pub(super) static EVENTS: Entries = Entries { key: TextRule::Filled, value: Shape::Map(&EVENT) };

pub(super) static LAMBDA: Map = Map::of(
    "Limits and event sources of a function.",
    &[
        Key::new(
            "Timeout",
            Shape::Int { min: 1, max: 900 },
            "Seconds until the answer to a call begins.",
        ),
        Key::new("MaxConcurrent", Shape::Int { min: 0, max: 100_000 }, "Calls at the same time."),
        Key::new("NoVPC", Shape::Bool, "Outside the private network."),
        Key::new("Events", Shape::Entries(&EVENTS), "Event sources by name."),
    ],
);

static ARTIFACT_DEPENDENCIES: List = List::of("a glob", Shape::Text(TextRule::Filled)).once();

static ARTIFACT: Map = Map::of(
    "The artifact, which several apps may share.",
    &[
        Key::new("name", Shape::Text(TextRule::Filled), "Its name, when it is not the app's."),
        Key::new("command", Shape::Text(TextRule::Filled), "Shell command that builds it."),
        Key::new(
            "dependencies",
            Shape::List(&ARTIFACT_DEPENDENCIES),
            "Globs of the files it is made from.",
        )
        .default("[]"),
    ],
);

static DOCKER: Map = Map::of(
    "The image.",
    &[Key::new(
        "file",
        Shape::Text(TextRule::Filled),
        "The Dockerfile, when it is not `Dockerfile`.",
    )],
);

pub(super) static BUILD: Map = Map::of(
    "How the artifact is built.",
    &[
        Key::new("artifact", Shape::Map(&ARTIFACT), "The artifact."),
        Key::new("docker", Shape::Map(&DOCKER), "The image."),
    ],
);
