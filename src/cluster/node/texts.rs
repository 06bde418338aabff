use crate::cluster::Trouble;
use crate::cluster::members::Cause;

/// What is wrong with the stream, where it was read.
pub(super) fn describe(trouble: Trouble) -> String {
    match trouble {
        Trouble::Gap { expected, found } => {
            format!("the stream goes on at position {found} instead of {expected}: entries were trimmed, or lost")
        }
        Trouble::Unreadable { position, error } => format!("the entry at position {position} of the stream is {error}"),
        Trouble::Number { position, number } => {
            format!("the commit at position {position} of the stream has number {number}, which does not follow")
        }
        Trouble::Epochs { position, epoch } => {
            format!("the entry at position {position} of the stream has epoch {epoch}, which does not follow")
        }
    }
}

pub(super) fn explain(cause: &Cause) -> String {
    match cause {
        Cause::First => "there has been no owner".to_owned(),
        Cause::Dead(node) => format!("node {node} was not heard of for three seconds"),
        Cause::HandsOver(node) => format!("node {node} hands over"),
        Cause::Resigned(node) => format!("node {node} is not the owner any more"),
    }
}
