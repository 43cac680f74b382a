//! Constructs that are dangerous more often than not, by the language of the file.
//!
//! A line is looked at by itself; what needs the whole program is a linter's work. `error` and
//! `warning` fail the scan, `note` is a fact for the gate only.

use std::sync::LazyLock;

use matrix_evidence::sarif::Level;
use regex::Regex;

/// A construct found in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Construct {
    pub(super) rule: &'static str,
    pub(super) level: Level,
    pub(super) message: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    Any,
    Python,
    Script,
    Rust,
    Go,
    Shell,
    Page,
    Workflow,
}

use Language::{Any, Go, Page, Python, Rust, Script, Shell, Workflow};
use Level::{Error, Note, Warning};

type Row = (Language, &'static str, Level, &'static str, &'static str);

const ROWS: &[Row] = &[
    (
        Any,
        "download-and-run",
        Error,
        "a download is executed unseen",
        r"\b(?:curl|wget)\b[^|;&#]*\|\s*(?:sudo\s+)?(?:ba|z|da|k)?sh\b|\b(?:ba|z|da)?sh\s+(?:-c\s+)?[\x22']?[<$]\(\s*(?:curl|wget)\b",
    ),
    (
        Any,
        "world-writable",
        Error,
        "anybody may write the file",
        r"\bchmod\s+(?:-[A-Za-z]+\s+)*(?:0?777|a\+rwx|o\+w)\b|\b(?:chmod|Chmod|fchmod|mkdir|set_mode|from_mode)\(.*\b0?o?777\b",
    ),
    (
        Any,
        "tls-not-verified",
        Error,
        "the other side's certificate is not checked",
        r"(?i)verify\s*=\s*False\b|rejectUnauthorized['\x22]?\s*:\s*false|InsecureSkipVerify\s*:\s*true|danger_accept_invalid_(?:certs|hostnames)\s*\(\s*true|NODE_TLS_REJECT_UNAUTHORIZED\s*['\x22\]]*\s*[=:]\s*['\x22]?0|CERT_NONE\b|_create_unverified_context|CURLOPT_SSL_VERIFY(?:PEER|HOST)\s*,\s*(?:0|false)|sslVerify\s*=?\s*false|strict-ssl\s*=\s*false",
    ),
    (
        Any,
        "bidirectional-text",
        Error,
        "characters that change the direction of text hide what is executed",
        "[\u{202a}-\u{202e}\u{2066}-\u{2069}]",
    ),
    (
        Any,
        "listens-everywhere",
        Note,
        "a server listens on every interface",
        r"[\x22'`]0\.0\.0\.0(?::\d+)?[\x22'`]|[\x22'`]\[?::\]?(?::\d+)[\x22'`]",
    ),
    (
        Python,
        "eval",
        Warning,
        "text is executed as code",
        r"(?:^|[^\w.])(?:eval|exec)\s*\(",
    ),
    (
        Python,
        "shell",
        Warning,
        "a command goes through a shell",
        r"\bshell\s*=\s*True\b|\bos\.(?:system|popen)\s*\(|\bcommands\.getoutput\s*\(",
    ),
    (
        Python,
        "unsafe-deserialisation",
        Warning,
        "reading foreign bytes this way executes what they say",
        r"\b(?:c?[pP]ickle|dill|shelve|marshal|jsonpickle)\.(?:loads?|Unpickler|open|decode)\s*\(|\byaml\.(?:unsafe_load|full_load)\s*\(|\byaml\.load\s*\((?:[^)]*\bLoader\s*=\s*(?:yaml\.)?(?:Unsafe|Full)?Loader\b|[^,)]*\))|\btorch\.load\s*\([^)]*weights_only\s*=\s*False",
    ),
    (
        Python,
        "temporary-file",
        Warning,
        "a temporary name can be taken by somebody else",
        r"\btempfile\.mktemp\s*\(",
    ),
    (
        Python,
        "debug-server",
        Warning,
        "the debugger lets everybody execute code",
        r"\.run\s*\([^)]*\bdebug\s*=\s*True",
    ),
    (
        Script,
        "eval",
        Warning,
        "text is executed as code",
        r"(?:^|[^\w.])eval\s*\(|\bnew\s+Function\s*\(|\bvm\.run(?:InThisContext|InNewContext|InContext)\s*\(",
    ),
    (
        Script,
        "shell",
        Warning,
        "a command made of parts goes through a shell",
        r"(?:^|[^\w.$]|\bchild_process\.|\bcp\.)(?:exec|execSync)\s*\(\s*(?:`[^`]*\$\{|[\x22'][^\x22']*[\x22']\s*\+|[A-Za-z_$][\w$.]*\s*[,)+])|\bshell\s*:\s*true\b",
    ),
    (
        Script,
        "raw-html",
        Warning,
        "text becomes part of the page without being escaped",
        r"\bdangerouslySetInnerHTML\b|\.(?:inner|outer)HTML\s*\+?=[^=]|\bdocument\.write(?:ln)?\s*\(|\binsertAdjacentHTML\s*\(",
    ),
    (
        Page,
        "raw-html",
        Warning,
        "text becomes part of the page without being escaped",
        r"\bv-html\s*=|\{\{\{|\|\s*safe\b|\{%\s*autoescape\s+(?:off|false)",
    ),
    (
        Rust,
        "unsafe",
        Note,
        "the compiler does not check this part",
        r"\bunsafe\s*(?:\{|fn\b|impl\b|trait\b|extern\b)",
    ),
    (
        Rust,
        "transmute",
        Note,
        "a value is taken for one of another type",
        r"\btransmute(?:_copy)?\s*(?:::<|\()|\bfrom_raw_parts(?:_mut)?\s*\(|\bget_unchecked(?:_mut)?\s*\(",
    ),
    (
        Rust,
        "shell",
        Warning,
        "a command made of parts goes through a shell",
        r#"Command::new\(\s*"(?:/bin/|/usr/bin/)?(?:ba|z|da)?sh"\s*\).*format!"#,
    ),
    (
        Go,
        "shell",
        Warning,
        "a command made of parts goes through a shell",
        r#"exec\.Command(?:Context)?\([^)]*"(?:/bin/)?(?:ba)?sh"\s*,\s*"-c"\s*,\s*[^")]"#,
    ),
    (
        Go,
        "unsafe",
        Note,
        "the compiler does not check this part",
        r"\bunsafe\.Pointer\b",
    ),
    (
        Shell,
        "eval",
        Warning,
        "text is executed as code",
        r"(?:^|[;&|]\s*|\s)eval\s+[^#]*\$",
    ),
    (
        Shell,
        "remove-everything",
        Error,
        "a whole tree is removed by a name that may be empty",
        r#"\brm\s+(?:-[A-Za-z]+\s+)*-[A-Za-z]*[rR][A-Za-z]*\s+(?:-[A-Za-z]+\s+)*(?:"?\$\{?\w+\}?"?/|/\s*$|/\*|~/?\s*$)"#,
    ),
    (
        Workflow,
        "event-in-script",
        Error,
        "text from outside becomes part of a script",
        r"\$\{\{\s*github\.(?:event\.(?:issue|pull_request|comment|review|head_commit|discussion)[\w.]*\.(?:title|body|message|ref|label|name|email)|head_ref)",
    ),
    (
        Workflow,
        "foreign-code-with-secrets",
        Error,
        "code from outside runs with the repository's secrets",
        r"\bpull_request_target\b",
    ),
];

struct Compiled {
    language: Language,
    construct: Construct,
    regex: Regex,
}

static COMPILED: LazyLock<Vec<Compiled>> = LazyLock::new(|| {
    ROWS.iter()
        .filter_map(|(language, rule, level, message, pattern)| {
            Some(Compiled {
                language: *language,
                construct: Construct {
                    rule,
                    level: *level,
                    message,
                },
                regex: Regex::new(pattern).ok()?,
            })
        })
        .collect()
});

fn language(path: &str) -> Language {
    let lower = path.to_ascii_lowercase();
    if lower.contains(".github/workflows/") {
        return Workflow;
    }
    let name = lower.rsplit('/').next().unwrap_or(&lower);
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("py" | "pyi" | "pyw") => Python,
        Some("js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx") => Script,
        Some("rs") => Rust,
        Some("go") => Go,
        Some("sh" | "bash" | "zsh" | "ksh" | "mk") => Shell,
        Some("html" | "htm" | "vue" | "jinja" | "jinja2" | "j2" | "hbs" | "mustache") => Page,
        _ if name.starts_with("dockerfile") || name.ends_with("makefile") => Shell,
        _ => Any,
    }
}

/// Text that is read by people only.
fn prose(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    [".md", ".rst", ".txt", ".adoc"]
        .iter()
        .any(|end| lower.ends_with(end))
}

fn comment(language: Language, line: &str) -> bool {
    let line = line.trim_start();
    match language {
        Python | Shell | Workflow => line.starts_with('#'),
        Script | Rust | Go => {
            line.starts_with("//") || line.starts_with("* ") || line.starts_with("/*")
        }
        Page | Any => false,
    }
}

/// Every construct in a line, each rule once.
pub(super) fn find(path: &str, line: &str) -> Vec<Construct> {
    let language = language(path);
    let harmless = prose(path) || comment(language, line);
    let mut found: Vec<Construct> = Vec::new();
    for compiled in COMPILED.iter() {
        let applies = compiled.language == Any || compiled.language == language;
        // Text that turns direction is dangerous in comments above all.
        let hidden = compiled.construct.rule == "bidirectional-text";
        if applies && (hidden || !harmless) && compiled.regex.is_match(line) {
            found.push(compiled.construct);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(COMPILED.len(), ROWS.len());
    }

    #[test]
    fn constructs_are_found_in_their_language() {
        for (path, line, rule) in [
            (
                "setup.sh",
                "curl -sSf https://x.test/i | sh",
                "download-and-run",
            ),
            (
                "Dockerfile",
                "RUN wget -qO- x.test/i | sudo bash",
                "download-and-run",
            ),
            ("a.sh", "chmod -R 777 /srv", "world-writable"),
            ("a.py", "os.chmod(path, 0o777)", "world-writable"),
            ("a.py", "requests.get(u, verify=False)", "tls-not-verified"),
            (
                "a.go",
                "tls.Config{InsecureSkipVerify: true}",
                "tls-not-verified",
            ),
            (
                "a.rs",
                ".danger_accept_invalid_certs(true)",
                "tls-not-verified",
            ),
            (
                "a.ts",
                "https.get({rejectUnauthorized: false})",
                "tls-not-verified",
            ),
            ("a.py", "x = eval(text)", "eval"),
            ("a.py", "subprocess.run(c, shell=True)", "shell"),
            ("a.py", "os.system('ls ' + d)", "shell"),
            ("a.py", "pickle.loads(data)", "unsafe-deserialisation"),
            ("a.py", "yaml.load(text)", "unsafe-deserialisation"),
            ("a.js", "eval(text)", "eval"),
            ("a.js", "execSync(`rm ${name}`)", "shell"),
            ("a.tsx", "<p dangerouslySetInnerHTML={x}/>", "raw-html"),
            ("a.rs", "unsafe { *p }", "unsafe"),
            ("a.sh", "rm -rf $DIR/", "remove-everything"),
            ("a.py", "bind(\"0.0.0.0\")", "listens-everywhere"),
            (
                ".github/workflows/a.yml",
                "run: echo ${{ github.event.issue.title }}",
                "event-in-script",
            ),
            ("README.md", "a \u{202e} b", "bidirectional-text"),
        ] {
            let found: Vec<_> = find(path, line).iter().map(|found| found.rule).collect();
            assert!(found.contains(&rule), "{path}: {line}: {found:?}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_left_alone() {
        for (path, line) in [
            ("a.py", "model.eval()"),
            ("a.py", "yaml.load(text, Loader=SafeLoader)"),
            ("a.py", "# never use eval(text)"),
            ("README.md", "curl https://x.test | sh"),
            ("a.js", "regex.exec(text)"),
            ("a.js", "execFile('ls', ['-l'])"),
            ("a.sh", "rm -rf target/tmp"),
            ("a.rs", "#![forbid(unsafe_code)]"),
            ("a.rs", "let retrieval(x) = y;"),
            ("a.py", "requests.get(u, verify=True)"),
        ] {
            assert!(
                find(path, line).is_empty(),
                "{path}: {line}: {:?}",
                find(path, line)
            );
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC{0,200}") {
            let _ = find("a.py", &line);
        }
    }
}
