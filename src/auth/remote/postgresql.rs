//! Users of a PostgreSQL database, by a query that the operator has written.
//!
//! What a client sends is only ever the value of a parameter. The password is not even that: the query gives its hash, which is compared here.
//!
//! | rows of the query | the client |
//! | --- | --- |
//! | none | is not its own; a password is hashed all the same, so that the time doesn't tell |
//! | one | is accepted with the right password |
//! | several | is refused |

mod fault;
mod file;
mod link;
mod metered;
mod pool;
mod stored;
mod values;

use std::fmt;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_postgres::Row;

use self::fault::Fault;
use self::link::{Link, Terms};
use self::pool::Pool;
use self::stored::Stored;
use self::values::{Rule, Sent, User, Which};
use super::backend::{Asking, Backend, BackendFault, Grant, Reply, Topics};
use super::service::{self, Service};
use crate::auth::error::AuthError;
use crate::auth::provider::Request;
use crate::config::{self, Database, Query};
use crate::http_client::{Trust, tls_config};

/// The users of a database.
pub(in crate::auth) struct PostgreSql {
    terms: Arc<Terms>,
    pool: Arc<Pool<Link>>,
    hashing: Arc<Semaphore>,
    /// The hash of the user that was asked for last, for passwords of unknown users.
    decoy: Mutex<Option<Arc<Stored>>>,
    /// The time for one request.
    timeout: Duration,
}

impl PostgreSql {
    /// The service of a provider. `before`: that of the provider with the same name before a reload.
    pub(in crate::auth) fn service(
        settings: &config::Provider,
        (key, before): (&RandomState, Option<&Arc<Service>>),
    ) -> Result<Arc<Service>, AuthError> {
        let password = settings.password_file.as_deref().map(file::read).transpose()?;
        let authorities = settings.ca.as_deref().map(file::read).transpose()?;
        let material = (password.clone(), authorities.clone());
        let backend = Self::new(settings, password, authorities)?;
        Ok(Service::new(settings, Box::new(backend), material, (key, before)))
    }

    fn new(
        settings: &config::Provider,
        password: Option<Vec<u8>>,
        authorities: Option<Vec<u8>>,
    ) -> Result<Self, AuthError> {
        let fail = |setting: &str, cause: &str| AuthError::Service {
            provider: settings.label().to_owned(),
            cause: format!("{setting} {cause}"),
        };
        let database =
            Database::parse(settings.url.as_deref().unwrap_or_default()).map_err(|text| fail("url", text))?;
        let query = |setting: &str, text: &str| Query::parse(text).map_err(|text| fail(setting, &text));
        let tls = match (database.is_encrypted(settings.tls, authorities.is_some()), &authorities) {
            (false, _) => None,
            (true, None) => Some(Trust::System),
            (true, Some(pem)) => Some(Trust::Only(pem)),
        };
        let tls = tls.map(tls_config).transpose().map_err(|error| fail("ca", &error.to_string()))?;
        let time = settings.timeout.unwrap_or(service::TIMEOUT);
        let terms = Arc::new(Terms {
            query: query("query", settings.query.as_deref().unwrap_or_default())?,
            acl_query: settings.acl_query.as_deref().map(|text| query("acl_query", text)).transpose()?,
            database,
            password,
            tls: tls.map(Arc::new),
            // So that its answer, which says so, comes in time.
            statement_timeout: time * 9 / 10,
        });
        let connections_max = settings.connections_max.map_or(CONNECTIONS_MAX, |max| usize::from(max.get()));
        let opened = Arc::clone(&terms);
        let open = move || -> BoxFuture<'static, _> {
            let terms = Arc::clone(&opened);
            Box::pin(async move { Link::open(&terms).await })
        };
        Ok(Self {
            terms,
            pool: Pool::new(connections_max, time, Box::new(open)),
            hashing: Arc::new(Semaphore::new(hashers())),
            decoy: Mutex::default(),
            timeout: time,
        })
    }

    /// The rows of a query. One of a connection that the server has closed meanwhile is repeated once.
    async fn rows(&self, which: Which, values: &[Sent], rows_max: usize) -> Result<Vec<Row>, Fault> {
        match self.try_rows(which, values.to_vec(), rows_max).await {
            Err(Fault::Lost(_)) => self.try_rows(which, values.to_vec(), rows_max).await,
            result => result,
        }
    }

    async fn try_rows(&self, which: Which, values: Vec<Sent>, rows_max: usize) -> Result<Vec<Row>, Fault> {
        let lent = self.pool.take().await?;
        let time = self.timeout;
        // A task of its own: the connection is used again even if the client goes meanwhile.
        let asked = tokio::spawn(async move {
            let Some(link) = lent.link() else { return Err(Fault::Slow) };
            let result = timeout(time, link.rows(which, &values, rows_max)).await;
            match &result {
                Ok(Ok(_) | Err(Fault::Value(_) | Fault::Slow)) => lent.give_back(),
                // A server that is silent for longer than it may work on a query is gone.
                Ok(Err(Fault::Lost(_))) | Err(_) => lent.close_all(),
                // The table may have changed since the query was prepared.
                Ok(Err(Fault::Failed(_))) => drop(lent),
            }
            result.unwrap_or(Err(Fault::Slow))
        });
        asked.await.unwrap_or_else(|error| Err(Fault::Failed(error.to_string())))
    }

    async fn judge(&self, request: &Request) -> Result<Option<Reply>, BackendFault> {
        let deny = |cause: &str| Ok(Some(Reply::Deny(cause.to_owned())));
        let values = Sent::of(&self.terms.query, request, request.user_name.as_deref());
        let rows = match self.rows(Which::Password, &values, 1).await {
            Ok(rows) => rows,
            Err(Fault::Value(code)) => return deny(&Fault::Value(code).to_string()),
            Err(fault) => return Err(fault.into()),
        };
        let user = match rows.as_slice() {
            [] => Ok(None),
            [row] => User::of(row).map(Some),
            [_, _, ..] => Err("the query has several rows for this client".to_owned()),
        };
        let user = match user {
            Ok(Some(user)) => user,
            Ok(None) | Err(_) => {
                // So that it takes as long as for a user with a password.
                if let Some(password) = &request.password {
                    self.verify(self.decoy(), password.clone()).await?;
                }
                return Ok(user.err().map(Reply::Deny));
            }
        };
        let Some(password) = &request.password else { return deny("no password") };
        let stored = Arc::new(user.stored);
        *self.decoy.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&stored));
        if !self.verify(stored, password.clone()).await? {
            return deny("wrong password");
        }
        let Some(name) = user.name.as_deref().or(request.user_name.as_deref()) else {
            return deny("neither the row nor the client has a user name");
        };
        let topics = if user.is_superuser { None } else { self.topics(request, name).await? };
        let grant = Grant { user: Some(name.into()), topics, is_superuser: user.is_superuser, expires: None };
        Ok(Some(Reply::Allow(grant)))
    }

    /// The topics of an accepted client; `None`: the ACL file decides.
    async fn topics(&self, request: &Request, user: &str) -> Result<Option<Topics>, BackendFault> {
        let Some(query) = &self.terms.acl_query else { return Ok(None) };
        let rows = self.rows(Which::Topics, &Sent::of(query, &request.named(user), Some(user)), RULES_MAX).await?;
        if rows.len() > RULES_MAX {
            return Err(BackendFault::Invalid(format!("acl_query: more than {RULES_MAX} rows")));
        }
        let mut topics = Topics::default();
        for row in &rows {
            let rule = Rule::of(row).map_err(|cause| BackendFault::Invalid(format!("acl_query: {cause}")))?;
            let (publish, subscribe) = match rule.allows {
                true => (&mut topics.publish, &mut topics.subscribe),
                false => (&mut topics.deny_publish, &mut topics.deny_subscribe),
            };
            for list in [rule.publish.then_some(publish), rule.subscribe.then_some(subscribe)].into_iter().flatten() {
                list.push(rule.filter.clone());
            }
        }
        Ok(Some(topics))
    }

    /// Compares a password on a thread of its own, because that takes milliseconds.
    async fn verify(&self, stored: Arc<Stored>, password: Bytes) -> Result<bool, BackendFault> {
        let failed = |error: &dyn fmt::Display| BackendFault::Invalid(format!("no thread compares passwords: {error}"));
        let permit = Arc::clone(&self.hashing).acquire_owned().await.map_err(|error| failed(&error))?;
        let (told, answer) = oneshot::channel();
        let compare = move || {
            // Sending fails if the client has disconnected meanwhile.
            let _is_heard = told.send(stored.verify(&password)).is_ok();
            drop(permit);
        };
        thread::Builder::new().name("password-hash".to_owned()).spawn(compare).map_err(|error| failed(&error))?;
        answer.await.map_err(|error| failed(&error))
    }

    fn decoy(&self) -> Arc<Stored> {
        let mut decoy = self.decoy.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(decoy.get_or_insert_with(|| Arc::new(Stored::decoy())))
    }
}

impl Backend for PostgreSql {
    fn ask<'a>(&'a self, request: &'a Request) -> Asking<'a> {
        Box::pin(self.judge(request))
    }

    fn concerns(&self, request: &Request) -> bool {
        request.method.is_none() && (request.user_name.is_some() || request.password.is_some())
    }

    fn grants_topics(&self) -> bool {
        self.terms.acl_query.is_some() || may_name_superusers(&self.terms.query.sql)
    }
}

/// Whether the rows of a query may have a column that makes a client a superuser.
fn may_name_superusers(sql: &str) -> bool {
    sql.contains('*') || sql.to_ascii_lowercase().contains("superuser")
}

impl From<Fault> for BackendFault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Lost(cause) => Self::Unreachable(cause),
            Fault::Slow => Self::Timeout,
            Fault::Value(_) | Fault::Failed(_) => Self::Invalid(fault.to_string()),
        }
    }
}

impl fmt::Debug for PostgreSql {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PostgreSql").field("database", &self.terms.database).finish_non_exhaustive()
    }
}

/// How many passwords are compared at once: half of the cores are left for messages.
fn hashers() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).clamp(1, HASHERS_MAX)
}

const HASHERS_MAX: usize = 4;
/// Queries take about a millisecond, so few connections serve thousands of clients in a second.
const CONNECTIONS_MAX: usize = 4;
/// Each rule is compared with the topic of each message.
const RULES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::auth::tests::file;
    use crate::auth::{Account, Authenticator};
    use crate::codec::ClientId;
    use crate::config::{self, ProviderKind, Security};
    use crate::routing::Access;

    #[test]
    fn a_user_that_may_be_a_superuser_keeps_its_queue_until_it_connects() {
        let acl = file("user alice\ntopic t\n");
        let security = Security { acl_file: Some(acl.to_path_buf()), ..Security::default() };
        for (query, is_restricted) in [
            ("SELECT password_hash, superuser FROM mqtt_user WHERE username = ${username}", false),
            ("SELECT password_hash, admin AS Is_Superuser FROM mqtt_user WHERE username = ${username}", false),
            ("SELECT * FROM mqtt_user WHERE username = ${username}", false),
            ("SELECT password_hash FROM mqtt_user WHERE username = ${username}", true),
        ] {
            let provider = config::Provider {
                url: Some("postgresql://oncemq@127.0.0.1/mqtt".to_owned()),
                query: Some(query.to_owned()),
                ..config::Provider::new(ProviderKind::PostgreSql)
            };
            let authenticator = Authenticator::new(&security, &[provider], &[]).unwrap();
            let account = Account { name: "alice", provider: Some("postgresql") };
            let access = authenticator.access(&ClientId::from("c"), Some(account));
            assert_eq!(access.has_rules(), is_restricted, "{query}");
            let current = Arc::new(Access::undecided());
            let access = authenticator.away(&ClientId::from("c"), Some(account), &current);
            assert_eq!(access.has_rules(), is_restricted, "{query}");
        }
    }
}
