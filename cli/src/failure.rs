//! Why a command did not do what it was asked: one line and an exit code.

use matrix_core::Problem;
use matrix_server::ClientError;
use serde_json::{Map, Value, json};

/// A failure of this process, or one that the host told us.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// What happened to which thing, and what to do next.
    pub(crate) line: String,
    /// The exit code.
    pub(crate) exit: u8,
    /// The same for programs: `code`, `detail` and `help`, where they are known.
    pub(crate) problem: Value,
}

impl<E> From<E> for Failure
where
    Problem: From<E>,
{
    fn from(error: E) -> Self {
        let problem = Problem::from(error);
        Self {
            line: problem.to_string(),
            exit: problem.code.exit,
            problem: with_members(
                json!({
                    "code": problem.code.text,
                    "detail": problem.detail,
                    "help": problem.help,
                }),
                &problem.members,
            ),
        }
    }
}

/// A problem with what is known besides, such as the places of a plan's faults.
fn with_members(mut problem: Value, members: &Map<String, Value>) -> Value {
    if let Value::Object(known) = &mut problem {
        for (name, value) in members {
            known.entry(name.as_str()).or_insert_with(|| value.clone());
        }
    }
    problem
}

/// What the host, or the way to it, says.
pub(crate) fn told(error: &ClientError) -> Failure {
    if let Some(problem) = error.unreachable() {
        return problem.into();
    }
    let help = error
        .help()
        .map(|help| format!("; {help}"))
        .unwrap_or_default();
    let problem = match error {
        ClientError::Refused(problem) => with_members(
            json!({
                "code": problem.code,
                "detail": problem.detail,
                "help": problem.help,
            }),
            &problem.members,
        ),
        ClientError::NoHost { .. } | ClientError::Broken { .. } => Value::Null,
    };
    Failure {
        line: format!("{error}{help}"),
        exit: error.exit_code(),
        problem,
    }
}
