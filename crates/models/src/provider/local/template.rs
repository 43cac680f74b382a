//! A conversation in the form that a model was taught, by the template that its file holds.
//!
//! The template never sees what was written: it is given a place for each message and puts the
//! marks around it. The words are set in afterwards, as words.

use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;

/// Around the number of a message, in a template's output; both are letters of nobody's.
const OPEN: char = '\u{f8f0}';
const CLOSE: char = '\u{f8f1}';

const NAME: &str = "chat";

/// A piece of a conversation in a model's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// The template's.
    Marks(&'a str),
    /// What the message of this number says.
    Message(usize),
}

/// A model's template.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

#[derive(Serialize)]
struct Place<'a> {
    role: &'a str,
    content: String,
}

impl Template {
    /// From its text, and the texts of the marks for the beginning and the end.
    pub(super) fn new(text: &str, begin: String, end: String) -> Result<Self, String> {
        let mut environment = Environment::new();
        // As those do that templates are written for.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_keep_trailing_newline(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |why: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        let added = environment.add_template_owned(NAME, text.to_owned());
        added.map_err(|error| format!("its template: {error}"))?;
        Ok(Self {
            environment,
            begin,
            end,
        })
    }

    /// The conversation of these roles, and the beginning of an answer.
    pub(super) fn render(&self, roles: &[&str]) -> Result<String, String> {
        let places = roles.iter().enumerate().map(|(number, role)| Place {
            role,
            content: format!("{OPEN}{number}{CLOSE}"),
        });
        let values = context! {
            messages => places.collect::<Vec<_>>(),
            add_generation_prompt => true,
            bos_token => &self.begin,
            eos_token => &self.end,
        };
        let template = self.environment.get_template(NAME);
        let rendered = template.and_then(|template| template.render(values));
        rendered.map_err(|error| {
            let why = error
                .detail()
                .map_or_else(|| error.to_string(), str::to_owned);
            format!("its template does not take this conversation: {why}")
        })
    }
}

/// What was rendered, in pieces.
pub(super) fn pieces(rendered: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = rendered;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let place = after.split_once(CLOSE);
        let Some((Ok(number), after)) = place.map(|(number, after)| (number.parse(), after)) else {
            break;
        };
        pieces.push(Piece::Marks(before));
        pieces.push(Piece::Message(number));
        rest = after;
    }
    pieces.push(Piece::Marks(rest));
    pieces.retain(|piece| *piece != Piece::Marks(""));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' \
                          + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}\
                          {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    #[test]
    fn words_are_set_between_the_marks() {
        let template = Template::new(CHATML, String::new(), String::new()).unwrap();
        let rendered = template.render(&["system", "user"]).unwrap();
        assert_eq!(
            pieces(&rendered),
            [
                Piece::Marks("<|im_start|>system\n"),
                Piece::Message(0),
                Piece::Marks("<|im_end|>\n<|im_start|>user\n"),
                Piece::Message(1),
                Piece::Marks("<|im_end|>\n<|im_start|>assistant\n"),
            ]
        );
    }

    #[test]
    fn methods_of_texts_are_known() {
        let text = "{{ messages[0].content.strip().split('x')[-1] }}{{ bos_token }}";
        let template = Template::new(text, "<s>".into(), String::new()).unwrap();
        let rendered = template.render(&["user"]).unwrap();
        assert_eq!(pieces(&rendered), [Piece::Message(0), Piece::Marks("<s>")]);
    }

    #[test]
    fn a_template_may_refuse() {
        let text =
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}";
        let template = Template::new(text, String::new(), String::new()).unwrap();
        let error = template.render(&["system"]).unwrap_err();
        assert!(error.ends_with("no system"), "{error}");
        assert!(Template::new("{% if %}", String::new(), String::new()).is_err());
    }
}
