"""The restore of infra/README.md, as .ci/deploy.py has its operator do it: with tables that are copies, in the place of those
that AWS makes of a backup."""

from deploy_story import PASSWORD, new_session, somebody
from emulator import check, say, until


def copied(dynamodb, source, target, is_kept):
    """A table as a backup brings it back: keys and items, and nothing else."""
    table = dynamodb.describe_table(TableName=source)["Table"]
    dynamodb.create_table(TableName=target, KeySchema=table["KeySchema"], BillingMode="PAY_PER_REQUEST",
                          AttributeDefinitions=table["AttributeDefinitions"])
    dynamodb.get_waiter("table_exists").wait(TableName=target)
    for page in dynamodb.get_paginator("scan").paginate(TableName=source):
        for item in filter(is_kept, page["Items"]):
            dynamodb.put_item(TableName=target, Item=item)


def restored(account, annals, stack, api, outputs, deploy, address, password):
    """Both tables are brought back, that of identifiers as of a moment at which it was empty. `deploy` takes what changes of
    the parameters."""
    dynamodb = account.client("dynamodb")
    session = api("POST", "/login", new_session(address, password), expect=200).json
    deploy({"Serving": "off"})
    # That the API does not answer then is a matter of reserved concurrency, which the emulator does not take from a template.
    mappings = account.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    states = {mapping["FunctionArn"].rsplit(":", 1)[-1]: mapping["State"] for mapping in mappings}
    check("Serving=off: nothing reads the stream", set(states.values()) == {"Disabled"} and len(states) == 2, states)

    names = {kind: f"{stack}-{kind}-restored" for kind in ("Events", "Identifiers")}
    copied(dynamodb, outputs["EventsTable"], names["Events"], lambda _: True)
    copied(dynamodb, outputs["IdentifiersTable"], names["Identifiers"], lambda _: False)
    stream = dynamodb.update_table(
        TableName=names["Events"], StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
    )["TableDescription"]["LatestStreamArn"]
    now = deploy({"Serving": "off", "RestoredEvents": names["Events"], "RestoredEventsStream": stream,
                  "RestoredIdentifiers": names["Identifiers"]})
    check("the stack is pointed at the restored tables",
          (now["EventsTable"], now["EventsStream"], now["IdentifiersTable"]) == (names["Events"], stream, names["Identifiers"]),
          now)
    command = (annals, "restore", "--stack", stack, "--yes-the-api-is-off")
    say("annals restore --dry-run: " + account.run(*command, "--dry-run").strip())
    check("which changes nothing", dynamodb.scan(TableName=names["Identifiers"])["Count"] == 0)
    say("annals restore: " + account.run(*command).strip())

    deploy({"Serving": "on"})
    me = api("GET", "/me", token=session["access_token"])
    check("Serving=on: the session of before has ended", me.status == 401, me.text)
    signed_in = api("POST", "/login", new_session(address, password), expect=200).json
    api("GET", "/me", token=signed_in["access_token"], expect=200)
    say("POST /login: 200 by an identifier that was made again, and GET /me: 200")
    api("POST", "/register", {"email": somebody(), "password": PASSWORD}, expect=202)
    until("the restored stream woke the projector", lambda: account.tries(annals, "verify", "--stack", stack))
    say("the stream of the restored table wakes the projector: annals verify: no difference")
