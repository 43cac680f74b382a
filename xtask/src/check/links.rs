//! Links between pages: what a page points to must exist.

use std::path::Path;

use crate::check::{Finding, SourceFile};

/// Its links are the error codes, which have a rule of their own.
const LIST_OF_CODES: &str = "docs/reference/errors.md";

/// Follows every relative link of every page.
pub(crate) fn check(sources: &[SourceFile], root: &Path) -> Vec<Finding> {
    sources
        .iter()
        .filter(|file| file.path.extension().is_some_and(|end| end == "md"))
        .filter(|file| file.path != Path::new(LIST_OF_CODES))
        .flat_map(|file| {
            let folder = file.path.parent().unwrap_or(Path::new(""));
            links(&file.text)
                .filter(move |link| !root.join(folder).join(link).exists())
                .map(|link| {
                    Finding::error(
                        file.path.display(),
                        format!("the link to `{link}` leads nowhere"),
                    )
                })
        })
        .collect()
}

/// The relative targets of `[…](…)`, without fragments, outside of code blocks.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines()
        .filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            !code && !fence
        })
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or(""))
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '))
        .filter(|target| !target.starts_with("mailto:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_links_outside_of_code_are_followed() {
        let text = "See [a](a.md#part) and [b](https://example.org/b) or [c](#c).\n\
                    ```\n[d](d.md)\n```\n[e](../e.md)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["a.md", "../e.md"]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("docs")).unwrap();
        std::fs::write(root.path().join("docs/a.md"), "").unwrap();
        let page = SourceFile {
            path: "docs/b.md".into(),
            text: "[a](a.md) [gone](gone.md)".into(),
        };
        let found = check(&[page], root.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.contains("gone.md"));
    }
}
