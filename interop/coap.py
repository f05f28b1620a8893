"""CoAP: libcoap's coap-client as a person uses it at a prompt, and aiocoap as a program uses it.

coap-client ends with exit code 0 whatever the server said: it is judged by its output, where an error is a line
that starts with its code.
"""

import asyncio
import contextlib

import aiocoap

from broker import HOST, Althing
from mosquitto_clients import Prompt
from report import DEADLINE_S, Skip, case, expect, within

LIBCOAP, AIOCOAP = [], []


def column(table):
    async def run(client, broker, report, wanted):
        for number, (name, function) in enumerate(table):
            if wanted(name):
                house = House(broker, f"{client}/{number}")
                await report.run(client, name, house.attempt(function), broker.deviates.get(name))

    return run


def column_at(table, server, attempt):
    """The same at something that is started for this column alone: `server()` while it runs, and `attempt` makes of what that
    yields, a topic, the case's number and its function the coroutine that is judged."""

    async def run(client, broker, report, wanted):
        chosen = [(number, *entry) for number, entry in enumerate(table) if wanted(entry[0])]
        if not chosen or broker.coap_port is None:
            return
        async with server() as there:
            for number, name, function in chosen:
                topic = f"{client.replace(' ', '-')}/{number}"
                await report.run(client, name, attempt(there, topic, number, function), None)

    return run


class House(Prompt):
    """The broker as CoAP sees it: `topic` is the case's own, `uri` is the topic as a resource."""

    async def attempt(self, function):
        if self.broker.coap_port is None:
            raise Skip("this broker speaks no CoAP")
        await super().attempt(function)

    def uri(self, path=None, query=""):
        return f"coap://{HOST}:{self.broker.coap_port}/{path or 't/' + self.topic}{query}"

    async def coap_client(self, method, *arguments, uri=None):
        """What coap-client printed: a payload, or an error's code and text."""
        output = await self.call(
            "coap-client-notls", *arguments, uri or self.uri(), where=["-m", method, "-B", str(DEADLINE_S)]
        )
        return output.decode().strip()

    @contextlib.asynccontextmanager
    async def observer(self, *arguments):
        """A coap-client that observes the case's topic; yields a function that reads what it prints up to a mark."""
        observe = ["-m", "get", "-s", "60", "-B", "60"]
        process = await self.start("stdbuf -o0 coap-client-notls", *arguments, self.uri(), where=observe)

        async def until(mark):
            text = await within(process.stdout.readuntil(mark.encode()), f"{mark!r} from coap-client")
            return text.decode()

        yield until

    @contextlib.asynccontextmanager
    async def context(self):
        """An aiocoap client."""
        context = await aiocoap.Context.create_client_context()
        try:
            yield context
        finally:
            await context.shutdown()

    async def ask(self, context, code, payload=b"", uri=None, **options):
        message = aiocoap.Message(code=code, uri=uri or self.uri(), payload=payload, **options)
        return await within(context.request(message).response, f"the response to {code} {message.get_request_uri()}")


@contextlib.asynccontextmanager
async def proving(house):
    """The same house at a broker of its own, where everyone has to prove its address."""
    broker = Althing(settings=["coap.address_proof=always"])
    await broker.start()
    try:
        proving = House(broker, house.topic)
        # Whoever ends the case ends what it has started.
        proving.running = house.running
        yield proving
    finally:
        await broker.stop()
        broker.remove()


# libcoap's client.


@case(LIBCOAP, "discovery")
async def _(house):
    links = await house.coap_client("get", uri=house.uri(".well-known/core"))
    expect("</t>;" in links and "</.well-known/core>" in links, True, f"the links, {links}")


@case(LIBCOAP, "get of nothing, put, get, delete, get")
async def _(house):
    expect((await house.coap_client("get"))[:4], "4.04", "before")
    await house.coap_client("put", "-e", "kept")
    expect(await house.coap_client("get"), "kept", "the value")
    await house.coap_client("delete")
    expect((await house.coap_client("get"))[:4], "4.04", "after")


@case(LIBCOAP, "put and post, heard by mosquitto_sub")
async def _(house):
    async with house.subscriber("-q", "2", "-t", house.topic) as message:
        await house.coap_client("put", "-e", "put")
        expect(await message(), f"{house.topic} 1 0 put", "the line")
        await house.coap_client("post", "-e", "post")
        expect(await message(), f"{house.topic} 1 0 post", "the line")
        await house.coap_client("post", "-N", "-e", "not confirmable")
        expect(await message(), f"{house.topic} 0 0 not confirmable", "the line")
        await house.coap_client("post", "-e", "twice", uri=house.uri(query="?qos=2"))
        expect(await message(), f"{house.topic} 2 0 twice", "the line")
    expect(await house.coap_client("get"), "put", "what was put is kept, what was posted is not")


@case(LIBCOAP, "a value of mosquitto_pub -r")
async def _(house):
    await house.publish("-r", "-q", "1", "-t", house.topic, "-m", "from MQTT")
    expect(await house.coap_client("get"), "from MQTT", "the value")


@case(LIBCOAP, "observe: every message of mosquitto_pub")
async def _(house):
    await house.publish("-r", "-q", "1", "-t", house.topic, "-m", "<before>")
    async with house.observer() as until:
        expect(await until("<before>"), "<before>", "the first response")
        for number in range(20):
            payload = f"<{number}>"
            await house.publish("-q", str(number % 2), "-t", house.topic, "-m", payload)
            expect((await until(payload)).strip(), payload, "the notification")


@case(LIBCOAP, "errors")
async def _(house):
    for uri, code in [("x", "4.04"), ("t/", "4.00"), ("t/a%2Fb", "4.00"), ("t/a/+", "4.00"), ("t/a/%23", "4.00")]:
        expect((await house.coap_client("get", uri=house.uri(uri)))[:4], code, uri)
    expect((await house.coap_client("get", "-A", "60", uri=house.uri(".well-known/core")))[:4], "4.06", "accept")
    expect((await house.coap_client("get", "-O", "65001,x"))[:4], "4.02", "an option that must be known")
    expect((await house.coap_client("put", "-e", "x", uri=house.uri("t/$SYS/x")))[:4], "4.03", "a reserved topic")
    expect((await house.coap_client("fetch", "-e", "x"))[:4], "4.05", "a method that topics do not know")


@case(LIBCOAP, "an address proves itself by Echo")
async def _(house):
    async with proving(house) as house:
        await house.publish("-r", "-q", "1", "-t", house.topic, "-m", "<" + "x" * 500 + ">")
        expect(len(await house.coap_client("get")), 502, "the length of a value beyond the allowance")
        async with house.observer() as until:
            expect(len(await until(">")), 502, "the length of the first response")
            await house.publish("-q", "1", "-t", house.topic, "-m", "<next>")
            expect((await until("<next>")).strip(), "<next>", "the notification")


# aiocoap.


@case(AIOCOAP, "an address proves itself by Echo")
async def _(house):
    async with proving(house) as house, house.context() as context:
        await house.publish("-r", "-q", "1", "-t", house.topic, "-m", "x" * 500)
        # aiocoap leaves it to its user to send the option back.
        challenge = await house.ask(context, aiocoap.GET, observe=0)
        expect((challenge.code, challenge.opt.observe), (aiocoap.UNAUTHORIZED, None), "the first response")
        proven = await house.ask(context, aiocoap.GET, echo=challenge.opt.echo)
        expect(len(proven.payload), 500, "the length of the value")
        expect((await house.ask(context, aiocoap.GET)).code, aiocoap.CONTENT, "the code while the address is known")


@case(AIOCOAP, "codes of the methods")
async def _(house):
    async with house.context() as context:
        for code, payload, expected in [
            (aiocoap.GET, b"", aiocoap.NOT_FOUND),
            (aiocoap.PUT, b"value", aiocoap.CHANGED),
            (aiocoap.GET, b"", aiocoap.CONTENT),
            (aiocoap.POST, b"told", aiocoap.CHANGED),
            (aiocoap.DELETE, b"", aiocoap.DELETED),
            (aiocoap.GET, b"", aiocoap.NOT_FOUND),
            (aiocoap.FETCH, b"x", aiocoap.METHOD_NOT_ALLOWED),
        ]:
            expect((await house.ask(context, code, payload)).code, expected, f"the code of {code}")


@case(AIOCOAP, "content format and content type")
async def _(house):
    async with house.context() as context, house.subscriber("-V", "5", "-t", house.topic, "-F", "MESSAGE %C") as message:
        await house.ask(context, aiocoap.PUT, b"{}", content_format=50)
        expect(await message(), "application/json", "the content type")
        expect((await house.ask(context, aiocoap.GET)).opt.content_format, 50, "the content format")
        refused = await house.ask(context, aiocoap.GET, accept=60)
        expect(refused.code, aiocoap.NOT_ACCEPTABLE, "another format")
        await house.publish(
            "-V", "5", "-r", "-q", "1", "-t", house.topic, "-m", "x", "-D", "publish", "content-type", "application/cbor"
        )
        expect((await house.ask(context, aiocoap.GET)).opt.content_format, 60, "the content format")


@case(AIOCOAP, "ETag: a value that is known already is not sent")
async def _(house):
    async with house.context() as context:
        await house.ask(context, aiocoap.PUT, b"value")
        first = await house.ask(context, aiocoap.GET)
        again = await house.ask(context, aiocoap.GET, etags=[first.opt.etag])
        expect((again.code, again.payload), (aiocoap.VALID, b""), "the second response")


@case(AIOCOAP, "Max-Age is what is left of the message's life")
async def _(house):
    async with house.context() as context:
        await house.publish(
            *["-V", "5", "-r", "-q", "1", "-t", house.topic, "-m", "x"],
            *["-D", "publish", "message-expiry-interval", "500"],
        )
        max_age = (await house.ask(context, aiocoap.GET)).opt.max_age
        expect(400 < max_age <= 500, True, f"the rest of 500 s, was {max_age}")


@case(AIOCOAP, "observe, and an end to it")
async def _(house):
    async with house.context() as context:
        await house.ask(context, aiocoap.PUT, b"before")
        request = context.request(aiocoap.Message(code=aiocoap.GET, uri=house.uri(), observe=0))
        first = await within(request.response, "the first response")
        expect((first.payload, first.opt.observe is not None), (b"before", True), "the first response")
        told = asyncio.Queue()
        request.observation.register_callback(told.put_nowait)
        for number in range(10):
            payload = str(number).encode()
            await house.publish("-q", str(number % 2), "-t", house.topic, "-m", payload.decode())
            # A client may be told of a state that it has heard of: it is the new one that counts.
            while (await within(told.get(), "a notification")).payload != payload:
                pass
        request.observation.cancel()


@case(AIOCOAP, "one message, three languages")
async def _(house):
    async with house.context() as context, house.observer() as until, house.subscriber("-t", house.topic) as message:
        request = context.request(aiocoap.Message(code=aiocoap.GET, uri=house.uri(), observe=0))
        await within(request.response, "the first response")
        told = asyncio.Queue()
        request.observation.register_callback(told.put_nowait)
        # coap-client prints nothing for an empty first response: publish until it has told of one.
        seen = asyncio.ensure_future(until("<all>"))
        while not seen.done():
            await house.publish("-q", "1", "-t", house.topic, "-m", "<all>")
            await asyncio.wait({seen}, timeout=0.1)
        await seen
        expect((await within(told.get(), "a notification")).payload, b"<all>", "what aiocoap heard")
        expect(await message(), f"{house.topic} 0 0 <all>", "what mosquitto_sub heard")


@case(AIOCOAP, "a value in many blocks, both ways")
async def _(house):
    value = bytes(number % 251 for number in range(20_000))
    async with house.context() as context:
        expect((await house.ask(context, aiocoap.PUT, value)).code.is_successful(), True, "the success of a PUT in blocks")
        got = await house.ask(context, aiocoap.GET)
        expect((got.code, got.payload), (aiocoap.CONTENT, value), "the value that comes back")


@case(AIOCOAP, "a change on condition of what is there")
async def _(house):
    async with house.context() as context:
        first = await house.ask(context, aiocoap.PUT, b"first", if_none_match=True)
        expect(first.code.is_successful(), True, "the success where nothing was")
        refused = await house.ask(context, aiocoap.PUT, b"other", if_none_match=True)
        expect(refused.code, aiocoap.PRECONDITION_FAILED, "the code where something is")
        etag = (await house.ask(context, aiocoap.GET)).opt.etag
        changed = await house.ask(context, aiocoap.PUT, b"second", if_match=[etag])
        expect(changed.code.is_successful(), True, "the success with what is there")
        refused = await house.ask(context, aiocoap.PUT, b"third", if_match=[etag])
        expect(refused.code, aiocoap.PRECONDITION_FAILED, "the code with what was there")
        expect((await house.ask(context, aiocoap.GET)).payload, b"second", "the value")


@case(AIOCOAP, "the publish-subscribe draft: a topic is created, published to, observed and deleted")
async def _(house):
    async with house.context() as context:
        # {0: the topic's name, 2: "core.ps.data"} in CBOR.
        name = house.topic.encode()
        properties = b"\xa2\x00\x78" + bytes([len(name)]) + name + b"\x02\x6ccore.ps.data"
        collection = f"coap://{HOST}:{house.broker.coap_port}/ps"
        created = await house.ask(context, aiocoap.POST, properties, uri=collection, content_format=606)
        expect(created.code, aiocoap.CREATED, "the code of a new topic")
        again = await house.ask(context, aiocoap.POST, properties, uri=collection, content_format=606)
        expect(again.code, aiocoap.BAD_REQUEST, "the code of a name that is taken")
        topic = f"coap://{HOST}:{house.broker.coap_port}/" + "/".join(created.opt.location_path)
        links = (await house.ask(context, aiocoap.GET, uri=f"{collection}?rt=core.ps.data")).payload.decode()
        data = next(link[1:].split(">")[0] for link in links.split(",") if link.startswith("<" + topic[topic.index("/ps"):]))
        data = f"coap://{HOST}:{house.broker.coap_port}{data}"
        expect((await house.ask(context, aiocoap.GET, uri=data)).code, aiocoap.NOT_FOUND, "the data before it is published")
        async with house.subscriber("-t", house.topic) as message:
            expect((await house.ask(context, aiocoap.PUT, b"21.5", uri=data)).code, aiocoap.CREATED, "the first publish")
            expect(await message(), f"{house.topic} 0 0 21.5", "what mosquitto_sub heard")
        expect((await house.ask(context, aiocoap.PUT, b"22", uri=data)).code, aiocoap.CHANGED, "the second publish")
        expect((await house.ask(context, aiocoap.GET, uri=data)).payload, b"22", "the data")
        expect((await house.ask(context, aiocoap.DELETE, uri=topic)).code, aiocoap.DELETED, "the code of the end")
        expect((await house.ask(context, aiocoap.GET, uri=data)).code, aiocoap.NOT_FOUND, "the data of a topic that is gone")


@case(AIOCOAP, "1000 requests at once from one address")
async def _(house):
    async with house.context() as context:
        for start in range(0, 1000, 50):
            asked = [house.ask(context, aiocoap.POST, b"%d" % number) for number in range(start, start + 50)]
            for response in await asyncio.gather(*asked):
                expect(response.code, aiocoap.CHANGED, "the code")
