//! An admin listener with TLS gets its socket from systemd and from a running broker, and has the certificate of its own configuration.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::generate_simple_self_signed;
use tokio::time::sleep;

use crate::activation::start_with;
use crate::broker::{Broker, Place};
use crate::world::World;
use crate::{PATIENCE, now, run};

/// A broker with an admin listener over TLS.
struct Secured {
    place: Place,
    admin: SocketAddr,
}

impl Secured {
    fn new() -> Self {
        Self { place: Place::new(), admin: Place::new().address }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.directory.path().join(name)
    }

    /// Writes a new certificate.
    fn certify(&self, name: &str) {
        let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(self.path(&format!("{name}.crt")), made.cert.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }

    /// Writes the configuration, with the certificate and the key of this name.
    fn configure(&self, name: &str) {
        let text = format!(
            "[[listeners]]\naddress = \"{}\"\n[security]\nallow_anonymous = true\n\
             [admin]\nrequired = true\naddress = \"{}\"\ncertificate = {:?}\nkey = {:?}\n",
            self.place.address,
            self.admin,
            self.path(&format!("{name}.crt")),
            self.path(&format!("{name}.key")),
        );
        fs::write(self.path("oncemq.toml"), text).unwrap();
    }

    fn start(&self, arguments: &[&str]) -> Broker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.env_clear().arg("--config").arg(self.path("oncemq.toml")).arg("--data").arg(self.path("data"));
        command.args(arguments).stdin(Stdio::null());
        Broker::spawn(&self.place, command)
    }

    /// Asks over TLS whether the broker is ready, and trusts this certificate alone.
    fn ask(&self, name: &str) -> Child {
        let url = format!("https://{}/health/ready", self.admin);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--cacert"]);
        curl.arg(self.path(&format!("{name}.crt"))).arg(url);
        curl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.place.log_file()).spawn().unwrap()
    }

    fn is_ready(&self, name: &str) -> bool {
        self.ask(name).wait().unwrap().success()
    }

    async fn becomes_ready(&self, name: &str) {
        let end = now() + PATIENCE;
        while !self.is_ready(name) {
            assert!(now() < end, "{}", self.place.log());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[test]
fn an_admin_listener_with_tls_has_the_socket_of_systemd() {
    run(async {
        let secured = Secured::new();
        let (mqtt, admin) =
            (TcpListener::bind(secured.place.address).unwrap(), TcpListener::bind(secured.admin).unwrap());
        secured.certify("a");
        secured.configure("a");
        let file = secured.path("oncemq.toml").display().to_string();
        for _ in 0..2 {
            // It waits until a broker runs.
            let mut waiting = secured.ask("a");
            sleep(Duration::from_millis(100)).await;
            let sockets = [mqtt.try_clone().unwrap().into(), admin.try_clone().unwrap().into()];
            let mut broker = start_with(&secured.place, sockets, "oncemq.socket:oncemq.socket", &["--config", &file]);
            assert!(waiting.wait().unwrap().success(), "{}", secured.place.log());
            broker.terminate();
            assert_eq!(broker.exit_code().await, Some(0));
        }
    });
}

#[test]
fn an_admin_listener_with_tls_moves_and_has_the_certificate_of_the_new_process() {
    run(async {
        let secured = Secured::new();
        secured.certify("a");
        secured.certify("b");
        secured.configure("a");
        let mut broker = secured.start(&[]);
        secured.becomes_ready("a").await;
        secured.configure("b");
        let next = secured.start(&["--take-over"]);
        while broker.is_running() {
            // The socket stays open: a connect is not refused.
            drop(TcpStream::connect(secured.admin).unwrap());
            sleep(Duration::from_millis(1)).await;
        }
        assert!(secured.is_ready("b"), "{}", secured.place.log());
        assert!(!secured.is_ready("a"));
        drop(next);
    });
}

/// What a required admin listener needs is tried before the running broker stops serving.
#[test]
fn a_required_admin_listener_that_cannot_start_leaves_the_running_broker_alone() {
    run(async {
        let secured = Secured::new();
        secured.certify("a");
        secured.configure("a");
        let mut broker = secured.start(&[]);
        secured.becomes_ready("a").await;
        let world = World::start(secured.place.address, 4);
        world.begin().await;
        // The key is that of another certificate.
        secured.certify("b");
        fs::copy(secured.path("a.key"), secured.path("b.key")).unwrap();
        secured.configure("b");
        assert_eq!(secured.start(&["--take-over"]).exit_code().await, Some(3));
        secured.configure("a");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        assert_eq!(secured.start(&["--take-over", "--admin", &address]).exit_code().await, Some(3));
        sleep(Duration::from_millis(100)).await;
        assert!(broker.is_running());
        assert_eq!((world.lost(), world.refused()), (0, 0), "{}", secured.place.log());
        assert!(secured.is_ready("a"));
        world.settle(PATIENCE).await;
    });
}
