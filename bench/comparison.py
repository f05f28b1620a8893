"""Runs the same scenarios against two brokers, in turn, on the same cores, and prints medians and ratios as Markdown.

`README.md` says what makes it fair. Needs Python 3.9, taskset and mosquitto (`apt-get install mosquitto`; no service has to run).
"""

import argparse
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

from machine import (BROKER_CORE, GENERATOR_CORE, describe, find_mosquitto, free_port, on_core,
                     raise_descriptor_limit, stop, wait_for)

ROOT = Path(__file__).resolve().parent.parent
# Two medians this close are the same: "no worse" does not turn on noise.
SAME = 0.02
OURS = ("target/release/althing serve --data {data} --set mqtt.bind=127.0.0.1:{port} --set coap.enabled=false --set coap-tcp.enabled=false "
        "--set stomp.enabled=false --set http.enabled=false --set admin.enabled=false --set log.level=error")
GENERATOR = "target/release/althing bench mqtt"

# Everything that would make mosquitto queue, drop, wait or write less or more than is asked of it is off.
MOSQUITTO_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
log_dest none
"""

# `at_least`: the ratio of deliveries per broker CPU-second to reach; None where only "no worse" is asked.
Scenario = namedtuple("Scenario", "name arguments at_least quick")
# Of the scenarios that are not about deliveries: figure, what to call it, whether less is better, limit for ours.
Figure = namedtuple("Figure", "scenario key label less_is_better at_most")
# A broker: in `command`, {port}, {spare} (another free one), {data} and {config} are filled in, the last a file with the text of
# `config`, where the ports are filled in. It must stay in the foreground. The generator gets `arguments` besides.
Side = namedtuple("Side", "name command config arguments", defaults=[""])


def prepare(options):
    """Builds and finds what will run; returns the path of mosquitto."""
    os.chdir(ROOT)
    if not options.no_build:
        subprocess.run(["cargo", "build", "--release", "--locked"], check=True)
    raise_descriptor_limit()
    return find_mosquitto()


def compare(live, other, figures, sides, options, heading):
    """Measures all scenarios against both sides, the second against the first, prints, and returns the exit code."""
    scenarios = [s for s in live + other if chosen(s, options)]
    if not scenarios:
        sys.exit("Error: no such scenario; there are " + ", ".join(s.name for s in live + other))
    names = [side.name for side in sides]
    if len(set(names)) < 2:
        sys.exit(f"Error: --name must differ from {names[0]}")
    reports = measure(scenarios, sides, options)
    print(heading + disturbance(reports) + "\n")
    print_live([s for s in scenarios if s in live], reports, names)
    print_figures(figures, reports, names)
    return 1 if print_faults(reports, names[1]) else 0


def parser(doc):
    """The options that all comparisons share."""
    it = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    it.add_argument("--quick", action="store_true", help="one round, one second, the most telling scenarios")
    it.add_argument("--only", metavar="NAME", action="append", help="this scenario only; may be repeated")
    it.add_argument("--rounds", type=int, help="rounds (default 3, quick 1)")
    it.add_argument("--duration-s", type=float, help="measured part of each run (default 3, quick 1)")
    it.add_argument("--generator", metavar="COMMAND", default=GENERATOR, help="default: %(default)s")
    it.add_argument("--realtime", action="store_true", help="run brokers and generator before all other processes "
                    "(chrt --fifo, as root): for a machine that others use meanwhile, who then wait")
    it.add_argument("--port", type=int, default=21830, help="first port to try, below the ephemeral range")
    it.add_argument("--raw", metavar="FILE", help="append every report as a line of JSON")
    it.add_argument("--no-build", action="store_true", help="use the binary that is there")
    return it


def parse(it):
    options = it.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.duration_s = options.duration_s or (1.0 if options.quick else 3.0)
    return options


def chosen(scenario, options):
    if options.only:
        return scenario.name in options.only
    return scenario.quick or not options.quick


def header(mosquitto, options):
    return (f"{describe(mosquitto)}, 64-byte payloads; medians of {options.rounds} interleaved rounds of "
            f"{options.duration_s:g} s, every message verified.")


def disturbance(reports):
    """How far throughput and latency can be believed."""
    shares = [report["others_busy"] for sides in reports.values() for rounds in sides.values() for report in rounds if report]
    if not shares:
        return ""
    return (f" Other processes took {statistics.median(shares):.0%} of the two cores (at most {max(shares):.0%}); "
            "above a few per cent, throughput and latency say little.")


def measure(scenarios, sides, options):
    """Returns reports[scenario][side], a list with one report (or None) a round."""
    reports = {scenario.name: {side.name: [] for side in sides} for scenario in scenarios}
    for round_number in range(options.rounds):
        for scenario in scenarios:
            for side in sides[:: 1 if round_number % 2 == 0 else -1]:
                report = run(scenario, side, options)
                reports[scenario.name][side.name].append(report)
                progress(round_number, scenario, side.name, report)
                if options.raw and report:
                    with open(options.raw, "a") as raw:
                        raw.write(json.dumps({"broker": side.name, "round": round_number, **report}) + "\n")
    return reports


def progress(round_number, scenario, broker, report):
    outcome = "failed"
    if report:
        per_cpu_s = report.get("deliveries_per_broker_cpu_s")
        outcome = f"{per_cpu_s:,.0f} deliveries per CPU-second" if per_cpu_s else "done"
    print(f"round {round_number + 1}: {scenario.name}, {broker}: {outcome}", file=sys.stderr)


def run(scenario, side, options):
    """One fresh broker, one run of the generator. None when either fails; its words go to standard error."""
    with tempfile.TemporaryDirectory(prefix="compare-") as directory:
        port = free_port(options.port)
        config = Path(directory) / "config"
        spare = str(free_port(port + 1))
        config.write_text(side.config.replace("{port}", str(port)).replace("{spare}", spare))
        os.chmod(directory, 0o755)
        words = [word.format(port=port, spare=spare, config=config, data=Path(directory) / "data")
                 for word in shlex.split(side.command)]
        broker = subprocess.Popen(on_core(BROKER_CORE, options.realtime) + words, stdout=subprocess.DEVNULL)
        try:
            if not wait_for(broker, port):
                print(f"{side.command}: does not listen on port {port}", file=sys.stderr)
                return None
            return generate(scenario, side, broker.pid, port, options)
        finally:
            stop(broker)


def generate(scenario, side, pid, port, options):
    command = on_core(GENERATOR_CORE, options.realtime) + shlex.split(options.generator) + shlex.split(scenario.arguments)
    command += shlex.split(side.arguments)
    command += ["--json", "--port", str(port), "--broker-pid", str(pid), "--duration-s", str(options.duration_s)]
    before = busy_s(pid)
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        print(f"{scenario.name}: the generator did not end within 120 s", file=sys.stderr)
        return None
    if result.returncode not in (0, 1) or not result.stdout.strip():
        print(f"{scenario.name}: {result.stderr.strip()}", file=sys.stderr)
        return None
    report, after = json.loads(result.stdout), busy_s(pid)
    others, elapsed = (after[key] - before[key] for key in ("others", "elapsed"))
    report["others_busy"] = max(0.0, others / elapsed / 2)
    return report


def busy_s(pid):
    """Seconds that the two cores have been busy with others than the broker and the generators so far, and the time."""
    tick = os.sysconf("SC_CLK_TCK")
    cores = [line.split() for line in open("/proc/stat") if line.startswith(("cpu0 ", "cpu1 "))]
    # user, nice, system, idle, iowait, irq, softirq, steal: all but idle and iowait.
    busy = sum(int(core[n]) for core in cores for n in (1, 2, 3, 6, 7, 8)) / tick
    broker = sum(int(field) for field in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]) / tick
    generators = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"others": busy - broker - generators.ru_utime - generators.ru_stime, "elapsed": time.monotonic()}


def value(report, key):
    for part in key.split("."):
        report = report.get(part) if isinstance(report, dict) else None
    return report


def median(reports, key):
    """Of the rounds that have the figure."""
    values = [value(report, key) for report in reports]
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def print_live(scenarios, reports, names):
    if not scenarios:
        return
    theirs, name = names
    print(f"| scenario | {theirs}, k deliveries / broker CPU-s | {name} | ratio | at least | deliveries/s, k: "
          f"{theirs}, {name} | p99 ms: {theirs}, {name} | throughput and p99 no worse | generator busy |")
    print("|---|--:|--:|--:|--:|--:|--:|---|--:|")
    for scenario in scenarios:
        both = [reports[scenario.name][broker] for broker in names]
        cpu, rate, p99 = ([median(side, key) for side in both] for key in
                          ("deliveries_per_broker_cpu_s", "deliveries_per_s", "latency_us.p99"))
        if None in cpu + rate + p99:
            print(f"| {scenario.name} | failed | | | | | | | |")
            continue
        ratio = cpu[1] / cpu[0]
        goal = "" if scenario.at_least is None else f"{scenario.at_least} {'✓' if ratio >= scenario.at_least else '✗'}"
        no_worse = [word for word, is_worse in (("throughput", is_less(rate[1], rate[0])),
                                                 ("p99", is_less(p99[0], p99[1]))) if is_worse]
        busy = max(median([{"busy": r["generator_cpu_s"] / r["measured_s"]} for r in side if r], "busy") for side in both)
        print(f"| {scenario.name} | {cpu[0] / 1e3:.0f} | {cpu[1] / 1e3:.0f} | **{ratio:.2f}** | {goal} "
              f"| {rate[0] / 1e3:.0f}, {rate[1] / 1e3:.0f} | {p99[0] / 1e3:.2f}, {p99[1] / 1e3:.2f} "
              f"| {'no: ' + ' and '.join(no_worse) + ' worse' if no_worse else 'yes'} | {busy:.0%} |")
    print()


def print_figures(figures, reports, names):
    figures = [figure for figure in figures if figure.scenario in reports]
    if not figures:
        return
    print(f"| figure | {names[0]} | {names[1]} | at most | no worse |")
    print("|---|--:|--:|--:|---|")
    for figure in figures:
        theirs, ours = (median(reports[figure.scenario][broker], figure.key) for broker in names)
        if theirs is None or ours is None:
            print(f"| {figure.label} | {show(theirs)} | {show(ours)} | | |")
            continue
        limit = "" if figure.at_most is None else f"{figure.at_most:,} {'✓' if ours <= figure.at_most else '✗'}"
        worse = {True: is_less(theirs, ours), False: is_less(ours, theirs), None: None}[figure.less_is_better]
        verdict = {True: "no", False: "yes", None: ""}[worse]
        print(f"| {figure.label} | {show(theirs)} | {show(ours)} | {limit} | {verdict} |")
    print()


def is_less(small, large):
    """Clearly, not by noise alone."""
    return small < large - SAME * abs(large)


def show(number):
    if number is None:
        return "–"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.1f}"


def print_faults(reports, name):
    """Says which runs failed or were unclean; returns whether one of ours was."""
    ours = False
    for scenario, sides in reports.items():
        for broker, rounds in sides.items():
            for number, report in enumerate(rounds):
                faults = {key: report[key] for key in ("lost", "duplicated", "reordered", "unexpected") if report[key]} \
                    if report else {"failed": "see above"}
                if faults:
                    print(f"- {scenario}, {broker}, round {number + 1}: " +
                          ", ".join(f"{count} {fault}" if report else fault for fault, count in faults.items()))
                    ours |= broker == name
    return ours
