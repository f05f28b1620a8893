"""The console's workflows, as people go through them; on the other side of each message is a client of others."""

import json

from browser import TREE, column
from report import case_of, expect, within

TABLE = []
case = case_of(TABLE)
run = column(TABLE)


async def connect(web, client=None):
    """The Client page, connected as `client`, or as it is called by itself; the client id."""
    await web.open(url=web.console("client"))
    if client:
        await web.fill(label="Client id", value=client)
    else:
        await web.click(role="button", name="New", exact=True)
        client = await web.in_page("() => [...document.querySelectorAll('label')].find((it) => it.textContent === 'Client id').control.value")
    await web.click(role="button", name="Connect", exact=True)
    await web.see(within="Connection", text="connected", exact=True)
    return client


async def subscribe(web, filter, qos=0):
    await web.fill(within="Subscriptions", label="Topic filter", value=filter)
    await web.choose(within="Subscriptions", label="Quality of service", value=str(qos))
    await web.click(within="Subscriptions", role="button", name="Subscribe", exact=True)
    await web.see(within="Subscriptions", text=f"Granted QoS {qos}")


async def publish(web, topic, payload, qos=0):
    await web.fill(within="Publish", label="Topic", exact=True, value=topic)
    await web.fill(within="Publish", label="Payload", value=payload)
    await web.choose(within="Publish", label="Quality of service", value=str(qos))
    await web.click(within="Publish", role="button", name="Publish", exact=True)
    await web.see(within="Publish", text="sent" if qos == 0 else "acknowledged after")


def received(web, topic, payload):
    """Waits for the row of a message."""
    return web.see(within="Messages", selector=f".log-row:has-text('{topic}'):has-text('{payload}')")


async def users(web):
    """Names in the users file, as the administrators' interface says them."""
    return [user["name"] for user in await web.in_page("() => fetch('/api/v1/users').then((answer) => answer.json())")]


async def log_in(web, name, password):
    await web.open(url=web.console(), stranger=True)
    await web.fill(label="Name", value=name)
    await web.fill(label="Password", value=password)
    await web.click(role="button", name="Log in")


@case("client: a chosen id, wildcards, each QoS, to mosquitto_sub and from mosquitto_pub")
async def _(web):
    client = await connect(web, f"chosen-{web.topic.replace('/', '-')}")
    expect((await web.in_page("(id) => fetch('/api/v1/clients/' + id).then((it) => it.json())", client))["protocol"], "mqtt", "its protocol")
    await subscribe(web, f"{web.topic}/+/in/#", 2)
    for qos in "012":
        await web.publish("-q", qos, "-t", f"{web.topic}/{qos}/in/deep/er", "-m", f"from outside {qos}")
        await received(web, f"{web.topic}/{qos}/in/deep/er", f"from outside {qos}")
    expect(await web.count(selector=".log-row:has-text('QoS 2')"), 1, "rows of QoS 2")
    async with web.subscriber("-q", "2", "-t", f"{web.topic}/out/#") as message:
        for qos in range(3):
            await publish(web, f"{web.topic}/out/{qos}", f"hi {qos}", qos)
            expect(await message(), f"{web.topic}/out/{qos} {qos} 0 hi {qos}", "the line")
    await web.is_sound()


@case("client: a retained message is set, and deleted, for mosquitto_sub")
async def _(web):
    await connect(web)
    kept, fence = f"{web.topic}/kept", f"{web.topic}/fence"
    await web.check(within="Publish", label="Retain")
    await publish(web, kept, "stays", 1)
    async with web.subscriber("-t", kept) as message:
        expect(await message(), f"{kept} 0 1 stays", "the retained message")
    await subscribe(web, kept)
    await web.see(within="Messages", selector=f".log-row:has-text('{kept}'):has-text('retained')")
    await publish(web, kept, "", 1)
    async with web.subscriber("-t", kept, "-t", fence) as message:
        await web.publish("-t", fence, "-m", "over")
        expect(await message(), f"{fence} 0 0 over", "what comes instead of a retained message")


@case("client: a generated id, $SYS, disconnected, connected again, taken over by mosquitto_pub")
async def _(web):
    client = await connect(web)
    await web.click(role="button", name="$SYS", exact=True)
    await web.see(within="Messages", selector=".log-row:has-text('$SYS/broker/version')")
    session = "(id) => fetch('/api/v1/clients/' + id).then((it) => it.status)"
    expect(await web.in_page(session, client), 200, "the status of its session")
    await web.click(role="button", name="Disconnect", exact=True)
    await web.see(within="Connection", text="offline", exact=True)
    expect(await web.in_page(session, client), 404, "the status of its session, afterwards")
    await web.click(role="button", name="Connect", exact=True)
    await web.see(within="Connection", text="connected", exact=True)
    await subscribe(web, web.topic)
    await web.publish("-t", web.topic, "-m", "again")
    await received(web, web.topic, "again")
    # Two that take the session from each other would never end: the page gives way, and says why.
    await web.publish("-i", client, "-t", web.topic, "-m", "mine now")
    await web.see(within="Connection", text="the broker has disconnected: Session taken over")
    await web.see(within="Connection", text="offline", exact=True)
    await web.is_sound(errors=False)


@case("client: the inspector shows a packet of mosquitto_pub bit by bit")
async def _(web):
    await connect(web)
    await subscribe(web, web.topic, 1)
    await web.click(role="tab", name="Packets")
    await web.publish("-q", "1", "-t", web.topic, "-m", "bits")
    await web.click(within="Packets", selector=".log-row:has-text('PUBLISH')")
    for row in ("0011 ....", ".... .01.", ".... 0...", ".... ...0"):
        await web.see(within="Packet", text=row, exact=True)
    shown = (await web.text(label="Bytes of the packet", exact=True)).split()
    expect([shown[at] for at in (0, 1)], ["0000", "32"], "the offset and the first byte")
    await web.click(within="Packet", role="gridcell", name="32")
    await web.is_sound()


@case("clients: mosquitto_sub is found, looked at, traced and disconnected")
async def _(web):
    client = f"found-{web.topic.replace('/', '-')}"
    async with web.subscriber("-V", "5", "-i", client, "-q", "1", "-t", f"{web.topic}/#") as message:
        await web.open(url=web.console("clients"))
        await web.fill(label="Client ids that begin with …", value=f"{client[:-1]}")
        await web.click(role="link", name=client)
        panel = f"Session of {client}"
        await web.see(within=panel, role="cell", name=f"{web.topic}/#", exact=True)
        await web.see(within=panel, text="ends with the connection")
        await web.click(within=panel, role="button", name="Watch")
        await web.see(within=panel, text="What this client does appears here.")
        # The trace begins at its own time: publish until it shows one.
        traced = f".client-trace .log-row:has-text('{web.topic}/x')"
        while await web.count(selector=traced) == 0:
            await web.publish("-q", "1", "-t", f"{web.topic}/x", "-m", "traced")
            expect(await message(), f"{web.topic}/x 1 0 traced", "the line")
        await web.is_sound()
        await web.click(within=panel, role="button", name="Disconnect", exact=True)
        await web.click(within=f"Disconnect {client}?", role="button", name="Disconnect", exact=True)
        await web.see(text=f"{client} is disconnected.")
        await within(message.process.stdout.readuntil(b"DISCONNECT (152)"), "a DISCONNECT with its reason, administrative action")


@case("security: a user is added, logs in, gets another password, and is removed")
async def _(web):
    name = "clerk"
    await web.open(url=web.console("security"))
    await web.click(role="button", name="Add a user")
    await web.fill(within="Add a user", label="Name", value=name)
    await web.fill(within="Add a user", label="Password", value="first word")
    await web.fill(within="Add a user", label="Groups", value="admin")
    await web.click(role="button", name="Save", exact=True)
    await web.see(text=f"{name} is saved.")
    expect(await users(web), [name], "the users")
    await log_in(web, name, "wrong word")
    await web.see(role="alert")
    expect(await web.count(selector="nav"), 0, "what is there with a wrong password")
    await log_in(web, name, "first word")
    await web.see(role="navigation")

    await web.open(url=web.console("security"))
    await web.click(role="button", name=f"Change {name}")
    await web.fill(within=f"Change {name}", label="Password", value="second word")
    await web.click(role="button", name="Save", exact=True)
    await web.see(text=f"{name} is saved.")
    await log_in(web, name, "first word")
    await web.see(role="alert")
    await log_in(web, name, "second word")
    await web.see(role="navigation")

    await web.open(url=web.console("security"))
    await web.click(role="button", name=f"Remove {name}")
    await web.click(role="button", name="Remove", exact=True)
    await web.see(text=f"{name} is removed.")
    expect(await users(web), [], "the users")
    await log_in(web, name, "second word")
    await web.see(role="alert")


@case("security: the rules tester says what holds, and which rule says so")
async def _(web):
    await web.open(url=web.console("security", "/rules"))
    await web.click(role="button", name="Change the rules")
    rules = [{"client": "guest", "actions": ["publish"], "topic": f"{web.topic}/#", "allow": False}]
    await web.fill(label="Rules that are written at run time", value=json.dumps(rules))
    await web.click(role="button", name="Save", exact=True)
    await web.see(text="The rules hold now.")
    await web.fill(label="Topic", exact=True, value=f"{web.topic}/x")
    for client, word in (("guest", "refused"), ("other", "allowed")):
        await web.fill(label="Client id", value=client)
        await web.click(role="button", name="Ask", exact=True)
        await web.see(selector=f".verdict:has-text('{word}')")
    await web.fill(label="Client id", value="guest")
    await web.click(role="button", name="Ask", exact=True)
    await web.see(selector=f".verdict:has-text('refused'):has-text('{web.topic}/#')")
    await web.is_sound()
    # What the tester says is what mosquitto_pub meets.
    async with web.subscriber("-t", f"{web.topic}/#") as message:
        await web.publish("-i", "guest", "-t", f"{web.topic}/x", "-m", "refused")
        await web.publish("-i", "other", "-t", f"{web.topic}/x", "-m", "allowed")
        expect(await message(), f"{web.topic}/x 0 0 allowed", "the line")
    await web.click(role="button", name="Change the rules")
    await web.fill(label="Rules that are written at run time", value="[]")
    await web.click(role="button", name="Save", exact=True)
    await web.see(text="The rules hold now.")


@case("topics: opened level by level with the keyboard, and a retained value cleared")
async def _(web):
    top = f"opened-{web.topic.replace('/', '-')}"
    await web.publish("-t", f"{top}/deep/leaf", "-m", "23.5", "-r", "-q", "1")
    await web.open(url=web.console("topics"))
    row = f"{TREE} [role=row]:has-text('%s')"
    await web.click(selector=row % top)
    for level in ("deep", "leaf"):
        expect(await web.count(selector=row % level), 0, f"rows of {level} before its parent is opened")
        await web.in_page(f"() => document.querySelector('{TREE}').focus()")
        await web.press(key="ArrowRight")
        await web.see(selector=row % level)
        await web.press(key="ArrowRight")
    await web.press(key="Enter")
    await web.see(within="The selected topic", text=f"{top}/deep/leaf")
    await web.is_sound()
    await web.click(role="button", name="Clear the retained value")
    await web.see(text=f"{top}/deep/leaf has no retained value any more.")
    expect((await web.curl(f"/topics/{top}/deep/leaf")).status, 404, "the status of the cleared value")


@case("overview: one message is seen by every language")
async def _(web):
    await web.open(url=web.console())
    await web.choose(label="Published over", value="coap")
    await web.click(role="button", name="Send one message")
    await web.see(selector=".sights li")
    expect(await web.count(selector=".sights li .error"), 0, "languages that did not see it")
    expect(await web.count(selector=".sights li") >= 4, True, "at least four saw it")
    await web.is_sound()


@case("login: the printed address opens once")
async def _(web):
    address = web.broker.console()
    await web.open(url=web.console(), stranger=True)
    await web.see(role="heading", name="Log in")
    await web.is_sound(errors=False)
    await web.open(url=address, stranger=True)
    await web.see(role="navigation")
    await web.open(url=address, stranger=True)
    await web.see(role="alert")
    expect(await web.count(selector="nav"), 0, "what the address opens for a second time")
