//! Paths and methods: each route has one spelling, and says which methods it takes.

use reqwest::Method;

use crate::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_route_has_one_spelling() {
    let app = App::start().await;
    app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    for path in [
        "",
        "/",
        "//me",
        "/me/",
        "/%6de",
        "/ME",
        "/me/sessions/",
        "/me/sessions/x/y",
        "/me.json",
        "/me;x=1",
        "/x/..%2fme",
        "/me%00",
        "/me%20",
        "/nowhere",
        "/.well-known",
        "/.well-known/",
        "/.env",
        "/register/",
        "/%ff",
        "/*",
        "/{id}",
        "/openapi.json/",
    ] {
        let answer = app.get(path, &token).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        answer.is_problem(404, "not-found");
        app.send(app.request(Method::POST, path)).await.is_problem(404, "not-found");
    }
    assert_eq!(app.get("/me?x=1&y#z", &token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_is_told_which_ones_there_are() {
    let app = App::start().await;
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::from_bytes(b"BREW").unwrap(),
    ];
    for (path, allowed) in [
        ("/register", "POST"),
        ("/login", "POST"),
        ("/token/refresh", "POST"),
        ("/logout", "POST"),
        ("/me", "GET,HEAD,PATCH"),
        ("/email/verify", "POST"),
        ("/email/verify/resend", "POST"),
        ("/me/email", "POST"),
        ("/me/password", "POST"),
        ("/password/forgot", "POST"),
        ("/password/reset", "POST"),
        ("/me/sessions", "GET,HEAD,DELETE"),
        ("/me/sessions/x", "DELETE"),
        ("/health", "GET,HEAD"),
        ("/openapi.json", "GET,HEAD"),
        ("/.well-known/jwks.json", "GET,HEAD"),
        ("/.well-known/openid-configuration", "GET,HEAD"),
        ("/.well-known/oauth-authorization-server", "GET,HEAD"),
    ] {
        for method in methods.iter().filter(|method| !allowed.split(',').any(|name| name == method.as_str()))
        {
            let answer = app.send(app.request(method.clone(), path)).await;
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            answer.is_problem(405, "method-not-allowed");
            assert_eq!(answer.header("allow"), allowed, "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_as_get_without_a_body() {
    let app = App::start().await;
    app.register().await;
    let token = app.signed_in().await["access_token"].as_str().unwrap().to_owned();
    for path in ["/me", "/health", "/openapi.json", "/.well-known/jwks.json", "/nowhere"] {
        let get = app.get(path, &token).await;
        let head = app.send(app.request(Method::HEAD, path).bearer_auth(&token)).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.headers, get.headers, "{path}");
    }
    let refused = app.send(app.request(Method::HEAD, "/me")).await;
    assert_eq!((refused.status.as_u16(), refused.header("www-authenticate")), (401, "Bearer"));
    let posted = app.send(app.request(Method::HEAD, "/register")).await;
    assert_eq!((posted.status.as_u16(), posted.header("allow")), (405, "POST"));
}

/// The gateway adds who may call from where, and sends its own status only for paths that have no route.
#[tokio::test(flavor = "multi_thread")]
async fn what_browsers_ask_before_they_call_succeeds_and_allows_nobody() {
    let app = App::start().await;
    let asking = |path| {
        let request = app.request(Method::OPTIONS, path).header("origin", "https://app.example.com");
        request.header("access-control-request-headers", "authorization")
    };
    for path in ["/me", "/me/sessions", "/login", "/register", "/oauth2/token"] {
        let answer = asking(path).header("access-control-request-method", "POST").send().await.unwrap();
        assert_eq!(answer.status(), 204, "{path}");
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{answer:?}");
        assert!(answer.bytes().await.unwrap().is_empty());
        app.send(asking(path)).await.is_problem(405, "method-not-allowed");
    }
}
