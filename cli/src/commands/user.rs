//! `matrix user`.

use matrix_identity::principals::UserRead;
use serde_json::{Value, json};

use super::Context;
use crate::args::UserCommand;
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::{Reader, accounts};

pub(super) async fn user(context: &Context, command: UserCommand) -> Result<Exit, Failure> {
    match command {
        UserCommand::Add { name, role } => {
            let door = Door::open(&context.config, &context.environment).await?;
            let answer = door
                .post("/api/v1/users", &json!({ "name": name, "roles": role }))
                .await;
            door.close().await;
            let answer = answer?;
            if context.json {
                output::json(&answer);
            } else {
                let token = answer
                    .get("token")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                output::note(format_args!("the token of {name}; it is not shown again:"));
                output::line(token);
            }
        }
        UserCommand::List => {
            let reader = Reader::open(&context.config)?;
            let users = accounts(&reader.database).user_list(&reader.may(UserRead::default())?)?;
            if context.json {
                output::json(&json!({ "users": users }));
            } else {
                let cells: Vec<_> = users
                    .iter()
                    .map(|user| {
                        let roles: Vec<_> = user.roles.iter().map(|role| role.as_str()).collect();
                        vec![user.principal.to_string(), roles.join(", ")]
                    })
                    .collect();
                output::table(&["principal", "roles"], &cells);
            }
        }
    }
    Ok(Exit::Done)
}
