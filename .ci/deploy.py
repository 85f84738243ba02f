"""The deployment, proven on an emulator of AWS: run by .ci/deploy, which says with which binaries.

What the emulator leaves out is listed in infra/README.md. It does check signatures and rights, so that every call that a
function makes in this story is one that its role allows, and what no role should allow is tried here and denied."""

import base64
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
import zipfile

import boto3
from botocore.exceptions import ClientError

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = pathlib.Path(os.environ["TOOLS"])
WORK = pathlib.Path(sys.argv[1])
STACK = "accounts"
FUNCTIONS = ["command-api", "authorizer", "projector", "replayer", "mailer"]
PASSWORD = "an unusual phrase 7421"
GATEWAY_401 = {"message": "Unauthorized"}


def say(text):
    print(f"  {text}", flush=True)


def check(what, holds, seen=None):
    if not holds:
        raise SystemExit(f"error: not so: {what}" + (f"; seen: {seen!r}" if seen is not None else ""))
    say(what)


def until(what, look, seconds=60):
    """The first true answer of `look`."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if answer := look():
            return answer
        time.sleep(0.2)
    raise SystemExit(f"error: not within {seconds} s: {what}")


# ------------------------------------------------------------------------------------------------ the emulator

def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def emulator():
    """Its port, while it runs. Functions inherit its environment, so it has next to none."""
    port = free_port()
    home = WORK / "home"
    home.mkdir()
    environment = {
        "PATH": f"{TOOLS}:/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home), "AUTH": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0", "S3_DATA_DIR": str(home / "s3"), "STATE_DIR": str(home / "state"),
    }
    with (WORK / "emulator.log").open("w") as log:
        # Its functions end with it: all are of one group.
        running = subprocess.Popen([TOOLS / "ministack"], env=environment, cwd=home, stdout=log, stderr=log,
                                   start_new_session=True)
        try:
            def ready():
                if running.poll() is not None:
                    raise SystemExit("error: the emulator ended: " + (WORK / "emulator.log").read_text()[-2000:])
                try:
                    return urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=2).status == 200
                except OSError:
                    return False
            until("the emulator answers", ready)
            yield port
        finally:
            os.killpg(running.pid, signal.SIGTERM)
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()


class Account:
    """The operator, by the account's own credentials."""

    def __init__(self, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(WORK / "home"), "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service, credentials=None):
        credentials = credentials or {"AccessKeyId": "test", "SecretAccessKey": "test"}
        return boto3.client(
            service, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"], aws_session_token=credentials.get("SessionToken"))

    def run(self, *command):
        done = subprocess.run([str(part) for part in command], env=self.environment, cwd=WORK, capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"error: {' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def tries(self, *command):
        return subprocess.run([str(part) for part in command], env=self.environment, cwd=WORK, capture_output=True,
                              check=False).returncode == 0

    def aws(self, *arguments):
        return self.run(TOOLS / "aws", *arguments)


# ------------------------------------------------------------------------------------------------ the deployment

def for_the_emulator(template):
    """Where AWS looks at each name that GetParameters names, the emulator looks for a right on all parameters; only of
    GetParameter, which none of ours uses, it asks for the one parameter's. So its copy of the template grants the first, and the
    second on exactly the parameters that ours names: `roles` tries these. Nor does it know whom a mail is from."""
    keys = "              - Sid: Keys\n                Effect: Allow\n                Action: [ssm:GetParameters]\n"
    any_names = '              - { Sid: Any, Effect: Allow, Action: [ssm:GetParameters], Resource: "*" }\n'
    if template.count(keys) != 6:
        raise SystemExit("error: the statements about keys are not where they were")
    template = template.replace(keys, any_names + keys.replace("GetParameters", "GetParameter"))
    begins = template.index("                  Resource: !Sub arn:${AWS::Partition}:ses:")
    ends = template.index("                - !Ref AWS::NoValue", begins)
    return template[:begins] + '                  Resource: "*"\n' + template[ends:]


def deploy(account, parameters):
    """What `sam deploy` does: zips and the tables' template into a bucket, and the rest to CloudFormation."""
    account.client("sesv2").create_email_identity(EmailIdentity=parameters["MailFrom"])
    account.client("s3").create_bucket(Bucket="artifacts")
    (WORK / "infra").mkdir(exist_ok=True)
    shutil.copy(ROOT / "infra/tables.json", WORK / "infra")
    (WORK / "infra/template.yaml").write_text(for_the_emulator((ROOT / "infra/template.yaml").read_text()))
    for function in FUNCTIONS:
        folder = WORK / "target/lambda" / function
        folder.mkdir(parents=True, exist_ok=True)
        binary = os.environ[f"ANNALS_{function.upper().replace('-', '_')}_BIN"]
        bootstrap = zipfile.ZipInfo("bootstrap")
        bootstrap.external_attr = 0o755 << 16
        bootstrap.compress_type = zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(folder / "bootstrap.zip", "w") as archive:
            archive.writestr(bootstrap, pathlib.Path(binary).read_bytes())
        say(f"{function}: {(folder / 'bootstrap.zip').stat().st_size / 1e6:.2f} MB zipped")
    account.aws("cloudformation", "package", "--template-file", WORK / "infra/template.yaml", "--s3-bucket", "artifacts",
                "--output-template-file", WORK / "packaged.yaml")
    begun = time.monotonic()
    account.aws("cloudformation", "deploy", "--template-file", WORK / "packaged.yaml", "--stack-name", STACK,
                "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--s3-bucket", "artifacts",
                "--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items()))
    stack = account.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    check(f"the stack is {stack['StackStatus']} after {time.monotonic() - begun:.0f} s",
          stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"))
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


class Api:
    """The API as its clients see it."""

    def __init__(self, port, host):
        self.port = port
        # By its host, the emulator takes /login and others for its own.
        self.base = f"/_aws/execute-api/{host.split('.')[0]}/$default"

    def __call__(self, method, path, body=None, token=None, expect=None, form=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        content = None
        if form is not None:
            sent["Content-Type"], content = "application/x-www-form-urlencoded", form
        elif body is not None:
            sent["Content-Type"], content = "application/json", json.dumps(body)
        connection.request(method, self.base + path, content, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        answer.text, answer.json = text, (json.loads(text) if text.startswith(("{", "[")) else None)
        connection.close()
        if expect is not None and answer.status != expect:
            raise SystemExit(f"error: {method} {path}: {answer.status} instead of {expect}: {text}")
        return answer


@contextlib.contextmanager
def at_an_address(api):
    """The API at an address without a path, as it has on AWS; the address."""
    class Through(http.server.BaseHTTPRequestHandler):
        def pass_on(self):
            length = int(self.headers.get("Content-Length", 0))
            connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)
            kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection.request(self.command, api.base + self.path, self.rfile.read(length), kept)
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_PATCH = pass_on

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Through) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def denied(what, call):
    try:
        call()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        check(f"denied: {what}", code in ("AccessDeniedException", "AccessDenied"), code)
    else:
        raise SystemExit(f"error: allowed: {what}")


# ------------------------------------------------------------------------------------------------ the story

def story(account, api, outputs):
    document = api("GET", "/openapi.json", expect=200).json
    keys = api("GET", "/.well-known/jwks.json", expect=200).json["keys"]
    check(f"open to all: /openapi.json and /.well-known/jwks.json, {len(keys)} key(s)", len(keys) >= 1)

    address = f"story-{uuid.uuid4().hex[:12]}@example.com"
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

    def mail():
        sent = urllib.request.urlopen(f"{account.url}/_ministack/ses/messages", timeout=10).read().decode()
        return sent if address in sent else None
    check("the mailer has sent the mail that the registration calls for", until("a mail is sent", mail))

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
    changed = api("POST", "/me/password", {"current_password": PASSWORD, "new_password": PASSWORD[::-1] + " Zq"},
                  token=renewed["access_token"])
    check("POST /me/password: 204", changed.status == 204, changed.text)
    api("POST", "/logout", token=renewed["access_token"], expect=204)
    after = api("GET", "/me", token=renewed["access_token"])
    check("POST /logout: 204; then GET /me: 401 of command-api", after.status == 401 and after.json["status"] == 401, after.text)
    return user, address


def forgeries(token):
    """What an attacker could make of a token."""
    head, body, signature = token.split(".")

    def part(**changes):
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return base64.urlsafe_b64encode(json.dumps(claims | changes).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').decode().rstrip("=")
    return {
        "a token with another subject": f"{head}.{part(sub=str(uuid.uuid4()))}.{signature}",
        "a token that names no algorithm": f"{none}.{body}.",
        "no token at all behind Bearer": "nonsense",
    }


def roles(account, outputs, user):
    """With the rights of each role: what it may do works, and what it should not is denied."""
    iam, sts = account.client("iam"), account.client("sts")
    resources = account.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    names = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources}

    def acting(role):
        # The emulator lets the account's owner take any role on, whomever it trusts; its rights stay those deployed.
        arn = iam.get_role(RoleName=names[role])["Role"]["Arn"]
        credentials = sts.assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        return account.client("dynamodb", credentials), account.client("ssm", credentials)

    def key(name):
        return f"/annals/{STACK}/keys/{name}"
    events, views, sessions = (outputs[f"{t}Table"] for t in ("Events", "Views", "Sessions"))
    identifiers = outputs["IdentifiersTable"]
    commit = {"user": {"S": user}, "item": {"S": "commit-0000000001"}}

    tables, parameters = acting("ProjectorRole")
    check("ProjectorRole: reads the log", "Item" in tables.get_item(TableName=events, Key=commit))
    tables.delete_item(TableName=views, Key={"user": {"S": "nobody"}})
    say("ProjectorRole: deletes the view of somebody who is erased")
    denied("ProjectorRole: writes the log", lambda: tables.put_item(TableName=events, Item=commit))
    denied("ProjectorRole: changes a commit", lambda: tables.update_item(
        TableName=events, Key=commit, UpdateExpression="REMOVE #s", ExpressionAttributeNames={"#s": "sealed"}))
    denied("ProjectorRole: scans the log", lambda: tables.scan(TableName=events))
    denied("ProjectorRole: reads sessions", lambda: tables.get_item(TableName=sessions, Key=commit))
    denied("ProjectorRole: reads identifiers",
           lambda: tables.get_item(TableName=identifiers, Key={"identifier": {"S": "x"}}))
    check("ProjectorRole: reads the key of views",
          "Value" in parameters.get_parameter(Name=key("views"), WithDecryption=True)["Parameter"])
    for name in ("verifiers", "pepper", "signing", "refresh", "identifiers", "one-time"):
        denied(f"ProjectorRole: reads the key {name}", lambda: parameters.get_parameter(Name=key(name), WithDecryption=True))

    tables, parameters = acting("AuthorizerRole")
    check("AuthorizerRole: reads the public keys",
          "Value" in parameters.get_parameter(Name=key("public"), WithDecryption=True)["Parameter"])
    for name in ("wrapping", "signing"):
        denied(f"AuthorizerRole: reads the key {name}", lambda: parameters.get_parameter(Name=key(name), WithDecryption=True))
    denied("AuthorizerRole: reads a view", lambda: tables.get_item(TableName=views, Key={"user": {"S": user}}))

    for role in ("SignInRole", "ApiRole"):
        tables, _ = acting(role)
        denied(f"{role}: deletes a commit", lambda: tables.delete_item(TableName=events, Key=commit))
        denied(f"{role}: deletes one in a transaction", lambda: tables.transact_write_items(
            TransactItems=[{"Delete": {"TableName": events, "Key": commit}}]))
        denied(f"{role}: scans the log", lambda: tables.scan(TableName=events))
        denied(f"{role}: writes a view", lambda: tables.put_item(TableName=views, Item={"user": {"S": user}}))

    tables, parameters = acting("MailerRole")
    denied("MailerRole: writes the log", lambda: tables.put_item(TableName=events, Item=commit))
    denied("MailerRole: reads views", lambda: tables.get_item(TableName=views, Key={"user": {"S": user}}))
    denied("MailerRole: reads the key verifiers", lambda: parameters.get_parameter(Name=key("verifiers"), WithDecryption=True))

    tables, parameters = acting("ReplayerRole")
    check("ReplayerRole: scans the log", tables.scan(TableName=events)["Count"] >= 2)
    denied("ReplayerRole: writes the log", lambda: tables.put_item(TableName=events, Item=commit))
    denied("ReplayerRole: changes sessions", lambda: tables.update_item(
        TableName=sessions, Key=commit, UpdateExpression="REMOVE #s", ExpressionAttributeNames={"#s": "sealed"}))
    denied("ReplayerRole: reads the key refresh", lambda: parameters.get_parameter(Name=key("refresh"), WithDecryption=True))


def retried(account):
    """What the schedule sends, by hand: it reads the index of parked users."""
    answer = account.client("lambda").invoke(FunctionName=f"{STACK}-projector", Payload=b'{"retry":"parked"}')
    text = answer["Payload"].read().decode()
    check(f"the projector tries parked users again: {text}", "FunctionError" not in answer, text)


def rebuilt(account, outputs, user):
    """Views that are lost come back through the state machine, in segments."""
    dynamodb, states = account.client("dynamodb"), account.client("stepfunctions")
    place = {"TableName": outputs["ViewsTable"], "Key": {"user": {"S": user}}}
    before = dynamodb.get_item(**place)["Item"]["version"]
    dynamodb.delete_item(**place)
    begun = time.monotonic()
    execution = states.start_execution(stateMachineArn=outputs["Replay"], name="story",
                                       input=json.dumps({"segments": 4, "kind": "rebuild"}))["executionArn"]

    def ended():
        now = states.describe_execution(executionArn=execution)
        return now if now["status"] != "RUNNING" else None
    result = until("the rebuild has ended", ended, 300)
    check(f"a rebuild in 4 segments, verified, by the state machine: {result['status']} after "
          f"{time.monotonic() - begun:.0f} s, {result.get('output')}", result["status"] == "SUCCEEDED", result)
    check("the deleted view is back", dynamodb.get_item(**place)["Item"]["version"] == before)


def main():
    architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    parameters = {"Architecture": architecture, "MailFrom": "accounts@example.com", "Links": "https://app.example.com"}
    with emulator() as port:
        try:
            account = Account(port)
            outputs = deploy(account, parameters)
            annals = os.environ["ANNALS_BIN"]
            account.run(annals, "keys", "make", "--stack", STACK)
            say("annals keys make: the keys are in the parameter store")
            ssm = account.client("ssm")
            made = ssm.get_parameter(Name=f"/annals/{STACK}/keys/wrapping", WithDecryption=True)["Parameter"]
            check("they are SecureStrings", made["Type"] == "SecureString", made["Type"])
            account.run(annals, "keys", "make", "--stack", STACK)
            again = ssm.get_parameter(Name=f"/annals/{STACK}/keys/wrapping", WithDecryption=True)["Parameter"]
            check("made once: a second call changes nothing", again["Value"] == made["Value"])
            api = Api(port, outputs["ApiHost"])
            user, _ = story(account, api, outputs)
            with at_an_address(api) as url:
                say("annals smoke: " + account.run(annals, "smoke", "--url", url).strip().replace("\n", "\n    "))
            until("the projector is through", lambda: account.tries(annals, "verify", "--stack", STACK))
            say("annals verify: " + account.run(annals, "verify", "--stack", STACK).strip())
            roles(account, outputs, user)
            retried(account)
            rebuilt(account, outputs, user)
        except (SystemExit, Exception):
            print((WORK / "emulator.log").read_text()[-6000:], file=sys.stderr)
            raise


main()
