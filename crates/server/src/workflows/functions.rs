//! Calls of functions as `lambda:invoke` shows them. A function is the work of an activity's workers
//! (`effects` offers it to them); here is how it may be called, and what its answer looks like.

use ark_states::{Document, Value};

use super::effects::{STATES_TYPE, sorted};
use super::step::Stepper;

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invocation {
    /// Its answer is waited for.
    Wait,
    /// Not at all: only whether it is there is asked.
    DryRun,
}

/// How `lambda:invoke` wants its function called; else what is wrong with it.
pub(super) fn how_to_invoke(arguments: &Value) -> Result<Invocation, String> {
    match arguments.get("InvocationType").and_then(Value::as_str) {
        None | Some("RequestResponse") => Ok(Invocation::Wait),
        Some("DryRun") => Ok(Invocation::DryRun),
        Some(how) => Err(format!(
            "InvocationType '{how}' of lambda:invoke is not served by Ark: a function is a worker whose answer is waited for."
        )),
    }
}

impl Stepper<'_> {
    /// A function's answer as `lambda:invoke` gives it.
    pub(super) fn invocation(&self, output: &Document) -> Document {
        self.answered(200, output)
    }

    /// The answer of one that was not made: the function is there, and would have been called.
    pub(super) fn dry_run(&self) -> Document {
        self.answered(204, &Document::new(Value::from("")))
    }

    fn answered(&self, status: i64, output: &Document) -> Document {
        const VERSION: &str = "$LATEST";
        let trace = self.shared.entropy.uuid().simple().to_string();
        let more = [
            ("X-Amz-Executed-Version", VERSION.to_owned()),
            ("X-Amzn-Trace-Id", format!("Root=1-{:08x}-{}", self.now.as_second(), &trace[..24])),
            ("x-amzn-Remapped-Content-Length", "0".to_owned()),
        ];
        let mut answer = vec![
            ("ExecutedVersion", Value::from(VERSION)),
            ("Payload", output.value().clone()),
            ("StatusCode", Value::from(status)),
        ];
        answer.extend(self.call_metadata(status, output.size_bytes(), "application/json", &more));
        Document::new(sorted(answer))
    }

    /// What AWS shows of the call itself beside a service's answer. Here no call went over HTTP: the
    /// headers are those that its answer of so many bytes would have had.
    pub(super) fn call_metadata(
        &self,
        status: i64,
        bytes: usize,
        content_type: &str,
        more: &[(&str, String)],
    ) -> [(&'static str, Value); 2] {
        let request = self.shared.entropy.uuid().to_string();
        let date = self.now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        // The states API writes this one small, functions write it large.
        let connection = if content_type == STATES_TYPE { "connection" } else { "Connection" };
        let mut headers = vec![
            (connection, "keep-alive".to_owned()),
            ("Content-Length", bytes.to_string()),
            ("Content-Type", content_type.to_owned()),
            ("Date", date),
            ("x-amzn-RequestId", request.clone()),
        ];
        headers.extend(more.iter().cloned());
        let all =
            headers.iter().map(|(name, text)| (*name, Value::array([Value::from(text.as_str())])));
        let all = Value::object(all);
        let headers =
            Value::object(headers.iter().map(|(name, text)| (*name, text.as_str().into())));
        let http = [
            ("AllHttpHeaders", all),
            ("HttpHeaders", headers),
            ("HttpStatusCode", Value::from(status)),
        ];
        [
            ("SdkHttpMetadata", Value::object(http)),
            ("SdkResponseMetadata", Value::object([("RequestId", Value::from(request))])),
        ]
    }
}
