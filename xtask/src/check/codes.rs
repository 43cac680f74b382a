//! Error codes: declared once, each with a page that explains it, and no page without a code.

use std::collections::BTreeMap;
use std::path::Path;

use crate::check::{Finding, SourceFile};

/// Where the pages are.
const PAGES: &str = "docs/errors";

/// A code as it is declared in the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    /// `ROOM-0001`.
    pub(crate) code: String,
    /// The HTTP status.
    pub(crate) status: String,
    /// The exit code of the command line.
    pub(crate) exit: String,
    /// A few words.
    pub(crate) title: String,
    /// The file.
    pub(crate) place: String,
}

/// Every declaration in the product, in the order of the codes.
pub(crate) fn declared(sources: &[SourceFile]) -> Vec<Declared> {
    let mut all: Vec<Declared> = sources
        .iter()
        .filter(|file| file.is_product_code())
        .flat_map(|file| {
            let place = file.path.display().to_string();
            declarations(&code_of(file))
                .map(|(code, [status, exit, title])| Declared {
                    code,
                    status,
                    exit,
                    title,
                    place: place.clone(),
                })
                .collect::<Vec<_>>()
        })
        .collect();
    all.sort_by(|a, b| a.code.cmp(&b.code));
    all
}

/// What is compiled into the product: no tests and no comments, which may quote a declaration.
fn code_of(file: &SourceFile) -> String {
    let mut lines = file.lines_without_tests();
    lines.retain(|line| !line.trim_start().starts_with("//"));
    lines.join("\n")
}

/// `Code::new("ROOM-0001", 404, 6, "title")`, wherever the formatter breaks its lines.
fn declarations(text: &str) -> impl Iterator<Item = (String, [String; 3])> {
    text.split("Code::new(").skip(1).filter_map(|rest| {
        let mut texts = rest.splitn(5, '"');
        if !texts.next()?.trim().is_empty() {
            return None;
        }
        let code = texts.next().filter(|code| is_code(code))?;
        let mut numbers = texts.next()?.split(',').map(str::trim).skip(1);
        let status = numbers.next()?.to_owned();
        let exit = numbers.next()?.to_owned();
        let title = texts.next()?.to_owned();
        Some((code.to_owned(), [status, exit, title]))
    })
}

/// Upper-case letters, a dash and four digits.
fn is_code(text: &str) -> bool {
    text.rsplit_once('-').is_some_and(|(room, number)| {
        !room.is_empty()
            && room.bytes().all(|byte| byte.is_ascii_uppercase())
            && number.len() == 4
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Compares declarations and pages.
pub(crate) fn check(sources: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    for Declared { code, place, .. } in declared(sources) {
        if let Some(other) = first.get(&code) {
            let text = format!("{code} is declared in {other} too; a code has one meaning");
            findings.push(Finding::error(place, text));
        } else {
            first.insert(code, place);
        }
    }
    let mut pages: BTreeMap<&str, &SourceFile> = BTreeMap::new();
    for file in sources.iter().filter(|file| file.path.starts_with(PAGES)) {
        if let Some(name) = page(&file.path) {
            pages.insert(name, file);
        }
    }
    for (code, place) in &first {
        match pages.get(code.as_str()) {
            None => {
                let text = format!("{code} has no page {PAGES}/{code}.md");
                findings.push(Finding::error(place, text));
            }
            Some(page) if !page.text.lines().next().unwrap_or("").contains(code) => {
                let text = format!("the first line does not name {code}");
                findings.push(Finding::error(page.path.display(), text));
            }
            Some(_) => {}
        }
    }
    for (name, file) in pages {
        if !first.contains_key(name) {
            let text = format!("no code {name} is declared; a page without a code misleads");
            findings.push(Finding::error(file.path.display(), text));
        }
    }
    findings
}

fn page(path: &Path) -> Option<&str> {
    let name = path.file_stem()?.to_str()?;
    (path.extension()? == "md" && name != "README").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.into(),
            text: text.into(),
        }
    }

    const CODE: &str = "pub const GONE: Code = Code::new(\n    \"RUN-0001\",\n    404,\n    6,\n    \
                        \"run not found\",\n);";

    #[test]
    fn a_declaration_is_read_however_it_is_formatted() {
        let one_line = r#"const A: Code = Code::new("KEY-0002", 403, 1, "no key");"#;
        let found = declared(&[
            file("crates/engine/src/run.rs", CODE),
            file("crates/evidence/src/keys.rs", one_line),
        ]);
        let rows: Vec<_> = found
            .iter()
            .map(|row| (&*row.code, &*row.status, &*row.exit, &*row.title))
            .collect();
        assert_eq!(
            rows,
            [
                ("KEY-0002", "403", "1", "no key"),
                ("RUN-0001", "404", "6", "run not found")
            ]
        );
    }

    #[test]
    fn other_text_is_not_a_declaration() {
        for text in [
            "Code::new(text, 1, 2, title)",
            "Code::new(",
            "`Code::new(\"x\"",
        ] {
            assert_eq!(declarations(text).count(), 0, "{text}");
        }
        let quoted = file(
            "crates/core/src/problem.rs",
            "//! `Code::new(\"RUN-0001\", 1, 1, \"x\")`",
        );
        assert_eq!(declared(&[quoted]), []);
    }

    #[test]
    fn codes_and_pages_belong_together() {
        let code = file("crates/engine/src/run.rs", CODE);
        let page = file("docs/errors/RUN-0001.md", "# RUN-0001: run not found\n");
        assert_eq!(check(&[code.clone(), page.clone()]), []);
        assert_eq!(
            check(std::slice::from_ref(&code)).len(),
            1,
            "the page is missing"
        );
        assert_eq!(
            check(std::slice::from_ref(&page)).len(),
            1,
            "the code is missing"
        );
        let twice = file("cli/src/run.rs", CODE);
        assert_eq!(check(&[code, twice, page]).len(), 1, "it is declared twice");
    }
}
