import "./client.css";
import { useState } from "preact/hooks";
import { Button } from "../parts/Button";
import { Icon } from "../parts/Icon";
import { t } from "../texts";
import { Connection } from "./client/Connection";
import { Messages } from "./client/Messages";
import { Packets } from "./client/Packets";
import { Publish } from "./client/Publish";
import { Saved } from "./client/Saved";
import { Subscriptions } from "./client/Subscriptions";
import { clearPackets, clearRows, paused } from "./client/session";

const tabs = ["messages", "packets"] as const;
type Tab = (typeof tabs)[number];

/** An MQTT client over WebSocket, to this broker or another, that hides nothing. */
export function Client() {
  return (
    <>
      <div class="page-head">
        <h1>{t.nav.client}</h1>
        <p class="muted">{t.client.about}</p>
      </div>
      <div class="client-page">
        <div class="stack client-forms">
          <Connection />
          <Subscriptions />
          <Publish />
          <Saved />
        </div>
        <Lists />
      </div>
    </>
  );
}

function Lists() {
  const [tab, setTab] = useState<Tab>("messages");
  const turn = (event: KeyboardEvent) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = tab === "messages" ? "packets" : "messages";
    setTab(other);
    document.getElementById(`tab-${other}`)?.focus();
  };
  return (
    <section class="card client-lists" aria-label={t.client.lists}>
      <div class="row apart">
        <div class="tabs" role="tablist" aria-label={t.client.lists} onKeyDown={turn}>
          {tabs.map((name) => (
            <button
              key={name}
              id={`tab-${name}`}
              type="button"
              role="tab"
              aria-selected={name === tab}
              aria-controls="client-list"
              tabIndex={name === tab ? 0 : -1}
              onClick={() => setTab(name)}
            >
              {t.client[name].title}
            </button>
          ))}
        </div>
        <div class="row">
          <Button onClick={() => (paused.value = !paused.value)} aria-pressed={paused.value}>
            <Icon name={paused.value ? "play" : "pause"} />
            {paused.value ? t.client.goOn : t.client.pause}
          </Button>
          <Button onClick={tab === "messages" ? clearRows : clearPackets}>{t.client.clear}</Button>
        </div>
      </div>
      <div id="client-list" class="client-list" role="tabpanel" aria-labelledby={`tab-${tab}`}>
        {tab === "messages" ? <Messages /> : <Packets />}
      </div>
    </section>
  );
}
