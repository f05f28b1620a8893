import { useState } from "preact/hooks";
import { bytes, clock, count } from "../../format";
import { packetName } from "../../mqtt/spec";
import { Badge } from "../../parts/Badge";
import { LogRows } from "../../parts/LogRows";
import { t } from "../../texts";
import { Inspector } from "./Inspector";
import { toHex } from "./payload";
import { type Packet, drawn, packetSampler, packets } from "./session";

const texts = () => t.client.packets;

/** The last packets in both directions, and the one that is selected, bit by bit. */
export function Packets() {
  void drawn.value;
  const [selected, setSelected] = useState<Packet | null>(null);
  return (
    <>
      <p class="list-state small muted">
        {texts().shown(count(packets.length))}
        {packetSampler.every > 1 && <Badge tone="warning">{t.client.sampled(packetSampler.every)}</Badge>}
      </p>
      <LogRows
        label={texts().title}
        total={packets.length}
        rowHeight={28}
        row={(index) => <Line packet={packets.at(index)} />}
        selected={selected ? place(selected) : null}
        onSelect={(index) => setSelected(packets.at(index) ?? null)}
        empty={texts().empty}
      />
      {selected && <Inspector key={selected.number} packet={selected} />}
    </>
  );
}

function place(packet: Packet): number | null {
  const index = packet.number - (packets.at(0)?.number ?? 0);
  return packets.at(index) === packet ? index : null;
}

function Line({ packet }: { packet: Packet | undefined }) {
  if (!packet) return null;
  return (
    <>
      <span class={`way ${packet.way}`} title={texts().ways[packet.way]}>
        <span aria-hidden="true">{packet.way === "in" ? "←" : "→"}</span>
        <span class="visually-hidden">{texts().ways[packet.way]}</span>
      </span>
      <span class="log-time mono">{clock(packet.atMs)}</span>
      <span class="log-packet mono">{packetName(packet.bytes[0]! >> 4)}</span>
      <span class="log-payload mono ellipsis muted">{toHex(packet.bytes.subarray(0, 48), " ")}</span>
      <span class="log-marks small muted">{bytes(packet.bytes.length)}</span>
    </>
  );
}
