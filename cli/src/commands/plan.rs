//! `matrix change plan`.

use std::path::{Path, PathBuf};

use matrix_changes::forecast::{Forecast, forecast};
use matrix_changes::intake::Submission;
use matrix_core::Problem;
use matrix_worktree::Git;

use super::Context;
use super::change::read_plan;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::layout;
use crate::watch::{count, count_of};

/// How many paths of a dry run are named.
const PATHS_SHOWN: usize = 10;

/// Tells what would come of a plan. No data directory is needed, and none is made.
pub(super) async fn plan(
    context: &Context,
    repository: &Path,
    path: &Path,
    target: Option<String>,
) -> Result<Exit, Failure> {
    let (text, plan_name) = read_plan(path)?;
    let submission = Submission {
        repository: PathBuf::from(super::change::text_of(repository)?),
        plan: text.into_bytes(),
        plan_name,
        target,
    };
    let git = Git::find(context.environment.path()).await?;
    let layout = layout(&context.config);
    let told = forecast(&git, &layout, &submission).await;
    let told = told.map_err(Problem::from)?;
    if context.json {
        output::json(&told);
    } else {
        print(&told);
    }
    Ok(Exit::Done)
}

fn print(forecast: &Forecast) {
    let Forecast { plan, patch, .. } = forecast;
    output::line(&plan.title);
    let operations = count(plan.operations.len(), "operation");
    output::line(format_args!("  {operations} on {}", forecast.base));
    output::line(format_args!("  digest {}", forecast.digest));
    output::line(format_args!(
        "patch     {}, {} added, {} removed",
        count(patch.files, "file"),
        lines(patch.added_lines),
        lines(patch.deleted_lines)
    ));
    for hunk in &patch.loose {
        output::line(format_args!("  {hunk}"));
    }
    let names: Vec<&str> = forecast.checks.iter().map(|check| &*check.check).collect();
    output::line(format_args!("checks    {}", names.join(", ")));
    output::line(format_args!("risk      {} at least", forecast.risk));
    for reason in &forecast.risk_reasons {
        output::line(format_args!("  {reason}"));
    }
    print_target(forecast);
}

fn print_target(forecast: &Forecast) {
    let dry_run = &forecast.dry_run;
    let paths = count(dry_run.changes_total, "path");
    let instead = match dry_run.replaces {
        Some(deployment) => format!("instead of {deployment}"),
        None => "where nothing is yet".into(),
    };
    output::line(format_args!(
        "target    {}: {paths} would differ, {instead}",
        forecast.target
    ));
    for change in dry_run.changes.iter().take(PATHS_SHOWN) {
        let sign = match (&change.from, &change.to) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        output::line(format_args!("  {sign} {}", change.path));
    }
    let more = dry_run.changes_total.saturating_sub(PATHS_SHOWN);
    if more > 0 {
        output::line(format_args!("  and {more} more"));
    }
}

fn lines(number: u64) -> String {
    count_of(number, ("line", "lines"))
}
