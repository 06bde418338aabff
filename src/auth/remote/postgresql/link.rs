use std::error::Error as _;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::TryStreamExt;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls, Row, Statement};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use super::fault::Fault;
use super::metered::{Meter, Metered, TOO_MUCH};
use super::pool;
use super::values::{Sent, Which, check_columns};
use crate::config::{Database, Place, Query};

/// How connections to a server are opened, and which queries they are for.
pub(super) struct Terms {
    pub(super) database: Database,
    pub(super) password: Option<Vec<u8>>,
    /// `None`: without TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) query: Query,
    pub(super) acl_query: Option<Query>,
    /// The server ends a query that takes longer.
    pub(super) statement_timeout: Duration,
}

/// A connection to a server, with its prepared queries.
pub(super) struct Link {
    client: Client,
    meter: Meter,
    query: Statement,
    acl_query: Option<Statement>,
    task: Task,
}

impl Link {
    /// Opens a connection and prepares the queries.
    pub(super) async fn open(terms: &Terms) -> Result<Self, Fault> {
        let meter = Meter::new();
        let (client, task) = terms.connect(&meter).await.map_err(Fault::Lost)?;
        let timeout = format!("SET statement_timeout = {}", terms.statement_timeout.as_millis().max(1));
        client.batch_execute(&timeout).await.map_err(|error| task.fault(&error))?;
        let query = prepare(&client, &task, ("query", &terms.query)).await?;
        check_columns(&query, Which::Password).map_err(Fault::Failed)?;
        let acl_query = match &terms.acl_query {
            None => None,
            Some(query) => {
                let query = prepare(&client, &task, ("acl_query", query)).await?;
                check_columns(&query, Which::Topics).map_err(Fault::Failed)?;
                Some(query)
            }
        };
        Ok(Self { client, meter, query, acl_query, task })
    }

    /// The rows of a query with these parameters: at most `rows_max`, and one more. What comes after them is read and dropped.
    pub(super) async fn rows(&self, which: Which, values: &[Sent], rows_max: usize) -> Result<Vec<Row>, Fault> {
        self.meter.refill();
        let statement = match which {
            Which::Password => Some(&self.query),
            Which::Topics => self.acl_query.as_ref(),
        };
        let Some(statement) = statement else { return Ok(Vec::new()) };
        let fail = |error| match self.meter.is_empty() {
            true => Fault::Failed(TOO_MUCH.to_owned()),
            false => self.task.fault(&error),
        };
        let mut found = std::pin::pin!(self.client.query_raw(statement, values).await.map_err(fail)?);
        let mut rows = Vec::new();
        while let Some(row) = found.try_next().await.map_err(fail)? {
            if rows.len() <= rows_max {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

impl pool::Link for Link {
    fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// The task that reads and writes a connection. Dropping this ends it: otherwise it would wait for the result of a query that was given up.
struct Task {
    handle: AbortHandle,
    /// Why it has ended.
    ended: Arc<OnceLock<String>>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Task {
    /// An error of a query.
    fn fault(&self, error: &Error) -> Fault {
        let Some(database) = error.as_db_error() else { return Fault::Lost(self.described(error)) };
        let code = database.code();
        match code.code().get(..2) {
            _ if *code == SqlState::QUERY_CANCELED => Fault::Slow,
            // Data exceptions, violated constraints, and what functions raise. The message may repeat what the client has sent.
            Some("22" | "23" | "P0") => Fault::Value(code.code().to_owned()),
            Some("08" | "53" | "57" | "58") => Fault::Lost(self.described(error)),
            _ => Fault::Failed(self.described(error)),
        }
    }

    /// The text of an error, or why the connection has ended.
    fn described(&self, error: &Error) -> String {
        match self.ended.get().filter(|_| error.is_closed()) {
            Some(cause) => cause.clone(),
            None => described(error),
        }
    }
}

impl Terms {
    async fn connect(&self, meter: &Meter) -> Result<(Client, Task), String> {
        let (host, port) = match &self.database.place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
                return self.log_in(stream, meter).await;
            }
            Place::Host(host, port) => (host, *port),
        };
        let fail = |error: io::Error| format!("{host}:{port}: {error}");
        let mut stream = TcpStream::connect((&**host, port)).await.map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        // An idle connection whose state a router has dropped is found and closed by these probes.
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE)).map_err(fail)?;
        let Some(tls) = &self.tls else { return self.log_in(stream, meter).await };
        ask_for_tls(&mut stream).await.map_err(fail)?;
        let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(fail)?;
        self.log_in(stream, meter).await
    }

    async fn log_in<S>(&self, stream: S, meter: &Meter) -> Result<(Client, Task), String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut config = tokio_postgres::Config::new();
        config.user(&self.database.role).dbname(&self.database.name).application_name("oncemq");
        // TLS is below this stream.
        config.ssl_mode(SslMode::Disable);
        if let Some(password) = &self.password {
            config.password(password);
        }
        let stream = Metered::new(stream, meter.clone());
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|error| described(&error))?;
        let ended = Arc::new(OnceLock::new());
        let told = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            if let Err(error) = connection.as_mut().await {
                // Before the connection is dropped, and queries fail.
                drop(told.set(described(&error)));
            }
        });
        Ok((client, Task { handle: task.abort_handle(), ended }))
    }
}

async fn prepare(client: &Client, task: &Task, (name, query): (&str, &Query)) -> Result<Statement, Fault> {
    client.prepare(&query.sql).await.map_err(|error| match task.fault(&error) {
        Fault::Lost(cause) => Fault::Lost(cause),
        // Nothing of a client is in the message.
        Fault::Failed(_) | Fault::Value(_) | Fault::Slow => Fault::Failed(format!("{name}: {}", described(&error))),
    })
}

/// Asks the server to continue with TLS. Not a byte is read beyond its answer, which nobody has verified yet.
async fn ask_for_tls(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&SSL_REQUEST).await?;
    match stream.read_u8().await? {
        b'S' => Ok(()),
        _ => Err(io::Error::other("the server does not offer TLS")),
    }
}

/// The text of an error with its causes, as one short line.
fn described(error: &Error) -> String {
    let text = match error.as_db_error() {
        Some(database) => format!("{} (SQLSTATE {})", database.message(), database.code().code()),
        None => match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    };
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(TEXT_MAX).collect()
}

/// The request for TLS: its length, and a number that no version of the protocol has.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// Firewalls forget connections after minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// The log has one line for an error.
const TEXT_MAX: usize = 300;
