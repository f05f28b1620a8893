"""What is shown to newcomers, run as they run it: the sensor in Python with paho, and `althing demo`."""

import sys

from broker import HOST, ROOT
from report import case_of, expect, within
from web import Web, column

TABLE = []
case = case_of(TABLE)


run = column(TABLE)


@case("examples/dht22/dht22.py: readings, and whether it is there")
async def _(web):
    async with web.subscriber("-q", "1", "-t", f"{web.topic}/#") as message:
        script = [sys.executable, str(ROOT / "examples" / "dht22" / "dht22.py")]
        await web.call(" ".join(script), f"{HOST}:{web.broker.port}", web.topic, "0.1", "2", where=[])
        seen = [await message() for _ in range(6)]
    values = {line.split()[0].rpartition("/")[2]: line.split()[-1] for line in seen}
    expect((values["status"], 5 < float(values["temperature"]) < 40), ("offline", True), f"the last of {seen}")
    for name in ("status", "temperature", "humidity"):
        await web.publish("-t", f"{web.topic}/{name}", "-n", "-r", "-q", "1")


@case("examples/dht22/dht22.py: its will, when it is lost")
async def _(web):
    async with web.subscriber("-q", "1", "-t", f"{web.topic}/status") as message:
        script = [sys.executable, str(ROOT / "examples" / "dht22" / "dht22.py")]
        process = await web.start(" ".join(script), f"{HOST}:{web.broker.port}", web.topic, where=[])
        expect(await message(), f"{web.topic}/status 1 0 online", "the line")
        process.kill()
        expect(await message(), f"{web.topic}/status 1 0 offline", "the line")
    for name in ("status", "temperature", "humidity"):
        await web.publish("-t", f"{web.topic}/{name}", "-n", "-r", "-q", "1")


@case("althing demo: a device in every language")
async def _(web):
    ports = {"mqtt": web.broker.port, "stomp": web.broker.stomp_port, "coap": web.broker.coap_port}
    ports |= {"ws": web.broker.web_port, "http": web.broker.web_port}
    urls = [f"{scheme}://{HOST}:{port}" for scheme, port in ports.items()] + [f"ws://{HOST}:{web.broker.web_port}/json"]
    async with web.subscriber("-q", "1", "-t", f"{web.topic}/#") as message:
        words = ["-C", "1", "--interval", "1ms", "-t", web.topic]
        said = await within(web.call(str(web.broker.binary()), "demo", *words, *urls, where=[]), "the house")
        for url in urls:
            expect(url.encode() in said, True, f"{url} in what it says")
        # Nine readings, what it is, the clock; and a farewell to each.
        seen = [(await message()).removeprefix(f"{web.topic}/").split(" ", 3) for _ in range(22)]
    names = {name for name, *_ in seen}
    wanted = {"about", "clock", "living-room/temperature", "kitchen/climate", "hall/front-door", "garage/door", "garden/weather"}
    expect(wanted <= names, True, f"the topics, {names},")
