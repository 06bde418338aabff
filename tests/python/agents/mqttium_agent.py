"""mqttium."""

import asyncio

from mqttium import MQTTProtocolVersion
from mqttium.api import AsyncClient
from mqttium.api.models import PublishMessage
from mqttium.protocol.reconnect import ReconnectPolicy
from mqttium.types import Properties

import agent


class Client:
    def __init__(self):
        will = PublishMessage(agent.WILL_TOPIC, agent.WILL_PAYLOAD, 1) if agent.WILL_TOPIC else None
        properties = None
        if agent.VERSION == 5 and agent.STORED_SESSION:
            properties = Properties({"session_expiry_interval": agent.SESSION_EXPIRY_SECONDS})
        self.client = AsyncClient(
            agent.CLIENT_ID,
            protocol=MQTTProtocolVersion(agent.VERSION),
            clean_start=not agent.STORED_SESSION,
            connect_properties=properties,
            will=will,
            reconnect=ReconnectPolicy(initial_delay=0.5, max_delay=1.0),
        )
        self.client.on_connect = lambda *_: agent.say("connected")

    async def connect(self):
        if agent.WEBSOCKET:
            await self.client.connect_ws(f"{'wss' if agent.CA else 'ws'}://{agent.HOST}:{agent.PORT}/mqtt", ssl=agent.tls_context())
        else:
            await self.client.connect(agent.HOST, agent.PORT, ssl=agent.tls_context())
        self.reader = asyncio.create_task(self.read())

    async def read(self):
        async for m in self.client.messages():
            agent.message(m.topic, m.qos, m.retain, m.payload)

    async def subscribe(self, topic_filter, qos):
        await self.client.subscribe(topic_filter, qos=qos)

    async def publish(self, topic, qos, retain, payload):
        receipt = await self.client.publish(topic, payload, qos=qos, retain=retain)
        await receipt.wait()

    async def disconnect(self):
        await self.client.disconnect()


async def main():
    client = Client()
    await client.connect()
    await agent.serve_async(client)


asyncio.run(main())
