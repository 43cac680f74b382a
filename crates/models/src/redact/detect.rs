//! Where in a text there is something of a class.
//!
//! One pass over the text tells which patterns are in it at all ([`RegexSet`]), and only these are
//! looked for; both take time in proportion to the text. What a pattern cannot tell is checked
//! ([`checks`](super::checks)). A pattern never reaches beyond a line, but for keys in PEM, so that a
//! stream can be looked at line by line.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::checks;
use super::class::Class;
use super::rules::{Action, Policy};

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where, in bytes.
    pub range: Range<usize>,
    /// What it is.
    pub class: Class,
}

/// How much of what a pattern found is meant, in bytes from its beginning; nothing if it is not.
type Check = fn(&str) -> Option<usize>;

/// How long a number is at most that is refused and looked into.
const NUMBER_MAX: usize = 64;

/// What is looked for: the class, its pattern, and a check. Where a pattern has groups, what they
/// found is meant, and otherwise all of it.
const PATTERNS: [(Class, &str, Check); 20] = [
    (Class::PrivateKey, BEGIN, all),
    (
        Class::ProviderKey,
        r"(?-u:\b)(?:AKIA|ASIA)[A-Z0-9]{16}(?-u:\b)",
        all,
    ),
    (
        Class::ProviderKey,
        r"(?-u:\b)gh[pousr]_[A-Za-z0-9]{36,}",
        all,
    ),
    (
        Class::ProviderKey,
        r"(?-u:\b)github_pat_[A-Za-z0-9_]{22,}",
        all,
    ),
    (Class::ProviderKey, r"(?-u:\b)glpat-[A-Za-z0-9_-]{20,}", all),
    (
        Class::ProviderKey,
        r"(?-u:\b)xox[abeoprs]-[A-Za-z0-9-]{10,}",
        all,
    ),
    (
        Class::ProviderKey,
        r"(?-u:\b)hooks\.slack\.com/services/([A-Za-z0-9/]{20,})",
        all,
    ),
    (Class::ProviderKey, r"(?-u:\b)AIza[A-Za-z0-9_-]{35}", all),
    // OpenAI's and Anthropic's.
    (Class::ProviderKey, r"(?-u:\b)sk-[A-Za-z0-9_-]{20,}", mixed),
    // Stripe's.
    (
        Class::ProviderKey,
        r"(?-u:\b)(?:(?:sk|rk)_(?:live|test)|whsec)_[A-Za-z0-9]{16,}",
        all,
    ),
    (
        Class::ProviderKey,
        r"(?-u:\b)(?:npm_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{30,}|pypi-AgE[A-Za-z0-9_-]{50,})",
        all,
    ),
    (
        Class::Token,
        r"(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
        all,
    ),
    // Ours.
    (Class::Token, r"(?-u:\b)mtx_[0-9a-z]{52}(?-u:\b)", all),
    (Class::Credential, ASSIGNMENT, checks::credential),
    (
        Class::Credential,
        r"(?i-u:authorization|bearer|basic)(?-u:\b)[^A-Za-z0-9\r\n]{1,4}(?:(?i-u:bearer|basic) )?([A-Za-z0-9._~+/=-]{16,})",
        checks::credential,
    ),
    // A password in an address; what follows the last `@` is the host.
    (
        Class::Credential,
        r#"(?-u:\b)[A-Za-z][A-Za-z0-9+.-]*://[^\x00-\x20:/@"'<>]*:([^\x00-\x20/"'<>]+)@"#,
        address_password,
    ),
    (
        Class::Card,
        r"(?-u:\b)[2-6][0-9]{3}(?:[ -]?[0-9]){9,15}(?-u:\b)",
        card,
    ),
    (
        Class::Iban,
        r"(?-u:\b)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}",
        checks::iban,
    ),
    (
        Class::Ssn,
        r"(?-u:\b)[0-9]{3}-[0-9]{2}-[0-9]{4}(?-u:\b)",
        ssn,
    ),
    (
        Class::Email,
        r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}(?-u:\b)",
        email,
    ),
];

/// Two more, of which something else must not stand beside them.
const APART: [(Class, &str, Check); 2] = [
    (Class::Phone, r"\+[1-9](?:[ ./-]?\(?[0-9]\)?){7,14}", phone),
    (
        Class::Ip,
        r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f.]*",
        ip,
    ),
];

/// How a private key in PEM begins (RFC 7468, and those of OpenSSH and PGP).
const BEGIN: &str = r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----";

/// How the last line of one begins.
pub(super) const END: &str = "-----END ";

/// A name of something secret, and what it is set to: in a program, a file of settings, JSON.
const ASSIGNMENT: &str = r#"(?i-u:password|passwd|passphrase|passcode|pwd|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|secret[_-]?key|private[_-]?key)\\?["'`]?[ \t]*(?::=|=>|[:=])[ \t]*(?:\\?"([^"\\\x00-\x1f]{8,})|'([^'\x00-\x1f]{8,})|([^\x00-\x20"'`,;\\]{8,}))"#;

/// The patterns, ready to be used.
struct Detectors {
    set: RegexSet,
    each: Vec<(Class, Regex, Check, bool)>,
}

static DETECTORS: LazyLock<Option<Detectors>> = LazyLock::new(|| {
    let apart = APART.into_iter().map(|pattern| (pattern, true));
    let every = PATTERNS
        .into_iter()
        .map(|pattern| (pattern, false))
        .chain(apart);
    let set = RegexSet::new(every.clone().map(|((_, pattern, _), _)| pattern)).ok()?;
    let each = every.map(|((class, pattern, check), apart)| {
        let regex = Regex::new(pattern).ok()?;
        Some((class, regex, check, apart))
    });
    Some(Detectors {
        set,
        each: each.collect::<Option<_>>()?,
    })
});

/// What of a text's is not simply let through, in its order; no two overlap.
pub fn find(text: &str, policy: &Policy) -> Vec<Finding> {
    if policy.is_idle() || text.is_empty() {
        return Vec::new();
    }
    let Some(detectors) = &*DETECTORS else {
        // Nothing goes unseen.
        return vec![Finding {
            range: 0..text.len(),
            class: Class::PrivateKey,
        }];
    };
    let mut found = Vec::new();
    for index in detectors.set.matches(text) {
        let Some((class, regex, check, apart)) = detectors.each.get(index) else {
            continue;
        };
        if policy.action(*class) == Action::Allow {
            continue;
        }
        if *class == Class::PrivateKey {
            keys(text, regex, &mut found);
        } else {
            each(text, (*class, regex, *check, *apart), &mut found);
        }
    }
    merged(found)
}

/// Everything that one pattern finds.
fn each(
    text: &str,
    (class, regex, check, apart): (Class, &Regex, Check, bool),
    found: &mut Vec<Finding>,
) {
    // Where numbers are refused, another one may begin within them; they are short.
    let numbers = matches!(class, Class::Card | Class::Iban | Class::Phone | Class::Ip);
    let mut at = 0;
    while let Some(captures) = regex.captures_at(text, at) {
        let groups = captures.iter().skip(1).flatten().next();
        let (Some(whole), Some(meant)) = (captures.get(0), groups.or(captures.get(0))) else {
            return;
        };
        let length = check(meant.as_str());
        let range = length.map(|length| meant.start()..meant.start() + length);
        match range.filter(|range| !apart || stands_apart(text, range)) {
            Some(range) => {
                at = range.end.max(whole.start() + 1);
                found.push(Finding { range, class });
            }
            None if numbers && whole.len() <= NUMBER_MAX => at = whole.start() + 1,
            None => at = whole.end().max(at + 1),
        }
        while at < text.len() && !text.is_char_boundary(at) {
            at += 1;
        }
        if at >= text.len() {
            return;
        }
    }
}

/// Private keys in PEM, from their first line to their last. One that was cut ends where nothing of a
/// key follows.
fn keys(text: &str, begin: &Regex, found: &mut Vec<Finding>) {
    let mut at = 0;
    let mut whole = true;
    while let Some(head) = begin.find_at(text, at) {
        let rest = text.get(head.end()..).unwrap_or_default();
        let end = rest.find(END).filter(|_| whole);
        whole = end.is_some();
        let length = if let Some(end) = end {
            let last = rest.get(end + END.len()..).unwrap_or_default();
            let dashes = last.find("-----").map_or(0, |dashes| dashes + 5);
            end + END.len() + dashes
        } else {
            let of_key =
                |letter: char| letter.is_ascii_alphanumeric() || "+/=\\:,- \r\n\t".contains(letter);
            rest.find(|letter| !of_key(letter)).unwrap_or(rest.len())
        };
        at = head.end() + length;
        found.push(Finding {
            range: head.start()..at,
            class: Class::PrivateKey,
        });
    }
}

/// What overlaps is one, of the weightiest class.
fn merged(mut found: Vec<Finding>) -> Vec<Finding> {
    found.sort_by_key(|finding| (finding.range.start, finding.class));
    let mut merged: Vec<Finding> = Vec::with_capacity(found.len());
    for finding in found {
        match merged.last_mut() {
            Some(last) if finding.range.start < last.range.end => {
                last.range.end = last.range.end.max(finding.range.end);
                last.class = last.class.min(finding.class);
            }
            _ => merged.push(finding),
        }
    }
    merged
}

/// Whether nothing is beside it of which it may be a part: a letter, a digit, a dot with a digit behind it.
fn stands_apart(text: &str, range: &Range<usize>) -> bool {
    let (before, after) = (text.get(..range.start), text.get(range.end..));
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    // Of what has colons a colon beside it is a part.
    let colons = text.get(range.clone()).is_some_and(|it| it.contains(':'));
    let joins = |letter: char| {
        letter.is_alphanumeric() || "_+".contains(letter) || (colons && letter == ':')
    };
    let mut next = after.chars();
    let (first, second) = (next.next(), next.next());
    let goes_on = first == Some('.') && second.is_some_and(|letter| letter.is_ascii_digit());
    !before.ends_with(|letter| joins(letter) || letter == '.')
        && !first.is_some_and(joins)
        && !goes_on
}

fn all(text: &str) -> Option<usize> {
    when(true, text)
}

fn when(fits: bool, text: &str) -> Option<usize> {
    fits.then_some(text.len())
}

fn mixed(text: &str) -> Option<usize> {
    when(checks::is_mixed(text), text)
}

/// A placeholder of ours is none.
fn address_password(text: &str) -> Option<usize> {
    when(!text.starts_with(['[', '$', '{']), text)
}

fn card(text: &str) -> Option<usize> {
    when(checks::is_card(text), text)
}

fn ssn(text: &str) -> Option<usize> {
    when(checks::is_ssn(text), text)
}

/// What stands before repositories looks like an address of somebody.
fn email(text: &str) -> Option<usize> {
    when(!text.starts_with("git@"), text)
}

fn phone(text: &str) -> Option<usize> {
    when(checks::is_phone(text), text)
}

fn ip(text: &str) -> Option<usize> {
    when(checks::is_ip(text), text)
}
