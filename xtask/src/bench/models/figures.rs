//! What was measured, and the tables that show it.

use serde_json::Value;

use super::gateways::Gateway;
use crate::say;

/// What one gateway did, round by round; none where it failed.
pub(super) struct Rounds(pub(super) Vec<Value>);

impl Rounds {
    /// The median over the rounds.
    pub(super) fn median(&self, figure: impl Fn(&Value) -> Option<f64>) -> Option<f64> {
        let mut figures: Vec<f64> = self.0.iter().filter_map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    /// A figure as it was measured, in a unit of so many of it.
    pub(super) fn scaled(&self, name: &str, scale: f64) -> Option<f64> {
        self.median(|round| Some(member(round, name)? * scale))
    }

    /// Answers in a second.
    pub(super) fn rate(&self) -> Option<f64> {
        self.median(|round| Some(member(round, "answers")? / member(round, "seconds")?))
    }

    /// Microseconds of processor time for an answer.
    pub(super) fn processor(&self) -> Option<f64> {
        self.median(|round| Some(member(round, "processor")? * 1e6 / member(round, "answers")?))
    }

    /// Events of streams in a second.
    pub(super) fn events(&self) -> Option<f64> {
        self.median(|round| Some(member(round, "events")? / member(round, "seconds")?))
    }

    /// Microseconds of processor time for such an event.
    pub(super) fn processor_of_events(&self) -> Option<f64> {
        self.median(|round| Some(member(round, "processor")? * 1e6 / member(round, "events")?))
    }
}

fn member(round: &Value, name: &str) -> Option<f64> {
    round.get(name).and_then(Value::as_f64)
}

/// A line of a table.
pub(super) struct Row {
    /// What it is of.
    pub(super) name: String,
    /// Its figures; none where there is none.
    pub(super) cells: Vec<Option<f64>>,
}

/// A line for each gateway.
pub(super) fn rows(
    all: &[&Gateway],
    rounds: &[Rounds],
    cells: impl Fn(&Gateway, &Rounds) -> Vec<Option<f64>>,
) -> Vec<Row> {
    let row = |(gateway, rounds): (&&Gateway, &Rounds)| Row {
        name: gateway.name.to_owned(),
        cells: cells(gateway, rounds),
    };
    all.iter().zip(rounds).map(row).collect()
}

/// How many milliseconds later than somebody else, by the names of two figures.
pub(super) fn added(rounds: &Rounds, floor: Option<&Rounds>, names: [&str; 2]) -> Vec<Option<f64>> {
    let added = |name| Some(rounds.scaled(name, 1e-3)? - floor?.scaled(name, 1e-3)?);
    names.into_iter().map(added).collect()
}

/// A figure over the one that it is compared with.
pub(super) fn over(figure: Option<f64>, first: Option<f64>) -> Option<f64> {
    Some(figure? / first?)
}

/// Prints a table.
pub(super) fn table(title: &str, columns: &[&str], rows: &[Row]) {
    let line = |name: &str, cells: Vec<String>| say::line(&format!("{name:<44}{}", cells.concat()));
    say::line("");
    line(
        title,
        columns.iter().map(|head| format!("{head:>11}")).collect(),
    );
    for row in rows {
        let cells = row.cells.iter().map(|cell| shown(*cell));
        line(&row.name, cells.collect());
    }
}

fn shown(cell: Option<f64>) -> String {
    match cell {
        None => format!("{:>11}", "–"),
        Some(number) if number.abs() >= 100.0 => format!("{number:>11.0}"),
        Some(number) => format!("{number:>11.2}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_middle_of_the_rounds_counts_and_what_failed_does_not() {
        let round = |answers: u32, p50: f64| json!({ "answers": answers, "seconds": 2.0, "processor": 1.0, "events": 0, "p50": p50 });
        let rounds = Rounds(vec![round(400, 9.0), round(200, 7.0), round(1000, 8.0)]);
        assert_eq!(rounds.rate(), Some(200.0));
        assert_eq!(rounds.processor(), Some(2500.0));
        assert_eq!(rounds.scaled("p50", 1e-3), Some(0.008));
        assert_eq!(rounds.scaled("p99", 1e-3), None);
        let none = Rounds(Vec::new());
        assert_eq!(over(none.rate(), rounds.rate()), None);
        assert_eq!(shown(none.rate()).trim(), "–");
        let later = Rounds(vec![round(400, 9000.0)]);
        let floor = Rounds(vec![round(400, 4000.0)]);
        assert_eq!(
            added(&later, Some(&floor), ["p50", "p99"]),
            [Some(5.0), None]
        );
    }
}
