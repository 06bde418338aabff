//! HAProxy and nginx in front of the broker: health checks, PROXY headers, and WebSocket through a reverse proxy.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use wire::free_port;

use crate::broker::{Broker, Listener, Setup, Transport};
use crate::deadline::wait_for;
use crate::listeners::with_admin;
use crate::mosquitto::{Subscriber, message, publish_at, try_publish};
use crate::peer;
use crate::python;

/// A running proxy. Dropping it ends the process.
struct Proxy {
    directory: TempDir,
    child: Child,
}

impl Proxy {
    /// Starts `program` with a configuration, in which `DIRECTORY` stands for its directory, and waits until it listens at all `ports`.
    #[track_caller]
    fn start(program: &str, arguments: &[&str], configuration: &str, ports: &[u16]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let file = path.join("proxy.conf");
        fs::write(&file, configuration.replace("DIRECTORY", &path.display().to_string())).unwrap();
        let output = File::create(path.join("output")).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; `bash tests/run` installs it"));
        let mut proxy = Self { directory, child };
        wait_for(program, || {
            assert!(proxy.child.try_wait().unwrap().is_none(), "{program} ended:\n{}", proxy.output());
            ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()).then_some(())
        });
        proxy
    }

    fn output(&self) -> String {
        fs::read_to_string(self.directory.path().join("output")).unwrap_or_default()
    }

    /// HAProxy's statistics: server, state, and the result of its last check, by backend.
    fn servers(&self) -> Vec<(String, String, String)> {
        let mut socket = UnixStream::connect(self.directory.path().join("stats")).unwrap();
        socket.write_all(b"show stat\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = lines.next().unwrap();
        let column = |name: &str| header.iter().position(|title| title.trim_start_matches("# ") == name).unwrap();
        let (backend, server, state, check) =
            (column("pxname"), column("svname"), column("status"), column("check_status"));
        let rows = lines.filter(|row| row.get(server).is_some_and(|name| *name == "broker"));
        rows.map(|row| (row[backend].to_owned(), row[state].to_owned(), row[check].to_owned())).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx removes nothing that would be missed, and HAProxy runs without children.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            println!("the proxy said:\n{}", self.output());
        }
    }
}

/// A listener for each way in which a proxy comes.
fn setup() -> Setup {
    let proxied = |transport| Listener { extra: "proxy_protocol = \"any\"", ..Listener::new(transport) };
    let mut setup = Setup::new([Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]);
    setup.listeners.extend([proxied(Transport::Tcp), proxied(Transport::Ws)]);
    setup
}

fn port(broker: &Broker, listener: usize) -> u16 {
    broker.address_of(listener).port()
}

/// Publishes and subscribes through a port, from an address that only the PROXY header can tell the broker.
#[track_caller]
fn exchange_from(port: u16, source: &str) {
    let target: Vec<String> = ["-h", "127.0.0.1", "-p", &port.to_string(), "-A", source].map(str::to_owned).into();
    let topic = format!("through/{port}");
    let mut subscriber = Subscriber::start_at(&target, &["-V", "5", "-t", &topic, "-q", "2"]);
    publish_at(&target, &["-V", "311", "-t", &topic, "-m", source, "-q", "2"]);
    assert_eq!(subscriber.next(), message(&topic, source, 2));
}

#[test]
fn haproxy_checks_and_forwards() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(setup());
    let broker = setup.start();
    let [plain, v1, v2, ws] = [(); 4].map(|()| free_port());
    let mut configuration =
        "global\n  stats socket DIRECTORY/stats\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
                             timeout server 60s\n  default-server inter 100ms\n"
            .to_owned();
    for (name, front, listener, server, options) in [
        ("plain", Some(plain), 0, "check", ""),
        ("tls", None, 1, "check", ""),
        ("tls_handshake", None, 1, "check ssl verify none", ""),
        ("ws_tcp", None, 2, "check", ""),
        ("wss_tcp", None, 3, "check", ""),
        ("ws_http", Some(ws), 2, "check", "  mode http\n  option httpchk GET /\n  http-check expect status 426\n"),
        (
            "wss_http",
            None,
            3,
            "check ssl verify none",
            "  mode http\n  option httpchk HEAD /\n  http-check expect status 426\n",
        ),
        ("v1", Some(v1), 4, "send-proxy check", ""),
        ("v2", Some(v2), 4, "send-proxy-v2 check", ""),
        ("v2_ssl_cn", None, 4, "send-proxy-v2-ssl-cn check check-send-proxy", ""),
        ("v1_ws", None, 5, "send-proxy check", "  mode http\n  option httpchk GET /\n  http-check expect status 426\n"),
    ] {
        let target = port(&broker, listener);
        if let Some(front) = front {
            let mode = if options.contains("mode http") { "  mode http\n" } else { "" };
            configuration += &format!("frontend f_{name}\n  bind :::{front} v4v6\n{mode}  default_backend {name}\n");
        }
        configuration += &format!("backend {name}\n{options}  server broker 127.0.0.1:{target} {server}\n");
    }
    let proxy = Proxy::start("haproxy", &["-db", "-f"], &configuration, &[]);
    wait_for("HAProxy's checks", || {
        let servers = if proxy.directory.path().join("stats").exists() { proxy.servers() } else { Vec::new() };
        let is_checked = |(_, state, check): &(String, String, String)| state == "UP" && check.ends_with("OK");
        (servers.len() == 11 && servers.iter().all(is_checked)).then_some(())
    });
    // Each backend is checked ten times a second.
    wait_for("many probes", || (admin.figure("oncemq_probes_total") >= 50).then_some(()));
    for name in ["oncemq_connects_refused_total", "oncemq_handshakes_failed_total", "oncemq_protocol_errors_total"] {
        assert_eq!(admin.figure(name), 0, "{name}: {}", broker.log());
    }
    assert!(!broker.log().contains("WARN") && !broker.log().contains("ended in its handshake"), "{}", broker.log());

    for (port, source) in [(plain, "127.0.0.1"), (v1, "127.0.0.21"), (v2, "127.0.0.22")] {
        exchange_from(port, source);
        wait_for(source, || broker.log().contains(&format!("from {source}:")).then_some(()));
    }
    // HAProxy's socket takes both families, so its headers have IPv4-mapped addresses.
    assert!(!broker.log().contains("::ffff"), "{}", broker.log());
    python::run(&broker, "test_websocket", &[("BROKER_PORT", &ws.to_string())]);
    assert!(proxy.servers().iter().all(|(_, state, _)| state == "UP"), "{:?}", proxy.servers());
}

/// The arguments of mosquitto's clients for a port of a proxy with the broker's certificates.
fn over_tls(broker: &Broker, port: u16, certificate: Option<&str>) -> Vec<String> {
    let mut target: Vec<String> = ["-h", "localhost", "-p", &port.to_string()].map(str::to_owned).into();
    target.extend(["--cafile".to_owned(), broker.file("ca.pem")]);
    if let Some(name) = certificate {
        let files = [("--cert", "pem"), ("--key", "key")];
        target.extend(
            files.iter().flat_map(|(option, end)| [(*option).to_owned(), broker.file(&format!("{name}.{end}"))]),
        );
    }
    target
}

#[test]
fn haproxy_tells_the_certificates_of_its_clients() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = setup();
    setup.allow_anonymous = false;
    setup.listeners.truncate(1);
    setup.listeners[0].extra = "proxy_protocol = \"v2\"\ntrusted_proxies = [\"127.0.0.1\"]\n[listeners.proxy_tls]\n\
                                client_certificate = \"required\"\nidentity_as_user_name = true";
    let (setup, admin) = with_admin(setup.access("user device-7\ntopic readwrite own/#\n"));
    let broker = setup.start();
    let [tls, lax, plain, silent] = [(); 4].map(|()| free_port());
    let pem = [fs::read(broker.path().join("server.pem")), fs::read(broker.path().join("server.key"))];
    fs::write(broker.path().join("haproxy.pem"), pem.map(Result::unwrap).concat()).unwrap();
    let (own, ca, target) = (broker.file("haproxy.pem"), broker.file("ca.pem"), port(&broker, 0));
    let bind = format!("ssl crt {own} ca-file {ca} verify");
    let server = format!("server broker 127.0.0.1:{target}");
    let configuration = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen tls\n  bind 127.0.0.1:{tls} {bind} required\n  {server} send-proxy-v2-ssl-cn check inter 50ms check-send-proxy\n\
         listen lax\n  bind 127.0.0.1:{lax} {bind} optional crt-ignore-err all ca-ignore-err all\n  {server} send-proxy-v2-ssl-cn\n\
         listen plain\n  bind 127.0.0.1:{plain}\n  {server} send-proxy-v2-ssl-cn\n\
         listen silent\n  bind 127.0.0.1:{silent} {bind} required\n  {server} send-proxy-v2\n"
    );
    let _proxy = Proxy::start("haproxy", &["-db", "-f"], &configuration, &[tls, lax, plain, silent]);
    wait_for("checks of HAProxy", || (admin.figure("oncemq_probes_total") >= 3).then_some(()));

    for port in [tls, lax] {
        let target = over_tls(&broker, port, Some("client"));
        let mut subscriber = Subscriber::start_at(&target, &["-V", "5", "-t", "own/+", "-q", "1"]);
        publish_at(&target, &["-t", "own/x", "-m", "certified", "-q", "1"]);
        assert_eq!(subscriber.next(), message("own/x", "certified", 1));
    }
    assert!(broker.log().contains("user \"device-7\" from 127.0.0.1"), "{}", broker.log());
    let loopback = vec!["-h".to_owned(), "127.0.0.1".to_owned(), "-p".to_owned(), plain.to_string()];
    let refused = [
        (over_tls(&broker, lax, None), "the client presented no certificate to the proxy"),
        (over_tls(&broker, lax, Some("stranger")), "the proxy has not verified the client's certificate: error "),
        (loopback, "the client did not speak TLS with the proxy"),
        (over_tls(&broker, silent, Some("client")), "or the proxy does not say so"),
    ];
    for (target, reason) in refused {
        let output = try_publish(&target, &["-t", "own/x", "-m", "no", "-q", "1"], "");
        assert!(!output.status.success(), "{reason}");
        wait_for(reason, || broker.log().contains(reason).then_some(()));
    }
    // Another machine that names a certificate, and one that speaks version 1.
    let mut reconfigured = fs::read_to_string(broker.path().join("oncemq.toml")).unwrap();
    reconfigured = reconfigured.replace("[\"127.0.0.1\"]", "[\"192.0.2.1\"]");
    fs::write(broker.path().join("oncemq.toml"), reconfigured).unwrap();
    broker.signal("HUP");
    wait_for("the reload", || broker.log().contains("has other settings").then_some(()));
    let output = try_publish(&over_tls(&broker, tls, Some("client")), &["-t", "own/x", "-m", "no", "-q", "1"], "");
    assert!(!output.status.success());
    wait_for("the reason", || broker.log().contains("not one of trusted_proxies").then_some(()));
}

#[test]
fn nginx_forwards_websocket_and_tcp() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup().start();
    let [http, tcp] = [(); 2].map(|()| free_port());
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    assert!(module.exists(), "libnginx-mod-stream is missing: `bash tests/run` installs it");
    let configuration = format!(
        r#"
load_module {module};
daemon off;
master_process off;
pid DIRECTORY/pid;
error_log DIRECTORY/error;
events {{}}
http {{
  access_log off;
  client_body_temp_path DIRECTORY/body;
  proxy_temp_path DIRECTORY/proxy;
  fastcgi_temp_path DIRECTORY/fastcgi;
  uwsgi_temp_path DIRECTORY/uwsgi;
  scgi_temp_path DIRECTORY/scgi;
  server {{
    listen 127.0.0.1:{http};
    location /mqtt {{
      proxy_pass http://127.0.0.1:{ws};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }}
    location /forgotten {{
      proxy_pass http://127.0.0.1:{ws}/mqtt;
    }}
  }}
}}
stream {{
  server {{
    listen 127.0.0.1:{tcp};
    proxy_pass 127.0.0.1:{proxied};
    proxy_protocol on;
  }}
}}
"#,
        module = module.display(),
        ws = port(&broker, 2),
        proxied = port(&broker, 4),
    );
    let _proxy = Proxy::start("nginx", &["-c"], &configuration, &[http, tcp]);
    python::run(&broker, "test_websocket", &[("BROKER_PORT", &http.to_string())]);
    exchange_from(tcp, "127.0.0.31");
    wait_for("the client's address", || broker.log().contains("from 127.0.0.31:").then_some(()));

    // Without the two headers in its configuration, nginx forwards a plain request.
    let mut stream = TcpStream::connect(("127.0.0.1", http)).unwrap();
    let request = "GET /forgotten HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: \
                   13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 426");
    let line = "no Upgrade header: a proxy in between must pass on Upgrade and Connection";
    wait_for(line, || broker.log().contains(line).then_some(()));
}
