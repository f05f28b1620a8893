"""Rights that are taken away while a broker runs: what was set up before is worth nothing a moment later.

Each case has a broker of its own with mosquitto's password file and a file of rules; both are written anew, and the broker is
told to read them again (SIGHUP). What must not come is looked for in front of something that must.
"""

import asyncio
import functools
import signal
import subprocess

from raw import (
    CONNACK,
    DISCONNECT,
    PUBACK,
    PUBLISH,
    SUBACK,
    House,
    codes_of,
    connect,
    packet,
    properties,
    publish,
    subscribe,
    text,
    u16,
)
from report import case_of, expect, within

TABLE = []
case = case_of(TABLE)
LASTING = properties(b"\x11\0\0\x0e\x10")
NOT_AUTHORISED, BAD_CREDENTIALS, CLIENT_ID_INVALID = 0x87, 0x86, 0x85

OPEN = """
[[rules]]
user = "admin"
topic = "#"
allow = true

[[rules]]
topic = "open/#"
allow = true
"""
EVE = """
[[rules]]
user = "eve"
topic = "secret/#"
allow = true
"""


async def run(client, broker, report, wanted):
    for number, (name, function) in enumerate(TABLE):
        if wanted(name):
            guarded = Guarded(broker, f"rights/{number}")
            act = functools.partial(guarded.with_users, function)
            await report.run(client, name, guarded.attempt(act), broker.deviates.get(name))


class Guarded(House):
    """A broker where `admin` may do everything, and `eve` is let in to `secret/#` until her rule goes."""

    async def with_users(self, function, _):
        self.only_althing("is not the one under test")
        await self.another_broker(settings=["identity.anonymous=nowhere", "authorisation.otherwise=deny"], start=False)
        self.users, self.rules = self.broker.folder / "passwords", self.broker.folder / "rules.toml"
        self.set_users("admin", "eve", "mallory")
        self.rules.write_text(EVE + OPEN)
        self.broker.settings += [
            f"identity.mosquitto_password_file={self.users}",
            f"authorisation.file={self.rules}",
        ]
        await self.broker.start()
        await function(self)

    def set_users(self, *names):
        self.users.write_text("".join(f"{name}:of {name}\n" for name in names))
        subprocess.run(["mosquitto_passwd", "-U", self.users], check=True, capture_output=True)

    async def reload(self):
        """Has the broker read its files again, and waits until it says that it has."""
        said = self.broker.log.read_text().count("SIGHUP:")
        self.broker.process.send_signal(signal.SIGHUP)

        async def says_so():
            while self.broker.log.read_text().count("SIGHUP:") == said:
                await asyncio.sleep(0.02)

        await within(says_so(), f"the word of a reload in the log:\n{self.broker.tail()}")

    async def revoke(self):
        """Eve's rule goes."""
        self.rules.write_text(OPEN)
        await self.reload()

    async def greeted(self, user, client_id="", clean=True, props=properties(), will=None, password=None):
        """A connection and the code of its CONNACK."""
        flags = 0xC0 | (0x02 if clean else 0) | (0x2C if will else 0)
        rest = (properties() + text(will[0]) + text(will[1]) if will else b"") + text(user)
        connection = await self.open()
        connection.send(connect(client_id, flags=flags, props=props, rest=rest + text(password or f"of {user}")))
        return connection, await connection.expect_packet(CONNACK, "CONNACK")

    async def enter(self, user, *filters, **given):
        connection, body = await self.greeted(user, **given)
        expect(body[1], 0, f"the code of {user}'s CONNACK")
        if filters:
            connection.send(subscribe(*filters, options=1))
            body = await connection.expect_packet(SUBACK, "SUBACK")
            expect(set(codes_of(body)), {1}, "the codes of SUBACK")
        return connection

    async def say(self, connection, topic, payload, retain=False, code=None):
        connection.send(publish(topic, payload, qos=1, flags=int(retain)))
        body = await connection.expect_packet(PUBACK, "PUBACK")
        expect((body[2:3] or b"\0")[0] & 0x80, 0 if code is None else code & 0x80, f"the code for {topic}")

    async def hears(self, connection, topic):
        """The next message is of this topic."""
        body = await connection.packet()
        if body is None or body[0] & 0xF0 != PUBLISH:
            raise AssertionError(f"expected a message of {topic}, got {body}")
        size = int.from_bytes(body[1][:2], "big")
        expect(body[1][2 : 2 + size].decode(), topic, "the topic of the message")
        if body[0] & 0x06:
            connection.send(packet(PUBACK, body[1][2 + size : 4 + size]))


@case("a subscription ends with the right to it")
async def _(house):
    admin, eve = await house.enter("admin"), await house.enter("eve", "secret/#", "open/#")
    await house.say(admin, "secret/before", b"x")
    await house.hears(eve, "secret/before")
    await house.revoke()
    await house.say(admin, "secret/after", b"x")
    await house.say(admin, "open/after", b"x")
    await house.hears(eve, "open/after")
    eve.send(subscribe("secret/#", options=1))
    body = await eve.expect_packet(SUBACK, "SUBACK")
    expect(codes_of(body)[0], NOT_AUTHORISED, "the code of SUBACK")


@case("what has waited is not given any more")
async def _(house):
    given = {"client_id": "eve-1", "props": LASTING}
    admin, eve = await house.enter("admin"), await house.enter("eve", "secret/#", "open/#", **given)
    eve.send(packet(DISCONNECT))
    await eve.expect_end()
    await house.say(admin, "secret/waits", b"x")
    await house.say(admin, "open/waits", b"x")
    await house.revoke()
    eve, body = await house.greeted("eve", clean=False, **given)
    expect(body[:2], b"\x01\x00", "session present, and the code")
    await house.hears(eve, "open/waits")


@case("a will is not published any more")
async def _(house):
    watcher = await house.enter("admin", "secret/#", "open/#")
    eve = await house.enter("eve", will=("secret/will", "boo"))
    await house.revoke()
    eve.writer.transport.abort()
    admin = await house.enter("admin")
    await house.say(admin, "open/fence", b"x")
    await house.hears(watcher, "open/fence")


@case("a last value is not shown any more")
async def _(house):
    eve = await house.enter("eve")
    await house.say(eve, "secret/kept", b"x", retain=True)
    await house.say(await house.enter("admin"), "open/kept", b"x", retain=True)
    before = await house.enter("admin", "secret/#")
    await house.hears(before, "secret/kept")
    await house.revoke()
    after = await house.enter("admin", "secret/#", "open/#")
    await house.hears(after, "open/kept")


@case("who is no user any more is thrown out, with its session")
async def _(house):
    given = {"client_id": "eve-1", "props": LASTING}
    admin, eve = await house.enter("admin"), await house.enter("eve", "open/#", **given)
    house.set_users("admin", "mallory")
    await house.reload()
    body = await eve.expect_packet(DISCONNECT, "DISCONNECT")
    expect(body[0], NOT_AUTHORISED, "the code of DISCONNECT")
    await eve.expect_end()
    _, body = await house.greeted("eve", clean=False, **given)
    expect(body[1], BAD_CREDENTIALS, "the code of CONNACK")
    await house.say(admin, "open/x", b"x")
    house.set_users("admin", "eve", "mallory")
    await house.reload()
    _, body = await house.greeted("eve", clean=False, **given)
    expect(body[:2], b"\0\0", "session present, and the code")


@case("nobody takes over another user's session")
async def _(house):
    given = {"client_id": "eve-1", "props": LASTING}
    admin, eve = await house.enter("admin"), await house.enter("eve", "secret/#", **given)
    for clean in (False, True):
        _, body = await house.greeted("mallory", clean=clean, **given)
        expect(body[1] in (CLIENT_ID_INVALID, NOT_AUTHORISED), True, f"the code of CONNACK, was {body[1]:#04x}")
    await house.say(admin, "secret/x", b"x")
    await house.hears(eve, "secret/x")


@case("wrong passwords and unknown users are told apart by nobody")
async def _(house):
    answers = []
    for user, password in [("eve", "wrong"), ("nobody", "wrong"), ("eve", ""), ("", "wrong")]:
        _, body = await house.greeted(user, password=password or " ")
        answers.append(body[1:])
    expect(set(answers), {answers[0]}, "the answers")
    expect(answers[0][0], BAD_CREDENTIALS, "the code of CONNACK")


@case("a name with a wildcard is no part of a rule")
async def _(house):
    house.set_users("admin", "eve", "+", "+#")
    house.rules.write_text('[[rules]]\ntopic = "own/%u/#"\nallow = true\n' + OPEN)
    await house.reload()
    await house.enter("eve", "own/eve/#")
    for user in ("+", "+#"):
        connection = await house.enter(user)
        for wanted in ("own/+/#", "own/#", "own/eve/x"):
            connection.send(subscribe(wanted))
            body = await connection.expect_packet(SUBACK, "SUBACK")
            expect(codes_of(body)[0], NOT_AUTHORISED, f"the code for {wanted} by {user}")


@case("reloading under load drops no connection and no message")
async def _(house):
    readers = [await house.enter("eve", f"open/{number}") for number in range(20)]
    writers = [await house.enter("admin") for _ in readers]
    sent, is_over = [0] * len(writers), False

    async def write(number):
        while not is_over:
            await house.say(writers[number], f"open/{number}", b"%d" % sent[number])
            sent[number] += 1

    async def read(number):
        heard = 0
        while heard < sent[number] or not is_over:
            await house.hears(readers[number], f"open/{number}")
            heard += 1
            if heard == sent[number] and is_over:
                return

    writing = [asyncio.ensure_future(write(number)) for number in range(len(writers))]
    reading = [asyncio.ensure_future(read(number)) for number in range(len(readers))]
    for number in range(10):
        house.rules.write_text(OPEN if number % 2 else EVE + OPEN)
        await house.reload()
    is_over = True
    await within(asyncio.gather(*writing), "the last acknowledgements")
    for number, writer in enumerate(writers):
        # A last message, for whoever waits for one more.
        await house.say(writer, f"open/{number}", b"the last")
        sent[number] += 1
    await within(asyncio.gather(*reading), "everything that was acknowledged")
    expect(min(sent) > 5, True, f"each has published meanwhile, was {min(sent)}")
