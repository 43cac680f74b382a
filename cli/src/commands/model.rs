//! `matrix model`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use matrix_core::{Clock, Money, Problem};
use matrix_models::Registry;
use matrix_models::budget::{self, BudgetView, Purses};
use matrix_models::error::BAD_SPEC;
use matrix_models::ledger::{self, By, Ledger, UsageRead};
use matrix_models::registry::{self, Entry, Model, ModelRead};
use matrix_models::secret::SecretRef;
use matrix_models::sources::KeySources;
use matrix_server::Client;
use matrix_server::rest::{Budget, Budgets, ModelUsage, ModelUsageLine, ModelView, Models};
use matrix_store::StoreError;
use serde_json::{Map, Value, json};

use super::Context;
use crate::args::{BudgetCommand, ModelAddArgs, ModelCommand, PriceArgs, RouteArgs};
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::host::socket;
use crate::reader::Reader;
use crate::{models, output, place, reader};

pub(super) async fn model(context: &Context, command: ModelCommand) -> Result<Exit, Failure> {
    match command {
        ModelCommand::Add(arguments) => add(context, &arguments).await,
        ModelCommand::List => list(context).await,
        ModelCommand::Remove { name, version } => {
            let body = json!({ "name": name, "version": version });
            let answer = say(context, "/api/v1/models/remove", &body).await?;
            Ok(done(context, &answer, &format!("{name} is removed")))
        }
        ModelCommand::Test { name } => {
            let answer = say(context, "/api/v1/models/test", &json!({ "name": name })).await?;
            let offered = answer["offered"].as_array().map_or(0, Vec::len);
            let text = format!("{name} answers; its provider has {offered} models");
            Ok(done(context, &answer, &text))
        }
        ModelCommand::Ask {
            name,
            text,
            max_tokens,
        } => ask(context, &name, &text, max_tokens).await,
        ModelCommand::Route(arguments) => route(context, &arguments).await,
        ModelCommand::Usage { from, until, by } => {
            let never = matrix_core::Timestamp::from_micros(0);
            let action = UsageRead {
                from: from.unwrap_or(never),
                until: until.unwrap_or_else(|| context.clock.now()),
                by,
            };
            usage(context, action).await
        }
        ModelCommand::Budget(command) => budgets(context, command).await,
    }
}

/// Asks the host for something, which this process becomes if there is none.
async fn say(context: &Context, path: &str, body: &Value) -> Result<Value, Failure> {
    let door = Door::open(&context.config, &context.environment).await?;
    let answer = door.post(path, body).await;
    door.close().await;
    answer
}

fn done(context: &Context, answer: &Value, text: &str) -> Exit {
    if context.json {
        output::json(answer);
    } else {
        output::line(format_args!("{text}"));
    }
    Exit::Done
}

async fn add(context: &Context, arguments: &ModelAddArgs) -> Result<Exit, Failure> {
    let spec = match &arguments.file {
        Some(file) => from_file(file)?,
        None => from_flags(arguments)?,
    };
    let body = json!({ "name": arguments.name, "version": arguments.version, "model": spec });
    let answer = say(context, "/api/v1/models", &body).await?;
    let name = arguments.name.as_str();
    Ok(done(
        context,
        &answer,
        &format!("{name} can be asked: matrix model ask {name} \"…\""),
    ))
}

fn wrong(text: impl Into<String>) -> Problem {
    Problem::new(BAD_SPEC, text)
}

fn from_file(file: &Path) -> Result<Value, Problem> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| wrong(format!("{} cannot be read: {error}", file.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| wrong(format!("{} is no JSON: {error}", file.display())))
}

fn from_flags(arguments: &ModelAddArgs) -> Result<Value, Problem> {
    let mut headers = Map::new();
    for header in &arguments.header {
        let split = header.split_once('=');
        let (name, value) = split.ok_or_else(|| wrong("a header is given as NAME=VALUE"))?;
        headers.insert(name.into(), value.into());
    }
    let absolute = |path: &Option<PathBuf>| {
        let path = path.as_ref().map(std::path::absolute).transpose();
        path.map_err(|error| wrong(format!("the path: {error}")))
    };
    let (script, path) = (absolute(&arguments.script)?, absolute(&arguments.path)?);
    // Parsed here and not with the command line, whose refusals repeat what was given.
    let key = arguments.key.as_deref().map(str::parse::<SecretRef>);
    let key = key.transpose().map_err(|error| wrong(error.to_string()))?;
    let provider = fields([
        ("kind", json!(arguments.provider)),
        ("api", json!(arguments.api)),
        ("base_url", json!(arguments.base_url)),
        ("key", json!(key)),
        ("private", arguments.private.then_some(true).into()),
        (
            "headers",
            if headers.is_empty() {
                Value::Null
            } else {
                headers.into()
            },
        ),
        ("project", json!(arguments.project)),
        ("region", json!(arguments.region)),
        ("api_version", json!(arguments.api_version)),
        ("script", json!(script)),
        ("path", json!(path)),
    ]);
    let limits = fields([
        ("concurrency", json!(arguments.concurrency)),
        ("requests_per_minute", json!(arguments.requests_per_minute)),
        ("tokens_per_minute", json!(arguments.tokens_per_minute)),
    ]);
    let model = arguments.model.as_ref().unwrap_or(&arguments.name);
    Ok(fields([
        ("provider", provider),
        ("model", model.as_str().into()),
        ("tasks", json!(arguments.task)),
        ("capabilities", json!(arguments.capability)),
        ("context", json!(arguments.context)),
        ("max_output", json!(arguments.max_output)),
        ("price", price(&arguments.price)?),
        ("limits", limits),
        ("timeout_ms", json!(arguments.timeout_ms)),
    ]))
}

/// An object of what is not null.
fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(
        pairs
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn price(price: &PriceArgs) -> Result<Value, Problem> {
    if price.free {
        return Ok("free".into());
    }
    let (Some(input), Some(output)) = (price.price_input, price.price_output) else {
        return Ok(Value::Null);
    };
    let one = |money: Option<Money>| money.map(a_token).transpose();
    Ok(json!({ "fixed": fields([
        ("input", json!(a_token(input)?)),
        ("output", json!(a_token(output)?)),
        ("cache_read", json!(one(price.price_cache_read)?)),
        ("cache_write", json!(one(price.price_cache_write)?)),
    ]) }))
}

/// Dollars for a million tokens as picodollars for one.
fn a_token(million: Money) -> Result<u64, Problem> {
    let nanos = million.as_nanos();
    if nanos % 1_000 != 0 {
        let text = "a price has at most six places: millionths of a dollar for a million tokens";
        return Err(wrong(text));
    }
    u64::try_from(nanos / 1_000).map_err(|_| wrong("a price is not negative"))
}

async fn route(context: &Context, arguments: &RouteArgs) -> Result<Exit, Failure> {
    let mut targets = Vec::new();
    for target in &arguments.to {
        let (model, weight) = match target.rsplit_once('=') {
            Some((model, weight)) => {
                let weight: u32 = weight
                    .parse()
                    .map_err(|_| wrong(format!("`{weight}` is no weight")))?;
                (model, weight)
            }
            None => (target.as_str(), 1),
        };
        targets.push(json!({ "model": model, "weight": weight }));
    }
    let spec = fields([
        ("targets", targets.into()),
        ("strategy", arguments.strategy.as_str().into()),
        ("fallbacks", json!(arguments.fallbacks)),
        ("cache_seconds", json!(arguments.cache_seconds)),
        ("guard", guard(arguments)?),
    ]);
    let body = json!({ "name": arguments.name, "route": spec });
    let answer = say(context, "/api/v1/models", &body).await?;
    let text = format!(
        "{} chooses among {}",
        arguments.name,
        arguments.to.join(", ")
    );
    Ok(done(context, &answer, &text))
}

/// What must not go to a route's models, and what is noted of its calls.
fn guard(arguments: &RouteArgs) -> Result<Value, Failure> {
    let mut rules = serde_json::Map::new();
    for rule in &arguments.redact {
        let Some((class, action)) = rule.split_once('=') else {
            return Err(wrong(format!("`{rule}` is no rule: say CLASS=ACTION")).into());
        };
        rules.insert(class.to_owned(), action.into());
    }
    Ok(fields([
        ("redact", rules.into()),
        ("answers", arguments.redact_answers.into()),
        ("record", json!(arguments.record)),
    ]))
}

async fn ask(
    context: &Context,
    name: &str,
    text: &str,
    max_tokens: Option<u64>,
) -> Result<Exit, Failure> {
    let body = json!({ "name": name, "text": text, "max_tokens": max_tokens });
    let answer = say(context, "/api/v1/models/ask", &body).await?;
    let said = answer["text"].as_str();
    Ok(done(context, &answer, said.unwrap_or_default()))
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let catalogue = models::catalogue(&context.config)?;
    let clock: Arc<dyn Clock> = Arc::clone(&context.clock);
    let registry = Registry::new(
        reader.database.clone(),
        clock,
        catalogue,
        KeySources::default(),
    );
    let request = reader.may(ModelRead)?;
    let snapshot = registry::list_models(&registry, &request).await?;
    let mut views = Models::from(&*snapshot);
    let seen = as_the_host_sees_them(context).await;
    for view in &mut views.models {
        let same =
            |other: &&ModelView| (&other.name, &other.version) == (&view.name, &view.version);
        view.health = seen
            .iter()
            .find(same)
            .and_then(|other| other.health.clone());
    }
    if context.json {
        let all = serde_json::to_value(views);
        output::json(&all.map_err(StoreError::corrupt)?);
        return Ok(Exit::Done);
    }
    let cells = snapshot.models().iter().zip(&views.models);
    let cells: Vec<Vec<String>> = cells.map(|(model, view)| row(model, view)).collect();
    let head = [
        "model", "version", "provider", "asked as", "$ in/M", "$ out/M", "for", "health",
    ];
    output::table(&head, &cells);
    for (name, entry) in snapshot.names() {
        if let Entry::Route(route) = entry {
            let targets = route.spec.targets.iter();
            let targets: Vec<_> = targets.map(|target| target.model.as_str()).collect();
            output::line(format_args!("{name} chooses among {}", targets.join(", ")));
        }
    }
    for (name, why) in snapshot.broken() {
        output::note(format_args!("{name} is not understood: {why}"));
    }
    Ok(Exit::Done)
}

/// The models with how they do, as the host of the data directory sees it, if there is one: none of
/// several processes on one database knows how they do for the others.
async fn as_the_host_sees_them(context: &Context) -> Vec<ModelView> {
    let layout = reader::layout(&context.config);
    if context.config.database.value.is_some() || !place::is_hosted(&layout) {
        return Vec::new();
    }
    let Ok(path) = socket(&layout) else {
        return Vec::new();
    };
    let asked = async {
        let client = Client::connect(&path).await.ok()?;
        client.get::<Models>("/api/v1/models").await.ok()
    };
    asked.await.map(|models| models.models).unwrap_or_default()
}

fn row(model: &Model, view: &ModelView) -> Vec<String> {
    let million = |price: u64| {
        let nanos = i64::try_from(price.saturating_mul(1_000)).unwrap_or(i64::MAX);
        Money::from_nanos(nanos).to_string()
    };
    let price = model.price.as_ref();
    let unknown = || "unknown".to_owned();
    let tasks = model.spec.tasks.iter();
    let tasks: Vec<_> = tasks
        .filter_map(|task| Some(json!(task).as_str()?.to_owned()))
        .collect();
    vec![
        model.name.clone(),
        model.version.clone(),
        model.spec.provider.kind.to_string(),
        model.spec.model.clone(),
        price.map_or_else(unknown, |price| million(price.input)),
        price.map_or_else(unknown, |price| million(price.output)),
        tasks.join(" "),
        view.health.clone().unwrap_or_default(),
    ]
}

async fn usage(context: &Context, action: UsageRead) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let by = action.by.clone();
    let request = reader.may(action)?;
    let ledger = Ledger::new(reader.database.clone(), Arc::clone(&context.clock));
    let report = ledger::usage(&ledger, &request).await?;
    let usage = ModelUsage::from(report);
    if context.json {
        let usage = serde_json::to_value(usage);
        output::json(&usage.map_err(StoreError::corrupt)?);
        return Ok(Exit::Done);
    }
    let cells: Vec<Vec<String>> = usage.lines.iter().map(|line| used(line, &by)).collect();
    let names = by.iter().map(|by| match by {
        By::Model => "model",
        By::Provider => "provider",
        By::Principal => "principal",
        By::Project => "project",
        By::Agent => "agent",
    });
    let counts = ["calls", "failed", "tokens in", "tokens out", "cost $"];
    let head: Vec<&str> = names.chain(counts).collect();
    output::table(&head, &cells);
    if usage.more {
        output::line(format_args!("and more, which cost less"));
    }
    output::line(format_args!("{} US dollars", usage.cost));
    let sum = |of: fn(&ModelUsageLine) -> i64| usage.lines.iter().map(of).sum::<i64>();
    let (unknown, incomplete) = (sum(|line| line.unknown), sum(|line| line.incomplete));
    if unknown > 0 {
        output::line(format_args!(
            "{unknown} failed after they were sent; the most that they can cost is counted"
        ));
    }
    if incomplete > 0 {
        output::line(format_args!(
            "{incomplete} used tools of their provider's, which have no price here and are not counted"
        ));
    }
    Ok(Exit::Done)
}

fn used(line: &ModelUsageLine, by: &[By]) -> Vec<String> {
    let names = by.iter().map(|by| match by {
        By::Model => line.model.clone(),
        By::Provider => line.provider.clone(),
        By::Principal => line.principal.clone(),
        By::Project => line.project.clone(),
        By::Agent => line.agent.clone(),
    });
    let counts = [line.calls, line.failed, line.input, line.output];
    let counts = counts.iter().map(ToString::to_string);
    names.chain(counts).chain([line.cost.to_string()]).collect()
}

async fn budgets(context: &Context, command: BudgetCommand) -> Result<Exit, Failure> {
    match command {
        BudgetCommand::Set {
            subject,
            period,
            money,
            tokens,
        } => {
            let body = fields([
                ("subject", subject.as_str().into()),
                ("period", period.as_str().into()),
                ("money", json!(money)),
                ("tokens", json!(tokens)),
            ]);
            let answer = say(context, "/api/v1/budgets", &body).await?;
            Ok(done(
                context,
                &answer,
                &format!("{subject} is limited for each {period}"),
            ))
        }
        BudgetCommand::Remove { subject, period } => {
            let body = json!({ "subject": subject, "period": period.as_str() });
            let answer = say(context, "/api/v1/budgets/remove", &body).await?;
            Ok(done(
                context,
                &answer,
                &format!("{subject} has no {period} budget any more"),
            ))
        }
        BudgetCommand::List => {
            let reader = Reader::open(&context.config)?;
            let request = reader.may(ModelRead)?;
            let clock: Arc<dyn Clock> = Arc::clone(&context.clock);
            let purses = Purses::new(reader.database.clone(), clock, "reader".into());
            let all = budget::list_budgets(&purses, &request).await?;
            if context.json {
                let budgets = all.into_iter().map(Budget::from).collect();
                let all = serde_json::to_value(Budgets { budgets });
                output::json(&all.map_err(StoreError::corrupt)?);
            } else {
                let cells: Vec<Vec<String>> = all.iter().map(standing).collect();
                let head = ["subject", "period", "spent $", "of", "tokens", "of"];
                output::table(&head, &cells);
            }
            Ok(Exit::Done)
        }
    }
}

fn standing(view: &BudgetView) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    vec![
        view.subject.clone(),
        view.period.to_string(),
        view.spent.to_string(),
        or_none(view.limits.money.map(|money| money.to_string())),
        view.tokens_spent.to_string(),
        or_none(view.limits.tokens.map(|tokens| tokens.to_string())),
    ]
}
