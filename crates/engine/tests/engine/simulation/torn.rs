//! Transactions that are torn in two, for the store that is to be caught.

use matrix_core::RunId;
use matrix_store::{Statement, StoreError, Tx};

/// What is torn off an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Torn {
    /// The run that it starts.
    Start,
    /// What it tells the runs that its run started.
    End,
}

const CHILDREN: Statement = Statement::new(
    "simulation.children",
    "SELECT run FROM runs WHERE parent = $1",
);
const LETTERS: Statement = Statement::new(
    "simulation.letters",
    "DELETE FROM inbox WHERE actor = $1 AND kind = 'cancel_requested'",
);
const ENTRIES: Statement =
    Statement::new("simulation.entries", "DELETE FROM journal WHERE run = $1");
const ROW: Statement = Statement::new("simulation.row", "DELETE FROM runs WHERE run = $1");

/// The runs that a run has started.
pub(super) fn children(tx: &Tx<'_>, run: Option<RunId>) -> Result<Vec<RunId>, StoreError> {
    let Some(run) = run else {
        return Ok(Vec::new());
    };
    let rows = tx.query(&CHILDREN, &[(&run).into()])?;
    rows.iter().map(|row| row.get(0)).collect()
}

impl Torn {
    /// Takes back what was to stand with an append; whether there was anything.
    pub(super) fn tear(
        self,
        tx: &Tx<'_>,
        run: RunId,
        before: &[RunId],
    ) -> Result<bool, StoreError> {
        match self {
            Self::End => {
                let actor = format!("run:{run}");
                Ok(tx.execute(&LETTERS, &[(&*actor).into()])? > 0)
            }
            Self::Start => {
                let mut new = children(tx, Some(run))?;
                new.retain(|child| !before.contains(child));
                for child in &new {
                    tx.execute(&ENTRIES, &[child.into()])?;
                    tx.execute(&ROW, &[child.into()])?;
                }
                Ok(!new.is_empty())
            }
        }
    }
}
