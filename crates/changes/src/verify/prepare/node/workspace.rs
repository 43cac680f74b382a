//! Where a package's dependencies are installed: in its own directory, or in that of the workspace
//! that it is a member of, where the lock file lies.

use std::path::Path;

use globset::GlobBuilder;
use serde::Deserialize;
use serde_json::Value;

use crate::verify::detect::text;

/// The files that pin what a directory's `package.json` names.
const LOCKS: &[&str] = &[
    "npm-shrinkwrap.json",
    "package-lock.json",
    "pnpm-lock.yaml",
    "yarn.lock",
];
/// How many patterns of a workspace are looked at.
const MAX_PATTERNS: usize = 200;

/// The directory to install in, relative to the root of the tree.
pub(super) fn install_root(tree: &Path, directory: &str) -> String {
    let own = Path::new(directory);
    let locked = LOCKS.iter().any(|name| tree.join(own).join(name).is_file());
    if locked {
        return directory.to_owned();
    }
    let mut above = own.ancestors().skip(1);
    let root = above.find(|above| {
        own.strip_prefix(above)
            .is_ok_and(|member| includes(&patterns(&tree.join(above)), member))
    });
    root.and_then(Path::to_str).unwrap_or(directory).to_owned()
}

/// What a directory's workspace names as its members; nothing, if it has none.
fn patterns(root: &Path) -> Vec<String> {
    #[derive(Default, Deserialize)]
    struct Pnpm {
        #[serde(default)]
        packages: Vec<String>,
    }
    if root.join("pnpm-lock.yaml").is_file() {
        let workspace = text(&root.join("pnpm-workspace.yaml"))
            .and_then(|text| serde_saphyr::from_str::<Pnpm>(&text).ok())
            .unwrap_or_default();
        return workspace.packages;
    }
    let manifest = text(&root.join("package.json"))
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
        .unwrap_or_default();
    let workspaces = manifest.get("workspaces");
    // Yarn lets it be an object, which npm takes too.
    let named = workspaces.map(|named| named.get("packages").unwrap_or(named));
    named
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|pattern| pattern.as_str().map(str::to_owned))
        .collect()
}

/// Whether patterns of a workspace include a directory; one that begins with `!` takes it out.
fn includes(patterns: &[String], member: &Path) -> bool {
    let matches = |pattern: &str| {
        let pattern = pattern.trim_start_matches("./").trim_end_matches('/');
        GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .is_ok_and(|glob| glob.compile_matcher().is_match(member))
    };
    let mut included = false;
    for pattern in patterns.iter().take(MAX_PATTERNS) {
        match pattern.strip_prefix('!') {
            Some(not) if matches(not) => return false,
            Some(_) => {}
            None => included |= matches(pattern),
        }
    }
    included
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_member_is_installed_where_its_workspace_is() {
        let npm = tree(&[
            (
                "package.json",
                r#"{"workspaces": ["./packages/*/", "tools/**", "!packages/old"]}"#,
            ),
            ("package-lock.json", "{}"),
            ("packages/own/package-lock.json", "{}"),
        ]);
        for (directory, expected) in [
            ("", ""),
            ("packages/a", ""),
            ("tools/deep", ""),
            ("packages/old", "packages/old"),
            ("packages/own", "packages/own"),
            ("packages", "packages"),
            ("example", "example"),
        ] {
            assert_eq!(install_root(npm.path(), directory), expected, "{directory}");
        }
        let nested = tree(&[(
            "web/package.json",
            r#"{"workspaces": {"packages": ["app"]}}"#,
        )]);
        assert_eq!(install_root(nested.path(), "web/app"), "web");
    }

    #[test]
    fn a_workspace_of_pnpm_is_what_its_own_file_says() {
        let files = [
            ("package.json", r#"{"workspaces": ["b"]}"#),
            ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n"),
            (
                "pnpm-workspace.yaml",
                "packages:\n  - 'a'\n  - '!**/test/**'\ncatalog:\n  x: ^1\n",
            ),
        ];
        let pnpm = tree(&files);
        assert_eq!(install_root(pnpm.path(), "a"), "");
        assert_eq!(install_root(pnpm.path(), "b"), "b");
        let alone = tree(&files[..2]);
        assert_eq!(install_root(alone.path(), "a"), "a");
    }

    #[test]
    fn what_is_not_understood_has_no_members() {
        for (name, content) in [
            ("package.json", "{"),
            ("package.json", r#"{"workspaces": 3}"#),
            ("package.json", r#"{"workspaces": ["[", 1]}"#),
            ("pnpm-workspace.yaml", "packages: {a: b"),
        ] {
            let root = tree(&[(name, content), ("pnpm-lock.yaml", "")]);
            assert_eq!(install_root(root.path(), "a"), "a", "{name}: {content}");
        }
    }
}
