//! Go modules: `go mod download` of what `go.sum` pins.

use std::collections::BTreeMap;
use std::path::Path;

use super::fetch::{DEPENDENCIES, Fetch, Keep, Need, OURS};
use super::{Preparer, Ready, source};
use crate::verify::detect::{Ecosystem, own_files, text};

pub(super) async fn need(preparer: &Preparer, tree: &Path, directory: &str) -> Need {
    let here = tree.join(directory);
    let pinned = text(&here.join("go.sum")).is_some_and(|text| !text.trim().is_empty());
    let vendored = here.join("vendor/modules.txt").is_file();
    let requires = text(&here.join("go.mod")).is_some_and(|text| {
        text.lines()
            .any(|line| line.trim_start().starts_with("require"))
    });
    if vendored || !(pinned || requires) {
        return Need::Nothing;
    }
    if !pinned {
        return Need::Cannot(String::from(
            "go.mod requires modules but there is no go.sum; commit it, so that what is checked is \
             what is meant",
        ));
    }
    let Some(go) = preparer.toolchains.get(Ecosystem::Go) else {
        return Need::Nothing;
    };
    let proxies = preparer
        .search
        .ask(&go.program, &["env", "GOPROXY"])
        .await
        .unwrap_or_default();
    // `direct` would mean any version-control host; only proxies are asked.
    let proxies: Vec<_> = proxies
        .split([',', '|'])
        .filter_map(source::cleaned)
        .collect();
    if proxies.is_empty() {
        return Need::Cannot(String::from(
            "go is configured to use no module proxy; see `go env GOPROXY`",
        ));
    }
    let mut files = manifests(tree);
    let addresses: Vec<&str> = proxies
        .iter()
        .map(|(address, _)| address.as_str())
        .collect();
    let mut env: BTreeMap<String, String> = [
        ("GOPROXY", addresses.join(",")),
        ("GOFLAGS", String::from("-mod=mod -modcacherw")),
        ("GOMODCACHE", format!("/work/{OURS}/modules")),
        // The digests are those of go.sum; no further host is asked for them.
        ("GOSUMDB", String::from("off")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let certificates = source::certificates(&preparer.search, None);
    source::trust(certificates, &mut files, &mut env);
    let hosts = proxies.into_iter().map(|(_, destination)| destination);
    Need::Fetch(Box::new(Fetch {
        ecosystem: Ecosystem::Go,
        directory: directory.to_owned(),
        files,
        command: ["go", "mod", "download", "all"].map(str::to_owned).into(),
        env,
        hosts: source::destinations(hosts, &preparer.hosts),
        keep: Keep::Paths(vec![format!("{OURS}/modules")]),
        finish: |_, _, _| Ok(()),
        show,
        notes: Vec::new(),
        what: DEPENDENCIES,
    }))
}

fn manifests(tree: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in own_files(tree) {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let wanted = matches!(name, "go.mod" | "go.sum" | "go.work" | "go.work.sum");
        if let (true, Some(text)) = (wanted, text(&tree.join(&path))) {
            files.insert(path, text.into_bytes());
        }
    }
    files
}

fn show(fetch: &Fetch, kept: &Path) -> Ready {
    let modules = fetch.target().join(OURS).join("modules");
    Ready {
        mounts: vec![fetch.mount(kept)],
        env: [(
            String::from("GOMODCACHE"),
            modules.to_string_lossy().into_owned(),
        )]
        .into(),
        ..Ready::default()
    }
}
