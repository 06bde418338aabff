//! What is sent to the server, and how its rows are read.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{Column, Row, Statement};

use super::stored::Stored;
use crate::auth::provider::Request;
use crate::config::{Placeholder, Query};

/// A query of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Who a client is.
    Password,
    /// Which topics it may use.
    Topics,
}

/// A value of a parameter. It is sent as text, whatever type the parameter has: the server converts it, or refuses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent(Option<String>);

impl Sent {
    /// The values for a query. `user` is the user name that `${username}` stands for.
    pub(super) fn of(query: &Query, request: &Request, user: Option<&str>) -> Vec<Self> {
        let value = |placeholder: &Placeholder| {
            Self(match placeholder {
                Placeholder::Username => user.map(str::to_owned),
                Placeholder::ClientId => Some(request.client_id.as_str().to_owned()),
                Placeholder::Address => request.address.map(|address| address.to_string()),
                Placeholder::Listener => Some(request.listener.to_string()),
                Placeholder::CertificateIdentity => request.certificate_identity.as_deref().map(str::to_owned),
            })
        };
        query.placeholders.iter().map(value).collect()
    }
}

impl ToSql for Sent {
    fn to_sql(&self, _: &Type, bytes: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        bytes.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A text of any type that is text.
struct Text<'a>(&'a str);

impl<'a> FromSql<'a> for Text<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let text = std::str::from_utf8(raw)?;
        // Values of `character(n)` are padded.
        Ok(Self(if *kind == Type::BPCHAR { text.trim_end_matches(' ') } else { text }))
    }

    fn accepts(kind: &Type) -> bool {
        if let Kind::Domain(of) = kind.kind() {
            return Self::accepts(of);
        }
        let is_text =
            matches!(*kind, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME) || kind.name() == "citext";
        is_text || matches!(kind.kind(), Kind::Enum(_))
    }
}

/// A truth value, or a number that is not 0.
struct Flag(bool);

impl<'a> FromSql<'a> for Flag {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.iter().any(|byte| *byte != 0)))
    }

    fn accepts(kind: &Type) -> bool {
        if let Kind::Domain(of) = kind.kind() {
            return Self::accepts(of);
        }
        matches!(*kind, Type::BOOL | Type::INT2 | Type::INT4 | Type::INT8)
    }
}

/// A user, by the row of the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// `None`: the row has no name.
    pub(super) name: Option<String>,
    pub(super) stored: Stored,
    pub(super) is_superuser: bool,
}

/// A rule, by a row of the query for topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allows: bool,
    pub(super) publish: bool,
    pub(super) subscribe: bool,
    pub(super) filter: String,
}

impl User {
    /// Reads a row. The error is a cause for the log, and has no part of the row.
    pub(super) fn of(row: &Row) -> Result<Self, String> {
        let hash = text(row, PASSWORD_HASH)?.ok_or("the user has no password (password_hash is NULL)")?;
        let salt = if has(row.columns(), SALT) { text(row, SALT)?.or(Some("")) } else { None };
        let name = if has(row.columns(), USERNAME) {
            let name = text(row, USERNAME)?.filter(|name| !name.is_empty() && !name.contains(char::is_control));
            Some(name.ok_or("the username of the row is no name")?.to_owned())
        } else {
            None
        };
        let mut is_superuser = false;
        for column in SUPERUSER {
            is_superuser |= has(row.columns(), column) && flag(row, column)?;
        }
        let stored = Stored::parse(hash, salt).map_err(|cause| format!("password_hash: {cause}"))?;
        Ok(Self { name, stored, is_superuser })
    }
}

impl Rule {
    /// Reads a row. The error is a cause for the log.
    pub(super) fn of(row: &Row) -> Result<Self, String> {
        let value = |column| Ok::<_, String>(text(row, column)?.unwrap_or_default().to_ascii_lowercase());
        let (permission, action) = (value(PERMISSION)?, value(ACTION)?);
        let allows = match &*permission {
            "allow" => true,
            "deny" => false,
            _ => return Err("a permission is neither allow nor deny".to_owned()),
        };
        let (publish, subscribe) = match &*action {
            "publish" => (true, false),
            "subscribe" => (false, true),
            "all" => (true, true),
            _ => return Err("an action is none of publish, subscribe and all".to_owned()),
        };
        let filter = text(row, TOPIC)?.ok_or("a topic is NULL")?.to_owned();
        Ok(Self { allows, publish, subscribe, filter })
    }
}

/// Checks the columns of a prepared query. The error is a cause for the log.
pub(super) fn check_columns(statement: &Statement, which: Which) -> Result<(), String> {
    let columns = statement.columns();
    let (query_name, required, texts) = match which {
        Which::Password => ("query", &[PASSWORD_HASH][..], &[PASSWORD_HASH, SALT, USERNAME][..]),
        Which::Topics => ("acl_query", &[PERMISSION, ACTION, TOPIC][..], &[PERMISSION, ACTION, TOPIC][..]),
    };
    if let Some(missing) = required.iter().find(|required| !has(columns, required)) {
        return Err(format!("{query_name}: it has no column {missing}"));
    }
    if which == Which::Password && has(columns, "user") {
        return Err(format!(
            "{query_name}: it has a column user, which in SQL is the role of the connection: call it {USERNAME}"
        ));
    }
    for column in columns {
        let name = column.name();
        let is_wrong = match which {
            _ if texts.contains(&name) => !Text::accepts(column.type_()),
            Which::Password if SUPERUSER.contains(&name) => !Flag::accepts(column.type_()),
            Which::Password | Which::Topics => false,
        };
        if is_wrong {
            return Err(format!("{query_name}: its column {name} has the type {}", column.type_()));
        }
    }
    Ok(())
}

fn has(columns: &[Column], name: &str) -> bool {
    columns.iter().any(|column| column.name() == name)
}

fn text<'a>(row: &'a Row, column: &str) -> Result<Option<&'a str>, String> {
    let value: Option<Text<'_>> = row.try_get(column).map_err(|_| unreadable(column))?;
    Ok(value.map(|Text(text)| text))
}

fn flag(row: &Row, column: &str) -> Result<bool, String> {
    let value: Option<Flag> = row.try_get(column).map_err(|_| unreadable(column))?;
    Ok(value.is_some_and(|Flag(flag)| flag))
}

fn unreadable(column: &str) -> String {
    format!("the column {column} can't be read")
}

const PASSWORD_HASH: &str = "password_hash";
const SALT: &str = "salt";
const USERNAME: &str = "username";
/// The second one is EMQX's.
const SUPERUSER: [&str; 2] = ["superuser", "is_superuser"];
const PERMISSION: &str = "permission";
const ACTION: &str = "action";
const TOPIC: &str = "topic";
