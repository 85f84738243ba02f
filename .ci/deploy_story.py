"""What .ci/deploy.py has clients do with the deployed API: first where an address need not be verified, then where it must
be, where other services have secrets, and where an edge stands before the API."""

import base64
import json
import re
import urllib.parse
import uuid

from emulator import check, say, until

PASSWORD = "an unusual phrase 7421"
GATEWAY_401 = {"message": "Unauthorized"}


def somebody():
    return f"story-{uuid.uuid4().hex[:12]}@example.com"


def part_of(token, part):
    """The header (0) or the claims (1) of an access token."""
    text = token.split(".")[part]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def token_of(mail, page):
    """The token in the link of a mail, as the page behind it gets it."""
    return re.search(re.escape(f"/{page}#token=") + r"(\S+)", mail["BodyText"])[1]


# ------------------------------------------------------------------------------------------------ with the defaults

def story(account, api, outputs):
    """A user's first day. The user, and tokens of a session that goes on."""
    document = api("GET", "/openapi.json", expect=200).json
    keys = api("GET", "/.well-known/jwks.json", expect=200).json["keys"]
    check(f"open to all: /openapi.json and /.well-known/jwks.json, {len(keys)} key(s)", len(keys) >= 1)

    address = somebody()
    registered = api("POST", "/register", {"email": address, "password": PASSWORD, "name": "Story"}, expect=201).json
    user = registered["user_id"]
    say("POST /register: 201")
    dynamodb = account.client("dynamodb")

    def view():
        found = dynamodb.get_item(TableName=outputs["ViewsTable"], Key={"user": {"S": user}}).get("Item")
        return found if found and int(found["version"]["N"]) >= 1 else None
    until("the projector has put the view", view)
    say("the stream woke the projector, and the view is there")
    items = dynamodb.query(TableName=outputs["EventsTable"], KeyConditionExpression="#u = :u",
                           ExpressionAttributeNames={"#u": "user"}, ExpressionAttributeValues={":u": {"S": user}})["Items"]
    check("the log holds one commit and the vault", [i["item"]["S"] for i in items] == ["commit-0000000001", "vault"], items)
    check("no address lies in the log", address not in json.dumps(items, default=str))

    account.mail(address, "Please confirm your e-mail address")
    say("the mailer has sent the mail that the registration calls for")

    wrong = api("POST", "/login", {"email": address, "password": PASSWORD + "!"}, expect=401)
    check("a wrong password: 401 of command-api", wrong.json["status"] == 401)
    first = api("POST", "/login", {"email": address, "password": PASSWORD}, expect=200).json
    me = api("GET", "/me", token=first["access_token"], expect=200)
    check("POST /login: 200; GET /me: 200, with the address", me.json["email"] == address)

    missing = api("GET", "/me", expect=401)
    check("no token: 401 of the gateway itself", missing.json == GATEWAY_401, missing.text)
    for name, token in forgeries(first["access_token"]).items():
        answer = api("GET", "/me", token=token)
        check(f"{name}: the gateway's bare 403", answer.status == 403 and "type" not in (answer.json or {}), answer.text)
    guarded = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation.get("security") and any("bearer" in str(way).lower() for way in operation["security"]):
                concrete = path.replace("{", "").replace("}", "")
                answer = api(method.upper(), concrete, {} if method in ("post", "patch") else None)
                if answer.status != 401 or answer.json != GATEWAY_401:
                    raise SystemExit(f"error: {method} {path} without a token gets past the gateway: {answer.text}")
                guarded += 1
    check(f"no token: all {guarded} guarded operations of the document are closed", guarded >= 5)

    renewed = api("POST", "/token/refresh", {"refresh_token": first["refresh_token"]}, expect=200).json
    check("POST /token/refresh: 200, another refresh token", renewed["refresh_token"] != first["refresh_token"])
    other = PASSWORD[::-1] + " Zq"
    changed = api("POST", "/me/password", {"current_password": PASSWORD, "new_password": other},
                  token=renewed["access_token"])
    check("POST /me/password: 204", changed.status == 204, changed.text)
    api("POST", "/logout", token=renewed["access_token"], expect=204)
    after = api("GET", "/me", token=renewed["access_token"])
    check("POST /logout: 204; then GET /me: 401 of command-api", after.status == 401 and after.json["status"] == 401, after.text)
    return user, api("POST", "/login", {"email": address, "password": other}, expect=200).json


def forgeries(token):
    """What an attacker could make of a token."""
    head, body, signature = token.split(".")

    def part(**changes):
        claims = part_of(token, 1) | changes
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').decode().rstrip("=")
    return {
        "a token with another subject": f"{head}.{part(sub=str(uuid.uuid4()))}.{signature}",
        "a token that names no algorithm": f"{none}.{body}.",
        "no token at all behind Bearer": "nonsense",
    }


# ------------------------------------------------------------------------------------------------ with settings of one's own

def verified(account, api, secrets):
    """Where addresses must be verified: from the registration over other services' questions to a forgotten password. The
    address and its password."""
    address = somebody()
    new = {"email": address, "password": PASSWORD, "name": "Story"}
    unknown = api("POST", "/register", new, expect=202)
    token = token_of(account.mail(address, "Please confirm your e-mail address"), "verify")
    say("POST /register: 202, and a mail with a link")
    early = api("POST", "/login", new_session(address, PASSWORD), expect=401)
    wrong = api("POST", "/login", new_session(address, PASSWORD + "!"), expect=401)
    check("POST /login before the link is followed: 401, as with a wrong password", without_id(early) == without_id(wrong),
          (early.text, wrong.text))
    api("POST", "/email/verify", {"token": token[:-1] + ("A" if token[-1] != "A" else "B")}, expect=400)
    api("POST", "/email/verify", {"token": token}, expect=204)
    mine = api("POST", "/login", new_session(address, PASSWORD), expect=200).json
    me = api("GET", "/me", token=mine["access_token"], expect=200).json
    check("POST /email/verify: 204, but 400 with a token of one's own making; then POST /login: 200",
          me["email_verified"] is True, me)
    known = api("POST", "/register", dict(new, password=PASSWORD[::-1]), expect=202)
    check("POST /register of an address that is known: 202, byte for byte the same", known.text == unknown.text,
          (known.text, unknown.text))
    account.mail(address, "You have an account already")
    say("its owner gets a mail instead")

    of_clients(api, secrets, address, me["user_id"])

    unknown = api("POST", "/password/forgot", {"email": somebody()}, expect=202)
    known = api("POST", "/password/forgot", {"email": address}, expect=202)
    check("POST /password/forgot: 202, the same whether or not the address is known", known.text == unknown.text,
          (known.text, unknown.text))
    token = token_of(account.mail(address, "Set a new password"), "reset")
    api("GET", "/me", token=mine["access_token"], expect=200)
    other = PASSWORD[::-1] + " Zq"
    api("POST", "/password/reset", {"token": token, "new_password": other}, expect=204)
    again = api("POST", "/password/reset", {"token": token, "new_password": PASSWORD})
    check("POST /password/reset: 204 with the token of the mail, and 400 the second time", again.status == 400, again.text)
    me = api("GET", "/me", token=mine["access_token"])
    check("the session of before: 401 of command-api", me.status == 401 and me.json["status"] == 401, me.text)
    api("POST", "/token/refresh", {"refresh_token": mine["refresh_token"]}, expect=400)
    api("POST", "/login", new_session(address, PASSWORD), expect=401)
    api("POST", "/login", new_session(address, other), expect=200)
    say("its refresh token: 400; POST /login with the old password: 401, with the new one: 200")
    account.mail(address, "Your password was reset")
    subjects = [mail["Subject"] for mail in account.mails(address)]
    check("four mails, each once", subjects == [
        "Please confirm your e-mail address", "You have an account already", "Set a new password", "Your password was reset",
    ], subjects)
    return address, other


def new_session(address, password):
    return {"email": address, "password": password}


def without_id(answer):
    return {name: value for name, value in answer.json.items() if name != "request_id"}


def of_clients(api, secrets, address, user):
    """What other services may do with the secrets that the setting gives them, and cannot do without."""
    def shows(client, secret):
        return {"Authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()}

    def asks(path, client, expect=200, **form):
        return api("POST", path, form=urllib.parse.urlencode(form), headers=shows(client, secrets[client]), expect=expect).json

    session = api("POST", "/login", new_session(address, PASSWORD), headers=shows("shop", secrets["shop"]), expect=200).json
    check("POST /login of a client with a secret: the token is issued to it",
          part_of(session["access_token"], 1)["client_id"] == "shop")
    for path in ("/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"):
        form = urllib.parse.urlencode({"grant_type": "refresh_token", "refresh_token": session["refresh_token"]}
                                      if path == "/oauth2/token" else {"token": session["refresh_token"]})
        for client, secret in (("shop", secrets["gateway"]), ("nobody", secrets["shop"])):
            refused = api("POST", path, form=form, headers=shows(client, secret))
            check(f"POST {path} with a wrong secret, or of nobody: 401",
                  refused.status == 401 and refused.json["error"] == "invalid_client"
                  and refused.getheader("WWW-Authenticate", "").startswith("Basic"), refused.text)
    asks("/oauth2/introspect", "shop", 400, token=session["access_token"])
    asks("/oauth2/token", "gateway", 400, grant_type="refresh_token", refresh_token=session["refresh_token"])
    api("POST", "/token/refresh", {"refresh_token": session["refresh_token"]}, expect=400)
    say("what the list does not grant a client, and another's refresh token: 400")
    renewed = asks("/oauth2/token", "shop", grant_type="refresh_token", refresh_token=session["refresh_token"])
    check("POST /oauth2/token: 200, another refresh token", renewed["refresh_token"] != session["refresh_token"])
    worth = asks("/oauth2/introspect", "gateway", token=renewed["access_token"])
    check("POST /oauth2/introspect: the token, its user and its client",
          (worth["active"], worth["sub"], worth["client_id"]) == (True, user, "shop"), worth)
    asks("/oauth2/revoke", "shop", token=renewed["refresh_token"])
    for kind in ("access_token", "refresh_token"):
        worth = asks("/oauth2/introspect", "gateway", token=renewed[kind])
        check(f"POST /oauth2/revoke: the {kind.replace('_', ' ')} is worth nothing", worth == {"active": False}, worth)
    after = api("GET", "/me", token=renewed["access_token"])
    check("and GET /me: 401 of command-api", after.status == 401 and after.json["status"] == 401, after.text)
