//! `matrix database`.

use matrix_core::Problem;
use matrix_store::tables::directory;
use matrix_store::{Database, StoreError, postgres};
use serde_json::json;

use super::Context;
use crate::args::DatabaseCommand;
use crate::config::{BAD_CONFIG, Origin};
use crate::database::DatabaseAddress;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{database, output, reader};

pub(super) fn database(context: &Context, command: DatabaseCommand) -> Result<Exit, Failure> {
    match command {
        DatabaseCommand::Migrate { owner, login } => migrate(context, owner, login.as_deref()),
        DatabaseCommand::Show => show(context),
    }
}

/// Roles and tables, made by an administrator's login that nothing else uses.
fn migrate(context: &Context, owner: Option<String>, login: Option<&str>) -> Result<Exit, Failure> {
    let variable = || {
        let text = context.environment.get("MATRIX_DATABASE_OWNER")?;
        let origin = Origin::Environment("MATRIX_DATABASE_OWNER");
        Some((text.to_owned(), origin))
    };
    let flag = owner.map(|text| (text, Origin::Flag("--owner")));
    let Some((text, origin)) = flag.or_else(variable) else {
        return Err(
            Problem::new(BAD_CONFIG, "no administrator's login is named")
                .help("name the database with one: --owner postgres://ADMINISTRATOR@HOST/DATABASE")
                .into(),
        );
    };
    let owner: DatabaseAddress = text.parse()?;
    let owner = owner.settle(&origin, &context.environment)?;
    let configured = context.config.database.value.as_ref();
    let configured = configured.and_then(|database| database.address().login());
    let Some(login) = login.or(configured) else {
        return Err(
            Problem::new(BAD_CONFIG, "no login is named for the program's own use")
                .help("name it with --login, or name the database with --database")
                .into(),
        );
    };
    if owner.address().login() == Some(login) {
        let text = format!("the program's own login cannot be the administrator `{login}`");
        return Err(Problem::new(BAD_CONFIG, text)
            .help("name another with --login; it is made if it is missing")
            .into());
    }
    postgres::migrate(owner.address(), Some(login))?;
    if context.json {
        output::json(&json!({ "migrated": owner, "login": login }));
    } else {
        output::line(format_args!("{owner} is migrated; `{login}` may use it"));
    }
    Ok(Exit::Done)
}

fn show(context: &Context) -> Result<Exit, Failure> {
    let Some(configured) = &context.config.database.value else {
        let place = reader::layout(&context.config).database();
        if context.json {
            output::json(&json!({ "database": place }));
        } else {
            output::line(place.display());
        }
        return Ok(Exit::Done);
    };
    let opened = Database::connect_for_reading(configured.address())?;
    let directory = opened.read_now::<_, StoreError, _>(directory::get)?;
    let own = database::named(&reader::layout(&context.config))?;
    if context.json {
        output::json(&json!({
            "database": configured, "directory": directory, "this_directory": own,
        }));
        return Ok(Exit::Done);
    }
    output::line(format_args!("{configured} can be used"));
    match (&directory, &own) {
        (None, _) => output::line("no data directory belongs to it yet"),
        (Some(id), own) if own.as_ref() == Some(id) => {
            output::line(format_args!("its data directory is this one, {id}"));
        }
        (Some(id), _) => output::line(format_args!("its data directory is another one, {id}")),
    }
    Ok(Exit::Done)
}
