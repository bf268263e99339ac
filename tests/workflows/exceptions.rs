//! What may differ from the recordings: by name, with every difference and the reason.

use crate::same::fits_text;

/// A recording that Ark does not answer as AWS did.
pub(crate) struct Exception {
    /// The recorded test, from the name of its file on.
    pub(crate) test: &'static str,
    /// Every difference: the recorded answer and the place in it, what was expected and what is found
    /// instead; `<...>` stands for any text.
    pub(crate) differences: &'static [&'static str],
    pub(crate) why: &'static str,
}

/// Name, and where the answers differ.
pub(crate) type Judged = (String, Vec<String>);

/// Fails when a recording is answered otherwise and is no exception, and when an exception no longer
/// occurs, or occurs otherwise.
pub(crate) fn judge(judged: Vec<Judged>, exceptions: &[Exception]) {
    let count = judged.len();
    let mut wrong = Vec::new();
    let mut met = vec![0; exceptions.len()];
    for (name, differences) in judged {
        let file = name.rfind('/').map_or(0, |slash| slash + 1);
        let exception = exceptions.iter().position(|exception| exception.test == &name[file..]);
        if let Some(index) = exception {
            met[index] += 1;
        }
        let excepted = exception.map_or(&[][..], |index| exceptions[index].differences);
        let as_excepted = differences.len() == excepted.len()
            && excepted.iter().zip(&differences).all(|(a, b)| fits_text(a, b, &[]));
        if !as_excepted {
            let but = if exception.is_some() { " (otherwise than excepted)" } else { "" };
            wrong.push(format!("{name}{but}\n    {}", differences.join("\n    ")));
        }
    }
    for (exception, met) in exceptions.iter().zip(met) {
        match met {
            1 => eprintln!("excepted: {}: {}", exception.test, exception.why),
            met => wrong.push(format!("{}: {met} recordings have that name", exception.test)),
        }
    }
    wrong.sort();
    eprintln!("{count} cases, {} excepted", exceptions.len());
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}
