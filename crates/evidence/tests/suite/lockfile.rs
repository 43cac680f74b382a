//! Lock files: each format gives the components it pins, and what it does not pin is said.

use std::collections::BTreeSet;

use matrix_evidence::lockfile::{
    Component, Ecosystem, Inventory, LOCK_FILE_NAMES, Origin, is_lock_file, read,
};
use proptest::prelude::*;

fn read_one(path: &str, text: &str) -> Inventory {
    read([(path, text.as_bytes())])
}

fn purls(inventory: &Inventory) -> Vec<&str> {
    inventory
        .components
        .iter()
        .map(|c| c.purl.as_str())
        .collect()
}

fn get<'a>(inventory: &'a Inventory, purl: &str) -> &'a Component {
    inventory
        .components
        .iter()
        .find(|component| component.purl == purl)
        .unwrap_or_else(|| panic!("{purl} is not among {:#?}", purls(inventory)))
}

fn depends(inventory: &Inventory, purl: &str) -> Vec<String> {
    get(inventory, purl).dependencies.iter().cloned().collect()
}

pub(crate) const CARGO: &str = r#"version = 4
[[package]]
name = "app"
version = "0.1.0"
dependencies = ["a 1.0.0", "b", "c 0.1.0 (git+https://example.org/c?rev=1#1)"]
[[package]]
name = "a"
version = "1.0.0"
source = "registry+https://index.example.org"
checksum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
[[package]]
name = "a"
version = "2.0.0+meta"
source = "registry+https://index.example.org"
[[package]]
name = "b"
version = "0.3.1"
source = "registry+https://index.example.org"
dependencies = ["a 2.0.0+meta"]
[[package]]
name = "c"
version = "0.1.0"
source = "git+https://example.org/c?rev=1#1"
"#;

#[test]
fn a_cargo_lock_is_read() {
    let inventory = read_one("sub/Cargo.lock", CARGO);
    assert_eq!(inventory.not_understood, []);
    assert_eq!(inventory.files[0].components, 5);
    let git = "pkg:cargo/c@0.1.0?vcs_url=git%2Bhttps:%2F%2Fexample.org%2Fc%3Frev%3D1%231";
    assert_eq!(
        depends(&inventory, "pkg:cargo/app@0.1.0"),
        ["pkg:cargo/a@1.0.0", "pkg:cargo/b@0.3.1", git]
    );
    assert_eq!(
        depends(&inventory, "pkg:cargo/b@0.3.1"),
        ["pkg:cargo/a@2.0.0%2Bmeta"]
    );
    assert_eq!(get(&inventory, "pkg:cargo/app@0.1.0").origin, Origin::Local);
    let hash = get(&inventory, "pkg:cargo/a@1.0.0").hashes.first().unwrap();
    assert_eq!((hash.algorithm.as_str(), hash.hex.len()), ("SHA-256", 64));
    assert_eq!(inventory.third_party().count(), 4);
}

#[test]
fn this_projects_own_lock_file_is_understood_whole() {
    let inventory = read([("Cargo.lock", &include_bytes!("../../../../Cargo.lock")[..])]);
    assert_eq!(inventory.not_understood, []);
    assert!(inventory.components.len() > 50);
    for component in inventory.third_party() {
        assert_eq!(
            component.hashes.len(),
            1,
            "{} has no checksum",
            component.purl
        );
    }
}

pub(crate) const NPM: &str = r#"{"name": "app", "version": "1.0.0", "lockfileVersion": 3, "packages": {
  "": {"name": "app", "version": "1.0.0", "dependencies": {"@s/a": "^1", "w": "*"}, "devDependencies": {"b": "^2"}},
  "node_modules/@s/a": {"version": "1.2.3", "resolved": "https://r.example.org/a.tgz", "license": "MIT",
    "integrity": "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
    "dependencies": {"b": "^1"}, "peerDependencies": {"absent": "*"}},
  "node_modules/@s/a/node_modules/b": {"version": "1.0.0"},
  "node_modules/b": {"version": "2.0.0", "license": {"type": "ISC"}, "dev": true},
  "node_modules/w": {"resolved": "packages/w", "link": true},
  "packages/w": {"version": "0.0.1", "dependencies": {"b": "^2"}},
  "node_modules/alias": {"name": "real", "version": "9.0.0"}
}}"#;

#[test]
fn a_package_lock_is_resolved_as_node_does() {
    let inventory = read_one("package-lock.json", NPM);
    assert_eq!(inventory.not_understood, []);
    assert_eq!(
        depends(&inventory, "pkg:npm/app@1.0.0"),
        [
            "pkg:npm/%40s/a@1.2.3",
            "pkg:npm/b@2.0.0",
            "pkg:npm/packages/w@0.0.1"
        ]
    );
    assert_eq!(
        depends(&inventory, "pkg:npm/%40s/a@1.2.3"),
        ["pkg:npm/b@1.0.0"]
    );
    assert_eq!(
        depends(&inventory, "pkg:npm/packages/w@0.0.1"),
        ["pkg:npm/b@2.0.0"]
    );
    let scoped = get(&inventory, "pkg:npm/%40s/a@1.2.3");
    assert_eq!(scoped.licence.as_deref(), Some("MIT"));
    assert_eq!(scoped.hashes.first().unwrap().algorithm, "SHA-512");
    assert!(
        scoped
            .hashes
            .first()
            .unwrap()
            .hex
            .starts_with("cf83e1357eefb8bd")
    );
    assert_eq!(
        get(&inventory, "pkg:npm/b@2.0.0").licence.as_deref(),
        Some("ISC")
    );
    get(&inventory, "pkg:npm/real@9.0.0");
    let new = read_one(
        "package-lock.json",
        r#"{"lockfileVersion": 4, "packages": {}}"#,
    );
    assert!(new.not_understood[0].reason.contains("version 4"));
}

#[test]
fn a_package_lock_of_version_1_is_a_tree_of_the_same() {
    let text = r#"{"name": "app", "version": "1.0.0", "lockfileVersion": 1, "requires": true, "dependencies": {
        "a": {"version": "1.2.3", "resolved": "https://r.example.org/a.tgz",
              "integrity": "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "requires": {"b": "^1", "gone": "1"},
              "dependencies": {"b": {"version": "1.0.0"}}},
        "b": {"version": "2.0.0", "dev": true},
        "alias": {"version": "npm:@s/real@9.0.0"},
        "forge": {"version": "git+ssh://git@forge.example.org/x.git#00", "from": "x"},
        "own": {"version": "file:../own"}}}"#;
    let inventory = read_one("package-lock.json", text);
    assert_eq!(inventory.not_understood, []);
    assert_eq!(depends(&inventory, "pkg:npm/a@1.2.3"), ["pkg:npm/b@1.0.0"]);
    assert_eq!(get(&inventory, "pkg:npm/a@1.2.3").hashes.len(), 1);
    get(&inventory, "pkg:npm/%40s/real@9.0.0");
    assert_eq!(depends(&inventory, "pkg:npm/app@1.0.0").len(), 5);
    let third: Vec<&str> = inventory.third_party().map(|c| c.name.as_str()).collect();
    assert_eq!(third, ["@s/real", "a", "b", "b", "forge"]);
}

const PNPM_9: &str = "lockfileVersion: '9.0'
settings:
  autoInstallPeers: true
importers:
  .:
    dependencies:
      a:
        specifier: ^1
        version: 1.0.0(b@2.0.0)
packages:
  a@1.0.0:
    resolution: {integrity: sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==}
    peerDependencies:
      b: '*'
  b@2.0.0:
    resolution: {tarball: https://e.example.org/b.tgz}
  '@s/c@3.0.0':
    resolution: {directory: ../c, type: directory}
snapshots:
  a@1.0.0(b@2.0.0):
    dependencies:
      b: 2.0.0
      alias: '@s/c@3.0.0'
  b@2.0.0: {}
";

const PNPM_6: &str = "lockfileVersion: '6.0'
packages:
  /a@1.0.0(b@2.0.0):
    resolution: {integrity: sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=}
    dependencies:
      b: 2.0.0
    dev: false
  /b@2.0.0:
    resolution: {}
";

#[test]
fn both_pnpm_forms_are_read() {
    let nine = read_one("pnpm-lock.yaml", PNPM_9);
    assert_eq!(nine.not_understood, []);
    let b = "pkg:npm/b@2.0.0?download_url=https:%2F%2Fe.example.org%2Fb.tgz";
    assert_eq!(
        depends(&nine, "pkg:npm/a@1.0.0"),
        ["pkg:npm/%40s/c@3.0.0", b]
    );
    assert_eq!(get(&nine, "pkg:npm/%40s/c@3.0.0").origin, Origin::Local);
    let six = read_one("pnpm-lock.yaml", PNPM_6);
    assert_eq!(six.not_understood, []);
    assert_eq!(depends(&six, "pkg:npm/a@1.0.0"), ["pkg:npm/b@2.0.0"]);
    assert_eq!(get(&six, "pkg:npm/a@1.0.0").hashes.len(), 1);
    let four = read_one("pnpm-lock.yaml", "lockfileVersion: 4.0\n");
    assert!(four.not_understood[0].reason.contains("4.0"), "{four:?}");
}

#[test]
fn a_pnpm_lock_of_version_5_is_read() {
    let text = "lockfileVersion: 5.4
packages:
  /@s/a/1.0.0_b@2.0.0:
    resolution: {integrity: sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=}
    dependencies:
      b: 2.0.0
      renamed: /c/3.0.0
  /b/2.0.0:
    resolution: {integrity: sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=}
    dev: true
  /c/3.0.0:
    resolution: {integrity: sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=}
";
    let inventory = read_one("pnpm-lock.yaml", text);
    assert_eq!(inventory.not_understood, []);
    assert_eq!(
        depends(&inventory, "pkg:npm/%40s/a@1.0.0"),
        ["pkg:npm/b@2.0.0", "pkg:npm/c@3.0.0"]
    );
}

const YARN: &str = r#"# yarn lockfile v1


"@s/a@^1.0.0", "@s/a@^1.1.0":
  version "1.2.0"
  resolved "https://r.example.org/a.tgz#da39a3ee5e6b4b0d3255bfef95601890afd80709"
  integrity sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=
  dependencies:
    b "^2.0.0"
    c "1 || 2"

b@^2.0.0:
  version "2.0.1"

c@1 || 2, "renamed@npm:c@*":
  version "1.9.0"
"#;

#[test]
fn a_yarn_lock_is_read() {
    let inventory = read_one("yarn.lock", YARN);
    assert_eq!(inventory.not_understood, []);
    assert_eq!(
        depends(&inventory, "pkg:npm/%40s/a@1.2.0"),
        ["pkg:npm/b@2.0.1", "pkg:npm/c@1.9.0"]
    );
    assert_eq!(get(&inventory, "pkg:npm/%40s/a@1.2.0").hashes.len(), 1);
}

#[test]
fn a_yarn_lock_of_later_versions_is_read() {
    let text = r#"# This file is generated by running "yarn install"

__metadata:
  version: 8
  cacheKey: 10c0

"@s/a@npm:^1.0.0, @s/a@npm:^1.1.0":
  version: 1.2.0
  resolution: "@s/a@npm:1.2.0"
  dependencies:
    b: "npm:^2.0.0"
  checksum: 10c0/00
  languageName: node
  linkType: hard

"app@workspace:.":
  version: 0.0.0-use.local
  resolution: "app@workspace:."
  dependencies:
    "@s/a": "npm:^1.1.0"
    forge: "https://forge.example.org/x.git#commit=00"
  languageName: unknown
  linkType: soft

"b@npm:^2.0.0":
  version: 2.0.1
  resolution: "b@npm:2.0.1"

"forge@https://forge.example.org/x.git#commit=00":
  version: 1.0.0
  resolution: "forge@https://forge.example.org/x.git#commit=00"
"#;
    let inventory = read_one("yarn.lock", text);
    assert_eq!(inventory.not_understood, []);
    assert_eq!(
        depends(&inventory, "pkg:npm/%40s/a@1.2.0"),
        ["pkg:npm/b@2.0.1"]
    );
    assert_eq!(depends(&inventory, "pkg:npm/app@0.0.0-use.local").len(), 2);
    let third: Vec<&str> = inventory.third_party().map(|c| c.name.as_str()).collect();
    assert_eq!(third, ["@s/a", "b", "forge"]);
    let broken = read_one("yarn.lock", "__metadata:\n  version: [\n");
    assert_eq!(broken.not_understood.len(), 1);
}

#[test]
fn flat_python_lock_files_are_read() {
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let pdm = format!(
        "[metadata]\nlock_version = \"4.5.0\"\n[[package]]\nname = \"Idna_x\"\nversion = \"3.6\"\n\
         files = [{{file = \"i.whl\", hash = \"sha256:{hash}\"}}]\n\
         [[package]]\nname = \"requests\"\nversion = \"2.31\"\ndependencies = [\"idna-x<4; python_version > '3'\"]\n"
    );
    let inventory = read_one("pdm.lock", &pdm);
    assert_eq!(
        depends(&inventory, "pkg:pypi/requests@2.31"),
        ["pkg:pypi/idna-x@3.6"]
    );
    assert_eq!(get(&inventory, "pkg:pypi/idna-x@3.6").hashes.len(), 1);

    let pylock = format!(
        "lock-version = \"1.0\"\n[[packages]]\nname = \"a\"\nversion = \"1.0\"\n\
         wheels = [{{url = \"https://f.example.org/a.whl\", hashes = {{sha256 = \"{hash}\"}}}}]\n\
         [[packages]]\nname = \"own\"\n[packages.directory]\npath = \".\"\n"
    );
    let inventory = read_one("pylock.toml", &pylock);
    assert_eq!(get(&inventory, "pkg:pypi/a@1.0").hashes.len(), 1);
    assert_eq!(inventory.third_party().count(), 1);

    let pipfile = format!(
        r#"{{"_meta": {{}}, "default": {{"a": {{"version": "==1.0", "hashes": ["sha256:{hash}"]}}, "own": {{"path": "."}}}},
            "develop": {{"loose": {{"version": "*"}}}}}}"#
    );
    let inventory = read_one("Pipfile.lock", &pipfile);
    assert_eq!(get(&inventory, "pkg:pypi/a@1.0").hashes.len(), 1);
    assert!(inventory.not_understood[0].reason.contains("loose"));

    for (name, text) in [
        ("pdm.lock", ""),
        ("pylock.toml", "lock-version = '9'"),
        ("Pipfile.lock", "[]"),
    ] {
        let refused = read_one(name, text);
        assert_eq!(refused.not_understood.len(), 1, "{name}");
        assert!(refused.files.is_empty(), "{name}");
    }
}

pub(crate) const REQUIREMENTS: &str = "# comment
--index-url https://index.example.org/simple
Flask_Login[async] == 1.0 ; python_version >= '3.8' \\
    --hash=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 \\
    --hash=md5:d41d8cd98f00b204e9800998ecf8427e
six===1.16.0 # why
loose>=2
star==1.*
-r more.txt
tool @ git+https://example.org/tool@v1
";

#[test]
fn requirements_are_read_and_loose_ones_are_named() {
    let inventory = read_one("requirements-dev.txt", REQUIREMENTS);
    let flask = get(&inventory, "pkg:pypi/flask-login@1.0");
    assert_eq!(flask.hashes.len(), 2);
    get(&inventory, "pkg:pypi/six@1.16.0");
    assert_eq!(inventory.components.len(), 3);
    let reasons: Vec<&str> = inventory
        .not_understood
        .iter()
        .map(|note| note.reason.as_str())
        .collect();
    assert_eq!(reasons.len(), 4, "{reasons:#?}");
    assert!(
        reasons
            .iter()
            .any(|r| r.starts_with("line 7: `loose>=2` is not pinned"))
    );
    assert!(reasons.iter().any(|r| r.contains("star==1.*")));
}

const POETRY: &str = r#"[[package]]
name = "Requests"
version = "2.31.0"
optional = false
python-versions = ">=3.7"
files = [{file = "r.whl", hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]
[package.dependencies]
url_lib3 = {version = ">=1", optional = true}
[[package]]
name = "url-lib3"
version = "2.0"
files = []
[package.source]
type = "git"
url = "https://example.org/u.git"
[metadata]
lock-version = "2.0"
content-hash = "x"
"#;

const UV: &str = r#"version = 1
requires-python = ">=3.11"
[[package]]
name = "app"
version = "0.1.0"
source = { virtual = "." }
dependencies = [{ name = "idna" }, { name = "np", version = "2.0", marker = "x" }]
[package.dev-dependencies]
dev = [{ name = "ruff" }]
[[package]]
name = "idna"
version = "3.6"
source = { registry = "https://index.example.org/simple" }
sdist = { url = "https://f.example.org/i.tar.gz", hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", size = 1 }
wheels = [{ url = "https://f.example.org/i.whl", hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000" }]
[[package]]
name = "np"
version = "1.0"
source = { registry = "https://index.example.org/simple" }
[[package]]
name = "np"
version = "2.0"
source = { registry = "https://index.example.org/simple" }
[[package]]
name = "ruff"
version = "0.1"
source = { registry = "https://index.example.org/simple" }
"#;

#[test]
fn poetry_and_uv_are_read() {
    let poetry = read_one("poetry.lock", POETRY);
    assert_eq!(poetry.not_understood, []);
    let git = "pkg:pypi/url-lib3@2.0?vcs_url=git%2Bhttps:%2F%2Fexample.org%2Fu.git";
    assert_eq!(depends(&poetry, "pkg:pypi/requests@2.31.0"), [git]);
    assert_eq!(get(&poetry, "pkg:pypi/requests@2.31.0").hashes.len(), 1);
    let uv = read_one("uv.lock", UV);
    assert_eq!(uv.not_understood, []);
    assert_eq!(
        depends(&uv, "pkg:pypi/app@0.1.0"),
        ["pkg:pypi/idna@3.6", "pkg:pypi/np@2.0", "pkg:pypi/ruff@0.1"]
    );
    assert_eq!(get(&uv, "pkg:pypi/app@0.1.0").origin, Origin::Local);
    assert_eq!(get(&uv, "pkg:pypi/idna@3.6").hashes.len(), 2);
}

const GO_MOD: &str = "module example.org/app // ours

go 1.22.1
toolchain go1.23.0
require golang.org/x/text v0.14.0
require (
\texample.org/Old v1.0.0 // indirect
\texample.org/near v0.0.0
\texample.org/some v1.2.3
)
replace (
\texample.org/Old => example.org/new v2.0.0+incompatible
\texample.org/near v0.0.0 => ../near
\texample.org/some v9.9.9 => ../never
)
exclude golang.org/x/text v0.1.0
";

#[test]
fn a_go_mod_is_read_with_its_replacements() {
    let sum = "example.org/some v1.2.3 h1:abc=\nexample.org/some v1.2.3/go.mod h1:def=\n";
    let inventory = read([("go.mod", GO_MOD.as_bytes()), ("go.sum", sum.as_bytes())]);
    assert_eq!(inventory.not_understood, []);
    assert_eq!(
        depends(&inventory, "pkg:golang/example.org/app"),
        [
            "pkg:golang/example.org/near",
            "pkg:golang/example.org/new@v2.0.0%2Bincompatible",
            "pkg:golang/example.org/some@v1.2.3",
            "pkg:golang/golang.org/x/text@v0.14.0",
        ]
    );
    assert_eq!(inventory.third_party().count(), 3);
    let old = read_one("go.mod", "module m\ngo 1.16\n");
    assert!(old.not_understood[0].reason.contains("indirect"));
    assert_eq!(read_one("go.sum", "nonsense").not_understood.len(), 1);
}

#[test]
fn the_order_of_files_does_not_matter_and_shared_components_are_one() {
    let files = [
        ("a/Cargo.lock", CARGO.as_bytes()),
        ("b/Cargo.lock", CARGO.as_bytes()),
    ];
    let forth = read(files);
    let back = read(files.into_iter().rev());
    assert_eq!(forth, back);
    let shared = get(&forth, "pkg:cargo/b@0.3.1");
    assert_eq!(
        shared.files,
        BTreeSet::from(["a/Cargo.lock".into(), "b/Cargo.lock".into()])
    );
}

#[test]
fn what_a_change_newly_depends_on_is_told() {
    let base = read_one("Cargo.lock", CARGO);
    let more = "[[package]]\nname = \"evil\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n";
    let head = read_one("Cargo.lock", &format!("{CARGO}{more}"));
    let new: Vec<&str> = head
        .new_dependencies(&base)
        .iter()
        .map(|component| component.name.as_str())
        .collect();
    assert_eq!(new, ["evil"]);
    let bumped = read_one("Cargo.lock", &CARGO.replace("0.3.1", "0.3.2"));
    assert!(
        bumped.new_dependencies(&base).is_empty(),
        "a new version is no new dependency"
    );
}

#[test]
fn broken_and_unknown_files_are_named_not_lost() {
    for name in LOCK_FILE_NAMES {
        assert!(is_lock_file(&format!("deep/{name}")));
        let inventory = read([(name, &b"\xff\xfe\x00"[..])]);
        assert_eq!(inventory.not_understood.len(), 1, "{name}");
        assert!(inventory.components.is_empty());
    }
    for unknown in ["Cargo.toml", "notes.txt", "requirements.in"] {
        assert!(!is_lock_file(unknown));
    }
    let newer = read_one("Cargo.lock", "version = 99\n");
    assert!(newer.not_understood[0].reason.contains("99"));
}

proptest! {
    #[test]
    fn nothing_makes_a_reader_panic(
        which in 0..LOCK_FILE_NAMES.len(), text in "[ -~\n\t]{0,200}", cut: prop::sample::Index
    ) {
        let name = LOCK_FILE_NAMES[which];
        let _ = read_one(name, &text);
        for whole in [CARGO, NPM, PNPM_9, PNPM_6, YARN, REQUIREMENTS, POETRY, UV, GO_MOD] {
            let at = cut.index(whole.len());
            let _ = read_one(name, &whole[..at]);
            let _ = read_one(name, &format!("{}{text}{}", &whole[..at], &whole[at..]));
        }
    }

    #[test]
    fn python_names_are_normal(name in "[A-Za-z0-9._-]{0,20}") {
        let once = Ecosystem::Pypi.normalise(&name);
        prop_assert_eq!(&Ecosystem::Pypi.normalise(&once), &once);
        prop_assert!(!once.contains("--") && !once.contains('_') && !once.contains('.'));
    }
}
