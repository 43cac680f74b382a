//! Operations: one verb with the members that belong to it.

use matrix_worktree::operation::{Create, Delete, FileMode, Move};
use matrix_worktree::path::RepoPath;
use matrix_worktree::{Operation, Update, problem, unified};

use super::super::document::{Node, Value};
use super::super::problem::{NOT_A_PLAN, PlanFault};
use super::{Members, Reader, listed, meant, text};

const VERBS: &[&str] = &["update", "create", "delete", "move"];

impl Reader {
    pub(super) fn operation(&mut self, node: &Node, path: &str) -> Option<Operation> {
        let form = format!("a map with one of {}", listed(VERBS));
        let Value::Map(members) = &node.value else {
            self.wrong_kind(node, path, &form);
            return None;
        };
        let [(verb, body)] = members.as_slice() else {
            let message = format!(
                "an operation is {form}, and this has {} members",
                members.len()
            );
            self.add(PlanFault::new(NOT_A_PLAN, node.place, message).member(path));
            return None;
        };
        let inner = format!("{path}.{}", verb.name);
        match verb.name.as_str() {
            "update" => self.update(body, &inner).map(Operation::Update),
            "create" => self.create(body, &inner).map(Operation::Create),
            "delete" => {
                let map = self.map(body, &inner, &["path"])?;
                let path = self.path_member(&map, "path")?;
                Some(Operation::Delete(Delete { path }))
            }
            "move" => {
                let map = self.map(body, &inner, &["from", "to"])?;
                let from = self.path_member(&map, "from");
                let to = self.path_member(&map, "to");
                Some(Operation::Move(Move {
                    from: from?,
                    to: to?,
                }))
            }
            other => {
                let shown: String = other.chars().take(60).collect();
                let message = format!("`{shown}` is no operation; there are {}", listed(VERBS));
                self.add(
                    PlanFault::new(NOT_A_PLAN, verb.place, message)
                        .member(path)
                        .suggest(meant(other, VERBS)),
                );
                None
            }
        }
    }

    fn update(&mut self, body: &Node, path: &str) -> Option<Update> {
        let map = self.map(body, path, &["path", "diff", "content"])?;
        let file = self.path_member(&map, "path");
        match (map.get("diff"), map.get("content")) {
            (Some(diff), None) => {
                let diff = self.diff(diff, &map.path("diff"));
                Some(Update::Diff {
                    path: file?,
                    diff: diff?,
                })
            }
            (None, Some(_)) => {
                let content = self.checked(&map, "content", text::content);
                Some(Update::Content {
                    path: file?,
                    content: content?,
                })
            }
            (one, _) => {
                let message = match one {
                    Some(_) => "an update takes `diff` or `content`, not both",
                    None => "an update needs `diff` or `content`",
                };
                self.add(PlanFault::new(NOT_A_PLAN, body.place, message).member(path));
                None
            }
        }
    }

    fn create(&mut self, body: &Node, path: &str) -> Option<Create> {
        let map = self.map(body, path, &["path", "content", "mode"])?;
        let file = self.path_member(&map, "path");
        let content = self.checked(&map, "content", text::content);
        let mode = match map.get("mode") {
            None => Some(FileMode::Regular),
            Some(node) => match self.one_of(node, &map.path("mode"), &["0644", "0755"])? {
                "0755" => Some(FileMode::Executable),
                _ => Some(FileMode::Regular),
            },
        };
        Some(Create {
            path: file?,
            content: content?,
            mode: mode?,
        })
    }

    /// A path that needs no tree to be refused.
    fn path_member(&mut self, map: &Members<'_>, name: &str) -> Option<String> {
        let node = self.required(map, name)?;
        let member = map.path(name);
        let text = self.text(node, &member)?;
        match RepoPath::parse(text) {
            Ok(path) => Some(path.as_str().to_owned()),
            Err(fault) => {
                let fault = PlanFault::new(problem::PATH_REFUSED, node.place, fault.to_string());
                self.add(fault.member(member));
                None
            }
        }
    }

    fn diff(&mut self, node: &Node, member: &str) -> Option<String> {
        let diff = self.check(node, member, text::content)?;
        match unified::check(diff.as_bytes()) {
            Ok(()) => Some(diff),
            Err(fault) => {
                let fault = matrix_worktree::patch::Fault::Diff(fault);
                let code = problem::code_of(&fault);
                self.add(PlanFault::new(code, node.place, fault.to_string()).member(member));
                None
            }
        }
    }
}
