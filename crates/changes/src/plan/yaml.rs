//! YAML 1.2 without what lets a small text stand for a large or a strange value: no anchors, no
//! aliases, no tags, no directives, one document.

use serde_saphyr::granit_parser::{
    self, Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag,
};

use super::document::{Budget, DEPTH, Key, Node, Scalar, Value, add};
use super::problem::{PLAN_SYNTAX, Place, PlanFault};

type Events<'a> = Parser<'a, StrInput<'a>>;

pub(super) fn read(text: &str) -> Result<Node, PlanFault> {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        block_nesting_limit: DEPTH * 2,
        flow_nesting_limit: DEPTH * 2,
    };
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(text, options),
        budget: Budget::default(),
    };
    let root = loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(..) => {}
            other => break reader.node(other, span, 0)?,
        }
    };
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::DocumentEnd => {}
            Event::StreamEnd => return Ok(root),
            _ => {
                let message = "a second document begins here; a plan is one";
                return Err(PlanFault::new(PLAN_SYNTAX, place(&span), message));
            }
        }
    }
}

struct Reader<'a> {
    events: Events<'a>,
    budget: Budget,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), PlanFault> {
        match self.events.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(scan_fault(&error)),
            None => Err(PlanFault::new(
                PLAN_SYNTAX,
                Place::START,
                "the plan ends too early",
            )),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, PlanFault> {
        let place = place(&span);
        self.budget.spend(place, depth)?;
        let is_block = matches!(&event, Event::Scalar(_, ScalarStyle::Literal, ..));
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_extras(place, anchor, tag.as_deref())?;
                let text = text.into_owned();
                Value::Scalar(if style == ScalarStyle::Plain {
                    Scalar::Plain(text)
                } else {
                    Scalar::Text(text)
                })
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_extras(place, anchor, tag.as_deref())?;
                self.list(depth)?
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_extras(place, anchor, tag.as_deref())?;
                self.map(depth)?
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let message = "aliases (`*…`) are not used in plans; write the value out";
                return Err(PlanFault::new(PLAN_SYNTAX, place, message));
            }
            _ => {
                return Err(PlanFault::new(
                    PLAN_SYNTAX,
                    place,
                    "a value is missing here",
                ));
            }
        };
        Ok(Node {
            place,
            value,
            is_block,
        })
    }

    fn list(&mut self, depth: usize) -> Result<Value, PlanFault> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, PlanFault> {
        let mut members = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(members));
            }
            let key = self.node(event, span, depth + 1)?;
            let Value::Scalar(Scalar::Text(name) | Scalar::Plain(name)) = key.value else {
                let message = "a key must be text";
                return Err(PlanFault::new(PLAN_SYNTAX, key.place, message));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let key = Key {
                place: key.place,
                name,
            };
            add(&mut members, key, value)?;
        }
    }
}

fn refuse_extras(place: Place, anchor: usize, tag: Option<&Tag>) -> Result<(), PlanFault> {
    let message = if anchor != 0 {
        "anchors (`&…`) are not used in plans; write the value where it is needed"
    } else if tag.is_some() {
        "tags (`!…`) are not used in plans; leave it out"
    } else {
        return Ok(());
    };
    Err(PlanFault::new(PLAN_SYNTAX, place, message))
}

fn place(span: &Span) -> Place {
    Place {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

fn scan_fault(error: &ScanError) -> PlanFault {
    let marker = error.marker();
    let place = Place {
        line: marker.line().max(1),
        column: marker.col() + 1,
    };
    PlanFault::new(PLAN_SYNTAX, place, format!("not YAML: {}", error.kind()))
}
