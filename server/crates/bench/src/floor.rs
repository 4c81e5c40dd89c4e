//! The least a process can do between a client and a server: bodies go through, nothing is looked at.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

use crate::Done;

type Through = Client<HttpConnector, Full<Bytes>>;

/// Says on which address it listens, and passes everything on to `to` until it is killed.
#[expect(clippy::disallowed_methods, reason = "it stands for another program")]
pub(crate) async fn serve(to: &str) -> Done {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Through = Client::builder(TokioExecutor::new()).build(connector);
    let to: Uri = format!("http://{to}/mcp").parse()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, to) = (client.clone(), to.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| pass(client.clone(), to.clone(), request));
            let served = hyper::server::conn::http1::Builder::new();
            let _ = served.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn pass(
    client: Through,
    to: Uri,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(through(client, to, request).await.unwrap_or_else(|_| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    }))
}

async fn through(client: Through, to: Uri, request: Request<Incoming>) -> Done<Response<Full<Bytes>>> {
    let (mut parts, body) = request.into_parts();
    parts.uri = to;
    parts.headers.remove(http::header::HOST);
    let body = body.collect().await?.to_bytes();
    let (parts, body) = client.request(Request::from_parts(parts, Full::new(body))).await?.into_parts();
    Ok(Response::from_parts(parts, Full::new(body.collect().await?.to_bytes())))
}
