"""Between our names and the property objects of paho-mqtt, which aiomqtt hands through."""

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from peers import Message

PUBLISH = {
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation_data": "CorrelationData",
    "payload_format": "PayloadFormatIndicator",
    "expiry_s": "MessageExpiryInterval",
    "topic_alias": "TopicAlias",
    "user": "UserProperty",
    "identifiers": "SubscriptionIdentifier",
}
CONNECT = {
    "expiry_s": "SessionExpiryInterval",
    "receive_maximum": "ReceiveMaximum",
    "maximum_packet_size": "MaximumPacketSize",
    "topic_alias_maximum": "TopicAliasMaximum",
}
CONNACK = {
    "assigned_client_id": "AssignedClientIdentifier",
    "server_keep_alive_s": "ServerKeepAlive",
    "receive_maximum": "ReceiveMaximum",
    "topic_alias_maximum": "TopicAliasMaximum",
}


def properties(packet, names, values):
    """A property object of paho for `packet`, or None when there is nothing to say."""
    written = Properties(packet)
    for name, value in values.items():
        if value is not None:
            setattr(written, names[name], value)
    return None if written.isEmpty() else written


def read(names, given):
    """The other way round."""
    if given is None:
        return {}
    return {name: getattr(given, word) for name, word in names.items() if hasattr(given, word)}


def connect_properties(options, version):
    if version < 5:
        return None
    return properties(PacketTypes.CONNECT, CONNECT, {name: getattr(options, name) for name in CONNECT})


def will_properties(will, version):
    if version < 5:
        return None
    written = Properties(PacketTypes.WILLMESSAGE)
    for name, value in will.properties.items():
        setattr(written, PUBLISH[name], value)
    if will.delay_s:
        written.WillDelayInterval = will.delay_s
    return written


def message(received):
    """From paho's and aiomqtt's message, which name their parts alike."""
    given = getattr(received, "properties", None)
    return Message(
        str(received.topic), bytes(received.payload), received.qos, bool(received.retain), read(PUBLISH, given)
    )
