//! Manifests: objects that name the objects in which the items of a distributed Map are. Called by the
//! runtime, which then reads those.

use super::text_of;
use crate::value::Value;

/// The most objects that a manifest may name.
const FILES_MAX: usize = 100_000;

/// An object that holds items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// The bucket it is in.
    pub bucket: String,
    /// Its key.
    pub key: String,
}

impl DataFile {
    /// Whether it is compressed with gzip, as those that services write are.
    pub fn is_gzip(&self) -> bool {
        self.key.ends_with(".gz")
    }
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The objects, in its order.
    pub files: Vec<DataFile>,
    /// A `ReaderConfig` that reads each of them.
    pub config: Value,
}

/// Whether what a reader of this `ReaderConfig` reads first is a manifest.
pub fn names_files(config: &Value) -> bool {
    text_of(config, "InputType") == Some("MANIFEST")
        || config.get("ManifestType").is_some_and(|kind| *kind != Value::Null)
}

/// The objects that a manifest names. Errors are texts for the author of the state machine.
pub fn manifest(bytes: &[u8], config: &Value) -> Result<Manifest, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the manifest is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let manifest = match text_of(config, "ManifestType").unwrap_or("S3_INVENTORY") {
        "S3_INVENTORY" => inventory(text)?,
        "ATHENA_DATA" => athena(text, config)?,
        other => {
            return Err(format!("ManifestType {other} is unknown: S3_INVENTORY, ATHENA_DATA"));
        }
    };
    match manifest.files.len() {
        0..=FILES_MAX => Ok(manifest),
        many => Err(format!("the manifest names {many} objects, at most {FILES_MAX} are read")),
    }
}

/// An inventory of S3: `manifest.json`, whose files are CSV without a header.
fn inventory(text: &str) -> Result<Manifest, String> {
    let wrong = |what: &str| format!("the manifest is no inventory of S3: {what}");
    let value = Value::parse(text).map_err(|e| wrong(&e.to_string()))?;
    let said = |name: &str| {
        text_of(&value, name)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| wrong(&format!("it has no {name}")))
    };
    let format = said("fileFormat")?;
    if format != "CSV" {
        return Err(format!("the files of the inventory are {format}: CSV are read"));
    }
    // An ARN, or a name alone.
    let bucket = said("destinationBucket")?;
    let bucket = bucket.rsplit(':').next().unwrap_or(bucket);
    let header = said("fileSchema")?.split(',').map(|name| Value::from(name.trim()));
    let config = Value::object([
        ("InputType", Value::from("CSV")),
        ("CSVHeaderLocation", Value::from("GIVEN")),
        ("CSVHeaders", Value::array(header)),
    ]);
    let files =
        value.get("files").and_then(Value::as_array).ok_or_else(|| wrong("it has no files"))?;
    let file = |file: &Value| {
        let key = text_of(file, "key").ok_or_else(|| wrong("a file has no key"))?;
        Ok(DataFile { bucket: bucket.to_owned(), key: key.to_owned() })
    };
    Ok(Manifest { files: files.iter().map(file).collect::<Result<_, String>>()?, config })
}

/// What Athena has unloaded: a line `s3://BUCKET/KEY` for each object, in the format of `InputType`.
fn athena(text: &str, config: &Value) -> Result<Manifest, String> {
    let mut files = Vec::new();
    for (line, n) in text.lines().zip(1..) {
        let address = line.trim().trim_matches('"');
        if address.is_empty() {
            continue;
        }
        let found = address.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        let Some((bucket, key)) = found else {
            return Err(format!("line {n} of the manifest is not s3://BUCKET/KEY"));
        };
        files.push(DataFile { bucket: bucket.to_owned(), key: key.to_owned() });
    }
    Ok(Manifest { files, config: config.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, config: &str, expect: &str) {
        let shown = match manifest(text.as_bytes(), &Value::parse(config).unwrap()) {
            Ok(found) => {
                let files: Vec<String> =
                    found.files.iter().map(|f| format!("{}/{}", f.bucket, f.key)).collect();
                format!("{} {}", files.join(" "), found.config.to_json())
            }
            Err(why) => why,
        };
        assert_eq!(shown, expect, "{text}");
    }

    #[test]
    fn manifests_name_objects() {
        let inventory = r#"{"sourceBucket":"src","destinationBucket":"arn:aws:s3:::dst",
            "version":"2016-11-30","creationTimestamp":"1514944800000","fileFormat":"CSV",
            "fileSchema":"Bucket, Key, Size","files":[
                {"key":"Inventory/src/a.csv.gz","size":2147,"MD5checksum":"f1"},
                {"key":"b.csv","size":1,"MD5checksum":"f2"}]}"#;
        let config = r#"{"InputType":"MANIFEST"}"#;
        check(
            inventory,
            config,
            "dst/Inventory/src/a.csv.gz dst/b.csv \
             {\"InputType\":\"CSV\",\"CSVHeaderLocation\":\"GIVEN\",\
             \"CSVHeaders\":[\"Bucket\",\"Key\",\"Size\"]}",
        );
        let orc = inventory.replace("CSV\",", "ORC\",");
        check(&orc, config, "the files of the inventory are ORC: CSV are read");
        check("{}", config, "the manifest is no inventory of S3: it has no fileFormat");
        check(
            "s3://a/b",
            r#"{"ManifestType":"X"}"#,
            "ManifestType X is unknown: S3_INVENTORY, ATHENA_DATA",
        );
        let athena = r#"{"InputType":"JSONL","ManifestType":"ATHENA_DATA"}"#;
        check("s3://a/b/c.gz\n\"s3://d/e\"\r\n\n", athena, &format!("a/b/c.gz d/e {athena}"));
        check("s3://a", athena, "line 1 of the manifest is not s3://BUCKET/KEY");
    }
}
