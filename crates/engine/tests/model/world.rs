//! One run in a store, two hosts, and what can happen to them.

use crate::Variant;

/// How many hosts there are.
const HOSTS: usize = 2;

/// A lease, in ticks.
const LEASE: u8 = 2;

/// An owner begins nothing outside when its last beat is so many ticks old, which is in time.
const FRESH: u8 = 1;

/// Where counting ends: beyond it, nothing differs.
const OLD: u8 = LEASE;

/// The most owners, entries and signals. What goes wrong goes wrong with few.
const EPOCHS_MAX: u8 = 3;
const ENTRIES_MAX: usize = 2;
const SIGNALS_MAX: u8 = 1;

/// Where a run stands in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stand {
    Ready,
    Running(usize),
    Waiting,
}

/// What a host believes of the run it drives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Belief {
    epoch: u8,
    /// Where it believes the journal to end, in the variant in which nobody compares that.
    head: usize,
    /// Whether it saw no mail, and is about to park.
    parks: bool,
    /// Whether it knows that nobody can have taken the run since it was seen to be its own.
    sure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Life {
    Up,
    /// It stands still, and will go on.
    Stalled,
    /// It is gone.
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Host {
    life: Life,
    drives: Option<Belief>,
    /// Ticks since its last beat.
    beaten: u8,
    /// Whether the other's counter has changed since this one looked at it.
    unseen: bool,
    /// Ticks since it saw it change.
    still: u8,
}

/// What the last thing that happened came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// Nothing to speak of.
    Plain,
    /// The run was taken from an owner without heartbeat.
    Taken,
    /// A write of somebody who does not own the run was refused.
    Refused,
    /// A signal woke the run.
    Woken,
    /// Something outside was begun by the run's owner, which is not its first.
    BegunLater,
    /// Something outside was begun by a host that had lost the run.
    BegunLost,
    /// An entry that somebody was told stands is gone.
    Lost,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    stand: Stand,
    epoch: u8,
    inbox: u8,
    signals: u8,
    /// The epoch under which each entry was written.
    journal: Vec<u8>,
    hosts: [Host; HOSTS],
    pub(crate) outcome: Outcome,
}

/// What can happen; each is one transaction of the store, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happens {
    /// Time goes by, for everybody alike.
    Tick,
    /// A host stands still, goes on, or dies.
    Stall(usize),
    Wake(usize),
    Crash(usize),
    /// A host takes the run from the queue.
    Claim(usize),
    /// A host counts its heartbeat up.
    Beat(usize),
    /// The same, in a transaction that looks whether the run is still its own.
    Hold(usize),
    /// A host looks at the other's counter, and takes its runs when it stood still for a lease.
    Watch(usize),
    /// An owner writes an entry.
    Append(usize),
    /// An owner moves the mail into the journal.
    Collect(usize),
    /// An owner sees that it has nothing to do.
    Rest(usize),
    /// It lets go of the run.
    Park(usize),
    /// An owner begins something outside.
    Begin(usize),
    /// Somebody sends the run a signal.
    Signal,
}

impl World {
    pub(crate) fn new() -> Self {
        let host = Host {
            life: Life::Up,
            drives: None,
            beaten: 0,
            unseen: true,
            still: 0,
        };
        Self {
            stand: Stand::Ready,
            epoch: 0,
            inbox: 0,
            signals: 0,
            journal: Vec::new(),
            hosts: std::array::from_fn(|_| host.clone()),
            outcome: Outcome::Plain,
        }
    }

    pub(crate) fn is_in_order(&self) -> bool {
        self.journal.is_sorted()
    }

    pub(crate) fn is_awake_with_mail(&self) -> bool {
        self.stand != Stand::Waiting || self.inbox == 0
    }

    /// What can happen next.
    pub(crate) fn possible(&self, variant: Variant, actions: &mut Vec<Happens>) {
        actions.push(Happens::Tick);
        if self.signals < SIGNALS_MAX {
            actions.push(Happens::Signal);
        }
        let one_dead = self.hosts.iter().any(|host| host.life == Life::Dead);
        for (at, host) in self.hosts.iter().enumerate() {
            match host.life {
                Life::Dead => continue,
                Life::Stalled => {
                    actions.push(Happens::Wake(at));
                    continue;
                }
                Life::Up => actions.push(Happens::Stall(at)),
            }
            if !one_dead {
                actions.push(Happens::Crash(at));
            }
            actions.push(Happens::Watch(at));
            actions.push(Happens::Beat(at));
            match &host.drives {
                None if self.stand == Stand::Ready && self.epoch < EPOCHS_MAX => {
                    actions.push(Happens::Claim(at));
                }
                None => {}
                Some(belief) => self.driven(variant, (at, host), belief, actions),
            }
        }
    }

    /// What can happen at a host that believes to own the run.
    fn driven(
        &self,
        variant: Variant,
        (at, host): (usize, &Host),
        belief: &Belief,
        actions: &mut Vec<Happens>,
    ) {
        if self.journal.len() < ENTRIES_MAX {
            actions.push(Happens::Append(at));
        }
        if self.inbox > 0 {
            actions.push(Happens::Collect(at));
        }
        actions.push(if belief.parks {
            Happens::Park(at)
        } else {
            Happens::Rest(at)
        });
        let sure = belief.sure || variant == Variant::OwnClock;
        if host.beaten < FRESH && sure {
            actions.push(Happens::Begin(at));
        } else {
            actions.push(Happens::Hold(at));
        }
    }

    pub(crate) fn happens(&mut self, variant: Variant, action: Happens) {
        self.outcome = Outcome::Plain;
        self.act(variant, action);
        self.forget_what_makes_no_difference();
    }

    /// Two states that nobody can tell apart are one.
    fn forget_what_makes_no_difference(&mut self) {
        for (at, host) in self.hosts.iter_mut().enumerate() {
            if host.life == Life::Dead || self.stand != Stand::Running(HOSTS - 1 - at) {
                (host.unseen, host.still) = (true, 0);
            }
            if host.drives.is_none() {
                host.beaten = 0;
            }
        }
    }

    fn act(&mut self, variant: Variant, action: Happens) {
        match action {
            Happens::Tick => self.tick(),
            Happens::Signal => {
                self.signals += 1;
                self.inbox += 1;
                if self.stand == Stand::Waiting {
                    self.stand = Stand::Ready;
                    self.outcome = Outcome::Woken;
                }
            }
            Happens::Stall(at) => self.hosts[at].life = Life::Stalled,
            Happens::Wake(at) => self.hosts[at].life = Life::Up,
            Happens::Crash(at) => {
                self.hosts[at].life = Life::Dead;
                self.hosts[at].drives = None;
            }
            Happens::Claim(at) => self.claim(variant, at),
            Happens::Beat(at) => self.beat(at),
            Happens::Hold(at) => {
                if self.fenced(at) {
                    self.beat(at);
                    self.believe(at, |belief| belief.sure = true);
                }
            }
            Happens::Watch(at) => self.watch(at),
            Happens::Append(at) => self.append(variant, at),
            Happens::Collect(at) => {
                if self.fenced(at) {
                    self.inbox = 0;
                    self.believe(at, |belief| belief.parks = false);
                }
            }
            Happens::Rest(at) => {
                let parks = self.inbox == 0;
                self.believe(at, |belief| belief.parks = parks);
            }
            Happens::Park(at) => self.park(variant, at),
            Happens::Begin(at) => {
                if !self.owns(at) {
                    self.outcome = Outcome::BegunLost;
                } else if self.epoch > 1 {
                    self.outcome = Outcome::BegunLater;
                }
            }
        }
    }

    fn believe(&mut self, at: usize, change: impl FnOnce(&mut Belief)) {
        if let Some(belief) = &mut self.hosts[at].drives {
            change(belief);
        }
    }

    fn owns(&self, at: usize) -> bool {
        let drives = self.hosts[at].drives.as_ref();
        self.stand == Stand::Running(at) && drives.is_some_and(|belief| belief.epoch == self.epoch)
    }

    /// Whether a transaction of this owner passes the fence; one that does not, lets go.
    fn fenced(&mut self, at: usize) -> bool {
        let owns = self.owns(at);
        if !owns {
            self.hosts[at].drives = None;
            self.outcome = Outcome::Refused;
        }
        owns
    }

    fn tick(&mut self) {
        for host in &mut self.hosts {
            host.beaten = (host.beaten + 1).min(OLD);
            host.still = (host.still + 1).min(OLD);
        }
    }

    fn claim(&mut self, variant: Variant, at: usize) {
        self.epoch += 1;
        self.stand = Stand::Running(at);
        self.beat(at);
        self.hosts[at].drives = Some(Belief {
            epoch: self.epoch,
            head: if variant == Variant::NoFence {
                self.journal.len()
            } else {
                0
            },
            parks: false,
            sure: true,
        });
    }

    /// A lease that passed since the beat before may have cost it every run.
    fn beat(&mut self, at: usize) {
        self.hosts[HOSTS - 1 - at].unseen = true;
        if self.hosts[at].beaten >= LEASE {
            self.believe(at, |belief| belief.sure = false);
        }
        self.hosts[at].beaten = 0;
    }

    fn watch(&mut self, at: usize) {
        let owner = self.stand == Stand::Running(HOSTS - 1 - at);
        let host = &mut self.hosts[at];
        if host.unseen || !owner {
            (host.unseen, host.still) = (false, 0);
        } else if host.still >= LEASE {
            self.stand = Stand::Ready;
            self.epoch += 1;
            self.outcome = Outcome::Taken;
        }
    }

    fn append(&mut self, variant: Variant, at: usize) {
        let Some(Belief { epoch, head, .. }) = self.hosts[at].drives.clone() else {
            return;
        };
        if variant == Variant::NoFence {
            // The store believes whoever writes, and where.
            if head < self.journal.len() {
                self.journal.truncate(head);
                self.outcome = Outcome::Lost;
            }
            self.believe(at, |belief| belief.head = head + 1);
        } else if !self.fenced(at) {
            return;
        }
        self.journal.push(epoch);
    }

    fn park(&mut self, variant: Variant, at: usize) {
        if !self.fenced(at) {
            return;
        }
        let mail = self.inbox > 0 && variant != Variant::BlindPark;
        self.stand = if mail { Stand::Ready } else { Stand::Waiting };
        self.hosts[at].drives = None;
    }
}
