"""Runs every client's cases against one broker and prints a line a case, a matrix and a sum."""

import argparse
import asyncio
import logging
import os
import resource
import sys

import administration
import attacks
import browser
import cases
import coap
import coap_attacks
import coap_cli
import coap_dtls
import coap_node
import coap_oscore
import coap_streams
import console
import curl
import examples
import identities
import languages
import mosquitto_clients
import node_red
import operations
import raw
import rights
import stomp_cases
import tls_cases
import web_attacks
import web_clients
from broker import Althing, Mosquitto
from peers_aiomqtt import AiomqttPeer
from peers_gmqtt import GmqttPeer
from peers_mqttjs import MqttJsPeer, MqttJsSecureWebPeer, MqttJsWebPeer
from peers_paho import PahoPeer, PahoWebPeer
from report import Report
from stomp_peers import StompitPeer, StompJsPeer, StompJsWebPeer, StompPyPeer

# A column of the matrix each: its name, and the coroutine function that runs its cases.
COLUMNS = {
    "mosquitto-clients": mosquitto_clients.run,
    "paho 3.1": cases.column(PahoPeer, 3),
    "paho 3.1.1": cases.column(PahoPeer, 4),
    "paho 5": cases.column(PahoPeer, 5),
    "aiomqtt 3.1.1": cases.column(AiomqttPeer, 4),
    "aiomqtt 5": cases.column(AiomqttPeer, 5),
    "gmqtt 3.1.1": cases.column(GmqttPeer, 4),
    "gmqtt 5": cases.column(GmqttPeer, 5),
    "mqtt.js 3.1": cases.column(MqttJsPeer, 3),
    "mqtt.js 3.1.1": cases.column(MqttJsPeer, 4),
    "mqtt.js 5": cases.column(MqttJsPeer, 5),
    "paho ws 3.1.1": cases.column(PahoWebPeer, 4),
    "paho ws 5": cases.column(PahoWebPeer, 5),
    "mqtt.js ws 3.1.1": cases.column(MqttJsWebPeer, 4),
    "mqtt.js ws 5": cases.column(MqttJsWebPeer, 5),
    "mqtt.js wss 5": cases.column(MqttJsSecureWebPeer, 5),
    "node-red": node_red.run,
    "raw socket": raw.run,
    "attacks": attacks.column(attacks.TABLE),
    "coap attacks": attacks.column(coap_attacks.TABLE),
    "rights": rights.run,
    "operations": operations.run,
    "administration": administration.run,
    "identities": identities.run,
    "libcoap": coap.column(coap.LIBCOAP),
    "aiocoap": coap.column(coap.AIOCOAP),
    "libcoap tcp": coap_streams.column(coap_streams.LIBCOAP, "tcp"),
    "libcoap tls": coap_streams.column(coap_streams.LIBCOAP, "tls"),
    "libcoap gnutls": coap_streams.column(coap_streams.LIBCOAP, "tls", "coap-client-gnutls"),
    "aiocoap tcp": coap_streams.column(coap_streams.AIOCOAP, "tcp"),
    "aiocoap ws": coap_streams.column(coap_streams.AIOCOAP, "ws"),
    "libcoap dtls": coap_dtls.column("coap-client-openssl"),
    "libcoap gnutls dtls": coap_dtls.column("coap-client-gnutls"),
    "aiocoap oscore": coap_oscore.run,
    "althing coap": coap_cli.run,
    "node-coap": coap_node.run,
    "languages": languages.run,
    "stomp.py": stomp_cases.column(StompPyPeer),
    "stompjs": stomp_cases.column(StompJsPeer),
    "stompjs ws": stomp_cases.column(StompJsWebPeer),
    "stompit": stomp_cases.column(StompitPeer),
    "tls": tls_cases.run,
    "curl": curl.run,
    **web_clients.COLUMNS,
    "web attacks": web_attacks.run,
    "browser": browser.run,
    "console": console.run,
    "examples": examples.run,
}


async def main(arguments):
    broker = (Mosquitto if arguments.broker == "mosquitto" else Althing)(is_secure=True)
    report = Report()
    await broker.start()
    print(f"{broker.name} on port {broker.port}, process {broker.process.pid}")
    try:
        for client, run in COLUMNS.items():
            if arguments.client and not any(wanted in client for wanted in arguments.client):
                continue
            await run(client, broker, report, lambda case: not arguments.case or arguments.case in case)
            if not broker.running:
                report.add("broker", f"survives {client}", "FAIL", f"exit code {broker.process.returncode}")
                print(broker.tail())
                await broker.start()
        report.add("broker", "no panic in its log", *(["FAIL", broker.panics()[0]] if broker.panics() else ["ok"]))
        code = await broker.stop()
        report.add("broker", "ends by itself when asked", *(["ok"] if code == 0 else ["FAIL", f"exit code {code}"]))
    finally:
        await broker.stop()
        if arguments.keep or report.count("FAIL"):
            print(f"the broker's log: {broker.log}")
        else:
            broker.remove()
    # Some clients make the output that they share with us one that takes only a part of what is written at once.
    os.set_blocking(sys.stdout.fileno(), True)
    print(f"\n{report.matrix()}\n\n{report.summary()}", flush=True)
    return 1 if report.count("FAIL") or not report.count("ok") else 0


def parse():
    parser = argparse.ArgumentParser(prog="interop/run", description=__doc__)
    parser.add_argument(
        "--broker",
        choices=["althing", "mosquitto"],
        default="althing",
        help="althing: $ALTHING_BIN or target/release/althing; mosquitto: Debian's, to judge the suite itself",
    )
    parser.add_argument("--client", action="append", help="only columns whose name contains this (repeatable)")
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--keep", action="store_true", help="keep the broker's folder and log")
    return parser.parse_args()


if __name__ == "__main__":
    # What the libraries log about a lost connection is what half of the cases are about.
    logging.disable(logging.CRITICAL)
    # Cases open a thousand connections at once.
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
    sys.exit(asyncio.run(main(parse())))
