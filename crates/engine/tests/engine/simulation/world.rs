//! What the programs do to the world outside, and what the world has to say about it afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use matrix_core::RunId;
use matrix_engine::{StepContext, StepError};
use serde::{Deserialize, Serialize};

use super::link::Link;
use super::site::{Defect, Site};

/// How a step reaches the world, and what the world knows about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reach {
    /// It only looks.
    Read,
    /// The other side knows the key.
    Keyed,
    /// A tree of files, for each owner its own.
    Tree,
    /// It costs each time.
    Metered,
    /// The other side refuses older owners and says what happened.
    Fenced,
    /// Nobody can say whether it happened.
    Blind,
}

/// What a step gives: where it was done, and something that no other attempt gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub(super) path: String,
    pub(super) number: u64,
    /// The owner that did it.
    pub(super) epoch: i64,
}

/// The world outside.
#[derive(Debug, Default)]
pub(super) struct World {
    numbers: u64,
    keyed: BTreeMap<String, u64>,
    /// The newest owner that a target was told about.
    tokens: BTreeMap<(RunId, String), i64>,
    /// What can be found out about an effect.
    happened: BTreeMap<(RunId, String, String), Noted>,
    /// Requests that were sent, by step.
    pub(super) sent: BTreeMap<(RunId, String), u32>,
    /// Effects that happened and can happen twice, by step.
    pub(super) effects: BTreeMap<(RunId, String), u32>,
    pub(super) trees: BTreeMap<(RunId, String, i64), Vec<u32>>,
}

/// The files of a whole tree.
pub(super) const TREE: [u32; 3] = [1, 2, 3];

impl World {
    fn note(&mut self, context: &StepContext) -> Noted {
        self.numbers += 1;
        Noted {
            path: context.path.clone(),
            number: self.numbers,
            epoch: context.epoch,
        }
    }
}

/// The outside world as one host reaches it.
#[derive(Debug, Clone)]
pub(super) struct Outside {
    pub(super) site: Arc<Site>,
    pub(super) link: Arc<Link>,
}

fn timeout() -> StepError {
    StepError::transient("timeout", "nobody answered")
}

impl Outside {
    /// Does what the step is for.
    pub(super) async fn act(
        &self,
        reach: Reach,
        context: &StepContext,
    ) -> Result<Noted, StepError> {
        let at = (context.run, context.path.clone());
        match reach {
            Reach::Read | Reach::Keyed => self.look(reach, context).await,
            Reach::Tree => {
                let tree = (context.run, context.path.clone(), context.epoch);
                self.world(|world| world.trees.insert(tree.clone(), Vec::new()));
                for file in TREE {
                    self.link.place().await;
                    self.world(|world| world.trees.entry(tree.clone()).or_default().push(file));
                }
                Ok(self.world(|world| world.note(context)))
            }
            Reach::Metered => {
                self.link.begins(context);
                self.world(|world| *world.sent.entry(at).or_default() += 1);
                self.link.place().await;
                if self.site.mishap(100) {
                    return Err(timeout());
                }
                Ok(self.world(|world| world.note(context)))
            }
            Reach::Fenced | Reach::Blind => self.change(reach, context).await,
        }
    }

    async fn look(&self, reach: Reach, context: &StepContext) -> Result<Noted, StepError> {
        self.link.place().await;
        let mut noted = self.world(|world| world.note(context));
        if reach == Reach::Keyed {
            let key = context.key.to_string();
            noted.number = self.world(|world| *world.keyed.entry(key).or_insert(noted.number));
        }
        self.link.place().await;
        if self.site.mishap(80) {
            return Err(timeout());
        }
        Ok(noted)
    }

    async fn change(&self, reach: Reach, context: &StepContext) -> Result<Noted, StepError> {
        self.link.begins(context);
        self.link.place().await;
        let at = (context.run, context.path.clone());
        if self.site.mishap(80) {
            return Err(StepError::transient("busy", "not now").nothing_done());
        }
        if self.site.mishap(60) {
            return Err(timeout());
        }
        let noted = self.world(|world| {
            let newest = world.tokens.entry(at.clone()).or_default();
            if reach == Reach::Fenced && context.epoch < *newest {
                return Err(StepError::permanent("fenced", "an older owner"));
            }
            *newest = context.epoch.max(*newest);
            *world.sent.entry(at.clone()).or_default() += 1;
            *world.effects.entry(at.clone()).or_default() += 1;
            let noted = world.note(context);
            let key = context.key.to_string();
            world.happened.insert((at.0, at.1, key), noted.clone());
            Ok(noted)
        })?;
        self.site.event(format_args!(
            "{} changed the world at {}",
            self.link.name, context.path
        ));
        self.link.place().await;
        if self.site.mishap(80) {
            return Err(timeout());
        }
        Ok(noted)
    }

    /// Says whether the step's effect happened. Whoever asks is heard of as the newest owner.
    pub(super) async fn probe(&self, context: &StepContext) -> Result<Option<Noted>, StepError> {
        self.link.place().await;
        if self.site.mishap(50) {
            return Err(timeout());
        }
        let key = context.key.to_string();
        let at = (context.run, context.path.clone());
        let found = self.world(|world| {
            let newest = world.tokens.entry(at.clone()).or_default();
            *newest = context.epoch.max(*newest);
            world.happened.get(&(at.0, at.1, key)).cloned()
        });
        self.link.place().await;
        Ok(found.filter(|_| self.site.defect != Defect::BlindProbe))
    }

    fn world<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.site.world.lock().unwrap())
    }
}
