use utoipa::openapi::schema::{OneOfBuilder, SchemaType};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Content, ContentBuilder, Object, ObjectBuilder, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder,
    Schema, Type,
};

/// The name of the schema of what the gateway says by itself.
const MESSAGE: &str = "GatewayMessage";

/// What is true of the gateway before any route.
const DESCRIPTION: &str = "\n\nBehind a gateway, some requests never get here: it answers them itself, with \
    `application/json` and a `message`. 401 `Unauthorized` without an `Authorization` header where a session is needed; \
    403 `Forbidden` for a token that is not of this service; 413 beyond its own limit; 429 beyond its rate, with any \
    request; 500 and 503 if what stands behind it does not answer.";

/// What the gateway may say in place of a route that documents the status anyway.
const IN_PLACE: [&str; 5] = ["401", "413", "429", "500", "503"];

/// Adds the answers that are not ours: the bodies of an HTTP API, which are fixed; and what it is like to come past the
/// edge. [API Gateway developer guide, "Control access to HTTP APIs with AWS Lambda authorizers"]
pub(super) fn answers(document: &mut OpenApi) {
    let info = &mut document.info;
    info.description = Some(info.description.take().unwrap_or_default() + DESCRIPTION);
    let message = ObjectBuilder::new()
        .property("message", Object::with_type(SchemaType::from_iter([Type::String, Type::Null])))
        .required("message")
        .description(Some("What the gateway says by itself."))
        .build();
    document.components.get_or_insert_default().schemas.insert(MESSAGE.to_owned(), message.into());
    // Of a client's own name and secret it knows nothing.
    let bearer = SecurityRequirement::new("bearer", [""; 0]);
    for item in document.paths.paths.values_mut() {
        let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
        for operation in [get, put, post, delete, options, head, patch, trace].into_iter().flatten() {
            let is_secured = operation.security.as_ref().is_some_and(|needed| needed.contains(&bearer));
            let responses = &mut operation.responses.responses;
            for (status, response) in responses.iter_mut() {
                if let RefOr::T(response) = response
                    && IN_PLACE.contains(&status.as_str())
                    && (is_secured || status != "401")
                {
                    says_the_gateway(response);
                }
            }
            responses.insert("403".to_owned(), RefOr::T(forbidden(is_secured)));
        }
    }
}

fn forbidden(is_secured: bool) -> Response {
    let problem: Content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let description = if is_secured {
        "The token is not of this service; or the request came past the edge that stands before it."
    } else {
        "The request came past the edge that stands before the service."
    };
    let mut response =
        ResponseBuilder::new().description(description).content("application/problem+json", problem).build();
    if is_secured {
        says_the_gateway(&mut response);
    }
    response
}

/// Adds what the gateway says to what the route says in the same form, if it does.
fn says_the_gateway(response: &mut Response) {
    let message: RefOr<Schema> = Ref::from_schema_name(MESSAGE).into();
    let schema = match response.content.get("application/json") {
        Some(RefOr::T(Content { schema: Some(ours), .. })) => {
            OneOfBuilder::new().item(ours.clone()).item(message).into()
        }
        _ => message,
    };
    let either: Content = ContentBuilder::new().schema(Some(schema)).build();
    response.content.insert("application/json".to_owned(), either.into());
}
