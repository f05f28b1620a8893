"""Foreign clients inside TLS, with client certificates, passwords and proxies: each case with a broker of its own.

The CA and all certificates come from `althing cert`, so that OpenSSL, Python and Node.js judge those too.
"""

import asyncio
import re
import shutil
import signal
import ssl
import tempfile
from pathlib import Path

from broker import HOST, NAME, Althing, Mosquitto, free_port
from mosquitto_clients import Prompt
from peers import Options
from peers_mqttjs import MqttJsPeer
from peers_paho import PahoPeer
from raw import CONNACK, DISCONNECT, Connection, packet
from raw import connect as connect_packet
from report import Skip, case_of, expect, within
from stomp_peers import StompPyPeer

TABLE = []
case = case_of(TABLE)


async def run(client, broker, report, wanted):
    chosen = [(number, *row) for number, row in enumerate(TABLE) if wanted(row[0])]
    if not chosen:
        return
    lab = Lab()
    try:
        await lab.make("ca", str(lab.folder))
        await lab.server()
        await lab.make("client", str(lab.folder), "--name", "ann")
        for number, name, function in chosen:
            house = Secured(type(broker), lab, f"tls/{number}")
            await report.run(client, name, house.attempt(function), broker.deviates.get(name))
    finally:
        shutil.rmtree(lab.folder)


class Lab:
    """A CA, and what it has signed."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="althing-lab-"))

    def file(self, name):
        return str(self.folder / name)

    async def make(self, *words):
        process = await asyncio.create_subprocess_exec(
            str(Althing.binary()), "cert", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await within(process.communicate(), "althing cert")
        expect(process.returncode, 0, f"the exit code of althing cert, which said {output[-200:]!r}")
        return output.decode()

    async def server(self):
        """Makes the broker's certificate (anew) and returns its fingerprint."""
        said = await self.make("server", str(self.folder), "--name", NAME, "--force")
        return re.search(r"SHA-256 +([0-9A-F:]+)", said)[1]


class Secured(Prompt):
    """A prompt, and a broker that listens inside TLS as well."""

    def __init__(self, kind, lab, topic):
        super().__init__(None, topic)
        self.kind, self.lab = kind, lab
        self.port, self.stomp_port = free_port(), free_port()
        self.peers = []

    async def attempt(self, function):
        try:
            await super().attempt(function)
        finally:
            live = (peer.drop() for peer in self.peers if not peer.closed.done())
            await asyncio.gather(*live, return_exceptions=True)
            if self.broker:
                await self.broker.stop()
                self.broker.remove()

    async def start_broker(self, althing=(), mosquitto=(), name=NAME):
        """With the certificate of this name, and these settings of the one or lines of the other."""
        certificate, key = self.lab.file(f"{name}.crt"), self.lab.file(f"{name}.key")
        if self.kind is Mosquitto:
            lines = [f"listener {self.port} {HOST}", f"certfile {certificate}", f"keyfile {key}", *mosquitto]
            self.broker = Mosquitto(settings=lines)
        else:
            settings = [f"mqtt.tls_bind={HOST}:{self.port}", f"stomp.tls_bind={HOST}:{self.stomp_port}"]
            settings += [f"coap.tls_bind={HOST}:0", f"coap-tcp.tls_bind={HOST}:0", f"tls.certificate={certificate}", f"tls.key={key}", *althing]
            self.broker = Althing(settings=settings)
        await self.broker.start()

    def only_althing(self, why):
        if self.kind is Mosquitto:
            raise Skip(f"mosquitto {why}")

    def where(self, ca="ca.crt"):
        return ["-h", NAME, "-p", str(self.port), "--cafile", self.lab.file(ca)]

    def client_certificate(self):
        return ["--cert", self.lab.file("ann.crt"), "--key", self.lab.file("ann.key")]

    async def is_refused(self, *arguments, where=None):
        """mosquitto_pub fails; its exit code depends on which side noticed first."""
        process = await self.start("mosquitto_pub", *arguments, where=where)
        output, _ = await within(process.communicate(), "mosquitto_pub to end")
        expect(process.returncode not in (0, None), True, f"mosquitto_pub fails, which said {output[-200:]!r}")

    async def s_client(self, *options, said=b"", code=0, ca="ca.crt"):
        """What openssl says of the handshake."""
        where = ["-connect", f"{HOST}:{self.port}", "-CAfile", self.lab.file(ca), "-verify_hostname", NAME]
        output = await self.call("openssl s_client", *options, said=said, where=where, code=code)
        return output.decode(errors="replace")

    async def fingerprint(self):
        """Of the certificate that the broker shows to who comes now."""
        shown = ssl.get_server_certificate((HOST, self.port))
        said = await self.call("openssl x509", "-noout", "-fingerprint", "-sha256", said=shown.encode(), where=[])
        return said.decode().strip().partition("=")[2]

    async def peer(self, library, port, *arguments):
        peer = library(NAME, port, *arguments, ca=self.lab.file("ca.crt"))
        await peer.connect()
        self.peers.append(peer)
        return peer

    async def mqtt(self, library, version, name):
        return await self.peer(library, self.port, version, Options(f"{self.topic}/{name}"))


@case("mosquitto_pub and mosquitto_sub: each version of TLS, each QoS")
async def _(house):
    await house.start_broker()
    for version in ("tlsv1.2", "tlsv1.3"):
        for qos in "012":
            topic = f"{house.topic}/{version}/{qos}"
            async with house.subscriber("--tls-version", version, "-q", qos, "-t", topic) as message:
                await house.publish("--tls-version", version, "-q", qos, "-t", topic, "-m", "hi there")
                expect(await message(), f"{topic} {qos} 0 hi there", "the line")


@case("mosquitto_pub: a wrong CA, a wrong name, and --insecure")
async def _(house):
    other = "broker.example"
    await house.lab.make("server", str(house.lab.folder), "--name", other)
    await house.start_broker(name=other)
    message = ["-t", house.topic, "-m", "x"]
    await house.is_refused(*message)
    await house.publish(*message, "--insecure")
    # The client's certificate is no CA's.
    await house.is_refused(*message, "--insecure", where=house.where(ca="ann.crt"))


@case("mosquitto_pub: a client certificate is required")
async def _(house):
    ca = house.lab.file("ca.crt")
    await house.start_broker(
        althing=[f"tls.client_ca={ca}", "tls.client_certificate=required"],
        mosquitto=[f"cafile {ca}", "require_certificate true"],
    )
    topic = ["-t", house.topic]
    async with house.subscriber(*house.client_certificate(), *topic) as message:
        await house.publish(*house.client_certificate(), *topic, "-m", "hi")
        expect(await message(), f"{house.topic} 0 0 hi", "the line")
    for version in ("tlsv1.2", "tlsv1.3"):
        await house.is_refused(*topic, "-m", "x", "--tls-version", version, "-q", "1")


@case("mosquitto_pub: a password file of mosquitto_passwd")
async def _(house):
    passwords = house.lab.file("passwords")
    await house.call("mosquitto_passwd", "-c", "-b", passwords, "ann", "sesame", where=[])
    await house.start_broker(
        althing=[f"identity.mosquitto_password_file={passwords}", "identity.anonymous=nowhere"],
        mosquitto=[f"password_file {passwords}", "allow_anonymous false"],
    )
    message = ["-V", "311", "-t", house.topic, "-m", "x", "-q", "1"]
    await house.publish(*message, "-u", "ann", "-P", "sesame")
    await house.is_refused(*message, "-u", "ann", "-P", "wrong")
    await house.is_refused(*message, "-u", "bob", "-P", "sesame")
    await house.is_refused(*message)


@case("openssl s_client: handshake, name, protocol of the application")
async def _(house):
    await house.start_broker()
    for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
        said = await house.s_client(option)
        expect("Verify return code: 0 (ok)" in said, True, f"{version}: the certificate is trusted; it said {said}")
        expect(re.search(r"^New, (TLSv[0-9.]+)", said, re.M)[1], version, "the version")
    await house.s_client("-tls1_1", code=1)
    await house.s_client("-verify_return_error", ca="ann.crt", code=1)
    house.only_althing("has no ALPN")
    said = await house.s_client("-alpn", "h2,mqtt")
    expect("ALPN protocol: mqtt" in said, True, f"the broker chooses its own protocol; s_client said {said}")
    # Libraries offer the protocols of the Web without being asked: that is no reason to turn them away.
    said = await house.s_client("-alpn", "h2")
    expect("No ALPN negotiated" in said, True, f"the broker chooses none; s_client said {said}")


@case("openssl s_client: sessions are resumed")
async def _(house):
    await house.start_broker()
    # TLS 1.2: five more connections with the session of the first.
    said = await house.s_client("-tls1_2", "-reconnect")
    expect(len(re.findall(r"^Reused, ", said, re.M)), 5, f"resumed sessions; it said {said}")
    # TLS 1.3: the ticket comes after the handshake, with the answer to what is said first.
    session = house.lab.file("session")
    process = await house.start(
        "openssl s_client", "-connect", f"{HOST}:{house.port}", "-tls1_3", "-sess_out", session, "-quiet", where=[]
    )
    process.stdin.write(connect_packet(f"{house.topic}/first"))
    await within(process.stdout.readuntil(bytes([CONNACK])), "CONNACK")
    process.stdin.write(packet(DISCONNECT))
    await within(process.wait(), "s_client to end with the connection")
    said = await house.s_client("-tls1_3", "-sess_in", session)
    expect(bool(re.search(r"^Reused, TLSv1.3", said, re.M)), True, f"a resumed session; it said {said}")


async def talk(one, other, topic, qos=1):
    """Each hears the other."""
    for number, (speaker, listener) in enumerate([(one, other), (other, one)]):
        await listener.subscribe(f"{topic}/{number}", qos)
        await speaker.publish(f"{topic}/{number}", b"x" * 100_000, qos)
        got = await listener.next()
        expect((got.topic, len(got.payload)), (f"{topic}/{number}", 100_000), "the message")


@case("paho and MQTT.js")
async def _(house):
    await house.start_broker()
    for version in (4, 5):
        paho = await house.mqtt(PahoPeer, version, f"paho{version}")
        mqttjs = await house.mqtt(MqttJsPeer, version, f"mqttjs{version}")
        await talk(paho, mqttjs, f"{house.topic}/{version}")
        await paho.disconnect()
        await mqttjs.disconnect()


@case("stomp.py, heard by paho")
async def _(house):
    house.only_althing("does not speak STOMP")
    await house.start_broker()
    stomp = await house.peer(StompPyPeer, house.stomp_port)
    paho = await house.mqtt(PahoPeer, 5, "paho")
    await paho.subscribe(f"{house.topic}/up", 1)
    await stomp.send(f"/topic/{house.topic}/up", b"up")
    expect((await paho.next()).payload, b"up", "what STOMP sent")
    await stomp.subscribe(f"/topic/{house.topic}/down")
    await paho.publish(f"{house.topic}/down", b"down", 1)
    expect((await stomp.next()).body, b"down", "what MQTT sent")
    await stomp.disconnect()


@case("a new certificate is shown after SIGHUP, and who is connected stays")
async def _(house):
    old = await house.lab.server()
    await house.start_broker()
    paho = await house.mqtt(PahoPeer, 5, "stays")
    await paho.subscribe(house.topic, 1)
    expect(await house.fingerprint(), old, "the certificate that is shown")
    new = await house.lab.server()
    house.broker.process.send_signal(signal.SIGHUP)

    async def shown():
        while (seen := await house.fingerprint()) == old:
            await asyncio.sleep(0.02)
        return seen

    expect(await within(shown(), "another certificate"), new, "the certificate that is shown then")
    await house.publish("-t", house.topic, "-m", "still here")
    expect((await paho.next()).payload, b"still here", "what who stayed hears")
    expect(paho.closed.done(), False, "who was connected has been closed")


@case("a wrong certificate is not taken over, and the old one goes on")
async def _(house):
    house.only_althing("ends when its files are wrong")
    old = await house.lab.server()
    await house.start_broker()
    key = Path(house.lab.file(f"{NAME}.key"))
    right = key.read_bytes()
    key.write_bytes(Path(house.lab.file("ann.key")).read_bytes())
    house.broker.process.send_signal(signal.SIGHUP)

    async def said():
        while key.name not in house.broker.log.read_text(errors="replace"):
            await asyncio.sleep(0.02)

    try:
        await within(said(), "a line in the log that names the file")
        expect(await house.fingerprint(), old, "the certificate that is shown")
    finally:
        key.write_bytes(right)


# The PROXY protocol, version 1 (text) and 2 (binary): 203.0.113.7, port 4711, to 203.0.113.8, port 1883.
PROXY_V1 = b"PROXY TCP4 203.0.113.7 203.0.113.8 4711 1883\r\n"
PROXY_V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([203, 0, 113, 7, 203, 0, 113, 8]) + (4711).to_bytes(2, "big")
    + (1883).to_bytes(2, "big")
)


@case("the PROXY protocol: versions 1 and 2, with and without TLS, and not without it")
async def _(house):
    house.only_althing("2.0.11 has no PROXY protocol")
    plain, sealed = free_port(), free_port()
    settings = []
    for name, port, tls in (("plain", plain, "false"), ("sealed", sealed, "true")):
        keys = {"protocol": "mqtt", "bind": f"{HOST}:{port}", "tls": tls, "proxy_protocol": "true"}
        keys |= {"proxy_networks": "127.0.0.0/8", "anonymous": "true"}
        settings += [f"listeners.{name}.{key}={value}" for key, value in keys.items()]
    await house.start_broker(althing=settings)
    trust = ssl.create_default_context(cafile=house.lab.file("ca.crt"))
    for number, header in enumerate((PROXY_V1, PROXY_V2)):
        for port, tls in ((plain, None), (sealed, trust)):
            reader, writer = await within(asyncio.open_connection(HOST, port), "a connection")
            writer.write(header)
            if tls:
                await within(writer.start_tls(tls, server_hostname=NAME), "the handshake")
            connection = Connection(reader, writer)
            connection.send(connect_packet(f"{house.topic}/{number}{port}"))
            await connection.expect_packet(CONNACK, "the answer")
            writer.close()
    for stranger in (connect_packet("stranger"), b"PROXY nonsense\r\n"):
        reader, writer = await within(asyncio.open_connection(HOST, plain), "a connection")
        connection = Connection(reader, writer)
        connection.send(stranger)
        await connection.expect_end()
        writer.close()
