import type { Listener } from "../../feed";
import { t } from "../../texts";

/** Something to type into a terminal. */
export interface Recipe {
  protocol: string;
  title: string;
  publish: string;
  subscribe: string;
}

/** The topic of all examples. */
export const TOPIC = "demo/hello";

/** Examples for what is listened to, with the ports as they are. */
export function recipes(listeners: Listener[]): Recipe[] {
  const found: Recipe[] = [];
  for (const [protocol, make] of Object.entries(makers)) {
    // The plain one is the shorter command; inside TLS a client has to be told whom to trust.
    const own = listeners.filter((it) => it.protocol === protocol && reachable(it.address));
    const listener = own.find((it) => !it.tls) ?? own[0];
    if (listener) found.push({ protocol, ...make(place(listener)) });
  }
  return found;
}

interface Place {
  host: string;
  port: string;
  tls: boolean;
}

const makers: Record<string, (place: Place) => Omit<Recipe, "protocol">> = {
  mqtt: ({ host, port, tls }) => {
    const where = `-h ${host} -p ${port}${tls ? " --cafile ca.pem" : ""}`;
    return {
      title: t.overview.tool.mosquitto,
      publish: `mosquitto_pub ${where} -t ${TOPIC} -m 'hello from MQTT'`,
      subscribe: `mosquitto_sub ${where} -t 'demo/#' -v`,
    };
  },
  http: ({ host, port, tls }) => {
    const base = `${tls ? "https" : "http"}://${host}:${port}`;
    return {
      title: t.overview.tool.curl,
      publish: `curl -X PUT ${base}/topics/${TOPIC} -d 'hello from HTTP'`,
      subscribe: `curl -N -H 'accept: text/event-stream' '${base}/topics?filter=demo/%23'`,
    };
  },
  coap: ({ host, port, tls }) => {
    const url = `${tls ? "coaps" : "coap"}://${host}:${port}/t/${TOPIC}`;
    return {
      title: t.overview.tool.coap,
      publish: `coap-client -m put -e 'hello from CoAP' ${url}`,
      subscribe: `coap-client -m get -s 60 ${url}`,
    };
  },
  stomp: ({ host, port }) => ({
    title: t.overview.tool.stomp,
    publish: `printf 'CONNECT\\naccept-version:1.2\\nhost:${host}\\n\\n\\0SEND\\ndestination:/topic/${TOPIC}\\n\\nhello from STOMP\\0' | nc -q 1 ${host} ${port}`,
    subscribe: `(printf 'CONNECT\\naccept-version:1.2\\nhost:${host}\\n\\n\\0SUBSCRIBE\\nid:0\\ndestination:/topic/demo/#\\n\\n\\0'; cat) | nc ${host} ${port}`,
  }),
};

/** Our own client speaks all of them. */
export function althing(listeners: Listener[]): Recipe | null {
  const own = listeners.find((it) => it.protocol === "mqtt" && !it.tls && reachable(it.address));
  if (!own) return null;
  const { host, port } = place(own);
  return {
    protocol: "althing",
    title: t.overview.tool.althing,
    publish: `althing pub -h ${host} -p ${port} -t ${TOPIC} -m 'hello from Althing'`,
    subscribe: `althing sub -h ${host} -p ${port} -t 'demo/#' -v`,
  };
}

/** A listener on every address is reached by the name that the browser used. */
function place({ address, tls }: Listener): Place {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at);
  const isAny = host === "0.0.0.0" || host === "[::]";
  return { host: isAny ? location.hostname : host, port: address.slice(at + 1), tls };
}

const reachable = (address: string) => /:\d+$/.test(address);
