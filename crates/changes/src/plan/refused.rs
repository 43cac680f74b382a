//! A plan that can be read but not applied: what the base revision's tree refuses, with the place
//! in the plan's text.

use matrix_worktree::patch::Fault;
use matrix_worktree::unified::DiffFault;
use matrix_worktree::{Refusal, problem};

use super::document::{self, Node, Value};
use super::problem::{Place, PlanErrors, PlanFault};

/// After so many, the rest would only tire.
const FAULTS: usize = 50;

impl PlanErrors {
    /// The refusals of a plan that was read from this text.
    pub fn refused(bytes: &[u8], file_name: &str, refusals: &[Refusal]) -> Self {
        let root = document::read(bytes, file_name).ok();
        let operations = root.as_ref().and_then(|root| member(root, "operations"));
        let faults = refusals
            .iter()
            .take(FAULTS)
            .map(|refusal| fault(operations, refusal))
            .collect();
        Self::new(file_name, faults)
    }
}

fn member<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    let Value::Map(members) = &node.value else {
        return None;
    };
    let found = members.iter().find(|(key, _)| key.name == name);
    found.map(|(_, node)| node)
}

fn fault(operations: Option<&Node>, refusal: &Refusal) -> PlanFault {
    let code = problem::code_of(&refusal.fault);
    let start = operations.map_or(Place::START, |node| node.place);
    let Some(index) = refusal.operation else {
        return PlanFault::new(code, start, refusal.fault.to_string()).member("operations");
    };
    let (place, name) = operations
        .and_then(|node| place_of(node, index, refusal))
        .unwrap_or_else(|| (start, format!("operations[{index}]")));
    let message = format!("`{}`: {}", refusal.path, refusal.fault);
    PlanFault::new(code, place, message).member(name)
}

/// The member that a refusal is about.
fn place_of(operations: &Node, index: usize, refusal: &Refusal) -> Option<(Place, String)> {
    let Value::List(items) = &operations.value else {
        return None;
    };
    let operation = items.get(index)?;
    let Value::Map(verbs) = &operation.value else {
        return None;
    };
    let (verb, body) = verbs.first()?;
    let is_about_diff = matches!(&refusal.fault, Fault::Diff(_) | Fault::Binary);
    let names: &[&str] = match (&*verb.name, is_about_diff) {
        ("update", true) => &["diff"],
        ("move", _) => &["from", "to"],
        _ => &["path"],
    };
    let found = names.iter().find_map(|name| {
        let node = member(body, name)?;
        let is_it = names.len() == 1 || text_of(node) == Some(&refusal.path);
        is_it.then_some((*name, node))
    });
    let (name, node) = found.unwrap_or(("", body));
    let path = format!("operations[{index}].{}", verb.name);
    let path = if name.is_empty() {
        path
    } else {
        format!("{path}.{name}")
    };
    Some((place_in(node, &refusal.fault), path))
}

fn text_of(node: &Node) -> Option<&str> {
    use super::document::Scalar;
    match &node.value {
        Value::Scalar(Scalar::Text(text) | Scalar::Plain(text)) => Some(text),
        _ => None,
    }
}

/// Where a value begins; a hunk's own line where the diff stands line by line in the plan.
fn place_in(node: &Node, fault: &Fault) -> Place {
    let (Fault::Diff(DiffFault::DoesNotFit { hunk, .. } | DiffFault::Ambiguous { hunk, .. }), true) =
        (fault, node.is_block)
    else {
        return node.place;
    };
    let lines = text_of(node).unwrap_or_default().lines();
    let mut headers = lines.enumerate().filter(|(_, line)| line.starts_with("@@"));
    let Some((index, _)) = headers.nth(hunk.saturating_sub(1)) else {
        return node.place;
    };
    Place {
        line: node.place.line + index,
        column: node.place.column,
    }
}
