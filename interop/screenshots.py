"""Pictures of the console's pages, in light and dark: a broker, the simulated house of `althing demo`, and Chromium."""

import argparse
import asyncio
from pathlib import Path

from broker import HOST, ROOT, Althing
from node import Node

# Each page: what is opened, and what is done there before the picture is taken.
HOUSE = "demo/house"
PAGES = {
    "overview": ("#/overview", []),
    "topics": (f"#/topics/{HOUSE}/kitchen/climate", []),
    "client": (
        "#/client",
        [
            ("click", {"role": "button", "name": "Connect", "exact": True}),
            ("see", {"text": "connected", "exact": True}),
        ],
    ),
    "clients": ("#/clients", []),
    "security": ("#/security", []),
}


async def main(arguments):
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    broker = Althing(settings=["server.sys_interval_s=1"])
    await broker.start()
    node = Node("browser.mjs", lambda _: None)
    await node.start()
    urls = {"mqtt": broker.port, "stomp": broker.stomp_port, "coap": broker.coap_port}
    urls |= {"ws": broker.web_port, "http": broker.web_port}
    demo = await asyncio.create_subprocess_exec(
        str(broker.binary()), "demo", "--interval", "200ms", *(f"{scheme}://{HOST}:{port}" for scheme, port in urls.items())
    )
    try:
        # For the charts to have something to show.
        await asyncio.sleep(arguments.seconds)
        for page, (route, steps) in PAGES.items():
            for scheme in ("light", "dark"):
                await node.ask("open", url=f"http://{HOST}:{broker.web_port}/{route}", dark=scheme == "dark")
                await node.ask("see", text="live", exact=True)
                for verb, words in steps:
                    await node.ask(verb, **words)
                await asyncio.sleep(arguments.look_seconds)
                path = folder / f"{page}-{scheme}.webp"
                await node.ask("screenshot", path=str(path))
                print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}  {path.stat().st_size >> 10} KiB")
    finally:
        demo.terminate()
        await demo.wait()
        await node.ask("end")
        await node.end()
        await broker.stop()
        broker.remove()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="interop/screenshots", description=__doc__)
    parser.add_argument("folder", nargs="?", default=str(ROOT / "docs" / "images"))
    parser.add_argument("--seconds", type=float, default=20, help="how long the house lives before the first picture")
    parser.add_argument("--look-seconds", type=float, default=4, help="how long each page is open before its picture")
    asyncio.run(main(parser.parse_args()))
