//! What the authority is shown: answers by host and token, and certificates by host, for as long as
//! a challenge is open. Written by the control thread, read by every worker without a lock.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

/// What a handshake of a TLS-ALPN-01 challenge offers, alone (RFC 8737, 6.2).
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";
/// How the path of an HTTP-01 challenge begins (RFC 8555, 8.3).
pub(crate) const PATH: &str = "/.well-known/acme-challenge/";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    answers: ArcSwap<HashMap<Asked, String>>,
    certificates: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
}

/// What is asked for: a host and a token.
type Asked = (String, String);

impl Challenges {
    /// The answer to a request for `path`, should it be one that the authority waits for. `host` may
    /// have a port and capitals.
    pub(crate) fn answer(&self, host: &str, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        let answers = self.answers.load();
        if answers.is_empty() {
            return None;
        }
        let name = host.split(':').next().unwrap_or(host).trim_end_matches('.');
        answers.get(&(name.to_ascii_lowercase(), token.to_owned())).cloned()
    }

    /// The certificate of a handshake for `name`, should the authority wait for one.
    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.certificates.load().get(name).cloned()
    }

    /// Answers for as long as the result lives.
    pub(super) fn show_answer(&self, host: &str, token: &str, answer: &str) -> Shown<'_> {
        let asked = (host.to_owned(), token.to_owned());
        self.answers.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(asked.clone(), answer.to_owned());
            known
        });
        Shown { challenges: self, asked, is_answer: true }
    }

    /// Serves the certificate for as long as the result lives.
    pub(super) fn show_certificate(&self, host: &str, key: &Arc<CertifiedKey>) -> Shown<'_> {
        self.certificates.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(host.to_owned(), key.clone());
            known
        });
        let asked = (host.to_owned(), String::new());
        Shown { challenges: self, asked, is_answer: false }
    }
}

/// Something that is shown; no longer once this is dropped.
#[derive(Debug)]
pub(super) struct Shown<'c> {
    challenges: &'c Challenges,
    asked: Asked,
    is_answer: bool,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if self.is_answer {
            self.challenges.answers.rcu(|known| {
                let mut known = HashMap::clone(known);
                known.remove(&self.asked);
                known
            });
        } else {
            self.challenges.certificates.rcu(|known| {
                let mut known = HashMap::clone(known);
                known.remove(&self.asked.0);
                known
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answered_for_its_host_and_token_while_it_is_shown() {
        let challenges = Challenges::default();
        let shown = challenges.show_answer("a.com", "tok", "tok.print");
        let ask = |host: &str, path: &str| challenges.answer(host, path);
        let path = format!("{PATH}tok");
        assert_eq!(ask("a.com", &path).as_deref(), Some("tok.print"));
        assert_eq!(ask("A.com.:80", &path).as_deref(), Some("tok.print"));
        for (host, path) in
            [("b.com", path.as_str()), ("a.com", PATH), ("a.com", "/tok"), ("a.com", "")]
        {
            assert_eq!(ask(host, path), None, "{host} {path}");
        }
        drop(shown);
        assert_eq!(ask("a.com", &path), None);
    }
}
