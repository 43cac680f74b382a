//! `/v1/files`: the files of batches, in `OpenAI`'s protocol.

use axum::Json;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use matrix_core::Problem;
use matrix_engine::Engine;
use matrix_models::ModelError;
use matrix_models::batch::{self, FileView, NewFile, PURPOSE, RIGHT};
use matrix_models::wire::WireError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::may;
use super::failure::Refused;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Asked, Named, Share};
use crate::problem::{Failure, TIMEOUT, TOO_LARGE};
use crate::server::{Server, blocking};

/// How many files or batches a page has where the client does not say, and at most.
pub(super) const PAGE: usize = 20;
pub(super) const PAGE_MAX: usize = 100;

/// Which page.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Page {
    pub(super) after: Option<String>,
    pub(super) limit: Option<usize>,
}

impl Page {
    /// After which one, and how many.
    pub(super) fn bounds(&self) -> (Option<&str>, usize) {
        let limit = self.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        (self.after.as_deref(), limit)
    }
}

/// Keeps a file with the requests of a batch.
#[utoipa::path(
    post, path = "/v1/files", operation_id = "file_create", tag = "model protocols",
    request_body(content = Value, content_type = "multipart/form-data",
        description = "`purpose`, which is `batch`, and `file`: a request in each line."),
    responses((status = 200, description = "The file.", body = Value)),
)]
pub(crate) async fn create(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<Value>, Refused> {
    let form = form.map_err(|error| Failure::malformed(error.body_text()))?;
    let allowed = may(&server, &caller, &headers, RIGHT)?;
    let reading = tokio::time::timeout(server.limits().answer, read(&server, form));
    let late = |_| Failure::from(Problem::new(TIMEOUT, "the file did not come in time"));
    let file = reading.await.map_err(late)??;
    let file = batch::add_file(server.engine(), &allowed, file, server.limits().quota).await?;
    Ok(Json(written(&file)))
}

fn of_form(error: &MultipartError) -> Refused {
    let why = error.body_text();
    Failure::malformed(format!("the form is not as expected: {why}")).into()
}

async fn read(server: &Server, mut form: Multipart) -> Result<NewFile, Refused> {
    let (mut purpose, mut file) = (None, None);
    while let Some(field) = form.next_field().await.map_err(|error| of_form(&error))? {
        match field.name() {
            Some("purpose") => {
                let (_, text) = content(server, field, 1_000).await?;
                purpose = Some(text);
            }
            Some("file") => {
                file = Some(content(server, field, server.limits().model_bytes).await?);
            }
            _ => {}
        }
    }
    let missing = || ModelError::from(WireError::invalid("file", "is missing"));
    let (filename, content) = file.ok_or_else(missing)?;
    Ok(NewFile {
        filename,
        purpose: purpose.unwrap_or_else(|| PURPOSE.to_owned()),
        content,
    })
}

/// A field's file name and text.
async fn content(
    server: &Server,
    mut field: Field<'_>,
    limit: usize,
) -> Result<(String, String), Refused> {
    let name = field.file_name().unwrap_or("file.jsonl").to_owned();
    let mut share = Share::of(server.reading());
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|error| of_form(&error))? {
        if bytes.len() + piece.len() > limit {
            let detail = format!("a file may have at most {limit} bytes");
            return Err(Failure::from(Problem::new(TOO_LARGE, detail)).into());
        }
        let all = bytes.len() + piece.len();
        share.grow(all)?;
        bytes.extend_from_slice(&piece);
    }
    let binary = |_| ModelError::from(WireError::invalid("file", "is not UTF-8"));
    Ok((name, String::from_utf8(bytes).map_err(binary)?))
}

/// The caller's files, newest first.
#[utoipa::path(
    get, path = "/v1/files", operation_id = "file_list", tag = "model protocols",
    params(("after" = Option<String>, Query, description = "Older than this one."),
        ("limit" = Option<usize>, Query, description = "1 to 100; 20.")),
    responses((status = 200, description = "The files.", body = Value)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Asked(page): Asked<Page>,
) -> Result<Json<Value>, Refused> {
    let list = move |engine: &Engine| batch::list_files(engine, &caller, page.bounds());
    let (files, more) = found(&server, list).await?;
    let data: Vec<Value> = files.iter().map(written).collect();
    Ok(Json(paged(&data, more)))
}

/// One of the caller's files.
#[utoipa::path(
    get, path = "/v1/files/{file}", operation_id = "file_show", tag = "model protocols",
    params(("file" = String, Path, description = "The file's id.")),
    responses((status = 200, description = "The file.", body = Value)),
)]
pub(crate) async fn show(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(file): Named<String>,
) -> Result<Json<Value>, Refused> {
    let show = move |engine: &Engine| batch::show_file(engine, &caller, &file);
    Ok(Json(written(&found(&server, show).await?)))
}

/// What is in one of the caller's files; of a batch that is not over, what it has so far.
#[utoipa::path(
    get, path = "/v1/files/{file}/content", operation_id = "file_content", tag = "model protocols",
    params(("file" = String, Path, description = "The file's id.")),
    responses((status = 200, description = "Its lines.", body = String,
        content_type = "application/jsonl")),
)]
pub(crate) async fn content_of(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(file): Named<String>,
) -> Result<Response, Refused> {
    let read = move |engine: &Engine| batch::content(engine, &caller, &file);
    let text = found(&server, read).await?;
    let lines = HeaderValue::from_static("application/jsonl");
    Ok(([(header::CONTENT_TYPE, lines)], text).into_response())
}

/// Erases what is in one of the caller's files.
#[utoipa::path(
    delete, path = "/v1/files/{file}", operation_id = "file_delete", tag = "model protocols",
    params(("file" = String, Path, description = "The file's id.")),
    responses((status = 200, description = "It is erased.", body = Value)),
)]
pub(crate) async fn delete(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(file): Named<String>,
) -> Result<Json<Value>, Refused> {
    batch::delete_file(server.engine(), &caller, &file).await?;
    Ok(Json(
        json!({ "id": file, "object": "file", "deleted": true }),
    ))
}

/// What is found in journals, on a thread that may block.
pub(super) async fn found<T: Send + 'static>(
    server: &Server,
    look: impl FnOnce(&Engine) -> Result<T, ModelError> + Send + 'static,
) -> Result<T, Refused> {
    let engine = server.engine().clone();
    let looked = blocking(move || Ok::<_, Failure>(look(&engine))).await?;
    Ok(looked?)
}

fn written(file: &FileView) -> Value {
    json!({
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at.as_micros() / 1_000_000,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    })
}

/// A page, as `OpenAI` writes it.
pub(super) fn paged(data: &[Value], more: bool) -> Value {
    let of = |one: Option<&Value>| one.and_then(|one| one.get("id")).cloned();
    json!({
        "object": "list",
        "first_id": of(data.first()),
        "last_id": of(data.last()),
        "has_more": more,
        "data": data,
    })
}
