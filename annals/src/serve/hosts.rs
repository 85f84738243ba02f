use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::Response;

/// Lets through what was sent to a loopback name. A browser can be made to send anything to a local server under a
/// name of the attacker's (DNS rebinding), but not under one of these.
pub(super) async fn loopback_only(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next(), request.uri().authority()) {
        (Some(host), None, _) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        (None, None, Some(authority)) => Some(authority.clone()),
        _ => None,
    };
    match host {
        Some(host) if is_loopback(host.host()) => next.run(request).await,
        _ => command_api::misdirected(),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]"
}
