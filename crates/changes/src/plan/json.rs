//! JSON (RFC 8259), strictly, with the place of every value.

use super::document::{Budget, Key, Node, Scalar, Value, add};
use super::problem::{PLAN_SYNTAX, Place, PlanFault};

pub(super) fn read(text: &str) -> Result<Node, PlanFault> {
    let mut reader = Reader {
        rest: text.chars().peekable(),
        place: Place::START,
        budget: Budget::default(),
    };
    let root = reader.node(0)?;
    reader.space();
    match reader.rest.peek() {
        None => Ok(root),
        Some(_) => Err(reader.fault("nothing may follow the plan")),
    }
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    place: Place,
    budget: Budget,
}

impl Reader<'_> {
    fn fault(&self, message: &str) -> PlanFault {
        PlanFault::new(PLAN_SYNTAX, self.place, format!("not JSON: {message}"))
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        if next == '\n' {
            self.place.line += 1;
            self.place.column = 1;
        } else {
            self.place.column += 1;
        }
        Some(next)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.rest.peek() == Some(&wanted);
        if found {
            self.next();
        }
        found
    }

    fn space(&mut self) {
        while matches!(self.rest.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.next();
        }
    }

    fn node(&mut self, depth: usize) -> Result<Node, PlanFault> {
        self.space();
        let place = self.place;
        self.budget.spend(place, depth)?;
        let value = match self.rest.peek() {
            Some('{') => self.map(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => Value::Scalar(Scalar::Text(self.text()?)),
            Some(_) => Value::Scalar(Scalar::Literal(self.literal()?)),
            None => return Err(self.fault("the plan ends where a value should be")),
        };
        Ok(Node {
            place,
            value,
            is_block: false,
        })
    }

    fn map(&mut self, depth: usize) -> Result<Value, PlanFault> {
        let mut members = Vec::new();
        self.next();
        self.space();
        if self.take('}') {
            return Ok(Value::Map(members));
        }
        loop {
            self.space();
            let place = self.place;
            if self.rest.peek() != Some(&'"') {
                return Err(self.fault("expected a key in quotes"));
            }
            let name = self.text()?;
            self.space();
            if !self.take(':') {
                return Err(self.fault("expected `:` after the key"));
            }
            let value = self.node(depth + 1)?;
            add(&mut members, Key { place, name }, value)?;
            self.space();
            if self.take('}') {
                return Ok(Value::Map(members));
            }
            if !self.take(',') {
                return Err(self.fault("expected `,` or `}`"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, PlanFault> {
        let mut items = Vec::new();
        self.next();
        self.space();
        if self.take(']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.node(depth + 1)?);
            self.space();
            if self.take(']') {
                return Ok(Value::List(items));
            }
            if !self.take(',') {
                return Err(self.fault("expected `,` or `]`"));
            }
        }
    }

    fn literal(&mut self) -> Result<String, PlanFault> {
        let mut word = String::new();
        while let Some(next) = self.rest.peek() {
            if !(next.is_ascii_alphanumeric() || matches!(next, '+' | '-' | '.')) {
                break;
            }
            word.push(*next);
            self.next();
        }
        // The numbers' grammar is taken from where it is known to be right.
        match serde_json::from_str::<serde_json::Value>(&word) {
            Ok(_) => Ok(word),
            Err(_) => Err(self.fault("expected a value; text stands in double quotes")),
        }
    }

    fn text(&mut self) -> Result<String, PlanFault> {
        let mut text = String::new();
        self.next();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) if c < ' ' => {
                    return Err(
                        self.fault("a line break or control character in text; write `\\n`")
                    );
                }
                Some(c) => text.push(c),
                None => return Err(self.fault("the plan ends inside a text")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, PlanFault> {
        match self.next() {
            Some(same @ ('"' | '\\' | '/')) => Ok(same),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => self.unicode(),
            _ => Err(self.fault("an unknown escape; a backslash is written `\\\\`")),
        }
    }

    fn unicode(&mut self) -> Result<char, PlanFault> {
        let first = self.hex()?;
        let code = if (0xd800..0xdc00).contains(&first) && self.take('\\') && self.take('u') {
            let second = self.hex()?;
            let low = second
                .checked_sub(0xdc00)
                .filter(|low| *low < 0x400)
                .ok_or_else(|| self.fault("half of a surrogate pair"))?;
            0x1_0000 + ((first - 0xd800) << 10) + low
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.fault("half of a surrogate pair"))
    }

    fn hex(&mut self) -> Result<u32, PlanFault> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|c| c.to_digit(16));
            code = code * 16
                + digit.ok_or_else(|| self.fault("`\\u` takes four hexadecimal digits"))?;
        }
        Ok(code)
    }
}
