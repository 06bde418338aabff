/// What all shards share: read-mostly and small.
#[derive(Debug)]
pub struct Shared {}
