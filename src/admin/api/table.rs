use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::__dev::SchemaReferences;
use utoipa::Path;
use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::{RefOr, Schema};

use super::state::ApiState;

/// Routes that need the same role.
#[derive(Default)]
pub(super) struct Routes(pub(super) Vec<Route>);

/// A handler and what its `#[utoipa::path]` says.
pub(super) struct Route {
    pub(super) path: String,
    pub(super) methods: Vec<HttpMethod>,
    pub(super) operation: Operation,
    /// The types that the operation names.
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
    pub(super) handler: MethodRouter<ApiState>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a handler. `description` is what `#[utoipa::path]` makes of the function `name`: the value `__path_name`.
    pub(super) fn add<D, H, T>(mut self, description: D, handler: H) -> Self
    where
        D: Path + SchemaReferences,
        H: Handler<T, ApiState>,
        T: 'static,
    {
        drop(description);
        let methods = D::methods();
        let filter = methods.iter().map(filter).reduce(MethodFilter::or);
        let mut schemas = Vec::new();
        D::schemas(&mut schemas);
        if let Some(filter) = filter {
            let (path, operation, handler) = (D::path(), D::operation(), on(filter, handler));
            self.0.push(Route { path, methods, operation, schemas, handler });
        }
        self
    }
}

const fn filter(method: &HttpMethod) -> MethodFilter {
    match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Delete => MethodFilter::DELETE,
        HttpMethod::Options => MethodFilter::OPTIONS,
        HttpMethod::Head => MethodFilter::HEAD,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Trace => MethodFilter::TRACE,
    }
}
