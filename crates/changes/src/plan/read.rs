//! From a document to a plan, with everything that is wrong on the way.

use std::collections::BTreeSet;

use matrix_evidence::Kind;
use matrix_identity::Risk;
use matrix_worktree::Operation;

use super::document::{Key, Node, Scalar, Value, is_nothing};
use super::problem::{NOT_A_PLAN, PLAN_TOO_LARGE, PLAN_VALUE, Place, PlanFault};
use super::{Author, PLAN_OPERATIONS, Plan, RaisedRisk};

mod operation;
mod text;

/// After so many, the rest would only tire.
const FAULTS: usize = 50;

const MEMBERS: &[&str] = &[
    "version",
    "title",
    "goal",
    "author",
    "base",
    "operations",
    "checks",
    "target",
    "risk",
];

/// What people write for a word of the form.
const SYNONYMS: &[(&str, &str)] = &[
    ("add", "create"),
    ("branch", "base"),
    ("change", "update"),
    ("changes", "operations"),
    ("contents", "content"),
    ("description", "goal"),
    ("destination", "to"),
    ("edit", "update"),
    ("file", "path"),
    ("filename", "path"),
    ("mail", "email"),
    ("modify", "update"),
    ("mv", "move"),
    ("name", "title"),
    ("new", "create"),
    ("patch", "diff"),
    ("reason", "because"),
    ("remove", "delete"),
    ("rename", "move"),
    ("replace", "update"),
    ("rev", "base"),
    ("revision", "base"),
    ("rm", "delete"),
    ("source", "from"),
    ("steps", "operations"),
    ("summary", "title"),
    ("tests", "checks"),
    ("text", "content"),
    ("write", "create"),
];

/// The word of the form that was probably meant.
fn meant(given: &str, words: &[&'static str]) -> Option<&'static str> {
    let given = given.trim().to_lowercase();
    let synonym = SYNONYMS
        .iter()
        .find(|(word, _)| *word == given)
        .and_then(|(_, meaning)| words.iter().find(|word| *word == meaning));
    let near = || {
        words
            .iter()
            .map(|word| (matrix_worktree::repository::distance(&given, word), word))
            .filter(|(distance, word)| *distance <= word.len().max(3) / 3)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, word)| word)
    };
    synonym.or_else(near).copied()
}

/// Reads the whole plan.
pub(super) fn plan(root: &Node) -> Result<Plan, Vec<PlanFault>> {
    let mut reader = Reader { faults: Vec::new() };
    let plan = reader.plan(root);
    match plan {
        Some(plan) if reader.faults.is_empty() => Ok(plan),
        _ => {
            reader.faults.truncate(FAULTS);
            Err(reader.faults)
        }
    }
}

/// Collects faults; a method that gives `None` has added at least one.
struct Reader {
    faults: Vec<PlanFault>,
}

/// A map whose members are known to belong there.
struct Members<'a> {
    place: Place,
    path: String,
    all: &'a [(Key, Node)],
}

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a Node> {
        let found = self.all.iter().find(|(key, _)| key.name == name);
        found.map(|(_, node)| node)
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

impl Reader {
    fn add(&mut self, fault: PlanFault) {
        if self.faults.len() < FAULTS {
            self.faults.push(fault);
        }
    }

    /// The members of a map that has no others than these.
    fn map<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        names: &[&'static str],
    ) -> Option<Members<'a>> {
        let Value::Map(members) = &node.value else {
            let wanted = format!("a map with {}", listed(names));
            self.wrong_kind(node, path, &wanted);
            return None;
        };
        let map = Members {
            place: node.place,
            path: path.to_owned(),
            all: members,
        };
        for (key, _) in members {
            if !names.contains(&key.name.as_str()) {
                let shown: String = key.name.chars().take(60).collect();
                let message = format!("`{shown}` is not known here; it may have {}", listed(names));
                self.add(
                    PlanFault::new(NOT_A_PLAN, key.place, message)
                        .member(map.path.clone())
                        .suggest(meant(&key.name, names)),
                );
            }
        }
        Some(map)
    }

    /// A member that must be there.
    fn required<'a>(&mut self, map: &Members<'a>, name: &str) -> Option<&'a Node> {
        let found = map.get(name);
        if found.is_none() {
            let message = format!("`{name}` is missing");
            self.add(PlanFault::new(NOT_A_PLAN, map.place, message).member(map.path.clone()));
        }
        found
    }

    fn wrong_kind(&mut self, node: &Node, path: &str, wanted: &str) {
        let message = format!("expected {wanted}, found {}", node.value.kind());
        self.add(PlanFault::new(NOT_A_PLAN, node.place, message).member(path));
    }

    fn refused(&mut self, node: &Node, path: &str, why: impl Into<String>) {
        self.add(PlanFault::new(PLAN_VALUE, node.place, why).member(path));
    }

    /// Text as it stands; YAML's plain scalars are text unless they stand for nothing.
    fn text<'a>(&mut self, node: &'a Node, path: &str) -> Option<&'a str> {
        match &node.value {
            Value::Scalar(Scalar::Text(text)) => Some(text),
            Value::Scalar(Scalar::Plain(text)) if !is_nothing(text) => Some(text),
            _ => {
                self.wrong_kind(node, path, "text");
                None
            }
        }
    }

    fn plan(&mut self, root: &Node) -> Option<Plan> {
        let map = self.map(root, "", MEMBERS)?;
        let version = self.version(&map);
        let title = self.checked(&map, "title", text::title);
        let goal = self.checked(&map, "goal", text::goal);
        let author = self.author(&map);
        let base = self.checked(&map, "base", text::base);
        let operations = self.operations(&map);
        let checks = map.get("checks").map(|node| self.checks(node));
        let target = map
            .get("target")
            .map(|node| self.check(node, "target", text::target));
        let risk = map.get("risk").map(|node| self.risk(node));
        Some(Plan {
            version: version?,
            title: title?,
            goal: goal?,
            author: author?,
            base: base?,
            operations: operations?,
            checks: checks.unwrap_or_else(|| Some(BTreeSet::new()))?,
            target: target.map_or(Some(None), |target| target.map(Some))?,
            risk: risk.map_or(Some(None), |risk| risk.map(Some))?,
        })
    }

    fn version(&mut self, map: &Members<'_>) -> Option<u32> {
        let node = self.required(map, "version")?;
        let Value::Scalar(Scalar::Text(text) | Scalar::Plain(text) | Scalar::Literal(text)) =
            &node.value
        else {
            self.wrong_kind(node, "version", "the number 1");
            return None;
        };
        let is_number = !matches!(&node.value, Value::Scalar(Scalar::Text(_)));
        if text == "1" && is_number {
            return Some(1);
        }
        let shown: String = text.chars().take(20).collect();
        let why = format!("the version of the form is the number 1, not `{shown}`");
        self.refused(node, "version", why);
        None
    }

    /// A required text that a rule allows.
    fn checked(
        &mut self,
        map: &Members<'_>,
        name: &str,
        rule: fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let node = self.required(map, name)?;
        self.check(node, &map.path(name), rule)
    }

    fn check(
        &mut self,
        node: &Node,
        path: &str,
        rule: fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let text = self.text(node, path)?;
        match rule(text) {
            Ok(()) => Some(text.to_owned()),
            Err(why) => {
                self.refused(node, path, why);
                None
            }
        }
    }

    fn author(&mut self, map: &Members<'_>) -> Option<Author> {
        let node = self.required(map, "author")?;
        let author = self.map(node, "author", &["name", "email"])?;
        let name = self.checked(&author, "name", text::person_name);
        let email = self.checked(&author, "email", text::email);
        Some(Author {
            name: name?,
            email: email?,
        })
    }

    fn operations(&mut self, map: &Members<'_>) -> Option<Vec<Operation>> {
        let node = self.required(map, "operations")?;
        let Value::List(items) = &node.value else {
            self.wrong_kind(node, "operations", "a list of operations");
            return None;
        };
        if items.is_empty() {
            self.refused(node, "operations", "a plan has at least one operation");
            return None;
        }
        if items.len() > PLAN_OPERATIONS {
            let message = format!("{} operations; {PLAN_OPERATIONS} are allowed", items.len());
            self.add(PlanFault::new(PLAN_TOO_LARGE, node.place, message).member("operations"));
            return None;
        }
        let read: Vec<Option<Operation>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.operation(item, &format!("operations[{index}]")))
            .collect();
        read.into_iter().collect()
    }

    fn checks(&mut self, node: &Node) -> Option<BTreeSet<Kind>> {
        let Value::List(items) = &node.value else {
            self.wrong_kind(node, "checks", "a list of kinds of evidence");
            return None;
        };
        let names = Kind::ALL.map(Kind::as_str);
        let mut checks = BTreeSet::new();
        let mut all = Some(());
        for (index, item) in items.iter().enumerate() {
            let path = format!("checks[{index}]");
            let found = self.one_of(item, &path, &names);
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| Some(kind.as_str()) == found);
            match kind {
                Some(kind) if checks.insert(kind) => {}
                Some(kind) => {
                    self.refused(item, &path, format!("`{kind}` is listed twice"));
                    all = None;
                }
                None => all = None,
            }
        }
        all.map(|()| checks)
    }

    fn risk(&mut self, node: &Node) -> Option<RaisedRisk> {
        let map = self.map(node, "risk", &["raise", "because"])?;
        let names = Risk::ALL.map(Risk::as_str);
        let raise = self.required(&map, "raise").and_then(|node| {
            let found = self.one_of(node, "risk.raise", &names)?;
            Risk::ALL.into_iter().find(|risk| risk.as_str() == found)
        });
        let because = self.checked(&map, "because", text::because);
        Some(RaisedRisk {
            raise: raise?,
            because: because?,
        })
    }

    /// A text that is one of a few words.
    fn one_of(&mut self, node: &Node, path: &str, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text(node, path)?;
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            let shown: String = text.chars().take(60).collect();
            let message = format!("`{shown}` is not one of {}", listed(words));
            self.add(
                PlanFault::new(PLAN_VALUE, node.place, message)
                    .member(path)
                    .suggest(meant(text, words)),
            );
        }
        found
    }
}

/// `a`, `b` and `c`, each in back quotes.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
