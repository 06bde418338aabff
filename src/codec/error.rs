/// Why bytes can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError;
