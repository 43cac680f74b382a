//! The words of a tool's output that a person needs: what went wrong and why, out of everything
//! that was printed on the way.
//!
//! Each family of tools has a habit. pip says `ERROR:` after warnings that hold the word too, cargo
//! says `error:` and the causes below it, npm puts `npm error` before a code, a message and a stack
//! of its own, a build back end's words stand in a box that pip draws around them. A test runner or
//! a program of the repository's own has none, and then it is the last line that looks like an
//! error, or the last line.

/// How many lines at the end of an output are looked at.
const LINES: usize = 2_000;

/// The line, or the lines joined, that say what went wrong; empty when nothing was printed.
pub(crate) fn telling(log: &str) -> String {
    let skipped = log.lines().count().saturating_sub(LINES);
    let lines: Vec<&str> = log.lines().skip(skipped).map(str::trim_end).collect();
    npm(&lines)
        .or_else(|| back_end(&lines))
        .or_else(|| pip(&lines))
        .or_else(|| cargo(&lines))
        .or_else(|| thrown(&lines))
        .or_else(|| last(&lines))
        .unwrap_or_default()
}

/// `npm error code E404`, then the message, with a word for the code before each line of it.
fn npm(lines: &[&str]) -> Option<String> {
    let said = |line: &&str| -> Option<String> {
        let rest = line
            .strip_prefix("npm error")
            .or_else(|| line.strip_prefix("npm ERR!"))?;
        Some(rest.trim().to_owned())
    };
    let all: Vec<String> = lines.iter().filter_map(said).collect();
    let code = all.iter().find_map(|line| line.strip_prefix("code "));
    let noise = ["code ", "syscall ", "errno ", "path ", "A complete log"];
    let message = all
        .iter()
        .find(|line| !line.is_empty() && !noise.iter().any(|start| line.starts_with(start)))?;
    let message = match message.split_once(' ') {
        Some((word, rest)) if code.is_some_and(|code| repeats(word, code)) => rest,
        _ => message,
    };
    Some(match code {
        Some(code) => format!("{code}: {message}"),
        None => message.to_owned(),
    })
}

/// Whether a line's first word is npm's code once more: `notarget` for `ETARGET`, `404` for `E404`.
fn repeats(word: &str, code: &str) -> bool {
    let code = code.trim_start_matches('E').to_ascii_lowercase();
    !code.is_empty() && word.to_ascii_lowercase().ends_with(&code)
}

/// What a build back end said, inside the box that pip draws around it.
fn back_end(lines: &[&str]) -> Option<String> {
    let end = lines
        .iter()
        .position(|line| line.trim() == "[end of output]")?;
    let start = lines[..end]
        .iter()
        .rposition(|line| line.contains("lines of output]") || line.contains("line of output]"))?;
    let inside: Vec<&str> = lines[start + 1..end]
        .iter()
        .map(|line| line.trim())
        .collect();
    cargo(&inside).or_else(|| thrown(&inside)).or_else(|| {
        inside
            .iter()
            .find(|line| !line.is_empty())
            .map(|line| (*line).to_owned())
    })
}

/// The first `ERROR:`, and whether the index was reached at all.
fn pip(lines: &[&str]) -> Option<String> {
    let said = lines
        .iter()
        .filter_map(|line| line.trim_start().strip_prefix("ERROR: "))
        .find(|line| !line.starts_with("pip's dependency resolver"))?;
    let unreached = said.contains("(from versions: none)")
        && lines
            .iter()
            .any(|line| line.contains("after connection broken by"));
    Some(if unreached {
        format!("{said}: the index could not be reached")
    } else {
        said.to_owned()
    })
}

/// The first `error` with the causes below it; of a long chain the last ones, which say most.
fn cargo(lines: &[&str]) -> Option<String> {
    let at = lines.iter().position(|line| {
        let line = line.trim_start();
        let generic = line == "error: subprocess-exited-with-error";
        (line.starts_with("error: ") || line.starts_with("error[")) && !generic
    })?;
    let mut parts = vec![lines[at].trim_start().to_owned()];
    let mut rest = lines[at + 1..].iter();
    while let Some(line) = rest.next() {
        if line.trim() == "Caused by:"
            && let Some(cause) = rest.next()
        {
            parts.push(cause.trim().to_owned());
        } else if line.starts_with("error") {
            break;
        }
    }
    if parts.len() > 4 {
        parts.drain(1..parts.len() - 3);
    }
    Some(parts.join(": "))
}

/// The last line that names an error or exception, as Python and Node write them.
fn thrown(lines: &[&str]) -> Option<String> {
    let names = |line: &&&str| {
        let (name, _) = line.split_once(':').unwrap_or(("", ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || "._ []_".contains(c);
        let first = name.split([' ', '[']).next().unwrap_or_default();
        name.chars().all(plain)
            && (first.ends_with("Error") || first.ends_with("Exception") || first == "error")
    };
    let found = lines.iter().rev().find(names)?;
    Some((*found).to_owned())
}

/// The last line with words in it that is not make's account of itself.
fn last(lines: &[&str]) -> Option<String> {
    let words = |line: &&&str| line.chars().any(char::is_alphanumeric);
    let own = |line: &str| {
        line.starts_with("make: ***") || (line.starts_with("make[") && !line.contains("No such"))
    };
    let found = lines
        .iter()
        .rev()
        .filter(words)
        .find(|line| !own(line))
        .or_else(|| lines.iter().rev().find(words))?;
    Some(found.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Outputs as the tools gave them: pip 23.2, cargo 1.95, npm 11, make 4.3, Python 3.11, Node 20.
    const RECORDED: &[(&str, &str)] = &[
        (
            "Looking in links: /opt/wheels\nERROR: Could not find a version that satisfies the requirement six==99.9 (from versions: 1.16.0, 1.17.0)\nERROR: No matching distribution found for six==99.9\n",
            "Could not find a version that satisfies the requirement six==99.9 (from versions: 1.16.0, 1.17.0)",
        ),
        (
            "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by 'ProxyError('Cannot connect to proxy.', NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7faaf52d1250>: Failed to establish a new connection: [Errno 111] Connection refused'))': /simple/six/\nERROR: Could not find a version that satisfies the requirement six==1.16.0 (from versions: none)\nERROR: No matching distribution found for six==1.16.0\n",
            "Could not find a version that satisfies the requirement six==1.16.0 (from versions: none): the index could not be reached",
        ),
        (
            "Processing /work\n  Preparing metadata (pyproject.toml): finished with status 'error'\n  error: subprocess-exited-with-error\n  \n  × Preparing metadata (pyproject.toml) did not run successfully.\n  │ exit code: 1\n  ╰─> [5 lines of output]\n      \n      Cargo, the Rust package manager, is not installed or is not on PATH.\n      This package requires Rust and Cargo to compile extensions. Install it first.\n      \n      Checking for Rust toolchain....\n      [end of output]\n  \n  note: This error originates from a subprocess, and is likely not a problem with pip.\nerror: metadata-generation-failed\n",
            "Cargo, the Rust package manager, is not installed or is not on PATH.",
        ),
        (
            "  Building wheel for a (pyproject.toml): finished with status 'error'\n  error: subprocess-exited-with-error\n  \n  × Building wheel for a (pyproject.toml) did not run successfully.\n  │ exit code: 1\n  ╰─> [3 lines of output]\n      running build_ext\n      building 'a' extension\n      error: command 'gcc' failed: No such file or directory\n      [end of output]\n  \n  note: This error originates from a subprocess, and is likely not a problem with pip.\n  ERROR: Failed building wheel for a\n",
            "error: command 'gcc' failed: No such file or directory",
        ),
        (
            "    Updating index\nerror: failed to sync\n\nCaused by:\n  failed to load lockfile for /work\n\nCaused by:\n  failed to select a version for the requirement `serde = \"^99\"`\n  candidate versions found which didn't match: 1.0.229, 1.0.228, 1.0.227, ...\n  required by package `x v0.1.0 (/work)`\n",
            "error: failed to sync: failed to load lockfile for /work: failed to select a version for the requirement `serde = \"^99\"`",
        ),
        (
            "    Updating git repository `https://127.0.0.1:1/x`\nwarning: spurious network error (1 try remaining): failed to connect to 127.0.0.1: Connection refused; class=Os (2)\nerror: failed to sync\n\nCaused by:\n  failed to load lockfile for /work\n\nCaused by:\n  failed to get `serde` as a dependency of package `x v0.1.0 (/work)`\n\nCaused by:\n  failed to load source for dependency `serde`\n\nCaused by:\n  unable to update https://127.0.0.1:1/x\n\nCaused by:\n  failed to connect to 127.0.0.1: Connection refused; class=Os (2)\n",
            "error: failed to sync: failed to load source for dependency `serde`: unable to update https://127.0.0.1:1/x: failed to connect to 127.0.0.1: Connection refused; class=Os (2)",
        ),
        (
            "npm warn deprecated a@1.0.0: has an error\nnpm error code ETARGET\nnpm error notarget No matching version found for left-pad@^99.\nnpm error notarget In most cases you or one of your dependencies are requesting a package version that doesn't exist.\nnpm error A complete log of this run can be found in: /tmp/x.log\n",
            "ETARGET: No matching version found for left-pad@^99.",
        ),
        (
            "npm error code ECONNREFUSED\nnpm error syscall connect\nnpm error errno ECONNREFUSED\nnpm error FetchError: request to http://127.0.0.1:1/left-pad failed, reason: connect ECONNREFUSED 127.0.0.1:1\nnpm error     at ClientRequest.<anonymous> (/usr/lib/x.js:130:14)\n",
            "ECONNREFUSED: FetchError: request to http://127.0.0.1:1/left-pad failed, reason: connect ECONNREFUSED 127.0.0.1:1",
        ),
        (
            "node:internal/modules/cjs/loader:1210\n  throw err;\n  ^\n\nError: Cannot find module 'chalk'\nRequire stack:\n- /work/a.js\n    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15) {\n  code: 'MODULE_NOT_FOUND',\n}\n\nNode.js v20.20.2\n",
            "Error: Cannot find module 'chalk'",
        ),
        (
            "Traceback (most recent call last):\n  File \"/work/a.py\", line 1, in <module>\n    import nothing\nModuleNotFoundError: No module named 'nothing'\n",
            "ModuleNotFoundError: No module named 'nothing'",
        ),
        (
            "./run.sh\n3 of 4 fine\nmake: *** [Makefile:2: test] Error 1\n",
            "3 of 4 fine",
        ),
        ("\n\n", ""),
    ];

    #[test]
    fn the_line_that_a_person_needs_is_taken() {
        for (log, expected) in RECORDED {
            assert_eq!(telling(log), *expected, "{log}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(npm error |ERROR: |error: |Caused by:|\\[end of output\\]|\\[1 lines of output\\]|\\n|.){0,40}") {
            let _ = telling(&text);
        }
    }
}
