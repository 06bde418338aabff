"""The client of amqtt."""

import asyncio

from amqtt.client import MQTTClient

import agent


class Client:
    def __init__(self):
        config = {"auto_reconnect": True, "reconnect_max_interval": 1, "reconnect_retries": 20}
        if agent.WILL_TOPIC:
            config["will"] = {"topic": agent.WILL_TOPIC, "message": agent.WILL_PAYLOAD.decode(), "qos": 1, "retain": False}
        self.client = MQTTClient(agent.CLIENT_ID, config=config)

    async def connect(self):
        scheme = {(False, False): "mqtt", (False, True): "mqtts", (True, False): "ws", (True, True): "wss"}
        uri = f"{scheme[agent.WEBSOCKET, bool(agent.CA)]}://{agent.HOST}:{agent.PORT}/"
        await self.client.connect(uri, cleansession=not agent.STORED_SESSION, cafile=agent.CA)
        agent.say("connected")
        self.reader = asyncio.create_task(self.read())

    async def read(self):
        while True:
            m = await self.client.deliver_message()
            agent.message(m.topic, m.qos, m.publish_packet.retain_flag, m.data)

    async def subscribe(self, topic_filter, qos):
        await self.client.subscribe([(topic_filter, qos)])

    async def publish(self, topic, qos, retain, payload):
        await self.client.publish(topic, payload, qos, retain)

    async def disconnect(self):
        self.reader.cancel()
        await self.client.disconnect()


async def main():
    client = Client()
    await client.connect()
    await agent.serve_async(client)


asyncio.run(main())
