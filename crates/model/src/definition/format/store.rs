//! Files of data stores and libraries: those with a `type` at the top.

use super::super::shape::{Entries, Key, List, Map, Shape, TextRule};
use super::platform::ALARM;
use super::{OWNERS, TEXTS};

static ALARMS: List = List::of("an alarm", Shape::Map(&ALARM));
static TABLES: Entries = Entries { key: TextRule::Filled, value: Shape::Any };

static BODY: Map = Map::of(
    "How the data store looks on one side.",
    &[
        Key::new("region", Shape::Text(TextRule::Filled), "Region it lives in."),
        Key::new("regions", Shape::List(&TEXTS), "Regions it lives in."),
        Key::new("tables", Shape::Entries(&TABLES), "Tables by name, in CloudFormation's form."),
        Key::new("domain", Shape::Any, "Search domain, in CloudFormation's form."),
        Key::new("shardCount", Shape::Int { min: 1, max: 100_000 }, "Shards of a stream."),
        Key::new(
            "retentionPeriodHours",
            Shape::Int { min: 1, max: 8760 },
            "Hours a record of a stream is kept.",
        ),
        Key::new(
            "longQueryTime",
            Shape::Number { min: 0.0, max: 86_400.0 },
            "Queries that take longer are logged, in seconds.",
        ),
        Key::new("alarms", Shape::List(&ALARMS), "Alarms."),
    ],
)
.open();

/// The file of a data store or a library.
pub(in super::super) static STORE: Map = Map::of(
    "A data store or a library. `postgres` and `redis` run in development environments; the others are recognised and not deployed.",
    &[
        Key::new(
            "type",
            Shape::Word(&[
                ("dynamodb", "tables in DynamoDB"),
                ("kinesis-streams", "streams in Kinesis"),
                ("aurora", "a relational database"),
                ("elasticsearch", "a search domain"),
                ("library", "code that is built and never run"),
                ("postgres", "a PostgreSQL server that Ark runs in development environments"),
                ("redis", "a Redis server that Ark runs in development environments"),
            ]),
            "What the file describes. An app has no `type` at the top but one under `run`.",
        )
        .required(),
        Key::new("application", Shape::Text(TextRule::Filled), "The app it belongs to."),
        Key::new("team", Shape::Text(TextRule::Team), "The owning team."),
        Key::new("shepherds", Shape::List(&OWNERS), "Addresses of responsible engineers.")
            .default("[]"),
        Key::new(
            "version",
            Shape::Int { min: 1, max: 999 },
            "Major version of a `postgres` or `redis`: any that the machine has, else 17 and 7.",
        ),
        Key::new(
            "image",
            Shape::Text(TextRule::Filled),
            "The image of a `postgres` or `redis`, one like its makers'.",
        ),
        Key::new("dev", Shape::Map(&BODY), "How it looks in development."),
        Key::new("prod", Shape::Map(&BODY), "How it looks in production; as `dev`."),
    ],
);
