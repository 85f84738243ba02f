"""What schemathesis needs to know of Annals beyond its document: how to sign in, what an address looks like that is
taken, and what holds for every answer. It names no route but those by which one registers and signs in."""

import base64
import uuid

import requests
import schemathesis
from hypothesis import strategies as st

PASSWORD = "correct horse battery"
# The client that introspects, with its secret: `.ci/contract` gives the server its hash.
GATEWAY = ("gateway", "the secret of the gateway")

# Any address that is taken: JSON Schema's `email` allows quoted local parts and hosts without a domain, which are not.
schemathesis.openapi.format(
    "email", st.from_regex(r"[a-z][a-z0-9_+-]{0,20}(\.[a-z0-9]{1,5})?@[a-z][a-z0-9]{0,10}\.(com|example)", fullmatch=True)
)
# Any password that is taken, whatever NFC makes of it: no code points that combine with others; and whatever follows on
# a beginning that is hard to guess, which JSON Schema cannot ask for.
schemathesis.openapi.format(
    "password",
    st.text(st.characters(exclude_categories=("Cs", "Mn", "Mc", "Lm", "Lo", "Sk")), max_size=44).map(PASSWORD.__add__),
)


# Who was shown a session, by its id: the value of `Authorization`.
owners = {}
# What a stranger was answered who asked for the same path before, by the case.
strangers = {}


def new_user(base):
    """Somebody who has signed in twice; the access token of the later session."""
    user = {"email": f"contract-{uuid.uuid4().hex}@example.com", "password": PASSWORD}
    requests.post(f"{base}/register", json=user, timeout=10).raise_for_status()
    for _ in range(2):
        answer = requests.post(f"{base}/login", json=user, timeout=10)
        answer.raise_for_status()
    return answer.json()["access_token"]


def needs_a_session(context):
    return {"bearer": []} in context.operation.definition.raw.get("security", [])


def needs_a_client(context):
    return context.operation.definition.raw.get("security") == [{"client": []}]


@schemathesis.auth(refresh_interval=None).apply_to(needs_a_client)
class Gateway:
    """The client that introspects. Who it is stands in the header, and so not in the form as well."""

    def get(self, case, context):
        return "Basic " + base64.b64encode(":".join(GATEWAY).encode()).decode()

    def set(self, case, authorization, context):
        case.headers["Authorization"] = authorization
        if case.meta.generation.mode.is_positive and isinstance(case.body, dict):
            case.body.pop("client_id", None)
            case.body.pop("client_secret", None)


@schemathesis.hook
def before_call(context, case, **kwargs):
    """A client made up at random is none. Only what is meant to be right is put right: the public one has no secret."""
    if case.path in ("/oauth2/token", "/oauth2/revoke") and case.meta.generation.mode.is_positive:
        if isinstance(case.body, dict):
            case.body.pop("client_secret", None)
            if "client_id" in case.body:
                case.body["client_id"] = "annals"


@schemathesis.auth(refresh_interval=None).apply_to(needs_a_session)
class SignedIn:
    """A session of its own for every request that needs one, since signing out ends it; and an older one of the same
    user, to be listed and ended."""

    def get(self, case, context):
        return new_user(context.operation.schema.get_base_url())

    def set(self, case, token, context):
        # What a link has brought stays, and what somebody was shown is theirs.
        shown = [owners[value] for value in (case.path_parameters or {}).values() if value in owners]
        case.headers.setdefault("Authorization", shown[0] if shown else f"Bearer {token}")
        # Nobody can guess the password of this session. Only what is meant to be right is put right.
        if case.meta.generation.mode.is_positive and isinstance(case.body, dict) and "current_password" in case.body:
            case.body["current_password"] = PASSWORD
        if case.path_parameters and case.headers["Authorization"] != f"Bearer {token}":
            url = context.operation.schema.get_base_url() + case.formatted_path
            asked = requests.request(case.method, url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
            strangers[case.id] = asked.status_code
        # A precondition made up at random never holds. Only what is meant to be right is put right: a bad one stays.
        conditional = any(parameter.name == "If-Match" for parameter in context.operation.iter_parameters())
        if conditional and case.meta.generation.mode.is_positive:
            url = context.operation.schema.get_base_url() + case.formatted_path
            current = requests.get(url, headers={"Authorization": case.headers["Authorization"]}, timeout=10)
            case.headers["If-Match"] = current.headers["ETag"]


@schemathesis.check
def every_answer(ctx, response, case):
    """What no document says of every single answer: the headers that all have, and problems that are problems."""
    headers = {name.lower(): values[0] for name, values in response.headers.items()}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
    assert headers["cache-control"] in ("no-store", "public, max-age=900")
    assert uuid.UUID(headers["annals-request-id"]).version == 7
    status = response.status_code
    if status == 200 and "Authorization" in response.request.headers and response.request.method != "HEAD":
        for session in response.json().get("sessions", []):
            owners[session["session_id"]] = response.request.headers["Authorization"]
    # `object_level_authorization` looks at reads only, and needs accounts that last. Where a path names a thing, what is
    # there for its owner is there for nobody else.
    if status < 300 and case.path_parameters and case.id in strangers:
        assert strangers[case.id] == 404
    if status in (400, 401, 413, 415) and case.path.startswith("/oauth2/"):
        # OAuth has a form of its own for what is wrong with a request. [RFC 6749, section 5.2]
        assert headers["content-type"] == "application/json"
        assert set(response.json()) == {"error", "error_description"}
        assert ("www-authenticate" in headers) == (status == 401)
    elif status >= 400:
        assert headers["content-type"] == "application/problem+json"
        assert headers["cache-control"] == "no-store"
        assert ("www-authenticate" in headers) == (status == 401)
        assert ("retry-after" in headers) == (status in (429, 503))
        assert ("allow" in headers) == (status == 405)
        if response.request.method != "HEAD":
            problem = response.json()
            assert problem["type"].startswith("urn:annals:problem:")
            assert problem["status"] == status and problem["title"]
            assert ("errors" in problem) == (status == 422)
