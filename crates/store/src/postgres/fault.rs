//! What the server's errors mean to us.

use tokio_postgres::error::SqlState;

use crate::error::StoreError;

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self::Unavailable(whole(&error));
        };
        let text = match db.detail() {
            Some(detail) => format!("{} ({detail})", db.message()),
            None => db.message().to_owned(),
        };
        classify(db.code(), text)
    }
}

/// The class of an answer (appendix A of PostgreSQL's manual).
fn classify(code: &SqlState, text: String) -> StoreError {
    match code.code() {
        "42501" => StoreError::Forbidden(format!("what the database keeps from it: {text}")),
        // The login itself: a wrong password, or one that may not come from here.
        code if code.starts_with("28") => StoreError::Unfit(text),
        "53100" => StoreError::Full(text),
        "XX001" | "XX002" => StoreError::Corrupt(text),
        // A constraint, or a value that no column takes.
        code if code.starts_with("23") || code.starts_with("22") => StoreError::Conflict(text),
        // Connections, resources, shutdown, deadlock, a statement given up: nothing of it stands.
        code => StoreError::Unavailable(format!("{text} [{code}]")),
    }
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fall_into_our_classes() {
        let class = |code: &str| classify(&SqlState::from_code(code), "x".into());
        for code in ["23505", "23503", "23514", "22021"] {
            assert!(matches!(class(code), StoreError::Conflict(_)), "{code}");
        }
        for code in ["08006", "57P01", "40P01", "53300", "25006", "42P01"] {
            assert!(matches!(class(code), StoreError::Unavailable(_)), "{code}");
        }
        assert!(matches!(class("28P01"), StoreError::Unfit(_)));
        assert!(matches!(class("53100"), StoreError::Full(_)));
        assert!(matches!(class("XX001"), StoreError::Corrupt(_)));
        assert!(matches!(class("42501"), StoreError::Forbidden(_)));
    }
}
