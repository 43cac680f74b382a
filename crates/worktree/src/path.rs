//! Which paths a plan may name.
//!
//! A path is refused when any file system that people use would read it as something else than a
//! plain name below the repository's top: case-insensitive ones, those that drop trailing dots or
//! ignore invisible characters, those with short names. The tree may be checked out anywhere
//! later, so it does not matter which file system is below us now.

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// The longest path, in bytes.
pub const PATH_BYTES: usize = 1024;
/// The longest name between two slashes, in bytes, as file systems have it.
pub const NAME_BYTES: usize = 255;
/// How many directories deep a path may be.
pub const PATH_DEPTH: usize = 64;

/// A path that passed every check that needs no tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(String);

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Nothing was given.
    #[error("the path is empty")]
    Empty,
    /// More than [`PATH_BYTES`].
    #[error("the path has more than {PATH_BYTES} bytes")]
    TooLong,
    /// More than [`NAME_BYTES`].
    #[error("a name in the path has more than {NAME_BYTES} bytes")]
    NameTooLong,
    /// More than [`PATH_DEPTH`].
    #[error("the path is more than {PATH_DEPTH} directories deep")]
    TooDeep,
    /// Begins with a slash or a drive.
    #[error("the path is absolute; name files from the repository's top")]
    Absolute,
    /// `..` somewhere.
    #[error("the path leaves the repository by `..`")]
    Parent,
    /// `.`, two slashes in a row or a slash at the end.
    #[error("the path has an empty name or `.` in it; write it without")]
    NotPlain,
    /// A backslash, which some systems read as a slash.
    #[error("the path has a backslash; separate directories by `/`")]
    Backslash,
    /// A character that cannot be seen or that reorders text.
    #[error("the path has a control character or one that cannot be seen")]
    Invisible,
    /// A name that some system reads as `.git`.
    #[error("`{0}` is git's own directory on some system")]
    DotGit(String),
}

impl RepoPath {
    /// Checks a path as a plan gives it.
    pub fn parse(text: &str) -> Result<Self, PathFault> {
        if text.is_empty() {
            return Err(PathFault::Empty);
        }
        if text.len() > PATH_BYTES {
            return Err(PathFault::TooLong);
        }
        if text.chars().any(|c| c.is_control() || reorders(c)) {
            return Err(PathFault::Invisible);
        }
        if text.contains('\\') {
            return Err(PathFault::Backslash);
        }
        let drive = text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
            && text.as_bytes().get(1) == Some(&b':');
        if text.starts_with('/') || drive {
            return Err(PathFault::Absolute);
        }
        let mut depth = 0;
        for name in text.split('/') {
            depth += 1;
            check_name(name)?;
        }
        if depth > PATH_DEPTH {
            return Err(PathFault::TooDeep);
        }
        Ok(Self(text.to_owned()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as a tree keeps it.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The directories above it, longest last.
    pub fn parents(&self) -> impl Iterator<Item = &[u8]> {
        parents(self.as_bytes())
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The directories above a path, longest last.
pub(crate) fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| &path[..at])
}

fn check_name(name: &str) -> Result<(), PathFault> {
    // Some systems drop spaces and dots at the end of a name, so `.. ` is `..` there.
    let bare = name.trim_end_matches(' ');
    match bare {
        ".." => return Err(PathFault::Parent),
        "" | "." => return Err(PathFault::NotPlain),
        _ if bare.bytes().all(|byte| byte == b'.') => return Err(PathFault::Parent),
        _ => {}
    }
    if name.len() > NAME_BYTES {
        return Err(PathFault::NameTooLong);
    }
    if is_dot_git(name) {
        return Err(PathFault::DotGit(name.to_owned()));
    }
    Ok(())
}

/// Whether some file system reads a name as `.git`: in any case, with ignored characters, with
/// trailing dots and spaces, with a stream (`:…`), or as the short name that stands for it.
pub fn is_dot_git(name: &str) -> bool {
    let visible: String = name
        .nfkc()
        .filter(|c| !is_ignored(*c))
        .flat_map(char::to_lowercase)
        .collect();
    let name = visible.split(':').next().unwrap_or("");
    let name = name.trim_end_matches(['.', ' ']);
    let short = name
        .strip_prefix("git~")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    name == ".git" || short
}

/// Characters that Apple's file systems leave out when they compare names.
fn is_ignored(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// Characters that make a path look like another one.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}')
}

/// The form in which two paths are the same file on some system: case, composition and ignored
/// characters aside. Bytes that are not UTF-8 only lose their ASCII case.
pub fn fold(path: &[u8]) -> Cow<'_, [u8]> {
    let plain = |byte: &u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    let tail = path
        .split(|byte| *byte == b'/')
        .any(|name| matches!(name.last(), Some(b'.' | b' ')));
    if path.iter().all(plain) && !tail {
        return Cow::Borrowed(path);
    }
    let Ok(text) = std::str::from_utf8(path) else {
        return Cow::Owned(path.to_ascii_lowercase());
    };
    let folded: String = text
        .nfd()
        .filter(|c| !is_ignored(*c))
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfd()
        .collect();
    let names: Vec<&str> = folded
        .split('/')
        .map(|name| name.trim_end_matches(['.', ' ']))
        .collect();
    Cow::Owned(names.join("/").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "a",
            "src/round.rs",
            ".github/workflows/ci.yml",
            ".gitignore",
            "größe/日本語.txt",
            "note:b",
            "git~x",
            "x.git/y",
            "…",
            "family-👨‍👩‍👧.png",
        ] {
            assert_eq!(RepoPath::parse(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn escapes_are_refused_by_name() {
        for (path, fault) in [
            ("", PathFault::Empty),
            ("/etc/passwd", PathFault::Absolute),
            ("C:/x", PathFault::Absolute),
            ("..", PathFault::Parent),
            ("a/../../b", PathFault::Parent),
            ("a/.. /b", PathFault::Parent),
            ("a/...", PathFault::Parent),
            ("./a", PathFault::NotPlain),
            ("a//b", PathFault::NotPlain),
            ("a/", PathFault::NotPlain),
            ("a\\..\\b", PathFault::Backslash),
            ("a\0b", PathFault::Invisible),
            ("a\nb", PathFault::Invisible),
            ("a\u{202e}txt.exe", PathFault::Invisible),
        ] {
            assert_eq!(RepoPath::parse(path), Err(fault), "{path:?}");
        }
        let deep = vec!["d"; PATH_DEPTH + 1].join("/");
        assert_eq!(RepoPath::parse(&deep), Err(PathFault::TooDeep));
        let long = "n".repeat(NAME_BYTES + 1);
        assert_eq!(RepoPath::parse(&long), Err(PathFault::NameTooLong));
        let long = "n/".repeat(PATH_BYTES);
        assert_eq!(RepoPath::parse(&long), Err(PathFault::TooLong));
    }

    #[test]
    fn every_spelling_of_gits_directory_is_refused() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            ".git ",
            ".git.",
            ".git. .",
            "git~1",
            "GIT~1",
            "git~23",
            ".g\u{200c}it",
            "\u{206a}.git",
            ".git::$INDEX_ALLOCATION",
            ".git:x",
            ".ｇｉｔ",
        ] {
            for path in [
                name.to_owned(),
                format!("{name}/hooks/pre-commit"),
                format!("sub/{name}/config"),
            ] {
                assert!(
                    matches!(RepoPath::parse(&path), Err(PathFault::DotGit(_))),
                    "{path:?} gave {:?}",
                    RepoPath::parse(&path)
                );
            }
        }
    }

    #[test]
    fn folding_finds_the_same_file_of_another_system() {
        for (a, b) in [
            ("README", "readme"),
            ("src/É.rs", "SRC/e\u{301}.rs"),
            ("straße", "STRASSE"),
            ("\u{212a}", "k"),
            ("a.", "A"),
        ] {
            assert_eq!(fold(a.as_bytes()), fold(b.as_bytes()), "{a} {b}");
        }
        assert_ne!(fold(b"a"), fold(b"b"));
        assert_eq!(fold(b"caf\xe9/A"), fold(b"caf\xe9/a"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_passes_stays_inside(text in "(\\.|/|[gG]|it|~1| |\\\\|\u{200c}|é|.){0,12}") {
            if let Ok(path) = RepoPath::parse(&text) {
                let names: Vec<&str> = path.as_str().split('/').collect();
                prop_assert!(!path.as_str().starts_with('/'));
                prop_assert!(names.iter().all(|n| !n.is_empty() && *n != "." && *n != ".."));
                prop_assert!(names.iter().all(|n| !is_dot_git(n)));
            }
        }

        #[test]
        fn folding_is_stable(text in ".{0,20}") {
            let once = fold(text.as_bytes()).into_owned();
            prop_assert_eq!(fold(&once).into_owned(), once);
        }
    }
}
