use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use super::listener::{BoundedListener, BoundedStream};
use super::peer::Peer;

/// Serves the requests of all connections over TCP, each in a task of its own.
pub(super) async fn serve_tcp(mut listener: BoundedListener<TcpListener>, router: Router) {
    loop {
        let (stream, address, lease) = listener.accept().await;
        let (stream, peer) = (BoundedStream::new(stream, lease), Peer::Remote(address));
        tokio::spawn(serve(stream, peer, router.clone()));
    }
}

/// Serves the requests of all connections over the Unix socket, each in a task of its own.
pub(super) async fn serve_unix(mut listener: BoundedListener<UnixListener>, router: Router) {
    loop {
        let (stream, _, lease) = listener.accept().await;
        tokio::spawn(serve(BoundedStream::new(stream, lease), Peer::Local, router.clone()));
    }
}

/// Serves the requests of one connection. An error concerns its client alone, and is one of its transport or its request.
async fn serve<S>(stream: BoundedStream<S>, peer: Peer, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer.clone()));
        router.call(request)
    });
    // A client that closes its sending side after the request still waits for the response.
    let connection = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service);
    drop(connection.await);
}
