use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use super::listener::BoundedListener;
use super::peer::Peer;

/// Serves the requests of all connections, each in a task of its own.
pub(super) async fn serve(mut listener: BoundedListener, router: Router) {
    let router = TowerToHyperService::new(router);
    loop {
        let (stream, address) = listener.accept().await;
        let router = router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(Peer(address)));
            router.call(request)
        });
        // A client that closes its sending side after the request still waits for the response.
        let connection = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service);
        // An error concerns this client alone, and is one of its transport or its request.
        tokio::spawn(async move { drop(connection.await) });
    }
}
