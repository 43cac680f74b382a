//! Words that do not belong into this repository: hosts of package registries, which mirrors
//! replace, and paths that exist only on the machine where something was written.

use std::path::Path;

use crate::check::{Finding, SourceFile};

/// In two parts, so that this file does not find itself.
const HOSTS: &[[&str; 2]] = &[
    ["crates", ".io"],
    ["pypi", ".org"],
    ["pythonhosted", ".org"],
    ["npmjs", ".org"],
    ["npmjs", ".com"],
    ["deb.debian", ".org"],
    ["security.debian", ".org"],
    ["proxy.golang", ".org"],
];

/// Looks through every file but the lock files that tools write.
pub(crate) fn check(sources: &[SourceFile], root: &Path, home: Option<&Path>) -> Vec<Finding> {
    let mut words: Vec<String> = HOSTS.iter().map(|parts| parts.concat()).collect();
    words.extend(local_paths(root, home));
    sources
        .iter()
        .filter(|file| {
            file.path
                .file_name()
                .is_none_or(|name| name != "Cargo.lock")
        })
        .flat_map(|file| {
            let words = &words;
            file.text
                .lines()
                .enumerate()
                .flat_map(move |(index, line)| {
                    words
                        .iter()
                        .filter(|word| line.contains(word.as_str()))
                        .map(move |word| {
                            Finding::error(
                                format!("{}:{}", file.path.display(), index + 1),
                                format!("`{word}` does not belong into this repository"),
                            )
                        })
                })
        })
        .collect()
}

/// This checkout and the caches in the writer's home. A checkout directly below the root directory
/// has too short a name to be told from ordinary words.
fn local_paths(root: &Path, home: Option<&Path>) -> Vec<String> {
    let mut paths = Vec::new();
    if root.components().count() > 2 {
        paths.push(root.display().to_string());
    }
    for folder in [".cargo", ".rustup", ".pyenv", ".npm", ".cache"] {
        paths.extend(home.map(|home| home.join(folder).display().to_string()));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(name: &str, text: &str) -> Vec<String> {
        let file = SourceFile {
            path: name.into(),
            text: text.into(),
        };
        let found = check(
            &[file],
            Path::new("/srv/ada/matrix"),
            Some(Path::new("/home/ada")),
        );
        found.into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn hosts_and_local_paths_are_found_with_their_line() {
        let host = ["https://static.crates", ".io/x"].concat();
        assert_eq!(places("a.md", &format!("one\n{host}\n")), ["a.md:2"]);
        assert_eq!(places("a.rs", "\"/home/ada/.cargo/bin\""), ["a.rs:1"]);
        assert_eq!(places("a.sh", "cd /srv/ada/matrix"), ["a.sh:1"]);
    }

    #[test]
    fn lock_files_and_ordinary_words_are_left_alone() {
        let host = ["registry+https://crates", ".io-index"].concat();
        assert!(places("Cargo.lock", &host).is_empty());
        assert!(places("a.md", "crates and io; /home/ada is not named\n").is_empty());
    }
}
