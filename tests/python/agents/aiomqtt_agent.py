"""aiomqtt 2, and 1.x under its old name asyncio-mqtt."""

import asyncio

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import agent


class Client:
    def __init__(self, client):
        self.client = client
        self.reader = asyncio.create_task(self.read())

    async def read(self):
        async for m in self.client.messages:
            agent.message(m.topic.value, m.qos, m.retain, m.payload)

    async def subscribe(self, topic_filter, qos):
        await self.client.subscribe(topic_filter, qos)

    async def publish(self, topic, qos, retain, payload):
        await self.client.publish(topic, payload, qos, retain)

    async def disconnect(self):
        self.reader.cancel()
        await self.client.__aexit__(None, None, None)


def arguments():
    yield "protocol", aiomqtt.ProtocolVersion(agent.VERSION)
    yield "transport", "websockets" if agent.WEBSOCKET else "tcp"
    if agent.WILL_TOPIC:
        yield "will", aiomqtt.Will(agent.WILL_TOPIC, agent.WILL_PAYLOAD, 1)
    if agent.CA:
        yield "tls_context", agent.tls_context()
    if agent.VERSION != 5:
        yield "clean_session", not agent.STORED_SESSION
    else:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = agent.SESSION_EXPIRY_SECONDS if agent.STORED_SESSION else 0
        yield "clean_start", not agent.STORED_SESSION
        yield "properties", properties


async def main():
    client = aiomqtt.Client(agent.HOST, agent.PORT, identifier=agent.CLIENT_ID, **dict(arguments()))
    await client.__aenter__()
    agent.say("connected")
    await agent.serve_async(Client(client))


asyncio.run(main())
