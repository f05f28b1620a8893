//! `althing demo` against our own broker: everything arrives, in every language, and nothing stays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;

/// Listens to the house until `count` messages have come.
fn listen(url: &str, count: &str) -> Running {
    Running::subscribed(&["sub", "-L", url, "-t", "demo/house/#", "-C", count, "-v"])
}

#[test]
fn a_house_speaks_and_leaves_nothing_behind() {
    let broker = Broker::start();
    let url = format!("mqtt://{}:{}", broker.host, broker.port);
    // Nine readings of the first minute, what it is, and the clock; and as many farewells.
    let hearer = listen(&url, "22");
    assert_exit(&run(&["demo", &url, "-C", "1", "--interval", "1ms"]), 0);
    let heard = stdout(&hearer.finish());
    for topic in ["about", "clock", "living-room/temperature", "kitchen/climate", "hall/front-door", "garden/weather"] {
        let topic = format!("demo/house/{topic} ");
        let values: Vec<&str> = heard.lines().filter_map(|line| line.strip_prefix(&topic)).collect();
        assert!(values.len() == 2 && values[0] != "(null)" && values[1] == "(null)", "{topic}: {values:?}");
    }
    assert_exit(&run(&["pub", "-L", &url, "-t", "fence", "-m", "fence", "-r", "-q", "1"]), 0);
    let first = run(&["sub", "-L", &url, "-t", "demo/#", "-t", "fence", "-C", "1"]);
    assert_eq!(stdout(&first), "fence\n", "no last value stays");
}

#[test]
fn a_seed_makes_its_days() {
    let broker = Broker::start();
    let url = format!("mqtt://{}:{}", broker.host, broker.port);
    let mut days = Vec::new();
    for seed in ["7", "7", "8"] {
        let hearer = Running::subscribed(&["sub", "-L", &url, "-t", "demo/house/kitchen/climate", "-C", "20"]);
        assert_exit(&run(&["demo", &url, "-C", "20", "--seed", seed, "--interval", "1ms"]), 0);
        days.push(stdout(&hearer.finish()));
    }
    assert!(days[0] == days[1] && days[0] != days[2], "{days:?}");
}

#[test]
fn the_lamp_obeys() {
    let broker = Broker::start();
    let url = format!("mqtt://{}:{}", broker.host, broker.port);
    let mut demo = Running::start(althing(&["demo", &url, "--interval", "1h"]));
    let said = lines(demo.child().stdout.take().unwrap());
    while !said.recv_timeout(PATIENCE).unwrap().contains("Ctrl-C") {}
    let lamp = Running::subscribed(&["sub", "-L", &url, "-t", "demo/house/hall/lamp", "-C", "3"]);
    for command in ["on", "toggle"] {
        assert_exit(&run(&["pub", "-L", &url, "-t", "demo/house/hall/lamp/set", "-m", command, "-q", "1"]), 0);
    }
    assert_eq!(stdout(&lamp.finish()), "off\non\noff\n");
    demo.signal("INT");
    assert_exit(&demo.finish(), 0);
}

#[test]
fn nobody_there_is_said() {
    let output = run(&["demo", "mqtt://127.0.0.1:1"]);
    assert_exit(&output, 3);
    assert_exit(&run(&["demo", "stomp://127.0.0.1:1"]), 2);
}
