//! Nodes with a service in memory and connections over loopback.

use std::collections::HashMap;
use std::sync::Mutex;

use super::*;

/// What connects all nodes: it passes frames in memory.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<HashMap<String, mpsc::Sender<Arrived>>>>);

struct End {
    node: &'static str,
    service: Service,
}

impl Bus for End {
    fn send(&self, node: &str, way: Way, frame: Bytes) -> Pending<Result<(), EngineError>> {
        let to = self.service.0.lock().unwrap().get(node).cloned();
        let arrived = Arrived { node: self.node.to_owned(), way, frame };
        Box::pin(async move {
            if let Some(to) = to {
                let _ = to.send(arrived).await;
            }
            Ok(())
        })
    }

    fn frames(&self) -> Pending<Result<mpsc::Receiver<Arrived>, EngineError>> {
        let (sender, receiver) = mpsc::channel(64);
        self.service.0.lock().unwrap().insert(self.node.to_owned(), sender);
        Box::pin(async move { Ok(receiver) })
    }

    fn flush(&self) -> Pending<()> {
        Box::pin(async {})
    }
}

struct Node {
    bus: DirectBus,
    frames: mpsc::Receiver<Arrived>,
}

async fn node(name: &'static str, service: &Service, listens: bool) -> Node {
    let end = Arc::new(End { node: name, service: service.clone() });
    let address = listens.then(|| "127.0.0.1:0".parse().unwrap());
    let bus = DirectBus::new(end, address, None).await.unwrap();
    let frames = bus.frames().await.unwrap();
    Node { bus, frames }
}

impl Node {
    /// The way to a node, when it is known.
    async fn way_to(&self, node: &str) -> Way {
        let find = async {
            loop {
                if let Some(way) = self.bus.way_to(node) {
                    return way;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, find).await.expect("a way")
    }

    async fn direct_way_to(&self, node: &str) -> Way {
        let find = async {
            loop {
                match self.way_to(node).await {
                    Way::Service => tokio::time::sleep(Duration::from_millis(5)).await,
                    way @ Way::Direct(_) => return way,
                }
            }
        };
        timeout(PATIENCE, find).await.expect("a direct way")
    }

    async fn send(&self, node: &str, way: Way, frame: &'static str) -> bool {
        self.bus.send(node, way, Bytes::from_static(frame.as_bytes())).await.is_ok()
    }

    async fn next(&mut self) -> Arrived {
        timeout(PATIENCE, self.frames.recv()).await.expect("a frame").expect("the bus has ended")
    }
}

#[tokio::test]
async fn two_nodes_connect_and_answers_come_back_over_the_same_connection() {
    let service = Service::default();
    let (mut a, mut b) = (node("a", &service, false).await, node("b", &service, true).await);
    let way = a.way_to("b").await;
    assert_ne!(way, Way::Service);
    assert!(a.send("b", way, "question").await);
    let question = b.next().await;
    assert_eq!((&*question.node, &*question.frame), ("a", &b"question"[..]));
    assert_ne!(question.way, Way::Service);
    assert!(b.send("a", question.way, "answer").await);
    let answer = a.next().await;
    assert_eq!((&*answer.node, answer.way, &*answer.frame), ("b", way, &b"answer"[..]));
    // The other one listens nowhere.
    assert_eq!(b.way_to("a").await, Way::Service);
    assert!(b.send("a", Way::Service, "by the service").await);
    assert_eq!(a.next().await.way, Way::Service);
}

#[tokio::test]
async fn a_way_that_is_left_ends_behind_what_was_sent_and_the_next_one_is_another_connection() {
    let service = Service::default();
    let (a, mut b) = (node("a", &service, false).await, node("b", &service, true).await);
    let way = a.way_to("b").await;
    assert!(a.send("b", way, "last").await);
    a.bus.flush().await;
    a.bus.leave(way);
    assert!(!a.send("b", way, "lost").await);
    assert_eq!(&*b.next().await.frame, b"last");
    let next = a.direct_way_to("b").await;
    assert_ne!(next, way);
    assert!(a.send("b", next, "next").await);
    assert_eq!(&*b.next().await.frame, b"next");
}

#[tokio::test]
async fn a_node_that_has_gone_ends_its_connections_and_one_that_begins_later_is_found() {
    let service = Service::default();
    let a = node("a", &service, true).await;
    // It is not there, and the service would lose the frames.
    assert_eq!(a.way_to("b").await, Way::Service);
    let b = node("b", &service, true).await;
    let way = a.direct_way_to("b").await;
    drop(b);
    let ended = async {
        while a.send("b", way, "lost").await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the connection stays");
    let mut b = node("b", &service, true).await;
    let way = a.direct_way_to("b").await;
    assert!(a.send("b", way, "again").await);
    assert_eq!(&*b.next().await.frame, b"again");
}

#[tokio::test]
async fn the_frames_end_with_the_service_and_what_waits_is_flushed_before() {
    let service = Service::default();
    let (mut a, mut b) = (node("a", &service, true).await, node("b", &service, true).await);
    let way = a.way_to("b").await;
    for _ in 0..100 {
        assert!(a.send("b", way, "waits").await);
    }
    a.bus.flush().await;
    service.0.lock().unwrap().remove("a");
    assert!(timeout(PATIENCE, a.frames.recv()).await.expect("the frames go on").is_none());
    assert!(!a.send("b", way, "lost").await);
    for _ in 0..100 {
        assert_eq!(&*b.next().await.frame, b"waits");
    }
    // The port is free for the next one.
    let address = a.bus.0.address.clone().unwrap();
    let bind = async {
        while TcpListener::bind(&address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, bind).await.expect("it listens still");
}

#[tokio::test]
async fn who_has_not_introduced_itself_is_not_let_in() {
    let service = Service::default();
    let mut b = node("b", &service, true).await;
    let address = b.bus.0.address.clone().unwrap();
    let stranger = Identity::new().unwrap();
    let connector = stranger.connector(b.bus.0.identity.key).unwrap();
    let stream = TcpStream::connect(&address).await.unwrap();
    let connected = connector.connect(ServerName::try_from("node").unwrap(), stream).await;
    if let Ok(mut stream) = connected {
        // TLS 1.3 tells a client of that behind its own handshake.
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut byte);
        assert!(timeout(PATIENCE, read).await.unwrap().is_err(), "it is let in");
    }
    // Nor does a node go on with one that has another key.
    let a = node("a", &service, false).await;
    assert!(a.bus.0.connect(&address, stranger.key).await.is_err());
    assert!(b.frames.try_recv().is_err());
}

const PATIENCE: Duration = Duration::from_secs(20);
