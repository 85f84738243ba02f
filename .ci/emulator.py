"""The emulator of AWS that .ci/deploy.py deploys to: the account's operator there, and the API as clients see it."""

import base64
import contextlib
import email
import email.policy
import http.client
import http.server
import json
import os
import pathlib
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request

import boto3

TOOLS = pathlib.Path(os.environ["TOOLS"])
WORK = pathlib.Path(sys.argv[1])


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

    def run(self, *command, **environment):
        done = subprocess.run([str(part) for part in command], env=self.environment | environment, cwd=WORK,
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"error: {' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def tries(self, *command):
        return subprocess.run([str(part) for part in command], env=self.environment, cwd=WORK, capture_output=True,
                              check=False).returncode == 0

    def aws(self, *arguments):
        return self.run(TOOLS / "aws", *arguments)

    def deployment(self, stack):
        """What the stack says of itself to the operator's program."""
        return json.loads(self.client("ssm").get_parameter(Name=f"/annals/{stack}/deployment")["Parameter"]["Value"])

    def mails(self, address):
        """What the emulator's SES was given for this address, the oldest first."""
        with urllib.request.urlopen(f"{self.url}/_ministack/ses/messages", timeout=10) as answer:
            sent = json.load(answer)["messages"].values()
        return [mail for of_account in sent for mail in of_account if mail["To"] == [address]]

    def mail(self, address, subject):
        """The mail with this subject, as soon as it has been sent."""
        def look():
            return next((mail for mail in self.mails(address) if mail["Subject"] == subject), None)
        return until(f"a mail is sent: {subject}", look)


class Api:
    """The API as its clients see it."""

    def __init__(self, port, host):
        self.port = port
        # By its host, the emulator takes /login and others for its own.
        self.base = f"/_aws/execute-api/{host.split('.')[0]}/$default"
        # What an edge before the API would send with every request.
        self.edge = {}

    def __call__(self, method, path, body=None, token=None, expect=None, form=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = self.edge | (headers or {})
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
            kept = api.edge | {name: value for name, value in self.headers.items() if name.lower() != "host"}
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


@contextlib.contextmanager
def smtp_server(user, password):
    """A mail server of one's own: its URL, and what it takes from this user."""
    taken = []

    class Conversation(socketserver.StreamRequestHandler):
        def handle(self):
            self.reply("220 here")
            known, to = False, []
            while line := self.rfile.readline().decode().strip():
                verb = line.upper()
                if verb.startswith("EHLO"):
                    self.reply("250-here\r\n250 AUTH PLAIN")
                elif verb.startswith("AUTH PLAIN "):
                    known = base64.b64decode(line[11:]).decode().split("\0")[1:] == [user, password]
                    self.reply("235 known" if known else "535 unknown")
                elif verb.startswith("RCPT TO:") and known:
                    to.append(line[8:].strip("<> "))
                    self.reply("250 noted")
                elif verb == "DATA" and known:
                    self.reply("354 go on")
                    lines = []
                    while (text := self.rfile.readline()) != b".\r\n":
                        lines.append(text.removeprefix(b"."))
                    letter = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    taken.append({"To": to, "From": letter["From"], "Subject": letter["Subject"]})
                    self.reply("250 taken")
                elif verb == "QUIT":
                    self.reply("221 bye")
                    return
                else:
                    self.reply("250 noted" if known else "530 who are you")

        def reply(self, text):
            self.wfile.write(text.encode() + b"\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"smtp://{user}:{password}@127.0.0.1:{server.server_address[1]}", taken
        finally:
            server.shutdown()
