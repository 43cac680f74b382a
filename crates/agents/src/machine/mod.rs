//! What an agent does next, decided from what happened so far and nothing else.
//!
//! The machine holds the conversation. It is told what the model answered ([`Machine::answered`]) and
//! what tools gave ([`Machine::observed`]), and names one [`Command`] at a time. It knows no clock, no
//! chance and no outside, so the same journal always leads to the same command.

mod trail;

use matrix_core::{Digest, Money, Timestamp, canonical};
use matrix_models::chat::{Choice, Finish, Message, Part, Role};
use matrix_models::usage::Usage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::trail::{Sign, Trail};
use crate::definition::{Definition, Limits};

/// How often an answer that says nothing, or was cut, is asked to go on before the run is given up.
const EMPTY_MAX: u32 = 3;

/// How often what was written may be refused before the run is given up.
const REFUSED_MAX: u32 = 3;

/// A call of a tool that the model wants.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// By which its result is found.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// Its arguments, or why they are none.
    pub arguments: Result<Value, String>,
}

/// What a call of a tool gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The call's id.
    pub id: String,
    /// What the model is told.
    pub output: String,
    /// Whether it failed.
    pub failed: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Ask the model.
    Ask,
    /// Call these tools; their results are told in this order.
    Call(Vec<Call>),
    /// Nothing more.
    End(Ending),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Ending {
    /// The model said that it is done.
    Finished {
        /// What it said last.
        text: String,
    },
    /// It was stopped.
    Stopped {
        /// A word for machines: `turns`, `tool_calls`, `tokens`, `cost`, `time`, `stuck`, `refused`,
        /// `silent`, `no_plan`.
        why: String,
        /// The same for people.
        detail: String,
    },
}

/// What was used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Answers of the model.
    pub turns: u32,
    /// Calls of tools.
    pub tool_calls: u32,
    /// Tokens read and written.
    pub tokens: u64,
    /// Money.
    pub cost: Money,
}

/// The state of one conversation.
#[derive(Debug, Clone)]
pub struct Machine {
    limits: Limits,
    messages: Vec<Message>,
    /// Of all messages so far, each bound to those before it.
    digest: Digest,
    spent: Spent,
    trail: Trail,
    silent: u32,
    refusals: u32,
    next: Command,
}

impl Machine {
    /// A conversation that begins with a goal.
    pub fn new(definition: &Definition, goal: &str) -> Self {
        let mut machine = Self {
            limits: definition.limits.clone(),
            messages: Vec::new(),
            digest: Digest::of(b""),
            spent: Spent::default(),
            trail: Trail::default(),
            silent: 0,
            refusals: 0,
            next: Command::Ask,
        };
        for message in definition.opening() {
            machine.push(message);
        }
        machine.push(Message::text(Role::User, goal));
        machine
    }

    /// What is to be done next.
    pub fn next(&self) -> &Command {
        &self.next
    }

    /// The conversation as the model is to see it.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// What identifies the conversation so far.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What was used so far.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// A person's words, which the model reads next.
    pub fn directed(&mut self, text: &str) {
        self.push(Message::text(Role::User, text));
    }

    /// What was to be the end is none: what was written cannot be taken. The model is told why, and
    /// goes on, but not for ever.
    pub fn refused(&mut self, why: &str) {
        self.refusals += 1;
        self.next = if self.refusals >= REFUSED_MAX {
            stopped("no_plan", format!("what it wrote can be no plan: {why}"))
        } else {
            self.push(Message::text(
                Role::User,
                format!(
                    "What you wrote cannot become a plan: {why}. Put that right, then end again."
                ),
            ));
            self.ask(None)
        };
    }

    /// The model answered.
    pub fn answered(&mut self, choice: &Choice, usage: &Usage, cost: Money) {
        self.spent.turns += 1;
        self.spent.tokens = self
            .spent
            .tokens
            .saturating_add(usage.input.saturating_add(usage.output));
        let cost = self.spent.cost.as_nanos().saturating_add(cost.as_nanos());
        self.spent.cost = Money::from_nanos(cost);
        self.push(Message {
            role: Role::Assistant,
            parts: choice.parts.clone(),
            name: None,
        });
        let calls: Vec<Call> = choice.parts.iter().filter_map(call).collect();
        self.next = if calls.is_empty() {
            self.without_calls(choice)
        } else {
            self.silent = 0;
            self.with_calls(calls)
        };
    }

    fn with_calls(&mut self, calls: Vec<Call>) -> Command {
        let count = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let wanted = self.spent.tool_calls.saturating_add(count);
        if wanted > self.limits.tool_calls {
            return stopped(
                "tool_calls",
                format!("it may call tools {} times", self.limits.tool_calls),
            );
        }
        self.spent.tool_calls = wanted;
        Command::Call(calls)
    }

    fn without_calls(&mut self, choice: &Choice) -> Command {
        let text = choice.text();
        match &choice.finish {
            Finish::Refusal | Finish::Filter => {
                let said = if text.is_empty() {
                    "nothing".into()
                } else {
                    text
                };
                return stopped("refused", format!("the model will not answer: {said}"));
            }
            Finish::Length => {
                return self.go_on("Your answer was cut off because it was too long. Go on from there, in smaller steps.");
            }
            _ if text.trim().is_empty() => {
                return self.go_on("You answered nothing. Call a tool, or say that you are done and what came of it.");
            }
            _ => {}
        }
        Command::End(Ending::Finished { text })
    }

    /// Asks again for an answer, but not for ever.
    fn go_on(&mut self, words: &str) -> Command {
        self.silent += 1;
        if self.silent >= EMPTY_MAX {
            let detail = format!("the model gave no whole answer {EMPTY_MAX} times");
            return stopped("silent", detail);
        }
        self.push(Message::text(Role::User, words));
        self.ask(None)
    }

    /// Tools gave these, in the order in which they were called; the last of them ended `after` the
    /// run began.
    pub fn observed(
        &mut self,
        calls: &[Call],
        results: Vec<Observed>,
        (began, at): (Timestamp, Option<Timestamp>),
    ) {
        let sign = Sign::of(calls, &results);
        let parts = results.into_iter().map(|result| Part::ToolResult {
            call: result.id,
            parts: vec![Part::text(result.output)],
            failed: result.failed,
            opaque: matrix_models::chat::Opaque::default(),
        });
        self.push(Message {
            role: Role::Tool,
            parts: parts.collect(),
            name: None,
        });
        self.trail.walk(sign);
        if let Some(detail) = self.trail.is_stuck() {
            self.next = stopped("stuck", detail);
            return;
        }
        if let Some(words) = self.trail.nudge() {
            self.push(Message::text(Role::User, words));
        }
        self.next = self.ask(at.map(|at| at.since(began)));
    }

    /// Asks the model, if anything is left to ask it with.
    fn ask(&self, elapsed: Option<std::time::Duration>) -> Command {
        let Limits {
            turns,
            tokens,
            cost,
            minutes,
            ..
        } = &self.limits;
        if self.spent.turns >= *turns {
            return stopped("turns", format!("it may ask its model {turns} times"));
        }
        if self.spent.tokens >= *tokens {
            return stopped("tokens", format!("it may use {tokens} tokens"));
        }
        if let Some(cost) = cost.filter(|cost| self.spent.cost >= *cost) {
            return stopped("cost", format!("it may spend {cost}"));
        }
        let most = std::time::Duration::from_mins(u64::from(*minutes));
        if elapsed.is_some_and(|elapsed| elapsed >= most) {
            return stopped("time", format!("it may work for {minutes} minutes"));
        }
        Command::Ask
    }

    fn push(&mut self, message: Message) {
        // A message is JSON of ours; one that is not canonical, such as a number out of range, is
        // told apart from others by its text.
        let next = canonical::digest(&(self.digest, &message))
            .unwrap_or_else(|_| Digest::of(format!("{}{message:?}", self.digest)));
        self.digest = next;
        self.messages.push(message);
    }
}

fn stopped(why: &str, detail: String) -> Command {
    Command::End(Ending::Stopped {
        why: why.into(),
        detail,
    })
}

/// The call that a part is.
fn call(part: &Part) -> Option<Call> {
    let Part::ToolCall {
        id,
        name,
        arguments,
        ..
    } = part
    else {
        return None;
    };
    let text = if arguments.trim().is_empty() {
        "{}"
    } else {
        arguments
    };
    let read: Result<Value, _> = serde_json::from_str(text);
    let arguments = match read {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err("the arguments are not a JSON object".into()),
        Err(error) => Err(format!("the arguments are not JSON: {error}")),
    };
    Some(Call {
        id: id.clone(),
        tool: name.clone(),
        arguments,
    })
}

#[cfg(test)]
mod tests;
