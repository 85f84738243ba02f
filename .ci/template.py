"""Checks of the templates in infra/, and of the checks themselves. Run by .ci/template.

The template is expanded as AWS would expand it, and only then judged: linters pass misspelt settings of what the
transform makes. What they find stands in infra/findings.json with the reason why it stays, or it is an error; a reason
that no finding needs is one, too. What they cannot know (who may do what, by infra/grants.json; what the stream's mappings
must say) is checked here. Then mistakes are planted, one by one, and each must be found."""

import copy
import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
from decimal import ROUND_HALF_UP, Decimal

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

# It misses metrics that nobody asked for.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

ROOT = pathlib.Path(__file__).resolve().parent.parent
INFRA = ROOT / "infra"
TABLES = {"EventsTable": "events", "IdentifiersTable": "identifiers", "ViewsTable": "views", "SessionsTable": "sessions"}
PROTECTED = {"POST /me/password", "POST /logout", "ANY /me", "ANY /me/{proxy+}"}
HASHING = {"POST /register", "POST /login", "POST /password/forgot", "POST /password/reset", "POST /me/password"}
# What each program must be told. One that is told anything else does not start.
EVENTS, IDENTIFIERS, VIEWS, SESSIONS = (f"ANNALS_{table.upper()}_TABLE" for table in TABLES.values())
COMMAND_API = {EVENTS, IDENTIFIERS, VIEWS, SESSIONS, "ANNALS_KEYS_PREFIX", "ANNALS_ISSUER", "ANNALS_ARGON2", "ANNALS_VERIFICATION",
               "ANNALS_CLIENTS", "ANNALS_ORIGIN_SECRET"}
SETTINGS = {
    "SignIn": COMMAND_API,
    "Api": COMMAND_API,
    "Authorizer": {"ANNALS_KEYS_PREFIX", "ANNALS_ISSUER"},
    "Projector": {EVENTS, VIEWS, "ANNALS_KEYS_PREFIX"},
    "Mailer": {EVENTS, SESSIONS, "ANNALS_KEYS_PREFIX", "ANNALS_LINKS", "ANNALS_MAIL_FROM", "ANNALS_SMTP"},
    "Replayer": {EVENTS, VIEWS, SESSIONS, "ANNALS_KEYS_PREFIX"},
}
# A file with keys is for one machine.
LOCAL_SETTINGS = {"ANNALS_KEYS_FILE"}


def source(name):
    return yaml_parse((INFRA / name).read_text())


def expanded(template):
    """The template as CloudFormation gets it. Where the zips lie is said when they are uploaded."""
    template = copy.deepcopy(template)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/function.zip"
    session = boto3.Session(region_name="us-east-1")
    result = Translator({}, Parser(), boto_session=session).translate(template, {})
    # The transform leaves these to CloudFormation.
    result.pop("Transform", None)
    return result


def resources(template, kind):
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == kind}


def refs(value):
    """Every reference in a part of a template."""
    if isinstance(value, dict):
        if set(value) == {"Ref"}:
            yield value
        else:
            yield from (ref for part in value.values() for ref in refs(part))
    elif isinstance(value, list):
        yield from (ref for part in value for ref in refs(part))


# ------------------------------------------------------------------------------------------------ who may do what

def statements(template, role):
    """Every statement of a role, with those that a condition adds."""
    for policy in template["Resources"][role]["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def listed(value):
    return value if isinstance(value, list) else [value]


def grant(resource):
    """What an ARN of the template is in the matrix: the kind and the name."""
    text = resource["Fn::Sub"] if isinstance(resource, dict) and "Fn::Sub" in resource else resource
    here = "${AWS::Region}:${AWS::AccountId}"
    if isinstance(text, str):
        table = re.fullmatch(r"arn:\$\{AWS::Partition\}:dynamodb:" + re.escape(here)
                             + r":table/\$\{Tables\.Outputs\.(\w+)\}(/index/\w+)?", text)
        if table and table[1] in TABLES:
            return "tables", TABLES[table[1]] + (table[2] or "").replace("/index/", "/")
        key = re.fullmatch(r"arn:\$\{AWS::Partition\}:ssm:" + re.escape(here)
                           + r":parameter/annals/\$\{AWS::StackName\}/keys/([a-z-]+)", text)
        if key:
            return "keys", key[1]
        if text == "${Tables.Outputs.EventsStreamArn}":
            return "tables", "events/stream"
    return "others", text if isinstance(text, str) else json.dumps(resource)


def matrix(template):
    """Function by function: which actions on which table, which keys, and all else."""
    found = {}
    for name, function in resources(template, "AWS::Lambda::Function").items():
        role = function["Role"]["Fn::GetAtt"][0]
        row = {"tables": {}, "keys": [], "others": {}}
        for statement in statements(template, role):
            for resource in listed(statement["Resource"]):
                kind, what = grant(resource)
                actions = [action.removeprefix("dynamodb:") for action in listed(statement["Action"])]
                if statement["Effect"] != "Allow":
                    raise SystemExit(f"{role} has a statement that does not allow")
                if kind == "keys":
                    if actions != ["ssm:GetParameters"]:
                        raise SystemExit(f"{role} may do more with keys than read them: {actions}")
                    row["keys"].append(what)
                else:
                    if "Condition" in statement:
                        what += " if " + json.dumps(statement["Condition"], sort_keys=True)
                    row[kind].setdefault(what, []).extend(actions)
        row["tables"] = {table: sorted(actions) for table, actions in sorted(row["tables"].items())}
        row["others"] = {what: sorted(actions) for what, actions in sorted(row["others"].items())}
        found[name.removesuffix("Function")] = row
    return found


def pairs(row):
    """A row of the matrix as a set of what may be done with what."""
    found = {f"the key {key}" for key in row.get("keys", [])}
    for kind in ("tables", "others"):
        found |= {f"{action} on {what}" for what, actions in row.get(kind, {}).items() for action in actions}
    return found


def state_findings(machine):
    """States that lead nowhere, and states that nothing leads to."""
    states, led_to = machine["States"], {machine["StartAt"]}
    for state in states.values():
        led_to |= {step[key] for step in [state, *state.get("Choices", []), *state.get("Catch", [])]
                   for key in ("Next", "Default") if key in step}
        if "ItemProcessor" in state:
            yield from state_findings(state["ItemProcessor"])
    yield from (f"states: {name} is not both there and led to" for name in sorted(led_to ^ states.keys()))


def settings_in_the_code():
    """The names of all settings that the functions' programs ask for, tests aside."""
    for crate in ("command-api", "projector", "mailer", "storage"):
        for file in (ROOT / crate / "src").rglob("*.rs"):
            yield from re.findall(r'"(ANNALS_[A-Z0-9_]+)"', file.read_text().partition("\n#[cfg(test)]")[0])


def rule_findings(template):
    """What no linter knows."""
    found = []
    known, read = set().union(*SETTINGS.values(), LOCAL_SETTINGS), set(settings_in_the_code())
    found += [f"settings: {name} is not both read by a program and known here" for name in sorted(known ^ read)]
    for name, function in resources(template, "AWS::Lambda::Function").items():
        told, must = set(function["Environment"]["Variables"]), SETTINGS[name.removesuffix("Function")]
        found += [f"settings: {name} is told {one}, which it does not know" for one in sorted(told - must)]
        found += [f"settings: {name} is not told {one}" for one in sorted(must - told)]
    used = json.dumps({part: template.get(part) for part in ("Conditions", "Resources")}, default=str)
    for name in template["Parameters"]:
        if f'"Ref": "{name}"' not in used and "${" + name + "}" not in used:
            found.append(f"settings: the parameter {name} is for nothing")
    granted, declared = matrix(template), json.loads((INFRA / "grants.json").read_text())
    for name in sorted(granted.keys() | declared.keys()):
        is_, should = pairs(granted.get(name, {})), pairs(declared.get(name, {}))
        found += [f"grants: {name} has {one}, which infra/grants.json does not" for one in sorted(is_ - should)]
        found += [f"grants: {name} lacks {one}, which infra/grants.json says" for one in sorted(should - is_)]
    for name, row in granted.items():
        on = {table: set(actions) for table, actions in row["tables"].items()}
        if "DeleteItem" in on.get("events", ()) or any("*" in a for actions in on.values() for a in actions):
            found.append(f"grants: {name} may delete commits, or anything")
        writes = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"}
        if name in ("Projector", "Replayer", "Mailer", "Authorizer") and on.get("events", set()) & writes:
            found.append(f"grants: {name} may write the log")
        if name != "Replayer" and "Scan" in on.get("events", ()):
            found.append(f"grants: {name} may scan the log")
    roles = [f["Role"]["Fn::GetAtt"][0] for f in resources(template, "AWS::Lambda::Function").values()]
    if len(roles) != len(set(roles)):
        found.append("grants: two functions share a role")

    mappings = resources(template, "AWS::Lambda::EventSourceMapping")
    pump = (ROOT / "annals/src/local/pump/record.rs").read_text()
    filters = {
        "ProjectorMapping": re.findall(r"`(\{.+?\})`", pump),
        "MailerMapping": ['{"eventName":["INSERT"],"dynamodb":{"Keys":{"item":{"S":[{"prefix":"commit-"}]}}}}'],
    }
    if set(mappings) != set(filters) or len(filters["ProjectorMapping"]) != 2:
        found.append("mappings: not those of projector and mailer")
    queues = resources(template, "AWS::SQS::Queue")
    for name, mapping in mappings.items():
        def must(what, holds):
            if not holds:
                found.append(f"{name}: {what}")
        destination = mapping.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", {})
        queue = destination.get("Fn::GetAtt", [None])[0]
        must("what fails goes nowhere", queue in queues)
        sends = {"Fn::GetAtt": [queue, "Arn"]}
        role = name.replace("Mapping", "Role")
        may = [s for s in statements(template, role) if s["Action"] == ["sqs:SendMessage"]]
        arns = [json.dumps(s["Resource"]).replace("${" + f"{queue}.Arn" + "}", "!") for s in may]
        must("it may not send to its queue", any("!" in arn or arn == json.dumps(sends) for arn in arns))
        must("retries are not bounded", 0 <= mapping.get("MaximumRetryAttempts", -1) <= 1000)
        must("the age of records is not bounded", 60 <= mapping.get("MaximumRecordAgeInSeconds", -1) < 86400)
        must("it does not halve batches", mapping.get("BisectBatchOnFunctionError") is True)
        must("partial failures are not heard", mapping.get("FunctionResponseTypes") == ["ReportBatchItemFailures"])
        must("it does not start at the beginning", mapping.get("StartingPosition") == "TRIM_HORIZON")
        must("it reads another stream",
             mapping.get("EventSourceArn") == {"Fn::GetAtt": ["Tables", "Outputs.EventsStreamArn"]})
        patterns = [f["Pattern"] for f in mapping.get("FilterCriteria", {}).get("Filters", [])]
        must("it filters otherwise than the local stack", patterns == filters.get(name))

    for machine in resources(template, "AWS::StepFunctions::StateMachine").values():
        found += state_findings(machine["Definition"])

    watched = {d["Value"] for a in resources(template, "AWS::CloudWatch::Alarm").values() if a["MetricName"] == "Findings"
               for d in a["Dimensions"]}
    named = {name for crate in ("command-api", "storage", "projector", "mailer") for file in (ROOT / crate / "src").rglob("*.rs")
             for name in re.findall(r'\balarm\b[^=;"]*=[^=;"]*"([a-z-]+)"', file.read_text())}
    # Whoever is parked has a metric. A commit that the mailer cannot read has its user parked.
    for name in sorted((named ^ watched) - {"parked", "mail-unreadable"}):
        found.append(f"alarms: {name} is not both found by a program and watched")

    logs = resources(template, "AWS::Logs::LogGroup")
    for name, function in resources(template, "AWS::Lambda::Function").items():
        log = function.get("LoggingConfig", {}).get("LogGroup", {}).get("Ref")
        if "RetentionInDays" not in logs.get(log, {}):
            found.append(f"{name}: its logs are not its own, or kept for ever")
        if function.get("LoggingConfig", {}).get("LogFormat", "Text") != "Text":
            found.append(f"{name}: metrics in its lines would not be understood")

    routes = {r["RouteKey"]: r for r in resources(template, "AWS::ApiGatewayV2::Route").values()}
    for key, route in routes.items():
        guarded = route["AuthorizationType"] == {"Fn::If": ["Authorizes", "CUSTOM", "NONE"]} and "AuthorizerId" in route
        if guarded != (key in PROTECTED):
            found.append(f"routes: {key} is{'' if guarded else ' not'} behind the authorizer")
        if guarded and key.startswith("ANY ") and key.replace("ANY", "OPTIONS", 1) not in routes:
            found.append(f"routes: {key} asks browsers for a token before they may send one")
        hashes = "SignInIntegration" in json.dumps(route["Target"])
        if hashes != (key in HASHING):
            found.append(f"routes: {key} goes to the wrong function")
    for name, function in resources(template, "AWS::Lambda::Function").items():
        # The programs take a name for one by its first letter, which the parameter's pattern makes a slash.
        for setting, parameter, has in (("ANNALS_CLIENTS", "Clients", "HasClients"), ("ANNALS_SMTP", "SmtpUrl", "MailsBySmtp")):
            value = function["Environment"]["Variables"].get(setting)
            if value not in (None, {"Fn::If": [has, {"Ref": parameter}, {"Ref": "AWS::NoValue"}]}):
                found.append(f"{name}: {setting} is not the name that the parameter {parameter} is")
    for name, row in granted.items():
        for resource, actions in row["others"].items():
            # The one request by which a parameter is read: storage/src/parameter.rs, storage/src/keys/parameters.rs.
            if ":ssm:" in resource and actions != ["ssm:GetParameters"]:
                found.append(f"grants: {name} cannot read {resource} with {actions}")
    if missing := (PROTECTED | HASHING | {"$default"}) - routes.keys():
        found.append(f"routes: missing {sorted(missing)}")
    (stage,) = resources(template, "AWS::ApiGatewayV2::Stage").values()
    if unknown := set(stage["RouteSettings"]) - routes.keys():
        found.append(f"routes: settings of {sorted(unknown)}, which are no routes")
    if loose := HASHING - set(stage["RouteSettings"]):
        found.append(f"routes: {sorted(loose)} have no tighter limits")
    # As AWS fills it in: `messageString` comes in quotes of its own, the others without.
    line = re.sub(r"\$context\.error\.messageString", '"Forbidden"', stage.get("AccessLogSettings", {}).get("Format", ""))
    try:
        json.loads(re.sub(r"\$context\.[A-Za-z.]+", "-", line))
    except json.JSONDecodeError:
        found.append("gateway: a line of its log is not JSON")

    # The projector that knows an event is there before a program that writes it.
    for name, integration in resources(template, "AWS::ApiGatewayV2::Integration").items():
        function = integration["IntegrationUri"]["Fn::GetAtt"][0]
        if template["Resources"][function].get("DependsOn") != "ProjectorFunction":
            found.append(f"{function}: may be updated before the projector, which reads what it writes")

    asked = {r["Ref"] for r in refs(template["Rules"]["RestoredTogether"]["RuleCondition"])}
    if asked != {name for name in template["Parameters"] if name.startswith("Restored")}:
        found.append("rules: not everything of a restored table is asked for together")
    return found


def table_of_grants():
    """The matrix as it stands in infra/README.md."""
    declared = json.loads((INFRA / "grants.json").read_text())
    rows = ["| function | keys | events | identifiers | views | sessions |", "|---|---|---|---|---|---|"]
    for name, row in declared.items():
        cells = []
        for table in TABLES.values():
            parts = []
            for what, actions in row["tables"].items():
                plain, _, condition = what.partition(" if ")
                base, _, part = plain.partition("/")
                if base == table and part != "stream":
                    note = f" (index `{part}`)" if part else " (keys `replay#…`)" if condition else ""
                    parts.append(", ".join(a.removesuffix("Item") if a != "ConditionCheckItem" else "ConditionCheck"
                                           for a in actions) + note)
                elif base == table:
                    parts.append("its stream")
            cells.append("; ".join(parts) or "–")
        keys = "all but public" if len(row["keys"]) == 9 else ", ".join(row["keys"])
        rows.append(f"| {name} | {keys} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def table_of_parameters(template):
    """The parameters as they stand in infra/README.md: `sam deploy` shows nobody what they are."""
    rows = ["| parameter | default | what it is |", "|---|---|---|"]
    for name, parameter in template["Parameters"].items():
        default = f"`{parameter['Default']}`" if parameter.get("Default", "") != "" else "" if "Default" in parameter else "none"
        rows.append(f"| {name} | {default} | {parameter['Description']} |")
    return "\n".join(rows)


# A million of each: units written and read (command-api/tests/http/budget.rs), memory in GB, time in ms, and whether it is
# a request and appends a commit.
OPERATIONS = [
    ("register", "6", "0", "1.73", 60, True, True),
    ("register, with `Verification=required`", "8", "3.5", "1.73", 60, True, True),
    ("sign in", "5", "2.5", "1.73", 65, True, True),
    ("wrong password", "1", "2.5", "1.73", 50, True, False),
    ("refresh", "1", "0", "0.5", 15, True, False),
    ("read (`GET /me`)", "0", "1.5", "0.5", 15, True, False),
    ("list five sessions", "0", "7.5", "0.5", 15, True, False),
    ("sign out", "4", "2.5", "0.5", 15, True, True),
    ("end another session", "6", "3.5", "0.5", 15, True, True),
    ("change the name", "1", "2.5", "0.5", 15, True, True),
    ("change the password, one other session", "9", "2.5", "1.73", 95, True, True),
    ("forget the password", "4", "3.5", "1.73", 15, True, True),
    ("reset the password, one session", "6", "2.5", "1.73", 60, True, True),
    ("verify an address", "1", "1.5", "0.5", 15, True, True),
    ("ask for that mail again", "4", "3.5", "0.5", 15, True, True),
    ("change the address", "6", "3.5", "0.5", 15, True, True),
    ("confirm the new one", "6", "1.5", "0.5", 15, True, True),
    # The commit, the one before, the vault; and for a mail the user as of then, from ten commits.
    ("commits that call for no mail, where mail is on", "0", "3", "0.5", 20, False, False),
    ("a mail", "2", "4", "0.5", 100, False, False),
]


def dollars(amount):
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def table_of_costs():
    """What a million of each operation costs, in dollars, by the prices that infra/README.md names."""
    written, read, run, invoked, asked = map(Decimal, ("0.625", "0.125", "13.3334", "0.20", "2"))

    def function(memory, milliseconds):
        return dollars(Decimal(memory) * milliseconds / 1000 * run + invoked)
    projection = dollars(written + Decimal("1.5") * read) + function("0.5", 20)
    rows = ["| a million of | writes | reads | function | API, logs | projection | sum |", "|---|---|---|---|---|---|---|"]
    for name, writes, reads, memory, milliseconds, request, appends in OPERATIONS:
        parts = [dollars(Decimal(writes) * written), dollars(Decimal(reads) * read), function(memory, milliseconds),
                 asked * request, projection * appends]
        units = [f"{count} → ${cost}" if count != "0" else "–" for count, cost in zip((writes, reads), parts)]
        more = ", and SES's $100" if name == "a mail" else ""
        rows.append(f"| {name} | {units[0]} | {units[1]} | {memory} GB × {milliseconds} ms → ${parts[2]} | "
                    f"{'$2' if request else '–'} | {f'${projection}' if appends else '–'} | ${dollars(sum(parts))}{more} |")
    return "\n".join(rows)


def tables():
    """Every table of infra/README.md that is made from something else, by what it is."""
    return {
        "the matrix": table_of_grants(),
        "the table of parameters": table_of_parameters(source("template.yaml")),
        "the table of the edge's parameters": table_of_parameters(source("edge.yaml")),
        "the table of costs": table_of_costs(),
    }


def readme_findings(template):
    """What infra/README.md says of the templates, and the commands it gives."""
    text = (INFRA / "README.md").read_text()
    found = [f"infra/README.md: {name} is not what .ci/template --table prints" for name, table in tables().items()
             if table not in text]
    alarms = [r for r in template["Resources"].values() if r["Type"] == "AWS::CloudWatch::Alarm"]
    always = [alarm for alarm in alarms if "Condition" not in alarm]
    if f"{len(alarms)} alarms ${len(alarms) / 10:.2f} ({len(always)} without mail: ${len(always) / 10:.2f})" not in text:
        found.append(f"infra/README.md: there are {len(alarms)} alarms, {len(always)} of them without mail")
    config = tomllib.loads((INFRA / "samconfig.toml").read_text())
    for name in ("default", "edge"):
        settings = config[name]["deploy"]["parameters"]
        # A parameter there would undo at the next update what was changed on the command line.
        if "parameter_overrides" in settings or settings["stack_name"] not in text:
            found.append(f"infra/samconfig.toml: {name} is not as infra/README.md says")
    if set(config["default"]["deploy"]["parameters"]["capabilities"].split()) != {"CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"}:
        found.append("infra/samconfig.toml: AWS asks for other capabilities")
    return found


def edge_findings(template):
    """What no linter knows of the edge."""
    found = []
    for name, distribution in resources(template, "AWS::CloudFront::Distribution").items():
        kept = {one["ErrorCode"]: one.get("ErrorCachingMinTTL")
                for one in distribution["DistributionConfig"].get("CustomErrorResponses", [])}
        # Those that CloudFront keeps. [Amazon CloudFront developer guide, "HTTP 4xx and 5xx status codes that CloudFront caches"]
        for code in (400, 403, 404, 405, 414, 500, 501, 502, 503, 504):
            if kept.get(code) != 0:
                found.append(f"{name}: an answer {code} is given to others, too")
    return found


# ------------------------------------------------------------------------------------------------ linters

def run(*command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "LOG_LEVEL": "ERROR"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def lint_findings(files):
    done = run(os.environ["CFN_LINT"], "--format", "json", "--regions", "us-east-1", "--", *map(str, files))
    if done.returncode not in (0, 2, 4, 6, 8, 10, 12, 14):
        raise SystemExit("cfn-lint does not run: " + done.stderr + done.stdout)
    for one in json.loads(done.stdout or "[]"):
        path = one["Location"].get("Path") or []
        where = str(path[1]) if len(path) > 1 else ""
        name = pathlib.Path(one["Filename"]).name
        yield {"tool": "cfn-lint", "file": name, "rule": one["Rule"]["Id"], "on": where, "says": one["Message"]}


def checkov_findings(files):
    command = [os.environ["CHECKOV"], "--framework", "cloudformation", "--skip-download", "--quiet", "--compact",
               "--output", "json"]
    for file in files:
        command += ["--file", str(file)]
    done = run(*command)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise SystemExit("checkov does not run: " + done.stderr + done.stdout) from None
    for part in listed(report):
        if part.get("results", {}).get("parsing_errors"):
            raise SystemExit(f"checkov cannot read {part['results']['parsing_errors']}")
        for one in part.get("results", {}).get("failed_checks", []):
            yield {"tool": "checkov", "file": pathlib.Path(one["file_path"]).name, "rule": one["check_id"],
                   "on": one["resource"].split(".")[-1], "says": one["check_name"]}


def unexplained(findings, reasons):
    """Findings without a reason; each reason that is used is marked."""
    left = []
    for finding in findings:
        for reason in reasons:
            same = all(finding[part] == reason[part] for part in ("tool", "file", "rule"))
            if same and finding["on"] in reason["on"]:
                reason.setdefault("used", set()).add(finding["on"])
                break
        else:
            left.append("{tool} {rule} in {file}, {on}: {says}".format(**finding))
    return left


# ------------------------------------------------------------------------------------------------ planted mistakes

def properties(template, name):
    return template["Resources"][name]["Properties"]


def statement(template, role, sid):
    document = properties(template, role)["Policies"][0]["PolicyDocument"]
    return next(s for s in document["Statement"] if s.get("Sid") == sid)


def misspelt_setting(t):
    mapping = properties(t, "ProjectorMapping")
    mapping["BisectBatchOnFunctionErrors"] = mapping.pop("BisectBatchOnFunctionError")


def misspelt_reference(t):
    properties(t, "ProjectorMapping")["DestinationConfig"]["OnFailure"]["Destination"] = {"Fn::GetAtt": ["Failures", "Arn"]}


def unknown_state(t):
    properties(t, "Replay")["Definition"]["States"]["Segments"]["Type"] = "Mapping"


def misspelt_state(t):
    properties(t, "Replay")["Definition"]["States"]["Begin"]["Next"] = "Segment"


def missing_grant(t):
    statement(t, "ProjectorRole", "Views")["Action"].remove("dynamodb:PutItem")


def grant_too_many(t):
    statement(t, "SignInRole", "Events")["Action"].append("dynamodb:DeleteItem")


def log_written_by_the_projector(t):
    statement(t, "ProjectorRole", "Events")["Action"].append("dynamodb:PutItem")


def log_scanned_by_the_api(t):
    statement(t, "ApiRole", "Events")["Action"].append("dynamodb:Scan")


def key_too_many(t):
    keys = statement(t, "AuthorizerRole", "Keys")
    keys["Resource"] = [keys["Resource"], json.loads(json.dumps(keys["Resource"]).replace("/public", "/signing"))]


def any_parameter(t):
    statement(t, "AuthorizerRole", "Keys")["Resource"] = "*"


def wrong_filter(t):
    filters = properties(t, "ProjectorMapping")["FilterCriteria"]["Filters"]
    filters[0]["Pattern"] = filters[0]["Pattern"].replace("commit-", "commits-")


def lost_filter(t):
    properties(t, "MailerMapping").pop("FilterCriteria")


def no_failure_queue(t):
    properties(t, "ProjectorMapping").pop("DestinationConfig")


def queue_not_granted(t):
    document = properties(t, "MailerRole")["Policies"][0]["PolicyDocument"]
    document["Statement"] = [s for s in document["Statement"] if s.get("Sid") != "Failures"]


def unbounded_retries(t):
    properties(t, "ProjectorMapping").pop("MaximumRetryAttempts")


def retries_without_end(t):
    properties(t, "MailerMapping")["MaximumRetryAttempts"] = -1


def unbounded_age(t):
    properties(t, "ProjectorMapping").pop("MaximumRecordAgeInSeconds")


def no_partial_failures(t):
    properties(t, "ProjectorMapping").pop("FunctionResponseTypes")


def starts_at_the_end(t):
    properties(t, "ProjectorMapping")["StartingPosition"] = "LATEST"


def open_route(t):
    properties(t, "BelowMeRoute")["AuthorizationType"] = "NONE"


def no_preflight(t):
    t["Resources"].pop("PreflightBelowMeRoute")


def clients_of_no_name(t):
    properties(t, "ApiFunction")["Environment"]["Variables"]["ANNALS_CLIENTS"]["Fn::If"][1] = {"Fn::Sub": "ssm:${Clients}"}


def parameter_read_otherwise(t):
    statement = next(s["Fn::If"][1] for s in properties(t, "SignInRole")["Policies"][0]["PolicyDocument"]["Statement"]
                     if "Fn::If" in s)
    statement["Action"] = ["ssm:GetParameter"]


def setting_left_out(t):
    properties(t, "SignInFunction")["Environment"]["Variables"].pop("ANNALS_VERIFICATION")


def misspelt_variable(t):
    variables = properties(t, "ApiFunction")["Environment"]["Variables"]
    variables["ANNALS_ORIGINSECRET"] = variables.pop("ANNALS_ORIGIN_SECRET")


def setting_of_another_function(t):
    properties(t, "ProjectorFunction")["Environment"]["Variables"]["ANNALS_ISSUER"] = {"Ref": "Issuer"}


def parameter_for_nothing(t):
    for name in ("SignInFunction", "ApiFunction"):
        properties(t, name)["Environment"]["Variables"]["ANNALS_ARGON2"] = "m=19456,t=2,p=1"


def hash_in_the_wrong_function(t):
    properties(t, "LoginRoute")["Target"] = properties(t, "MeRoute")["Target"]


def logs_kept_for_ever(t):
    properties(t, "ProjectorLog").pop("RetentionInDays")


def log_of_the_gateway_in_too_many_quotes(t):
    log = properties(t, "Stage")["AccessLogSettings"]
    log["Format"] = log["Format"].replace("$context.error.message", "$context.error.messageString")


def written_before_it_can_be_read(t):
    t["Resources"]["ApiFunction"].pop("DependsOn")


def identifiers_restored_alone(t):
    t["Rules"]["RestoredTogether"]["RuleCondition"]["Fn::Or"].pop()


def finding_that_nobody_watches(t):
    t["Resources"].pop("MailRefusedAlarm")


def no_access_log(t):
    properties(t, "Stage").pop("AccessLogSettings")


def policy_of_everything(t):
    statement(t, "ReplayRole", "Replayer")["Action"] = "*"
    statement(t, "ReplayRole", "Replayer")["Resource"] = "*"


PLANTED = {
    "cfn-lint": [misspelt_setting, misspelt_reference, unknown_state],
    "rules": [
        log_of_the_gateway_in_too_many_quotes, written_before_it_can_be_read, identifiers_restored_alone,
        missing_grant, grant_too_many, log_written_by_the_projector, log_scanned_by_the_api, key_too_many, any_parameter,
        wrong_filter, lost_filter, no_failure_queue, queue_not_granted, unbounded_retries, retries_without_end,
        unbounded_age, no_partial_failures, starts_at_the_end, open_route, no_preflight, clients_of_no_name,
        parameter_read_otherwise, setting_left_out, misspelt_variable, setting_of_another_function, parameter_for_nothing,
        hash_in_the_wrong_function,
        logs_kept_for_ever, finding_that_nobody_watches, misspelt_state,
    ],
    "checkov": [no_access_log, policy_of_everything],
}


def errors_kept_by_the_edge(edge):
    properties(edge, "Distribution")["DistributionConfig"]["CustomErrorResponses"].pop()


def planted_at_the_edge():
    edge = source("edge.yaml")
    errors_kept_by_the_edge(edge)
    found = edge_findings(edge)
    print(f"  edge: {errors_kept_by_the_edge.__name__}: {found[0] if found else 'NOT FOUND'}")
    return [] if found else [errors_kept_by_the_edge.__name__]


def planted(work, template, reasons):
    """Every mistake that its check does not find. One invocation of each linter looks at all of its mistakes."""
    missed = []
    for check, mistakes in PLANTED.items():
        files = []
        for mistake in mistakes:
            changed = copy.deepcopy(template)
            mistake(changed)
            if changed == template:
                raise SystemExit(f"the mistake {mistake.__name__} changes nothing")
            if check == "rules":
                found = rule_findings(expanded(changed))
                print(f"  {check}: {mistake.__name__}: {found[0] if found else 'NOT FOUND'}")
                missed += [] if found else [mistake.__name__]
            else:
                folder = work / mistake.__name__
                folder.mkdir()
                files.append(folder / f"{mistake.__name__}.json")
                files[-1].write_text(json.dumps(expanded(changed), indent=1))
        if not files:
            continue
        findings = list((lint_findings if check == "cfn-lint" else checkov_findings)(files))
        for file in files:
            its = [dict(f, file="template.yaml") for f in findings if f["file"] == file.name]
            new = unexplained(its, [dict(reason) for reason in reasons])
            print(f"  {check}: {file.stem}: {new[0][:160] if new else 'NOT FOUND'}")
            missed += [] if new else [file.stem]
    return missed


def main():
    template = source("template.yaml")
    reasons = json.loads((INFRA / "findings.json").read_text())
    for reason in reasons:
        if len(reason.get("reason", "")) < 20 or not reason["on"]:
            raise SystemExit(f"infra/findings.json: {reason} says no reason, or of nothing")
    if "--write-grants" in sys.argv:
        (INFRA / "grants.json").write_text(json.dumps(matrix(expanded(template)), indent=2) + "\n")
    if "--table" in sys.argv:
        print("\n\n".join(tables().values()))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        files = []
        for name, content in (("template.yaml", expanded(template)), ("edge.yaml", source("edge.yaml")),
                              ("tables.json", source("tables.json"))):
            files.append(work / name)
            files[-1].write_text(json.dumps(content, indent=1))
        bad = unexplained([*lint_findings(files), *checkov_findings(files)], reasons)
        for reason in reasons:
            if unused := set(reason["on"]) - reason.pop("used", set()):
                bad.append(f"infra/findings.json: {reason['tool']} {reason['rule']} has nothing against {sorted(unused)}")
        bad += rule_findings(expanded(template))
        bad += edge_findings(source("edge.yaml"))
        bad += readme_findings(template)
        for line in bad:
            print("  " + line)
        if bad:
            raise SystemExit("error: the templates have findings")
        print(f"  no findings beyond {len(reasons)} kinds that have their reasons in infra/findings.json")
        if missed := planted(work, template, reasons) + planted_at_the_edge():
            raise SystemExit(f"error: planted and not found: {missed}")


main()
