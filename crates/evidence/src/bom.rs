//! What both bills of materials need: whose they are, and which licences can be named.

use matrix_core::Timestamp;

/// Whose bill of materials it is, and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BomSubject<'a> {
    /// The repository's name.
    pub name: &'a str,
    /// Its version or revision, such as a git tree id.
    pub version: &'a str,
    /// When the bill is made.
    pub time: Timestamp,
    /// The version of this program.
    pub tool_version: &'a str,
}

/// Licences that lock files name, by their SPDX ids. An id that is missing here is still written
/// down, but as a name rather than as an id.
const KNOWN: [&str; 58] = [
    "0BSD",
    "AFL-2.1",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-1.0",
    "Artistic-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "CDDL-1.1",
    "CDLA-Permissive-2.0",
    "EPL-1.0",
    "EPL-2.0",
    "EUPL-1.2",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ISC",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "MS-PL",
    "NCSA",
    "OFL-1.1",
    "OpenSSL",
    "PSF-2.0",
    "PostgreSQL",
    "Python-2.0",
    "Ruby",
    "SSPL-1.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "UPL-1.0",
    "Vim",
    "W3C",
    "WTFPL",
    "X11",
    "ZPL-2.1",
    "Zlib",
];
const EXCEPTIONS: [&str; 3] = [
    "LLVM-exception",
    "Classpath-exception-2.0",
    "GCC-exception-3.1",
];

/// How a licence can be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Licence<'a> {
    /// One SPDX id.
    Id(&'a str),
    /// An SPDX expression, every id of which is known.
    Expression(&'a str),
    /// Whatever the lock file says.
    Name(&'a str),
}

/// Licence, operator and so on must alternate, and parentheses must match.
pub(crate) fn licence(text: &str) -> Licence<'_> {
    let text = text.trim();
    if KNOWN.contains(&text) {
        return Licence::Id(text);
    }
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let (mut depth, mut wants_operand) = (0_usize, true);
    let mut after_with = false;
    for word in spaced.split_whitespace().take(100) {
        let fits = match word {
            "(" => {
                depth += 1;
                wants_operand && !after_with
            }
            ")" => {
                let open = depth > 0;
                depth = depth.saturating_sub(1);
                open && !wants_operand
            }
            "AND" | "OR" | "WITH" => {
                let fits = !wants_operand;
                wants_operand = true;
                after_with = word == "WITH";
                fits
            }
            id => {
                let known = if after_with {
                    &EXCEPTIONS[..]
                } else {
                    &KNOWN[..]
                };
                let fits = wants_operand && known.contains(&id);
                (wants_operand, after_with) = (false, false);
                fits
            }
        };
        if !fits {
            return Licence::Name(text);
        }
    }
    if depth == 0 && !wants_operand {
        Licence::Expression(text)
    } else {
        Licence::Name(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_expressions_and_names_are_told_apart() {
        assert_eq!(licence("MIT"), Licence::Id("MIT"));
        for good in [
            "MIT OR Apache-2.0",
            "(MIT AND Zlib) OR BSD-3-Clause",
            "Apache-2.0 WITH LLVM-exception OR MIT",
        ] {
            assert_eq!(licence(good), Licence::Expression(good));
        }
        for bad in [
            "",
            "MIT/Apache-2.0",
            "MIT OR",
            "OR MIT",
            "(MIT",
            "MIT)",
            "MIT MIT",
            "SEE LICENSE IN x",
            "MIT WITH MIT",
            "()",
            "MIT WITH (LLVM-exception)",
        ] {
            assert_eq!(licence(bad), Licence::Name(bad), "{bad}");
        }
    }
}
