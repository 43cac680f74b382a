//! Lists, a page at a time, by cursor.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The most items of a page.
pub(crate) const LIMIT_MAX: u32 = 200;
/// The items of a page when none are asked for.
pub(crate) const LIMIT_DEFAULT: u32 = 50;

/// Which page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Where the page begins: `next` of the page before.
    pub(crate) cursor: Option<String>,
    /// How many items at most, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u32>,
}

impl PageQuery {
    pub(crate) fn limit(&self) -> u32 {
        limit(self.limit)
    }
}

/// How many items a page has.
pub(crate) fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The next page's cursor; null after the last page.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page out of one item more than it holds, where there is one; `cursor` gives the place
    /// after an item.
    pub(crate) fn cut(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }

    /// Changes the items.
    pub(crate) fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next: self.next,
        }
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    /// The page, and the next one's cursor in a `Link` header (RFC 8288) relative to this address.
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        let link = self
            .next
            .as_ref()
            .map(|next| format!(r#"<?cursor={next}>; rel="next""#))
            .and_then(|link| HeaderValue::from_str(&link).ok());
        if let Some(link) = link {
            headers.insert(header::LINK, link);
        }
        (headers, axum::Json(self)).into_response()
    }
}

/// Completes the address of the next page with the query that this page was asked for by, so that who
/// follows it stays among what was asked for.
pub(crate) async fn complete_link(request: Request, next: Next) -> Response {
    let asked = request.uri().query().unwrap_or_default();
    let others: Vec<&str> = asked
        .split('&')
        .filter(|part| !part.is_empty() && !part.starts_with("cursor="))
        .collect();
    let others = others.join("&");
    let mut response = next.run(request).await;
    let link = response.headers().get(header::LINK);
    let link = link.and_then(|link| link.to_str().ok()?.strip_prefix("<?"));
    if let (Some(link), false) = (link, others.is_empty())
        && let Ok(link) = HeaderValue::from_str(&format!("<?{others}&{link}"))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_next_one_only_when_there_is_more() {
        let page = Page::cut(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!((page.items, page.next), (vec![1, 2], Some("2".into())));
        let page = Page::cut(vec![1, 2], 2, ToString::to_string);
        assert_eq!((page.items, page.next), (vec![1, 2], None));
        assert_eq!(limit(Some(0)), 1);
        assert_eq!(limit(Some(9_999)), LIMIT_MAX);
    }
}
