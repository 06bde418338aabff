//! The OpenAPI document, made of the registered routes.

use utoipa::openapi::path::{HttpMethod, Operation, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, Info, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, ResponseBuilder, Schema,
    Server,
};
use utoipa::{PartialSchema, ToSchema};

use super::failure::ErrorJson;
use super::table::Route;
use crate::admin::caller::Role;

/// Collects the operations and the types of all routes.
pub(super) struct Document {
    paths: Paths,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Document {
    pub(super) fn new() -> Self {
        Self { paths: Paths::new(), schemas: vec![(ErrorJson::name().into_owned(), ErrorJson::schema())] }
    }

    /// Adds a route, with its role and the answers that each may have.
    pub(super) fn add(&mut self, role: Role, route: &Route) {
        let mut operation = route.operation.clone();
        let needed = format!("Needs the role {role}.");
        operation.description = Some(match operation.description {
            Some(text) => format!("{text}\n\n{needed}"),
            None => needed,
        });
        operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(TOKEN, [])]);
        let error = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorJson::name()))).build();
        let error = ResponseBuilder::new().description("Why not").content("application/json", error).build();
        operation.responses.responses.insert("default".to_owned(), RefOr::T(error));
        self.paths.add_path_operation(&route.path, route.methods.clone(), operation);
        self.schemas.extend(route.schemas.iter().cloned());
    }

    /// The document.
    pub(super) fn build(self) -> OpenApi {
        let mut info = Info::new("OnceMQ", env!("CARGO_PKG_VERSION"));
        info.description = Some("The HTTP API of the broker.".to_owned());
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let mut components = ComponentsBuilder::new().security_scheme(TOKEN, scheme);
        for (name, schema) in self.schemas {
            components = components.schema(name, schema);
        }
        let server = Server::new(PREFIX);
        let document = OpenApiBuilder::new().info(info).servers(Some([server])).paths(self.paths);
        document.components(Some(components.build())).build()
    }
}

/// The names of the query parameters of an operation.
pub(super) fn query_parameters(operation: &Operation) -> Vec<String> {
    let parameters = operation.parameters.iter().flatten();
    let of_query = parameters.filter(|parameter| matches!(parameter.parameter_in, ParameterIn::Query));
    of_query.map(|parameter| parameter.name.clone()).collect()
}

/// The name of a method in a request.
pub(super) const fn method_name(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
        HttpMethod::Put => "PUT",
        HttpMethod::Delete => "DELETE",
        HttpMethod::Options => "OPTIONS",
        HttpMethod::Head => "HEAD",
        HttpMethod::Patch => "PATCH",
        HttpMethod::Trace => "TRACE",
    }
}

/// The path before all paths of the document.
pub(super) const PREFIX: &str = "/api/v1";
/// The name of the way to authenticate.
const TOKEN: &str = "token";
