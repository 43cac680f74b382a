//! Lanes and limits as the configuration file has them.

use std::collections::BTreeMap;
use std::time::Duration;

use matrix_engine::WorkerChoice;
use matrix_engine::queue::{Limit, Rate, Rules, is_key, is_name};
use serde::{Deserialize, Serialize};

/// The most lanes, keys or tenants that are named.
const NAMED_MAX: usize = 1_000;

/// `[queue]`: what holds for everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueFile {
    /// How many runs with one concurrency key run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_concurrency: Option<u32>,
    /// How many runs of one tenant run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_concurrency: Option<u32>,
    /// How much longer a run waits that is one level less urgent than another.
    #[serde(skip_serializing_if = "Option::is_none")]
    ageing_seconds: Option<u32>,
    /// What this process has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    capabilities: Vec<String>,
    /// By what workers are chosen that wait for tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_choice: Option<WorkerChoice>,
    /// The same for queues of these names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    worker_choices: BTreeMap<String, WorkerChoice>,
}

/// `[lanes.NAME]`, `[keys.NAME]` or `[tenants."ORGANISATION/WORKSPACE"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitFile {
    /// How many run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    /// How many begin in a time: `5/s`, `100/m`, `1000/h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    /// How many may begin at once after a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    /// How many turns a tenant has where another has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
}

/// What the file says about the queue, in all its tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueueTables {
    pub(crate) queue: QueueFile,
    pub(crate) lanes: BTreeMap<String, LimitFile>,
    pub(crate) keys: BTreeMap<String, LimitFile>,
    pub(crate) tenants: BTreeMap<String, LimitFile>,
}

fn positive(what: &str, number: Option<u32>) -> Result<Option<u32>, String> {
    match number {
        Some(0) => Err(format!("{what} is 0; leave it out to set no limit")),
        other => Ok(other),
    }
}

/// `N/s`, `N/m` or `N/h`.
fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no rate; write it as 5/s, 100/m or 1000/h");
    let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    let number: u32 = number.trim().parse().map_err(|_| wrong())?;
    // A microsecond is the smallest time there is.
    if !(1..=1_000_000).contains(&number) {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds) / number)
}

impl LimitFile {
    fn limit(&self, name: &str) -> Result<Limit, String> {
        let of = |what: &str| format!("{what} of `{name}`");
        let burst = positive(&of("burst"), self.burst)?;
        let rate = self.rate.as_deref().map(interval).transpose();
        let rate = rate.map_err(|why| format!("`{name}`: {why}"))?;
        if burst.is_some() && rate.is_none() {
            return Err(format!("`{name}` has a burst and no rate"));
        }
        Ok(Limit {
            concurrency: positive(&of("concurrency"), self.concurrency)?,
            rate: rate.map(|interval| Rate {
                interval,
                burst: burst.unwrap_or(1),
            }),
        })
    }

    fn without_weight(&self, name: &str) -> Result<Limit, String> {
        match self.weight {
            Some(_) => Err(format!("`{name}` has a weight, which only tenants have")),
            None => self.limit(name),
        }
    }
}

fn limits(
    named: &BTreeMap<String, LimitFile>,
    fits: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Limit>, String> {
    if named.len() > NAMED_MAX {
        return Err(format!("more than {NAMED_MAX} are named"));
    }
    let limit = |(name, file): (&String, &LimitFile)| {
        if !fits(name) {
            return Err(format!("`{name}` is no name"));
        }
        Ok((name.clone(), file.without_weight(name)?))
    };
    named.iter().map(limit).collect()
}

impl QueueTables {
    /// The rules, and what this process has.
    pub(crate) fn scheduling(&self) -> Result<matrix_engine::Scheduling, String> {
        let standard = Rules::default();
        let QueueFile {
            key_concurrency,
            tenant_concurrency,
            ageing_seconds,
            capabilities,
            worker_choice,
            worker_choices,
        } = &self.queue;
        let key_concurrency = positive("key_concurrency", *key_concurrency)?;
        let tenant = Limit {
            concurrency: positive("tenant_concurrency", *tenant_concurrency)?,
            rate: None,
        };
        if let Some(name) = capabilities.iter().find(|name| !is_name(name)) {
            return Err(format!("`{name}` is no name of a capability"));
        }
        let tenants = self.tenants.iter().map(|(name, file)| {
            let weight = positive(&format!("weight of `{name}`"), file.weight)?;
            let mut limit = file.limit(name)?;
            limit.concurrency = limit.concurrency.or(tenant.concurrency);
            Ok((name.clone(), (limit, weight.unwrap_or(1))))
        });
        let rules = Rules {
            lanes: limits(&self.lanes, is_name)?,
            keys: limits(&self.keys, is_key)?,
            key: Limit {
                concurrency: key_concurrency.or(standard.key.concurrency),
                rate: None,
            },
            tenants: tenants.collect::<Result<_, String>>()?,
            tenant,
            ageing: ageing_seconds.map_or(standard.ageing, |seconds| {
                Duration::from_secs(seconds.into())
            }),
        };
        Ok(matrix_engine::Scheduling {
            rules,
            capabilities: capabilities.iter().cloned().collect(),
            workers: worker_choice.unwrap_or_default(),
            workers_of: worker_choices.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(text: &str) -> Result<matrix_engine::Scheduling, String> {
        #[derive(Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[derive(Default)]
        struct File {
            queue: QueueFile,
            lanes: BTreeMap<String, LimitFile>,
            keys: BTreeMap<String, LimitFile>,
            tenants: BTreeMap<String, LimitFile>,
        }
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let File {
            queue,
            lanes,
            keys,
            tenants,
        } = file;
        QueueTables {
            queue,
            lanes,
            keys,
            tenants,
        }
        .scheduling()
    }

    #[test]
    fn tables_become_rules() {
        let text = "
            [queue]
            key_concurrency = 2
            tenant_concurrency = 8
            ageing_seconds = 60
            capabilities = [\"gpu\"]
            [lanes.bulk]
            concurrency = 4
            rate = \"120/m\"
            burst = 3
            [keys.\"api.example.org\"]
            rate = \"5/s\"
            [tenants.\"acme/main\"]
            weight = 3
        ";
        let found = tables(text).unwrap();
        let rules = found.rules;
        let rate = |millis, burst| Rate {
            interval: Duration::from_millis(millis),
            burst,
        };
        assert_eq!(rules.lanes["bulk"].concurrency, Some(4));
        assert_eq!(rules.lanes["bulk"].rate, Some(rate(500, 3)));
        assert_eq!(rules.keys["api.example.org"].rate, Some(rate(200, 1)));
        assert_eq!(rules.key.concurrency, Some(2));
        let (limit, weight) = rules.tenants["acme/main"];
        assert_eq!((limit.concurrency, weight), (Some(8), 3));
        assert_eq!(rules.ageing, Duration::from_mins(1));
        assert!(found.capabilities.contains("gpu"));
    }

    #[test]
    fn without_tables_the_rules_are_the_standard_ones() {
        assert_eq!(tables("").unwrap().rules, Rules::default());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            "[lanes.bulk]\nconcurrency = 0",
            "[lanes.bulk]\nrate = \"5\"",
            "[lanes.bulk]\nrate = \"0/s\"",
            "[lanes.bulk]\nrate = \"5/d\"",
            "[lanes.bulk]\nburst = 2",
            "[lanes.bulk]\nweight = 2",
            "[lanes.\"a b\"]\nconcurrency = 1",
            "[queue]\nkey_concurrency = 0",
            "[queue]\ncapabilities = [\"a,b\"]",
            "[lanes.bulk]\nconcurency = 1",
        ] {
            assert!(tables(wrong).is_err(), "{wrong}");
        }
    }
}
