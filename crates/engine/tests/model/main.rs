//! Lease, fence and park as a model, of which every state is looked at.
//!
//! Three rules hold the engine together: who does not own a run cannot write to it, who begins
//! something outside owns the run at that moment, and who waits has no mail. This model has no more
//! than they need (one run, two hosts, time in a few ticks), and [`stateright`] visits every order in
//! which things can happen to it. Each rule has a broken variant, which must have a counterexample.
//! What it leaves out stands in `docs/explanation/proof.md`.

mod world;

use stateright::{Checker, HasDiscoveries, Model, Property};

use world::{Happens, Outcome, World};

/// What is deliberately wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// As the engine does it.
    Right,
    /// An append compares neither epoch nor head.
    NoFence,
    /// Who parks does not look into the inbox again.
    BlindPark,
    /// An owner relies on its own clock: any beat makes it sure of every run, also after a lapse.
    OwnClock,
}

const ORDER: &str = "an owner writes only after those before it";
const KEPT: &str = "what was acknowledged stays";
const OWNED: &str = "who begins something outside owns the run";
const AWAKE: &str = "who waits has no mail";

/// What must be possible, or the model says nothing.
const POSSIBLE: [&str; 4] = [
    "a run is taken over",
    "a slow owner is refused",
    "a signal wakes a run that waits",
    "a later owner begins something outside",
];

impl Model for Variant {
    type State = World;
    type Action = Happens;

    fn init_states(&self) -> Vec<World> {
        vec![World::new()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Happens>) {
        world.possible(*self, actions);
    }

    fn next_state(&self, world: &World, action: Happens) -> Option<World> {
        let mut next = world.clone();
        next.happens(*self, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let [taken, refused, woken, outside] = POSSIBLE;
        vec![
            Property::always(ORDER, |_, world: &World| world.is_in_order()),
            Property::always(KEPT, |_, world: &World| world.outcome != Outcome::Lost),
            Property::always(OWNED, |_, world: &World| {
                world.outcome != Outcome::BegunLost
            }),
            Property::always(AWAKE, |_, world: &World| world.is_awake_with_mail()),
            Property::sometimes(taken, |_, world: &World| world.outcome == Outcome::Taken),
            Property::sometimes(refused, |_, world: &World| {
                world.outcome == Outcome::Refused
            }),
            Property::sometimes(woken, |_, world: &World| world.outcome == Outcome::Woken),
            Property::sometimes(outside, |_, world: &World| {
                world.outcome == Outcome::BegunLater
            }),
        ]
    }
}

#[test]
fn the_engines_way_holds_in_every_order_of_events() {
    let checked = Variant::Right.checker().threads(2).spawn_bfs().join();
    checked.assert_properties();
    let states = checked.unique_state_count();
    assert!(states > 10_000, "a model of {states} states says little");
}

/// A broken variant has a counterexample to what it breaks.
fn must_fail(variant: Variant, rules: &[&'static str]) {
    for rule in rules {
        let enough = HasDiscoveries::AllOf([*rule].into());
        let checker = variant.checker().threads(2).finish_when(enough);
        let path = checker.spawn_bfs().join().discovery(rule);
        assert!(path.is_some(), "{variant:?} keeps the rule that {rule}");
    }
}

#[test]
fn without_a_fence_owners_write_over_each_other() {
    must_fail(Variant::NoFence, &[ORDER, KEPT]);
}

#[test]
fn who_parks_without_looking_again_sleeps_over_a_signal() {
    must_fail(Variant::BlindPark, &[AWAKE]);
}

#[test]
fn who_relies_on_its_own_clock_begins_what_is_anothers() {
    must_fail(Variant::OwnClock, &[OWNED]);
}
