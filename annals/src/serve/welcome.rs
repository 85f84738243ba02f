use std::net::SocketAddr;
use std::path::Path;

/// What a newcomer needs to see the main job done.
pub(super) fn text(address: SocketAddr, data: Option<&Path>, mail: &str) -> String {
    let kept = match data {
        Some(folder) => format!("Data and keys are in {}.", folder.display()),
        None => "Nothing is kept: data and keys go when the server stops.".to_owned(),
    };
    format!(
        r#"Annals is at http://{address}
{kept}
{mail}

Try, in another terminal:

  curl -s http://{address}/register -H 'Content-Type: application/json' \
    -d '{{"email":"ada@example.com","password":"correct horse battery","name":"Ada"}}'

  curl -s http://{address}/login -H 'Content-Type: application/json' \
    -d '{{"email":"ada@example.com","password":"correct horse battery"}}'

and, with the access token of that answer in ACCESS_TOKEN:

  curl -s http://{address}/me -H "Authorization: Bearer $ACCESS_TOKEN"
"#
    )
}
