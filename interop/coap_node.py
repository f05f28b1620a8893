"""node-coap: CoAP as programs for Node.js speak it."""

import asyncio

from broker import HOST
from coap import House
from node import Node
from report import Skip, case_of, expect, within

TABLE = []
case = case_of(TABLE)


async def run(client, broker, report, wanted):
    for number, (name, function) in enumerate(TABLE):
        if wanted(name):
            library = Library(House(broker, f"{client}/{number}"))
            await report.run(client, name, library.attempt(function), broker.deviates.get(name))


class Library:
    """The library's script; `house` is for what others do meanwhile."""

    def __init__(self, house):
        self.house = house

    async def attempt(self, function):
        if self.house.broker.coap_port is None:
            raise Skip("this broker speaks no CoAP")
        self.told = asyncio.Queue()
        self.node = Node("coap.mjs", self.told.put_nowait)
        await self.node.start()

        async def act(_):
            await function(self)

        try:
            await self.house.attempt(act)
        finally:
            self.node.kill()
            await self.node.end()

    async def ask(self, method, payload=None, path=None, verb="ask", **given):
        where = {"host": HOST, "port": self.house.broker.coap_port, "path": path or f"/t/{self.house.topic}"}
        wanted = where | {"method": method, "confirmable": True, "payload": payload} | given
        return await within(self.node.ask(verb, **wanted), f"the response to {method}")


@case("put, get, post and delete")
async def _(library):
    expect((await library.ask("GET"))["code"], "4.04", "before")
    first = (await library.ask("PUT", b"kept"))["code"]
    expect(first in ("2.01", "2.04"), True, f"the code of the first PUT, {first}")
    value = await library.ask("GET")
    expect((value["code"], value["payload"]), ("2.05", b"kept"), "the value")
    expect((await library.ask("POST", b"told", confirmable=False))["code"], "2.04", "a message that is not confirmable")
    expect((await library.ask("DELETE"))["code"], "2.02", "the end of the value")
    expect((await library.ask("GET"))["code"], "4.04", "after")


@case("discovery")
async def _(library):
    links = await library.ask("GET", path="/.well-known/core")
    expect(b"</t>" in links["payload"], True, f"the links, {links['payload']}")


@case("observe: every message of mosquitto_pub, until it is enough")
async def _(library):
    house = library.house
    await house.publish("-r", "-q", "1", "-t", house.topic, "-m", "before")
    first = await library.ask("GET", verb="observe")
    expect((first["code"], "Observe" in first["options"]), ("2.05", True), "the first response")

    async def until(payload):
        while (await within(library.told.get(), "a notification"))["told"]["payload"] != payload:
            pass

    await until(b"before")
    for number in range(10):
        await house.publish("-q", "1", "-t", house.topic, "-m", str(number))
        await until(str(number).encode())
    await within(library.node.ask("forget", path=f"/t/{house.topic}"), "the end of the observation")


@case("a value in many blocks, both ways")
async def _(library):
    value = bytes(number % 251 for number in range(20_000))
    blocks_of_512 = {"Block1": bytes([5])}
    expect((await library.ask("PUT", value, options=blocks_of_512))["code"] in ("2.01", "2.04"), True, "the code of a PUT in blocks")
    got = await library.ask("GET")
    expect((got["code"], got["payload"]), ("2.05", value), "the value that comes back")
