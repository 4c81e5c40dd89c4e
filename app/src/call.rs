//! Calling server functions, as JSON. What is generic over a function is compiled once for each, and much of that would
//! lie in the part of the wasm that every page loads: so answers travel as text, and only the page that shows one reads
//! it into its type.

use core::{convert::Infallible, fmt, pin::Pin, str::FromStr};
use std::sync::Arc;

use model::{AppError, ErrorKind};
use serde::de::DeserializeOwned;
use server_fn::ServerFn;

/// What a server function answered: the JSON of its output, or its error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) Result<String, AppError>);

// For the way from the server to the browser inside the page: as the codec of serde would write it, every quotation
// mark of the JSON would be escaped once more.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(json) => write!(f, "+{json}"),
            Err(error) => write!(f, "-{}", serde_json::to_string(error).map_err(|_| fmt::Error)?),
        }
    }
}

impl FromStr for Answer {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(match text.strip_prefix('+') {
            Some(json) => Ok(json.to_owned()),
            None => Err(read_error(text.strip_prefix('-').unwrap_or_default())),
        }))
    }
}

/// Reads the output of a server function.
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> Result<T, AppError> {
    serde_json::from_str(json).map_err(|_| unreadable())
}

/// Reads the error of a server function.
#[inline(never)]
pub(crate) fn read_error(json: &str) -> AppError {
    serde_json::from_str(json).unwrap_or_else(|_| unreadable())
}

fn unreadable() -> AppError {
    AppError::new(ErrorKind::Internal, "internal", crate::copy::UNREADABLE_ANSWER)
}

/// An answer that is on its way.
pub(crate) type Calling = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// How to call a server function with one text, or none, as its argument.
pub(crate) type Call = Arc<dyn Fn(String) -> Calling + Send + Sync>;

/// Calls a server function with the argument that `args` makes of a text: in the process while the server renders, and
/// by `fetch`, with the text as `name`, in the browser.
#[cfg(feature = "ssr")]
pub(crate) fn call<S>(_name: &'static str, args: impl Fn(String) -> S + Send + Sync + 'static) -> Call
where
    S: ServerFn<Error = AppError, Output: serde::Serialize> + 'static,
{
    Arc::new(move |text| {
        let args = args(text);
        Box::pin(async move {
            let output = args.run_body().await;
            Answer(output.and_then(|output| serde_json::to_string(&output).map_err(|_| unreadable())))
        })
    })
}

/// Calls a server function with the argument that `args` makes of a text: in the process while the server renders, and
/// by `fetch`, with the text as `name`, in the browser.
#[cfg(not(feature = "ssr"))]
pub(crate) fn call<S: ServerFn>(
    name: &'static str,
    _args: impl Fn(String) -> S + Send + Sync + 'static,
) -> Call {
    fetching(S::PATH, name)
}

#[cfg(not(feature = "ssr"))]
#[inline(never)]
fn fetching(path: &'static str, name: &'static str) -> Call {
    Arc::new(move |text| {
        let mut body = String::new();
        if !name.is_empty() {
            body.push_str(name);
            body.push('=');
            body.push_str(&leptos_router::location::Url::escape(&text));
        }
        Box::pin(post(path, body))
    })
}

/// Posts the arguments of a server function from the browser, and follows the redirect that it may answer with.
#[cfg(all(feature = "hydrate", not(feature = "ssr")))]
pub(crate) async fn post(path: &'static str, body: String) -> Answer {
    Answer(fetch(path, body).await)
}

/// There is nowhere to post to outside a browser.
#[cfg(not(all(feature = "hydrate", not(feature = "ssr"))))]
pub(crate) async fn post(_path: &'static str, _body: String) -> Answer {
    core::future::pending().await
}

#[cfg(all(feature = "hydrate", not(feature = "ssr")))]
async fn fetch(path: &str, body: String) -> Result<String, AppError> {
    use server_fn::{
        client::{Client, browser::BrowserClient},
        redirect::call_redirect_hook,
        request::{ClientReq, browser::BrowserRequest},
        response::{ClientRes, browser::BrowserResponse},
    };

    let request = <BrowserRequest as ClientReq<AppError>>::try_new_post(
        path,
        "application/x-www-form-urlencoded",
        "application/json",
        body,
    )?;
    let response: BrowserResponse = <BrowserClient as Client<AppError>>::send(request).await?;
    let status = ClientRes::<AppError>::status(&response);
    let location =
        ClientRes::<AppError>::has_redirect(&response).then(|| ClientRes::<AppError>::location(&response));
    let text = ClientRes::<AppError>::try_into_string(response).await?;
    if status >= 400 {
        return Err(read_error(&text));
    }
    if let Some(location) = location {
        call_redirect_hook(&location);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_survives_the_way_through_the_page() {
        let error = AppError::field("name", "taken", "It is \"taken\"");
        for answer in
            [Answer(Ok(r#"{"a":"\"+-"}"#.to_owned())), Answer(Ok(String::new())), Answer(Err(error))]
        {
            assert_eq!(answer.to_string().parse(), Ok(answer));
        }
        assert_eq!("".parse(), Ok(Answer(Err(unreadable()))));
    }
}
