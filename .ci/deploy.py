"""The deployment, proven on an emulator of AWS: run by .ci/deploy, which says with which binaries.

What the emulator leaves out is listed in infra/README.md. It does check signatures and rights, so that every call that a
function makes in this story is one that its role allows, and what no role should allow is tried here and denied."""

import functools
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from secrets import token_hex

from botocore.exceptions import ClientError
from deploy_restore import restored
from deploy_story import PASSWORD, new_session, part_of, somebody, story, verified
from emulator import WORK, Account, Api, at_an_address, check, emulator, say, smtp_server, until

ROOT = pathlib.Path(__file__).resolve().parent.parent
STACK = "accounts"
BINARIES = ["command-api", "authorizer", "projector", "replayer", "mailer"]
CLIENTS, SMTP = f"/annals/{STACK}/clients", f"/annals/{STACK}/smtp"
ISSUER = "https://accounts.example.com"
MAIL = {"MailFrom": "accounts@example.com", "Links": "https://app.example.com/account"}
TABLES = {"events": ["user", "item"], "identifiers": ["identifier"], "views": ["user"], "sessions": ["user", "item"]}


# ------------------------------------------------------------------------------------------------ the deployment

def for_the_emulator(template):
    """Where AWS looks at each name that GetParameters names, the emulator looks for a right on all parameters; only of
    GetParameter, which none of ours uses, it asks for the one parameter's. So its copy of the template grants the first, and the
    second on exactly the parameters that ours names: `rights` tries these. Nor does it know whom a mail is from."""
    keys = "              - Sid: Keys\n"
    any_names = '              - { Sid: Any, Effect: Allow, Action: [ssm:GetParameters], Resource: "*" }\n'
    reads = "Action: [ssm:GetParameters]\n"
    # Six functions read keys, two the clients, and one the address of an SMTP server.
    if (template.count(keys), template.count(reads)) != (6, 9):
        raise SystemExit("error: the statements about parameters are not where they were")
    template = template.replace(reads, reads.replace("GetParameters", "GetParameter")).replace(keys, any_names + keys)
    begins = template.index("                  Resource: !Sub arn:${AWS::Partition}:ses:")
    ends = template.index("                - !Ref AWS::NoValue", begins)
    return template[:begins] + '                  Resource: "*"\n' + template[ends:]


def package(account):
    """What `sam deploy` does first: zips and the tables' template into a bucket."""
    account.client("s3").create_bucket(Bucket="artifacts")
    (WORK / "infra").mkdir()
    shutil.copy(ROOT / "infra/tables.json", WORK / "infra")
    (WORK / "infra/template.yaml").write_text(for_the_emulator((ROOT / "infra/template.yaml").read_text()))
    for function in BINARIES:
        folder = WORK / "target/lambda" / function
        folder.mkdir(parents=True)
        bootstrap = zipfile.ZipInfo("bootstrap")
        bootstrap.external_attr = 0o755 << 16
        bootstrap.compress_type = zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(folder / "bootstrap.zip", "w") as archive:
            archive.writestr(bootstrap, binary(function).read_bytes())
        say(f"{function}: {(folder / 'bootstrap.zip').stat().st_size / 1e6:.2f} MB zipped")
    account.aws("cloudformation", "package", "--template-file", WORK / "infra/template.yaml", "--s3-bucket", "artifacts",
                "--output-template-file", WORK / "packaged.yaml")


def binary(function):
    return pathlib.Path(os.environ[f"ANNALS_{function.upper().replace('-', '_')}_BIN"])


def deploy(account, parameters):
    """And then: the rest to CloudFormation. Parameters that are not named stay as they are. The outputs."""
    begun = time.monotonic()
    account.aws("cloudformation", "deploy", "--template-file", WORK / "packaged.yaml", "--stack-name", STACK,
                "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--s3-bucket", "artifacts",
                "--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items()))
    stack = account.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    check(f"the stack is {stack['StackStatus']} after {time.monotonic() - begun:.0f} s",
          stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"))
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def made_keys(account, annals):
    """The service keys, made once."""
    ssm = account.client("ssm")

    def wrapping():
        return ssm.get_parameter(Name=f"/annals/{STACK}/keys/wrapping", WithDecryption=True)["Parameter"]
    account.run(annals, "keys", "make", "--stack", STACK)
    made = wrapping()
    check("annals keys make: the keys are in the Parameter Store, as SecureStrings", made["Type"] == "SecureString", made["Type"])
    account.run(annals, "keys", "make", "--stack", STACK)
    check("made once: a second call changes nothing", wrapping()["Value"] == made["Value"])


def set_up(account, annals):
    """What the second deployment is told, most of it otherwise than by default; what these settings are to the functions; the
    secrets of clients, and of the edge."""
    secrets, clients = {}, []
    for name, may in (("gateway", ["introspect"]), ("shop", ["refresh", "revoke"])):
        made = json.loads(account.run(annals, "clients", "secret", "--json"))
        secrets[name] = made["secret"]
        clients.append({"id": name, "secret_sha256": [made["secret_sha256"]], "may": may})
    account.client("ssm").put_parameter(Name=CLIENTS, Type="SecureString", Value=json.dumps(clients))
    parameters = {"Verification": "required", "Clients": CLIENTS, "EdgeSecret": token_hex(32), "Argon2": "m=19456,t=3,p=1"}
    told = {"ANNALS_VERIFICATION": "required", "ANNALS_CLIENTS": CLIENTS, "ANNALS_ORIGIN_SECRET": parameters["EdgeSecret"],
            "ANNALS_ARGON2": parameters["Argon2"]}
    return parameters, told, secrets


def told_to(account, function):
    """The settings of a function, as they are deployed."""
    of_function = account.client("lambda").get_function_configuration(FunctionName=f"{STACK}-{function}")
    return of_function["Environment"]["Variables"]


def settings(account, told):
    """The settings have come to where they are read. No function starts with one that it does not know."""
    for function in ("sign-in", "api"):
        is_told = told_to(account, function)
        check(f"{function} is told {', '.join(sorted(told))}", told.items() <= is_told.items(), is_told)
    is_told = told_to(account, "mailer")
    check("mailer is told the sender and the links",
          (is_told["ANNALS_MAIL_FROM"], is_told["ANNALS_LINKS"]) == (MAIL["MailFrom"], MAIL["Links"]), is_told)

    wrong = f"/annals/{STACK}/wrong"
    account.client("ssm").put_parameter(Name=wrong, Type="SecureString", Value='[{"id": "gateway"}]')
    for change in ({"ANNALS_CLIENTS": wrong}, {"ANNALS_CLIENTS": f"/annals/{STACK}/missing"}, {"ANNALS_VERIFICATION": "yes"},
                   {"ANNALS_CLIENT": CLIENTS}):
        done = subprocess.run([binary("command-api")], env=account.environment | told_to(account, "api") | change,
                              cwd=WORK, capture_output=True, text=True, check=False, timeout=60)
        said = [json.loads(line) for line in done.stderr.splitlines()]
        last = said[-1] if said else {"error": "nothing"}
        (name, value), = change.items()
        check(f"with {name}={value} command-api does not start: {last['error']}",
              done.returncode != 0 and last["message"] == "the function does not run" and name in last["error"],
              (done.returncode, said))


def signing(account, annals):
    """The signing keys by their ids, and what each does."""
    listed = json.loads(account.run(annals, "keys", "list", "--stack", STACK, "--json"))
    return {key["id"]: key["state"] for key in listed["keys"] if key["ring"] == "signing"}


def rotated(account, annals):
    """Another key to sign with, ahead of its use. Both, by their ids."""
    before = signing(account, annals)
    check("annals keys list: one signing key", list(before.values()) == ["current"], before)
    account.run(annals, "keys", "rotate", "signing", "--stack", STACK)
    after = signing(account, annals)
    check("annals keys rotate signing: the next key is there, and the current one stays it",
          sorted(after.values()) == ["current", "next"] and before.items() <= after.items(), after)
    again = account.tries(annals, "keys", "rotate", "signing", "--stack", STACK)
    check("one next key at a time: a second rotation is refused", not again and signing(account, annals) == after)
    return after


def goes_on(api, ring, session):
    """Functions that have read the keys since publish them all, and what the first one signed stays good."""
    current = next(key for key, state in ring.items() if state == "current")
    kids = {key["kid"] for key in api("GET", "/.well-known/jwks.json", expect=200).json["keys"]}
    check(f"/.well-known/jwks.json has the {len(ring)} signing keys", kids == ring.keys(), kids)
    api("GET", "/me", token=session["access_token"], expect=200)
    renewed = api("POST", "/token/refresh", {"refresh_token": session["refresh_token"]}, expect=200).json
    signed = part_of(renewed["access_token"], 0)["kid"]
    check("a session of before goes on, and the current key signs for it", signed == current, (signed, ring))
    return renewed


def rotated_now(account, annals, ring):
    """In an emergency: another key that signs at once. All of them, by their ids."""
    account.run(annals, "keys", "rotate", "signing", "--now", "--stack", STACK)
    after = signing(account, annals)
    new = {key: state for key, state in after.items() if key not in ring}
    check("annals keys rotate signing --now: the new key is the current one, the others are former ones",
          list(new.values()) == ["current"] and all(after[key] == "former" for key in ring), after)
    return after


def judged_by_the_new_key(api, session):
    """The authorizer does not know the key yet. It looks for one that it does not know, once a minute at most."""
    tokens = session

    def judged():
        nonlocal tokens
        # Another token each time: the gateway remembers what it heard of one.
        tokens = api("POST", "/token/refresh", {"refresh_token": tokens["refresh_token"]}, expect=200).json
        return api("GET", "/me", token=tokens["access_token"]).status == 200
    begun = time.monotonic()
    until("the authorizer has read the keys again", judged, 75)
    say(f"the authorizer lets through what the new key signed, after {time.monotonic() - begun:.0f} s")


def rights(account, outputs):
    """With the rights of each role, everything is tried on every table and parameter: what infra/grants.json says is allowed, and
    all else is denied. Every call is about something that is not there, or changes nothing."""
    iam, sts = account.client("iam"), account.client("sts")
    resources = account.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    names = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources}
    declared = json.loads((ROOT / "infra/grants.json").read_text())
    keys = sorted({key for row in declared.values() for key in row["keys"]})
    for function, row in declared.items():
        # The emulator lets the account's owner take any role on, whomever it trusts; its rights stay those deployed.
        arn = iam.get_role(RoleName=names[f"{function}Role"])["Role"]["Arn"]
        credentials = sts.assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        dynamodb, ssm = account.client("dynamodb", credentials), account.client("ssm", credentials)
        # Of the replayer's sessions it does not look at the condition.
        granted = {(what.partition(" if ")[0], action) for what, actions in row["tables"].items() for action in actions}
        may = {True: 0, False: 0}
        for table, attributes in TABLES.items():
            for action, call in calls(dynamodb, outputs[f"{table.capitalize()}Table"], attributes).items():
                is_granted = (table, action.partition(",")[0]) in granted
                tried(f"{function}: {action} on {table}", call, is_granted)
                may[is_granted] += 1
        readable = {f"/annals/{STACK}/keys/{key}": key in row["keys"] for key in keys}
        for parameter, name in (("Clients", CLIENTS), ("SmtpUrl", SMTP)):
            arn = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter${" + parameter + "}"
            readable[name] = arn in row["others"]
        for name, is_granted in readable.items():
            tried(f"{function}: reads {name}", lambda: ssm.get_parameter(Name=name, WithDecryption=True), is_granted)
            may[is_granted] += 1
        say(f"{function}: may do {may[True]} things with tables and parameters, and is denied the {may[False]} others")


def calls(dynamodb, table, attributes):
    """Each action on a table (what it takes stands before the comma), with an item that is nobody's."""
    key = {attribute: {"S": "nobody"} for attribute in attributes}
    hash_key = attributes[0]
    there = {"ConditionExpression": "attribute_exists(#k)", "ExpressionAttributeNames": {"#k": hash_key}}
    absent = {"ConditionExpression": "attribute_not_exists(#k)", "ExpressionAttributeNames": {"#k": hash_key}}
    return {
        "GetItem": lambda: dynamodb.get_item(TableName=table, Key=key),
        "BatchGetItem": lambda: dynamodb.batch_get_item(RequestItems={table: {"Keys": [key]}}),
        "Query": lambda: dynamodb.query(
            TableName=table, KeyConditionExpression="#k = :k", ExpressionAttributeNames={"#k": hash_key},
            ExpressionAttributeValues={":k": {"S": "nobody"}}),
        "Scan": lambda: dynamodb.scan(TableName=table, Limit=1),
        "PutItem": lambda: dynamodb.put_item(TableName=table, Item=key, **there),
        "UpdateItem": lambda: dynamodb.update_item(TableName=table, Key=key, **there),
        "DeleteItem": lambda: dynamodb.delete_item(TableName=table, Key=key),
        "BatchWriteItem": lambda: dynamodb.batch_write_item(RequestItems={table: [{"DeleteRequest": {"Key": key}}]}),
        "ConditionCheckItem": lambda: dynamodb.transact_write_items(
            TransactItems=[{"ConditionCheck": {"TableName": table, "Key": key, **absent}}]),
        "DeleteItem, in a transaction": lambda: dynamodb.transact_write_items(
            TransactItems=[{"Delete": {"TableName": table, "Key": key}}]),
    }


def tried(what, call, is_granted):
    try:
        call()
        code = "done"
    except ClientError as error:
        code = error.response["Error"]["Code"]
    is_denied = code in ("AccessDeniedException", "AccessDenied")
    if is_denied == is_granted or not (is_denied or code in ("done", "ConditionalCheckFailedException")):
        raise SystemExit(f"error: {what}, which is{'' if is_granted else ' not'} granted: {code}")


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
    annals = os.environ["ANNALS_BIN"]
    with emulator() as port:
        try:
            account = Account(port)
            account.client("sesv2").create_email_identity(EmailIdentity=MAIL["MailFrom"])
            package(account)
            outputs = deploy(account, {"Architecture": architecture} | MAIL)
            made_keys(account, annals)
            api = Api(port, outputs["ApiHost"])
            user, session = story(account, api, outputs)
            with at_an_address(api) as url:
                say("annals smoke: " + indented(account.run(annals, "smoke", "--url", url)))

            ring = rotated(account, annals)
            parameters, told, secrets = set_up(account, annals)
            deploy(account, parameters)
            settings(account, told)
            past = api("GET", "/health")
            check("what comes past the edge is refused", past.status == 403, past.text)
            api.edge = {"X-Annals-Origin": parameters["EdgeSecret"], "CloudFront-Viewer-Address": "192.0.2.7:4711"}
            session = goes_on(api, ring, session)
            address, password = verified(account, api, secrets)
            with at_an_address(api) as url:
                say("annals smoke: " + indented(account.run(
                    annals, "smoke", "--url", url, "--email", address, ANNALS_SMOKE_PASSWORD=password)))

            ring = rotated_now(account, annals, ring)
            with smtp_server("annals", token_hex(16)) as (server, letters):
                parameters = server_of_our_own(account, server)
                deploy(account, parameters)
                is_told = told_to(account, "api")
                check("what is not said again stays", is_told["ANNALS_VERIFICATION"] == "required", is_told)
                check("the edge's former secret is refused", api("GET", "/health").status == 403)
                api.edge["X-Annals-Origin"] = parameters["EdgeSecret"]
                session = goes_on(api, ring, session)
                posted(api, letters)
            until("the projector is through", lambda: account.tries(annals, "verify", "--stack", STACK))
            say("annals verify: " + account.run(annals, "verify", "--stack", STACK).strip())
            rights(account, outputs)
            retried(account)
            rebuilt(account, outputs, user)
            judged_by_the_new_key(api, session)
            restored(account, annals, STACK, api, outputs, functools.partial(deploy, account), address, password)
            renamed(account, api, address, password)
            unguarded(account, api)
        except (SystemExit, Exception):
            print((WORK / "emulator.log").read_text()[-6000:], file=sys.stderr)
            raise


def server_of_our_own(account, server):
    """What the third deployment is told: another secret of the edge's, and where mails go."""
    account.client("ssm").put_parameter(Name=SMTP, Type="SecureString", Value=server)
    return {"EdgeSecret": token_hex(32), "SmtpUrl": SMTP}


def posted(api, letters):
    """Mails go to that server now, with the password that the parameter holds."""
    address = somebody()
    api("POST", "/register", {"email": address, "password": PASSWORD}, expect=202)
    (letter,) = until("the server has taken a mail", lambda: letters)
    check("the mailer gives mails to the server that SmtpUrl names",
          (letter["To"], letter["From"]) == ([address], MAIL["MailFrom"]), letter)


def renamed(account, api, address, password):
    """Another URL of the service: whatever names the former one is worth nothing, and those who sign and who look agree."""
    before = api("POST", "/login", new_session(address, password), expect=200).json
    outputs = deploy(account, {"Issuer": ISSUER})
    check("Issuer: a token of before gets the gateway's bare 403", api("GET", "/me", token=before["access_token"]).status == 403)
    after = api("POST", "/login", new_session(address, password), expect=200).json
    api("GET", "/me", token=after["access_token"], expect=200)
    named = [outputs["Url"], part_of(after["access_token"], 1)["iss"],
             api("GET", "/.well-known/oauth-authorization-server", expect=200).json["issuer"],
             account.deployment(STACK)["issuer"]]
    check("and the new one stands in tokens that are good, in the metadata, and in what `annals --stack` reads",
          named == [ISSUER] * 4, named)


def unguarded(account, api):
    """Without the authorizer, command-api alone refuses."""
    deploy(account, {"Authorizer": "off"})
    for token in (None, "nonsense"):
        refused = api("GET", "/me", token=token)
        check("Authorizer=off: GET /me without a good token: 401 of command-api",
              refused.status == 401 and refused.getheader("WWW-Authenticate", "").startswith("Bearer"), refused.text)


def indented(text):
    return text.strip().replace("\n", "\n    ")


main()
