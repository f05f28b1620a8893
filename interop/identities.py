"""Who may come in, judged by tools and libraries that we did not write: mosquitto's clients and its mosquitto_passwd, paho,
scramp (SCRAM) over packets by hand, PyJWT and openssl (tokens)."""

import asyncio
import base64
import contextlib
import functools
import json
import secrets
import subprocess
import time

import jwt
import paho.mqtt.client as paho
from broker import HOST, Althing
from raw import AUTH, CONNACK, House, connect, packet, properties, text
from report import case_of, expect, within
from scramp import ScramClient

TABLE = []
case = case_of(TABLE)

SUCCESS, CONTINUE, RE_AUTHENTICATE = 0x00, 0x18, 0x19
BAD_CREDENTIALS, NOT_AUTHORISED, BAD_METHOD = 0x86, 0x87, 0x8C
METHOD, DATA = b"\x15", b"\x16"


async def run(client, broker, report, wanted):
    for number, (name, function) in enumerate(TABLE):
        if wanted(name):
            guarded = Guarded(broker, f"identities/{number}")
            await report.run(client, name, guarded.attempt(functools.partial(function)), broker.deviates.get(name))


class Guarded(House):
    """A house that lets nobody in whom it does not know: alice has the password `wonderland`, and keys for SCRAM."""

    async def guarded(self, prepare=lambda folder: []):
        self.only_althing("is judged by the cases above")
        self.broker = Althing(settings=["identity.anonymous=nowhere"])
        self.brokers.append(self.broker)
        self.users("add", "alice", "--group", "queens", "--scram", password="wonderland")
        self.broker.settings += prepare(self.broker.folder)
        await self.broker.start()

    def users(self, *arguments, password=None):
        command = [self.broker.binary(), "users", *arguments, "--data", self.broker.data]
        subprocess.run(command, input=password, text=True, check=True, stdout=subprocess.DEVNULL)

    async def mosquitto_pub(self, username=None, password=None, version="5"):
        options = [option for pair in (("-u", username), ("-P", password)) if pair[1] is not None for option in pair]
        command = ["mosquitto_pub", "-h", HOST, "-p", str(self.broker.port), "-V", version, "-q", "1", *options]
        process = await asyncio.create_subprocess_exec(*command, "-t", "a", "-m", "b", stderr=asyncio.subprocess.DEVNULL)
        return await within(process.wait(), "the end of mosquitto_pub")

    async def expect_in(self, *credentials):
        for version in ("311", "5"):
            expect(await self.mosquitto_pub(*credentials, version=version), 0, f"mosquitto_pub of {credentials}")

    async def expect_out(self, *credentials):
        for version, codes in (("311", (4, 5)), ("5", (BAD_CREDENTIALS, NOT_AUTHORISED))):
            code = await self.mosquitto_pub(*credentials, version=version)
            expect(code in codes, True, f"{code}, the end of mosquitto_pub {version} of {credentials}, is one of {codes}")


@case("a password in the users file")
async def _(house):
    await house.guarded()
    await house.expect_in("alice", "wonderland")
    for credentials in [("alice", "looking-glass"), ("alice", ""), ("alice",), ("eve", "wonderland"), ()]:
        await house.expect_out(*credentials)


@case("a password file of mosquitto")
async def _(house):
    def prepare(folder):
        file = folder / "passwd"
        for create, kind, name in ((["-c"], "sha512-pbkdf2", "new"), ([], "sha512", "old")):
            subprocess.run(["mosquitto_passwd", *create, "-H", kind, "-b", file, name, f"{name} secret"], check=True)
        return [f"identity.mosquitto_password_file={file}"]

    await house.guarded(prepare)
    for name in ("new", "old"):
        await house.expect_in(name, f"{name} secret")
        await house.expect_out(name, "another secret")
    await house.expect_in("alice", "wonderland")


@case("paho: a right and a wrong password")
async def _(house):
    await house.guarded()
    for version in (paho.MQTTv31, paho.MQTTv311, paho.MQTTv5):
        for password, is_right in (("wonderland", True), ("looking-glass", False)):
            loop, answer = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
            client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="p", protocol=version)
            client.username_pw_set("alice", password)

            def heard(client, userdata, flags, reason, props, loop=loop, answer=answer):
                loop.call_soon_threadsafe(lambda: answer.done() or answer.set_result(not reason.is_failure))

            client.on_connect = heard
            client.connect(HOST, house.broker.port)
            client.loop_start()
            try:
                expect(await within(answer, "CONNACK"), is_right, f"paho {version} with {password}")
            finally:
                client.disconnect()
                client.loop_stop()


# SCRAM, by somebody else's implementation.



def auth(code, method, data):
    return packet(AUTH, bytes([code]), properties(METHOD + text(method), DATA + text(data)))


def said(body, skip):
    """The method and data among the properties that begin after `skip` bytes; their length takes one byte or two."""
    size, start = body[skip], skip + 1
    if size >= 0x80:
        size, start = size & 0x7F | body[skip + 1] << 7, skip + 2
    found, block = {}, body[start : start + size]
    while block:
        identifier, block = block[:1], block[1:]
        if identifier in (METHOD, DATA):
            size = int.from_bytes(block[:2], "big")
            found[identifier], block = block[2 : 2 + size], block[2 + size :]
        else:
            sizes = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
            if identifier[0] in sizes:
                block = block[sizes[identifier[0]] :]
            else:
                block = block[2 + int.from_bytes(block[:2], "big") :]
    return found


async def scram(house, method, username, password):
    """A connection on which the exchange has come to the client's proof, and the other side of it."""
    client = ScramClient([method], username, password)
    connection = await house.open()
    first = properties(METHOD + text(method), DATA + text(client.get_client_first()))
    connection.send(connect("scram", props=first))
    body = await connection.expect_packet(AUTH, "AUTH")
    expect(body[0], CONTINUE, "AUTH's code")
    expect(said(body, 1)[METHOD], method.encode(), "the method")
    client.set_server_first(said(body, 1)[DATA].decode())
    connection.send(auth(CONTINUE, method, client.get_client_final()))
    return connection, client


def _scram(method):
    @case(f"{method}: connect, authenticate again, and be refused")
    async def _(house):
        await house.guarded()
        connection, client = await scram(house, method, "alice", "wonderland")
        body = await connection.expect_packet(CONNACK, "CONNACK")
        expect(body[1], SUCCESS, "CONNACK's code")
        # Raises when the broker does not know the password either.
        client.set_server_final(said(body, 2)[DATA].decode())

        again = ScramClient([method], "alice", "wonderland")
        connection.send(auth(RE_AUTHENTICATE, method, again.get_client_first()))
        body = await connection.expect_packet(AUTH, "AUTH")
        expect(body[0], CONTINUE, "AUTH's code")
        again.set_server_first(said(body, 1)[DATA].decode())
        connection.send(auth(CONTINUE, method, again.get_client_final()))
        body = await connection.expect_packet(AUTH, "AUTH")
        expect(body[0], SUCCESS, "AUTH's code")
        again.set_server_final(said(body, 1)[DATA].decode())
        await connection.expect_alive()

        for username, password in (("alice", "looking-glass"), ("eve", "wonderland")):
            connection, _ = await scram(house, method, username, password)
            await connection.expect_refusal(BAD_CREDENTIALS)


for _method in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
    _scram(_method)


@case("SCRAM: a failed re-authentication ends the connection")
async def _(house):
    await house.guarded()
    connection, _ = await scram(house, "SCRAM-SHA-256", "alice", "wonderland")
    await connection.expect_packet(CONNACK, "CONNACK")
    again = ScramClient(["SCRAM-SHA-256"], "alice", "looking-glass")
    connection.send(auth(RE_AUTHENTICATE, "SCRAM-SHA-256", again.get_client_first()))
    body = await connection.expect_packet(AUTH, "AUTH")
    again.set_server_first(said(body, 1)[DATA].decode())
    connection.send(auth(CONTINUE, "SCRAM-SHA-256", again.get_client_final()))
    # DISCONNECT has no word for bad credentials (§3.14.2.1).
    await connection.expect_disconnect(NOT_AUTHORISED)


@case("SCRAM: other mechanisms, and messages that are none")
async def _(house):
    await house.guarded()
    for method, data, codes in (
        ("SCRAM-SHA-1", "n,,n=alice,r=abc", (BAD_METHOD,)),
        ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=alice,r=abc", (BAD_METHOD,)),
        ("SCRAM-SHA-256", "p=tls-exporter,,n=alice,r=abc", (BAD_CREDENTIALS,)),
        ("SCRAM-SHA-256", "", (BAD_CREDENTIALS,)),
    ):
        connection = await house.open()
        connection.send(connect("scram", props=properties(METHOD + text(method), DATA + text(data))))
        await connection.expect_refusal(*codes)


# Tokens.


@case("a token of PyJWT")
async def _(house):
    secret = secrets.token_hex(32)

    def prepare(folder):
        file = folder / "secret"
        file.write_text(f"{secret}\n")
        return [f"identity.jwt.secret_file={file}", "identity.jwt.audience=althing"]

    await house.guarded(prepare)
    claims = {"sub": "bob", "aud": ["althing"], "exp": int(time.time()) + 600}
    for algorithm in ("HS256", "HS384", "HS512"):
        await house.expect_in("anything", jwt.encode(claims, secret, algorithm=algorithm))
    for wrong in (
        jwt.encode(claims, secret[::-1], algorithm="HS256"),
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims | {"exp": 1}, secret, algorithm="HS256"),
        jwt.encode(claims | {"aud": "mosquitto"}, secret, algorithm="HS256"),
    ):
        await house.expect_out("anything", wrong)
    await house.expect_in("alice", "wonderland")


def _openssl(name, algorithm, make, sign):
    @case(f"a token that openssl signs with {name}")
    async def _(house):
        key = None

        def prepare(folder):
            nonlocal key
            key, public = folder / "key.pem", folder / "public.pem"
            subprocess.run(["openssl", *make, "-out", key], check=True, stderr=subprocess.DEVNULL)
            subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
            return [f"identity.jwt.public_key_files={public}"]

        await house.guarded(prepare)
        parts = ({"alg": algorithm}, {"sub": "bob", "exp": int(time.time()) + 600})
        message = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        signed = folder_file(house, "message", message.encode())
        signature = subprocess.run(["openssl", *sign(key, signed)], check=True, capture_output=True).stdout
        await house.expect_in("bob", f"{message}.{encoded(signature)}")
        await house.expect_out("bob", f"{message}.{encoded(signature[::-1])}")


def folder_file(house, name, content):
    path = house.broker.folder / name
    path.write_bytes(content)
    return path


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_openssl(
    "RSA",
    "RS256",
    ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    lambda key, message: ["dgst", "-sha256", "-sign", key, message],
)
_openssl(
    "Ed25519",
    "EdDSA",
    ["genpkey", "-algorithm", "ed25519"],
    lambda key, message: ["pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", message],
)


# A service.


@case("a service says who it is")
async def _(house):
    questions = []

    async def serve(reader, writer):
        with contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = [line.split(b":") for line in head.lower().split(b"\r\n")]
            size = int(next(line[1] for line in lines if line[0] == b"content-length"))
            question = json.loads(await reader.readexactly(size))
            questions.append(question)
            result = {"bob": "allow", "mallory": "deny"}.get(question["username"], "ignore")
            body = json.dumps({"result": result, "groups": ["floor"]}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body))
            await writer.drain()

    service = await asyncio.start_server(serve, HOST)
    async with service:
        port = service.sockets[0].getsockname()[1]
        await house.guarded(lambda folder: [f"identity.http.url=http://{HOST}:{port}/login"])
        await house.expect_in("bob", "any")
        await house.expect_out("mallory", "any")
        await house.expect_out("eve", "any")
        await house.expect_in("alice", "wonderland")
        expect({question["username"] for question in questions}, {"bob", "mallory", "eve"}, "who was asked for")
        expect(questions[0]["protocol"], "mqtt", "the protocol")
    connection = await house.open()
    service.close()
    flags = 0x02 | 0x80 | 0x40
    connection.send(connect("c", flags=flags, rest=text("carol") + text("any")))
    await connection.expect_refusal(0x88)
