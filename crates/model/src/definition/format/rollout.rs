//! Sections `deploy` and `drain`.

use super::super::shape::{Key, List, Map, Shape, TextRule, days};
use super::{COMMAND, DAY};

static NOTHING: Map = Map::of("Nothing more to say: `{}`.", &[]);

static STEPS: List = List::of("a step", Shape::Map(&STEP));
static STEP: Map = Map::of(
    "One step of a canary; exactly one key.",
    &[
        Key::new(
            "weight",
            Shape::Int { min: 0, max: 100 },
            "Percent of the traffic that goes to the new side.",
        ),
        Key::new(
            "pause",
            Shape::OpenDuration { min_ms: 0, max_ms: days(7) },
            "Wait so long before the next step; `{}` waits until `ark promote`, and aborts after 24 hours.",
        ),
        Key::new(
            "analysis",
            Shape::Map(&NOTHING),
            "The judge compares the new side with the old one: `{}`.",
        ),
        Key::new(
            "approval",
            Shape::Map(&NOTHING),
            "A person says go: `{}`. Ends by aborting after 24 hours.",
        ),
        Key::new(
            "scale",
            Shape::Quantity,
            "Instances of the new side, or a share of the wanted number, instead of what its weight needs.",
        ),
        Key::new(
            "header",
            Shape::Map(&HEADER),
            "Requests with a header field or cookie go to the new side, whatever the weight.",
        ),
        Key::new(
            "mirror",
            Shape::Map(&MIRROR),
            "Copies of requests go to the new side; their answers are thrown away.",
        ),
    ],
)
.one_of();

pub(super) static HEADER: Map = Map::of(
    "Which requests: exactly one of `name` and `cookie`.",
    &[
        Key::new("name", Shape::Text(TextRule::Token), "Name of a header field."),
        Key::new("cookie", Shape::Text(TextRule::Token), "Name of a cookie."),
        Key::new("value", Shape::Scalar, "The exact value; when absent, being there is enough."),
    ],
);
static MIRROR: Map = Map::of(
    "Copies of the old side's requests.",
    &[
        Key::new(
            "percent",
            Shape::Int { min: 0, max: 100 },
            "Percent of the old side's requests that are copied; 0 ends it.",
        )
        .required(),
        Key::new(
            "unsafe",
            Shape::Bool,
            "Whether requests with methods other than GET, HEAD and OPTIONS are copied too.",
        )
        .default("false"),
    ],
);

static WEBHOOKS: List = List::of("a webhook", Shape::Map(&WEBHOOK));
static WEBHOOK: Map = Map::of(
    "An address that is asked whether the deployment may go on.",
    &[
        Key::new(
            "url",
            Shape::Text(TextRule::Url),
            "Where it is asked, by POST; it answers `SUCCEEDED`, `FAILED` or `IN_PROGRESS`.",
        )
        .required(),
        Key::new(
            "at",
            Shape::Word(&[
                ("pre_deploy", "before any instance of the new release starts"),
                ("post_deploy", "when the new release has all of the traffic"),
            ]),
            "When it is asked.",
        )
        .default("\"pre_deploy\""),
        Key::new(
            "timeout",
            Shape::Duration { min_ms: 1_000, max_ms: DAY },
            "How long it may take to say `SUCCEEDED`; it is asked again until then. 10 m when absent.",
        ),
        Key::new(
            "token",
            Shape::Text(TextRule::Variable),
            "Name of a variable of this app whose value is sent as bearer token.",
        ),
    ],
);

static HOOKS: Map = Map::of(
    "Commands and calls around a deployment; a failure ends it, and what was live before stays or comes back. Rollbacks run none.",
    &[
        Key::new(
            "pre_deploy",
            Shape::List(&COMMAND),
            "Program and arguments, run once with the new release before its first instance starts.",
        ),
        Key::new(
            "post_deploy",
            Shape::List(&COMMAND),
            "Program and arguments, run once with the new release when it has all of the traffic.",
        ),
        Key::new(
            "timeout",
            Shape::Duration { min_ms: 1_000, max_ms: DAY },
            "How long each command may take; 10 m when absent.",
        ),
        Key::new(
            "webhooks",
            Shape::List(&WEBHOOKS),
            "Addresses that are asked, in their order, after the command of their stage.",
        ),
    ],
);

pub(super) static DEPLOY: Map = Map::of(
    "How a new release takes over.",
    &[
        Key::new(
            "strategy",
            Shape::Word(&[
                ("rolling", "instance by instance, the new one first"),
                ("blue-green", "the whole new side, then one switch"),
                ("canary", "a growing share of the traffic, judged"),
                ("recreate", "stop all, then start all; requests are held"),
            ]),
            "How the new side replaces the old one.",
        )
        .default("\"rolling\""),
        Key::new(
            "max_surge",
            Shape::Quantity,
            "Instances beyond the wanted number while both sides run: a count, or a share rounded up.",
        )
        .default("\"25%\""),
        Key::new(
            "max_unavailable",
            Shape::Quantity,
            "Instances that may be missing: a count, or a share rounded down.",
        )
        .default("0"),
        Key::new(
            "steps",
            Shape::List(&STEPS),
            "Steps of a canary; 5 %, 25 % and 50 %, each 1 m and judged, when there are none.",
        ),
        Key::new("hooks", Shape::Map(&HOOKS), "Commands and calls around the deployment."),
        Key::new(
            "watch",
            Shape::Duration { min_ms: 0, max_ms: days(7) },
            "How long the judge watches after the end.",
        )
        .default("\"5m\""),
        Key::new(
            "min_healthy_time",
            Shape::Duration { min_ms: 0, max_ms: DAY },
            "How long a new instance must stay ready before it counts; when absent 5 s, 0 in development environments, and 10 s of running for work without ports. Where nothing serves it takes traffic as soon as it is ready, and the deployment succeeds after this time.",
        ),
        Key::new(
            "ready_timeout",
            Shape::Duration { min_ms: 1, max_ms: DAY },
            "How long one instance may take to become ready.",
        )
        .default("\"2m\""),
        Key::new(
            "progress_deadline",
            Shape::Duration { min_ms: 1, max_ms: days(7) },
            "How long a deployment may go without progress.",
        )
        .default("\"5m\""),
        Key::new(
            "deadline",
            Shape::Duration { min_ms: 1, max_ms: days(7) },
            "How long a deployment may take in all; pauses of a canary do not count.",
        )
        .default("\"30m\""),
        Key::new(
            "keep_old",
            Shape::Duration { min_ms: 0, max_ms: days(7) },
            "How long the old side is kept after the switch; 10 m for `blue-green`, not at all otherwise, when absent.",
        ),
    ],
)
.moved(&[
    ("pre_deploy", "deploy.hooks.pre_deploy"),
    ("post_deploy", "deploy.hooks.post_deploy"),
    ("drain", "the key `drain` at the top of the file"),
]);

pub(super) static DRAIN: Map = Map::of(
    "How long work on the old side may go on once it gets no new requests.",
    &[
        Key::new("requests", Shape::Duration { min_ms: 0, max_ms: DAY }, "For ordinary requests.")
            .default("\"30s\""),
        Key::new(
            "streams",
            Shape::Duration { min_ms: 0, max_ms: DAY },
            "For long-lived streams: WebSocket, server-sent events, gRPC streams.",
        )
        .default("\"5m\""),
    ],
);
