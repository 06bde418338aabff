use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::listener::{BoundedListener, BoundedStream, Lease};
use super::peer::Peer;
use crate::server::Https;

/// Serves the requests of all connections over TCP, each in a task of its own; with TLS if there is any.
pub(super) async fn serve_tcp(mut listener: BoundedListener<TcpListener>, tls: Option<Arc<Https>>, router: Router) {
    loop {
        let (stream, address, lease) = listener.accept().await;
        match tls.clone() {
            None => _ = tokio::spawn(serve(BoundedStream::new(stream, lease), Peer::plain(address), router.clone())),
            // An error concerns this client alone, which gets an alert.
            Some(tls) => _ = tokio::spawn(serve_tls(stream, address, lease, (tls, router.clone()))),
        }
    }
}

/// Serves the requests of all connections over the Unix socket, each in a task of its own.
pub(super) async fn serve_unix(mut listener: BoundedListener<UnixListener>, router: Router) {
    loop {
        let (stream, _, lease) = listener.accept().await;
        tokio::spawn(serve(BoundedStream::new(stream, lease), Peer::Local, router.clone()));
    }
}

async fn serve_tls(
    stream: TcpStream,
    address: SocketAddr,
    mut lease: Lease,
    (tls, router): (Arc<Https>, Router),
) -> io::Result<()> {
    let (stream, certificate) = lease.within(tls.accept(stream)).await??;
    let peer = Peer::Remote { address, is_encrypted: true, certificate };
    serve(BoundedStream::new(stream, lease), peer, router).await;
    Ok(())
}

/// Serves the requests of one connection. An error concerns its client alone, and is one of its transport or its request.
async fn serve<S>(stream: BoundedStream<S>, peer: Peer, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (router, lifetime) = (TowerToHyperService::new(router), stream.lifetime());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer.clone()));
        request.extensions_mut().insert(lifetime.clone());
        lifetime.set_asked(true);
        let (lifetime, response) = (lifetime.clone(), router.call(request));
        async move {
            let response = response.await;
            lifetime.set_asked(false);
            response
        }
    });
    // A client that closes its sending side after the request still waits for the response.
    let connection = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service);
    drop(connection.await);
}
