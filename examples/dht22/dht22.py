#!/usr/bin/env python3
"""A DHT22 temperature and humidity sensor on a small Linux board, as an MQTT client with paho-mqtt. README.md says how to
wire and run it."""

import argparse
import itertools
import math
import os
import sys
import threading
from pathlib import Path

import paho.mqtt.client as mqtt


def sensor():
    """The readings of the kernel's driver `dht11`, which knows the DHT22 too, or of a room that we make up, without end:
    pairs of degrees Celsius and percent, or None where the sensor missed one."""
    for humidity in Path("/sys/bus/iio/devices").glob("*/in_humidityrelative_input"):
        print(f"the sensor at {humidity.parent}")
        while True:
            try:
                # Thousandths of a degree and of a percent.
                yield tuple(int(humidity.with_name(name).read_text()) / 1000 for name in ("in_temp_input", humidity.name))
            except (OSError, ValueError) as error:
                print(f"no reading: {error}", file=sys.stderr)
                yield None
    print("a simulated sensor (no /sys/bus/iio device measures humidity)")
    for step in itertools.count():
        yield 21 + math.sin(step / 60), 48 + 3 * math.cos(step / 120)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="localhost:1883", help="HOST[:PORT], localhost:1883 when left out")
    parser.add_argument("topic", nargs="?", default="home/living-room")
    parser.add_argument("interval_s", nargs="?", type=float, default=10)
    parser.add_argument("count", nargs="?", type=int, help="end after so many readings")
    options = parser.parse_args()
    host, _, port = options.host.partition(":")
    name = f"dht22-{options.topic.replace('/', '-')}"
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
    if "ALTHING_USERNAME" in os.environ:
        client.username_pw_set(os.environ["ALTHING_USERNAME"], os.environ.get("ALTHING_PASSWORD"))

    def publish(what, value):
        return client.publish(f"{options.topic}/{what}", value, qos=1, retain=True)

    # Who looks later sees that nothing more comes.
    client.will_set(f"{options.topic}/status", "offline", qos=1, retain=True)
    client.on_connect = lambda *_: publish("status", "online")
    client.connect(host, int(port or 1883))
    client.loop_start()
    pause = threading.Event()
    try:
        for reading in itertools.islice(sensor(), options.count):
            if reading:
                print("{:.1f} °C {:.1f} %".format(*reading), flush=True)
                for what, value in zip(("temperature", "humidity"), reading):
                    publish(what, f"{value:.1f}").wait_for_publish(20)
            pause.wait(options.interval_s)
    except KeyboardInterrupt:
        pass
    publish("status", "offline").wait_for_publish(5)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
