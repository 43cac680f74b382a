//! A gateway with a database of its own, and somebody who may do everything.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use matrix_core::system::SystemEntropy;
use matrix_core::{
    Action, Authorised, Authorizer, Caller, Clock, Denied, Money, Principal, PrincipalKind, Scope,
    Timestamp,
};
use matrix_engine::spans::SpanSink;
use matrix_engine::{DurableFunction, Engine, EngineOptions, Journal, OnFullDisk, Scheduling};
use matrix_models::budget::{BudgetSet, BudgetView, Limits, Period};
use matrix_models::chat::{ChatRequest, Message, Role};
use matrix_models::inference::CallLog;
use matrix_models::ledger::{UsageLine, UsageRead, usage};
use matrix_models::price::Price;
use matrix_models::provider::{Http, HttpOptions, Providers};
use matrix_models::redact::GuardSpec;
use matrix_models::registry::{
    Api, KeyLimits, ModelAdd, ModelRead, ModelSpec, PriceRule, ProviderKind, ProviderSpec,
    RouteSpec, Target, add_model, add_route,
};
use matrix_models::secret::{SecretRef, Secrets};
use matrix_models::sources::KeySources;
use matrix_models::{
    Answered, Gateway, GatewayParts, Guards, ModelError, ModelUse, Registry, Streaming, budget,
};
use matrix_store::{Blobs, Database, OpenMode};
use serde_json::Value;

/// What a token that is read costs, in billionths of a dollar.
pub(crate) const READ: i64 = 3_000;

/// What a token that is written costs.
pub(crate) const WRITTEN: i64 = 15_000;

/// A clock that a test moves.
#[derive(Debug)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    /// Some moment of 2026.
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_790_000_000_000_000)))
    }

    pub(crate) fn advance(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap();
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

struct Anything;

impl Authorizer for Anything {
    fn decide(&self, _: &Caller, _: &'static str, _: &Value) -> Result<(), Denied> {
        Ok(())
    }
}

pub(crate) fn caller() -> Caller {
    Caller {
        principal: Principal {
            kind: PrincipalKind::ServiceAccount,
            name: "ci".into(),
        },
        scope: Scope::local(),
        on_behalf_of: Vec::new(),
    }
}

pub(crate) fn allowed<A: Action>(action: A) -> Authorised<A> {
    Authorised::obtain(&Anything, caller(), action).unwrap()
}

pub(crate) fn asking(model: &str) -> Authorised<ModelUse> {
    allowed(ModelUse {
        model: model.into(),
        ..ModelUse::default()
    })
}

/// A question of five tokens, as they are estimated: one for its word, and four for a message.
pub(crate) fn question() -> ChatRequest {
    ChatRequest {
        messages: vec![Message::text(Role::User, "Hi")],
        max_tokens: Some(1_000),
        ..ChatRequest::default()
    }
}

/// What [`question`] costs to read, as it is estimated.
pub(crate) const QUESTION: i64 = 5;

pub(crate) fn spec(kind: ProviderKind, url: &str) -> ModelSpec {
    ModelSpec {
        provider: ProviderSpec {
            kind,
            api: Api::Chat,
            base_url: Some(url.to_owned()),
            key: None,
            private: true,
            headers: BTreeMap::new(),
            project: (kind == ProviderKind::Vertex).then(|| "p-1".to_owned()),
            region: match kind {
                ProviderKind::Vertex => Some("europe-west1".to_owned()),
                ProviderKind::Bedrock => Some("eu-central-1".to_owned()),
                _ => None,
            },
            api_version: None,
            script: None,
            path: None,
        },
        model: "m".into(),
        tasks: Vec::new(),
        tags: Vec::new(),
        capabilities: Vec::new(),
        context: None,
        max_output: None,
        price: PriceRule::Fixed(Price {
            input: READ.unsigned_abs() * 1_000,
            output: WRITTEN.unsigned_abs() * 1_000,
            ..Price::default()
        }),
        limits: KeyLimits::default(),
        prompt_cache: true,
        timeout_ms: None,
    }
}

/// A gateway, its database and its clock.
pub(crate) struct Site {
    pub(crate) gateway: Gateway,
    pub(crate) database: Database,
    pub(crate) clock: Arc<HandClock>,
    dir: Arc<tempfile::TempDir>,
}

impl Site {
    /// Without models, and with a budget that is large enough.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("m.db"), OpenMode::Host).unwrap();
        let clock = HandClock::start();
        let site = Self {
            gateway: gateway((&database, &clock, dir.path()), "one"),
            database,
            clock,
            dir: Arc::new(dir),
        };
        let limits = Limits {
            money: Some(Money::from_nanos(1_000_000_000_000)),
            tokens: None,
        };
        site.limit("workspace", Period::Total, limits).await;
        site
    }

    /// Where a key lies from now on.
    pub(crate) fn key(&self, name: &str, text: &str) -> SecretRef {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        SecretRef::File(path)
    }

    /// A key is not there any more.
    pub(crate) fn lose_key(&self, name: &str) {
        std::fs::remove_file(self.dir.path().join(name)).unwrap();
    }

    fn ground(&self) -> Ground<'_> {
        (&self.database, &self.clock, self.dir.path())
    }

    /// Another process at the same database, which reaches providers in another way.
    pub(crate) fn reaching(&self, way: impl FnOnce(&mut HttpOptions)) -> Gateway {
        let mut options = options(self.ground());
        way(&mut options);
        let parts = GatewayParts {
            providers: Providers::new(Http::new(options).unwrap()),
            ..parts(self.ground(), "reaching", Arc::new(Anything))
        };
        Gateway::new(parts)
    }

    /// Another process at the same database.
    pub(crate) fn beside(&self, holder: &str) -> Gateway {
        gateway(self.ground(), holder)
    }

    /// Another process at the same database, with rules of its own.
    pub(crate) fn judged(&self, holder: &str, authorizer: Arc<dyn Authorizer>) -> Gateway {
        judged(self.ground(), holder, authorizer)
    }

    pub(crate) async fn limit(&self, subject: &str, period: Period, limits: Limits) {
        let subject = subject.to_owned();
        let set = allowed(BudgetSet {
            subject,
            period,
            limits,
        });
        budget::set_budget(self.gateway.purses(), &set)
            .await
            .unwrap();
        // Gateways beside this one hear of it after a second.
        self.clock.advance(Duration::from_secs(2));
    }

    pub(crate) async fn add(&self, name: &str, spec: &ModelSpec) {
        let add = allowed(ModelAdd {
            name: name.into(),
            version: "1".into(),
        });
        add_model(self.gateway.registry(), &add, spec)
            .await
            .unwrap();
    }

    /// A model of a kind at an address.
    pub(crate) async fn model(&self, name: &str, kind: ProviderKind, url: &str) {
        self.add(name, &spec(kind, url)).await;
    }

    /// A route to models in this order.
    pub(crate) async fn route(&self, name: &str, models: &[&str]) {
        let target = |model: &&str| Target {
            model: (*model).to_owned(),
            weight: 1,
            tags: Vec::new(),
        };
        let spec = RouteSpec {
            targets: models.iter().map(target).collect(),
            strategy: matrix_models::registry::Strategy::Ordered,
            fallbacks: None,
            cache_seconds: None,
            cache_tools: false,
            cache_similar: None,
            guard: GuardSpec::default(),
        };
        let add = allowed(ModelAdd {
            name: name.into(),
            version: "1".into(),
        });
        add_route(self.gateway.registry(), &add, &spec)
            .await
            .unwrap();
    }

    pub(crate) async fn chat(&self, model: &str) -> Result<Answered, ModelError> {
        self.gateway.chat(&asking(model), question()).await
    }

    pub(crate) async fn stream(&self, model: &str) -> Result<Streaming, ModelError> {
        self.gateway.stream(&asking(model), question()).await
    }

    pub(crate) async fn budgets(&self) -> Vec<BudgetView> {
        let read = allowed(ModelRead);
        budget::list_budgets(self.gateway.purses(), &read)
            .await
            .unwrap()
    }

    /// What was used of each model, by its name.
    pub(crate) async fn used(&self) -> Vec<UsageLine> {
        let read = allowed(UsageRead {
            from: Timestamp::from_micros(0),
            until: Timestamp::from_micros(i64::MAX),
            by: Vec::new(),
        });
        let report = usage(self.gateway.ledger(), &read).await.unwrap();
        let mut lines = report.lines;
        lines.sort_by(|a, b| a.model.cmp(&b.model));
        lines
    }

    /// What was charged: tokens read, tokens written, and how many calls failed. The budget was told
    /// the same as the ledger, and once all is given back nothing is held.
    pub(crate) async fn charged(&self) -> (i64, i64, i64) {
        self.gateway.flush().await.unwrap();
        let lines = self.used().await;
        let sum = |of: fn(&UsageLine) -> i64| lines.iter().map(of).sum::<i64>();
        let cost = sum(|line| line.cost.as_nanos());
        let (input, output) = (sum(|line| line.input), sum(|line| line.output));
        assert_eq!(cost, input * READ + output * WRITTEN);
        let budget = self.budgets().await.remove(0);
        assert_eq!(budget.spent.as_nanos(), cost, "the budget knows of it");
        assert_eq!(i64::try_from(budget.tokens_spent).unwrap(), input + output);
        self.gateway.close().await.unwrap();
        let budget = self.budgets().await.remove(0);
        assert_eq!(budget.held, Money::ZERO, "nothing is held for ever");
        assert_eq!(budget.spent.as_nanos(), cost);
        (input, output, sum(|line| line.failed))
    }
}

/// What gateways beside each other share: a database, a clock, and a directory with keys.
type Ground<'a> = (&'a Database, &'a Arc<HandClock>, &'a Path);

fn gateway(ground: Ground<'_>, holder: &str) -> Gateway {
    judged(ground, holder, Arc::new(Anything))
}

impl Site {
    /// Another process at the same database, with runs: what it tells is told to these.
    pub(crate) fn telling(&self, spans: Arc<dyn SpanSink>, log: &CallLog) -> Gateway {
        let parts = GatewayParts {
            spans: Some(spans),
            log: Some(log.clone()),
            ..parts(self.ground(), "telling", Arc::new(Anything))
        };
        Gateway::new(parts)
    }

    /// Another process at the same database, whose operator says this of all calls.
    pub(crate) fn guarded(&self, guards: Guards) -> Gateway {
        let parts = GatewayParts {
            guards,
            ..parts(self.ground(), "guarded", Arc::new(Anything))
        };
        Gateway::new(parts)
    }

    pub(crate) fn blobs(&self) -> Blobs {
        Blobs::open(self.dir.path().join("blobs")).unwrap()
    }

    /// An engine over the same database, with these functions.
    pub(crate) fn engine(&self, functions: Vec<Arc<dyn DurableFunction>>) -> Engine {
        let blobs = self.blobs();
        let clock: Arc<dyn Clock> = Arc::<HandClock>::clone(&self.clock);
        let journal = Journal::new(self.database.clone(), blobs, clock, Arc::new(SystemEntropy));
        let options = EngineOptions {
            worker: "w".into(),
            concurrency: 8,
            lease: Duration::from_secs(15),
            on_full_disk: OnFullDisk::Stop,
            scheduling: Scheduling::default(),
        };
        Engine::new(journal, functions, options)
    }
}

fn judged(ground: Ground<'_>, holder: &str, authorizer: Arc<dyn Authorizer>) -> Gateway {
    Gateway::new(parts(ground, holder, authorizer))
}

fn options((_, clock, dir): Ground<'_>) -> HttpOptions {
    let clock: Arc<dyn Clock> = Arc::<HandClock>::clone(clock);
    HttpOptions {
        secrets: Secrets::new(BTreeMap::new(), keys(dir)),
        clock,
        ..HttpOptions::default()
    }
}

/// The keys of a directory may be read.
fn keys(dir: &Path) -> KeySources {
    KeySources::try_from(vec![format!("file:{}/", dir.display())]).unwrap()
}

fn parts(
    (database, clock, dir): Ground<'_>,
    holder: &str,
    authorizer: Arc<dyn Authorizer>,
) -> GatewayParts {
    let options = options((database, clock, dir));
    let clock: Arc<dyn Clock> = Arc::<HandClock>::clone(clock);
    GatewayParts {
        database: database.clone(),
        registry: Registry::new(database.clone(), Arc::clone(&clock), None, keys(dir)),
        providers: Providers::new(Http::new(options).unwrap()),
        guards: Guards::default(),
        authorizer,
        holder: holder.to_owned(),
        clock,
        entropy: Arc::new(SystemEntropy),
        spans: None,
        log: None,
    }
}
