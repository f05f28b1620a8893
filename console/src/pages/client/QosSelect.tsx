import { t } from "../../texts";
import type { Qos } from "../../mqtt/codec";

/** The quality of service, with its meaning. */
export function QosSelect({ qos, onChange }: { qos: Qos; onChange: (qos: Qos) => void }) {
  return (
    <select
      class="qos"
      aria-label={t.client.qosLabel}
      value={qos}
      onChange={(e) => onChange(Number(e.currentTarget.value) as Qos)}
    >
      {t.client.qos.map((words, value) => (
        <option key={value} value={value}>
          {words}
        </option>
      ))}
    </select>
  );
}
