//! Patterns of secrets.
//!
//! Most services give their keys a prefix for just this purpose. What has none is recognised by
//! where it stands: a name that speaks of a secret, assigned a value that looks drawn by lot.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::entropy;

/// Something that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Secret {
    /// The rule: `secret.aws-access-key`.
    pub(super) rule: String,
    /// What it is.
    pub(super) message: &'static str,
    /// The secret itself; it never leaves this module's callers.
    pub(super) text: String,
    /// What may be shown of it.
    pub(super) masked: String,
}

struct Pattern {
    name: &'static str,
    message: &'static str,
    regex: Regex,
}

/// Name, what it is, pattern; the group `s` is the secret where the pattern says more.
const PATTERNS: &[(&str, &str, &str)] = &[
    (
        "private-key",
        "a private key",
        r"(?P<s>-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----)",
    ),
    (
        "aws-access-key",
        "an AWS access key",
        r"\b(?P<s>(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b",
    ),
    (
        "aws-secret-key",
        "an AWS secret key",
        r#"(?i)aws.{0,24}(?:secret|private).{0,24}['"=:\s](?P<s>[A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
    ),
    (
        "github-token",
        "a GitHub token",
        r"\b(?P<s>gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{60,255})\b",
    ),
    (
        "gitlab-token",
        "a GitLab token",
        r"\b(?P<s>gl(?:pat|dt|rt|ptt|soat|cbt)-[A-Za-z0-9_\-]{20,64})\b",
    ),
    (
        "slack-token",
        "a Slack token",
        r"\b(?P<s>xox[abeoprs]-[A-Za-z0-9-]{10,250}|xapp-\d-[A-Za-z0-9-]{20,250})\b",
    ),
    (
        "slack-webhook",
        "a Slack webhook",
        r"(?P<s>hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9_/+]{20,100})",
    ),
    (
        "stripe-key",
        "a Stripe key",
        r"\b(?P<s>(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,250}|whsec_[A-Za-z0-9+/=]{24,250})\b",
    ),
    (
        "google-api-key",
        "a Google API key",
        r"\b(?P<s>AIza[A-Za-z0-9_\-]{35})(?:[^A-Za-z0-9_\-]|$)",
    ),
    (
        "google-oauth",
        "a Google OAuth secret",
        r"\b(?P<s>GOCSPX-[A-Za-z0-9_\-]{28}|ya29\.[A-Za-z0-9_\-]{30,500})",
    ),
    (
        "azure-key",
        "an Azure storage key",
        r"(?i)AccountKey=(?P<s>[A-Za-z0-9+/]{86}==)",
    ),
    (
        "sendgrid-key",
        "a SendGrid key",
        r"\b(?P<s>SG\.[A-Za-z0-9_\-]{22}\.[A-Za-z0-9_\-]{43})",
    ),
    ("twilio-key", "a Twilio key", r"\b(?P<s>SK[0-9a-f]{32})\b"),
    (
        "npm-token",
        "an npm token",
        r"\b(?P<s>npm_[A-Za-z0-9]{36})\b",
    ),
    (
        "pypi-token",
        "a PyPI token",
        r"\b(?P<s>pypi-AgE[A-Za-z0-9_\-]{50,500})",
    ),
    (
        "crates-token",
        "a crate registry token",
        r"\b(?P<s>cio[A-Za-z0-9]{32})\b",
    ),
    (
        "docker-token",
        "a Docker token",
        r"\b(?P<s>dckr_(?:pat|oat)_[A-Za-z0-9_\-]{24,64})",
    ),
    (
        "anthropic-key",
        "an Anthropic key",
        r"\b(?P<s>sk-ant-[A-Za-z0-9_\-]{24,250})",
    ),
    (
        "openai-key",
        "an OpenAI key",
        r"\b(?P<s>sk-(?:proj|svcacct|admin)-[A-Za-z0-9_\-]{24,250}|sk-[A-Za-z0-9]{48})\b",
    ),
    (
        "huggingface-token",
        "a Hugging Face token",
        r"\b(?P<s>hf_[A-Za-z]{34})\b",
    ),
    (
        "digitalocean-token",
        "a DigitalOcean token",
        r"\b(?P<s>do[opr]_v1_[0-9a-f]{64})\b",
    ),
    (
        "vault-token",
        "a Vault token",
        r"\b(?P<s>hv[sbr]\.[A-Za-z0-9_\-]{24,250})",
    ),
    (
        "telegram-token",
        "a Telegram bot token",
        r"\b(?P<s>\d{8,10}:AA[A-Za-z0-9_\-]{33})(?:[^A-Za-z0-9_\-]|$)",
    ),
    (
        "age-key",
        "an age key",
        r"\b(?P<s>AGE-SECRET-KEY-1[0-9A-Z]{58})\b",
    ),
    (
        "jwt",
        "a signed token (JWT)",
        r"\b(?P<s>eyJ[A-Za-z0-9_\-]{10,2000}\.eyJ[A-Za-z0-9_\-]{10,4000}\.[A-Za-z0-9_\-]{20,1000})",
    ),
    (
        "url-password",
        "a password in an address",
        r#"\b[a-z][a-z0-9+.\-]{1,20}://[^\s:/@'"]{1,64}:(?P<s>[^\s:/@'"$<>{}]{3,200})@[A-Za-z0-9\[]"#,
    ),
    (
        "basic-auth",
        "a basic authorisation header",
        r"(?i)authorization['\x22]?\s*[:=]\s*['\x22]?basic\s+(?P<s>[A-Za-z0-9+/]{12,400}={0,2})",
    ),
    (
        "bearer",
        "a bearer token",
        r"(?i)authorization['\x22]?\s*[:=]\s*['\x22]?bearer\s+(?P<s>[A-Za-z0-9_\-.~+/]{20,1000}=*)",
    ),
];

static COMPILED: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    PATTERNS
        .iter()
        .filter_map(|(name, message, pattern)| {
            let regex = Regex::new(pattern).ok()?;
            Some(Pattern {
                name,
                message,
                regex,
            })
        })
        .collect()
});

static ASSIGNMENT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(?:^|[^A-Za-z0-9])[A-Za-z0-9_.\-]{0,40}(?:password|passwd|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|auth[_-]?key|private[_-]?key|client[_-]?secret|encryption[_-]?key|credential)s?[A-Za-z0-9_\-]{0,20}['"\]]{0,2}\s*(?::=|=>|[:=])\s*(?:[A-Za-z<&: \[\]]{0,20}=\s*)?[bru]?(?:'(?P<a>[^'\s]{8,512})'|"(?P<b>[^"\s]{8,512})"|`(?P<c>[^`\s]{8,512})`|(?P<d>[A-Za-z0-9_+/=\-.]{16,512})\s*$)"#,
    )
    .ok()
});

/// Every secret in a line.
pub(super) fn find(line: &str) -> Vec<Secret> {
    let mut found: Vec<Secret> = Vec::new();
    for pattern in COMPILED.iter() {
        for captures in pattern.regex.captures_iter(line) {
            let Some(text) = captures.name("s") else {
                continue;
            };
            if pattern.name == "url-password" && placeholder(text.as_str()) {
                continue;
            }
            found.push(secret(pattern.name, pattern.message, text.as_str()));
        }
    }
    let assigned = ASSIGNMENT
        .iter()
        .flat_map(|regex| regex.captures_iter(line));
    for captures in assigned {
        let Some(value) = value(&captures) else {
            continue;
        };
        let known = found
            .iter()
            .any(|secret| secret.text.contains(value) || value.contains(&secret.text));
        if !known && !placeholder(value) && entropy::looks_random(value) {
            found.push(secret(
                "assignment",
                "a value that looks like a secret",
                value,
            ));
        }
    }
    found
}

fn value<'a>(captures: &Captures<'a>) -> Option<&'a str> {
    ["a", "b", "c", "d"]
        .iter()
        .find_map(|group| captures.name(group))
        .map(|value| value.as_str())
}

/// Values that stand for a secret and are none.
fn placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let words = [
        "example",
        "placeholder",
        "changeme",
        "change-me",
        "change_me",
        "your",
        "xxxx",
        "dummy",
        "redacted",
        "<",
        "${",
        "{{",
        "$(",
        "%(",
        "process.env",
        "os.environ",
        "getenv",
        "env.",
        "secrets.",
        "****",
        "...",
        "test_",
        "fake",
    ];
    words.iter().any(|word| lower.contains(word))
        || matches!(
            lower.as_str(),
            "password" | "secret" | "postgres" | "root" | "pass" | "user"
        )
}

fn secret(name: &str, message: &'static str, text: &str) -> Secret {
    // Enough to find the place again, too little to be of use.
    let length = text.chars().count();
    let shown: String = text
        .chars()
        .take(if length >= 16 { 4 } else { 0 })
        .collect();
    Secret {
        rule: format!("secret.{name}"),
        message,
        text: text.to_owned(),
        masked: format!("{shown}…, {length} characters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(line: &str) -> Vec<String> {
        find(line).into_iter().map(|secret| secret.rule).collect()
    }

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(COMPILED.len(), PATTERNS.len());
        assert!(ASSIGNMENT.is_some());
    }

    /// Samples are put together from parts, so that no scanner takes this file for a leak.
    #[test]
    fn secrets_of_each_sort_are_found() {
        let body = "Zq7Kd0Xw3Rt9Lm5Pv1Bn8Hs2Jf6Gc4YaUeIoTbNrDk";
        let hex = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        for (line, rule) in [
            (
                format!("-----BEGIN {} KEY-----", "RSA PRIVATE"),
                "private-key",
            ),
            (
                format!("{}{}", "AKIA", "Q3EGRX7KPLM2ZT5W"),
                "aws-access-key",
            ),
            (
                format!("aws_secret_access_key = {}", &format!("{body}abc")[..40]),
                "aws-secret-key",
            ),
            (format!("ghp_{}", &body[..36]), "github-token"),
            (format!("glpat-{}", &body[..20]), "gitlab-token"),
            (format!("xoxb-{}", &body[..24]), "slack-token"),
            (format!("sk_live_{}", &body[..24]), "stripe-key"),
            (format!("AIza{}", &body[..35]), "google-api-key"),
            (format!("SK{hex}"), "twilio-key"),
            (format!("npm_{}", &body[..36]), "npm-token"),
            (format!("sk-ant-{body}"), "anthropic-key"),
            (
                format!("eyJ{}.eyJ{}.{}", &body[..20], &body[..20], &body[..30]),
                "jwt",
            ),
            (format!("postgres://app:{}@db", &body[..12]), "url-password"),
            (format!("Authorization: Bearer {body}"), "bearer"),
            (format!("db_password: \"{}\"", &body[..20]), "assignment"),
            (
                format!("const API_KEY: &str = \"{}\";", &body[..24]),
                "assignment",
            ),
            (format!("SECRET_TOKEN={}", &body[..32]), "assignment"),
        ] {
            let found = rules(&line);
            assert!(
                found.contains(&format!("secret.{rule}")),
                "{line}: {found:?}"
            );
        }
    }

    #[test]
    fn words_about_secrets_are_not_secrets() {
        for line in [
            "let password = read_password()?;",
            "token = os.environ['TOKEN']",
            "api_key: \"${API_KEY}\"",
            "password = \"changeme\"",
            "fn private_key(&self) -> &PrivateKey {",
            "secret: \"the-name-of-the-secret\"",
            "postgres://user:password@localhost/db",
            "checksum = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
            "let tokens = tokenizer.tokenize(text);",
        ] {
            assert!(rules(line).is_empty(), "{line}: {:?}", rules(line));
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic_and_masks_hide(line in "\\PC{0,200}") {
            for secret in find(&line) {
                prop_assert!(!secret.masked.contains(&secret.text));
            }
        }
    }
}
