//! `matrix run cancel|pause|resume|retry --where`: the same request to many runs.

use std::io::{BufRead, IsTerminal};

use matrix_core::{Code, Problem};
use matrix_engine::runs::{self, BulkAction, Filter, RunList};
use matrix_server::rest::BulkItem;
use matrix_store::StoreError;
use serde_json::{Value, json};

use super::Context;
use crate::args::{ManyArgs, filter, filter_body};
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;

/// Many runs are asked for something, and nobody is there to agree.
const UNCONFIRMED: Code = Code::new("CLI-0007", 409, 2, "not confirmed");

/// How many runs are asked in one request.
const PAGE: u32 = 200;

/// What became of the runs, in numbers, and what each refusal said.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    unchanged: usize,
    refused: usize,
    runs: Vec<Value>,
}

impl Tally {
    fn count(&mut self, item: Value) {
        match item["outcome"].as_str() {
            Some("done") => self.done += 1,
            Some("unchanged") => self.unchanged += 1,
            _ => self.refused += 1,
        }
        self.runs.push(item);
    }

    fn show(&self, context: &Context, verb: &str, dry_run: bool) -> Exit {
        let Self {
            done,
            unchanged,
            refused,
            runs,
        } = self;
        if context.json {
            output::json(&json!({ "action": verb, "dry_run": dry_run, "done": done,
                "unchanged": unchanged, "refused": refused, "runs": runs }));
        } else {
            for item in runs {
                let text = |key: &str| item[key].as_str().unwrap_or_default();
                let why = match text("code") {
                    "" => String::new(),
                    code => format!(": {} [{code}]", text("detail")),
                };
                output::line(format_args!(
                    "{} {:<9} {}{why}",
                    text("run"),
                    text("outcome"),
                    text("title")
                ));
            }
            let would = if dry_run { "would be asked" } else { "asked" };
            output::line(format_args!(
                "{verb}: {done} {would}, {unchanged} unchanged, {refused} refused"
            ));
        }
        if *refused == 0 {
            Exit::Done
        } else {
            Exit::Failed
        }
    }
}

/// Asks every run that the words find, after a look and a question.
pub(super) async fn bulk(
    context: &Context,
    action: BulkAction,
    many: &ManyArgs,
    reason: &str,
) -> Result<Exit, Failure> {
    let now = context.clock.now();
    let mut found = filter(&many.words, now);
    // Runs that are created after the look are nobody's who agreed.
    found.until.get_or_insert(now);
    let seen = rehearse(context, action, &found)?;
    let verb = action.as_str();
    if many.dry_run {
        return Ok(seen.show(context, verb, true));
    }
    if seen.done == 0 {
        return Ok(seen.show(context, verb, false));
    }
    if !many.yes && !agreed(verb, &seen)? {
        output::note("nothing was done");
        return Ok(Exit::Done);
    }
    // What follows from it is left to a host, for it may be the work of hours.
    let door = Door::background(&context.config, &context.environment).await?;
    let mut tally = Tally::default();
    let mut cursor = Value::Null;
    let mut order = json!({
        "action": verb, "filter": filter_body(&found), "reason": reason, "limit": PAGE,
    });
    loop {
        order["cursor"] = cursor;
        let answer = match door.post("/api/v1/runs/bulk", &order).await {
            Ok(answer) => answer,
            Err(problem) => {
                door.close().await;
                tally.show(context, verb, false);
                return Err(problem);
            }
        };
        let items = answer["runs"].as_array().cloned().unwrap_or_default();
        for item in items {
            tally.count(item);
        }
        cursor = answer["next"].clone();
        if cursor.is_null() {
            break;
        }
    }
    door.close().await;
    Ok(tally.show(context, verb, false))
}

/// What would become of every run that the filter finds.
fn rehearse(context: &Context, action: BulkAction, found: &Filter) -> Result<Tally, Failure> {
    let reader = Reader::open(&context.config)?;
    let (mut tally, mut before) = (Tally::default(), None);
    loop {
        let filter = Filter {
            before,
            ..found.clone()
        };
        let limit = PAGE;
        let request = reader.may(RunList { filter, limit })?;
        let (database, blobs) = (&reader.database, &reader.blobs);
        let page = runs::rehearse(database, blobs, &reader.authority, &request, action)?;
        for handled in page.runs {
            let item = serde_json::to_value(BulkItem::from(handled));
            tally.count(item.map_err(StoreError::corrupt)?);
        }
        before = page.next;
        if before.is_none() {
            return Ok(tally);
        }
    }
}

/// Whether the person at the terminal agrees.
fn agreed(verb: &str, seen: &Tally) -> Result<bool, Problem> {
    let many = seen.done;
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let text = format!("{verb} would ask {many} runs, and nobody is asked whether it may");
        return Err(Problem::new(UNCONFIRMED, text).help("say --yes, or look first with --dry-run"));
    }
    output::note(format_args!(
        "{verb} {many} runs ({} unchanged, {} refused)? [y/N]",
        seen.unchanged, seen.refused
    ));
    let mut answer = String::new();
    // Whoever cannot be heard has not agreed.
    let heard = stdin.lock().read_line(&mut answer).is_ok();
    Ok(heard && matches!(answer.trim(), "y" | "Y" | "yes"))
}
