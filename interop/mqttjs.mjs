// MQTT.js clients, each by its number, `peer`; {peer, message} and {peer, closed} come unasked.
import mqtt from "mqtt";
import { say, serve } from "./lines.mjs";

const names = {
  content_type: "contentType",
  response_topic: "responseTopic",
  correlation_data: "correlationData",
  payload_format: "payloadFormatIndicator",
  expiry_s: "messageExpiryInterval",
  topic_alias: "topicAlias",
};
const clients = new Map();

function written(properties, version) {
  if (version < 5) return undefined;
  const result = {};
  for (const [name, word] of Object.entries(names)) {
    if (properties[name] !== undefined) result[word] = properties[name];
  }
  if ("payloadFormatIndicator" in result) result.payloadFormatIndicator = Boolean(result.payloadFormatIndicator);
  if (properties.user) {
    result.userProperties = {};
    for (const [name, value] of properties.user) (result.userProperties[name] ??= []).push(value);
  }
  return result;
}

function read(properties = {}) {
  const result = {};
  for (const [name, word] of Object.entries(names)) {
    if (properties[word] !== undefined) result[name] = properties[word];
  }
  if (result.payload_format !== undefined) result.payload_format = Number(result.payload_format);
  if (properties.userProperties) {
    const pairs = ([name, values]) => [values].flat().map((value) => [name, value]);
    result.user = Object.entries(properties.userProperties).flatMap(pairs);
  }
  if (properties.subscriptionIdentifier !== undefined) result.identifiers = [properties.subscriptionIdentifier].flat();
  return result;
}

const verbs = {
  connect({ peer, host, port, path, version, options, ca }, done) {
    const will = options.will;
    const client = mqtt.connect({
      host,
      port,
      protocol: (path ? "ws" : "mqtt") + (ca ? "s" : ""),
      path,
      ca,
      wsOptions: ca && { ca },
      protocolVersion: version,
      protocolId: version === 3 ? "MQIsdp" : "MQTT",
      clientId: options.client_id,
      clean: options.clean,
      keepalive: options.keep_alive_s,
      reconnectPeriod: 0,
      resubscribe: false,
      will: will && {
        topic: will.topic,
        payload: will.payload,
        qos: will.qos,
        retain: will.retain,
        properties: version === 5 ? { ...written(will.properties, version), willDelayInterval: will.delay_s } : undefined,
      },
      properties: version < 5 ? undefined : {
        sessionExpiryInterval: options.expiry_s,
        receiveMaximum: options.receive_maximum,
        maximumPacketSize: options.maximum_packet_size,
        topicAliasMaximum: options.topic_alias_maximum,
      },
    });
    clients.set(peer, client);
    let closedBy;
    client.once("connect", (connack) => {
      const properties = connack.properties ?? {};
      done(null, {
        session_present: connack.sessionPresent,
        assigned_client_id: properties.assignedClientIdentifier,
        server_keep_alive_s: properties.serverKeepAlive,
        receive_maximum: properties.receiveMaximum,
        topic_alias_maximum: properties.topicAliasMaximum,
      });
    });
    client.on("error", (error) => done(error));
    client.on("message", (topic, payload, packet) => {
      say({ peer, message: { topic, payload, qos: packet.qos, retain: packet.retain, properties: read(packet.properties) } });
    });
    client.on("disconnect", (packet) => { closedBy = packet.reasonCode; });
    client.on("close", () => say({ peer, closed: { code: closedBy } }));
  },

  subscribe({ client, filter, qos, no_local, retain_as_published, retain_handling, identifier }, done) {
    const v5 = client.options.protocolVersion === 5;
    const options = v5 ? { qos, nl: no_local, rap: retain_as_published, rh: retain_handling } : { qos };
    if (identifier !== undefined) options.properties = { subscriptionIdentifier: identifier };
    client.subscribe(filter, options, (error, granted, packet) => {
      done(packet ? null : error, packet?.granted[0] ?? granted?.[0]?.qos);
    });
  },

  unsubscribe({ client, filter }, done) {
    client.unsubscribe(filter, (error) => done(error));
  },

  publish({ client, topic, payload, qos, retain, properties }, done) {
    const options = { qos, retain, properties: written(properties, client.options.protocolVersion) };
    client.publish(topic, payload, options, (error) => done(error));
  },

  disconnect({ client, with_will }, done) {
    client.end(false, with_will ? { reasonCode: 4 } : {}, (error) => done(error));
  },

  drop({ client }, done) {
    client.stream.destroy();
    done(null);
  },
};

serve(verbs, (given) => ({ ...given, client: clients.get(given.peer) }));
