"""zmqtt."""

import asyncio

import zmqtt

import agent


class Client:
    def __init__(self):
        arguments = {"client_id": agent.CLIENT_ID, "clean_session": not agent.STORED_SESSION}
        arguments["tls"] = agent.tls_context() or False
        if agent.WILL_TOPIC:
            will = zmqtt.Will(topic=agent.WILL_TOPIC, payload=agent.WILL_PAYLOAD, qos=zmqtt.QoS.AT_LEAST_ONCE, retain=False)
            arguments["will"] = will
        if agent.VERSION == 5:
            arguments["session_expiry_interval"] = agent.SESSION_EXPIRY_SECONDS if agent.STORED_SESSION else 0
        version = {4: "3.1.1", 5: "5.0"}[agent.VERSION]
        self.client = zmqtt.create_client(agent.HOST, agent.PORT, version=version, **arguments)
        self.readers = []

    async def read(self, subscription):
        async for m in subscription:
            agent.message(m.topic, m.qos, m.retain, m.payload)

    async def subscribe(self, topic_filter, qos):
        subscription = self.client.subscribe(topic_filter, qos=zmqtt.QoS(qos))
        await subscription.start()
        self.readers.append(asyncio.create_task(self.read(subscription)))

    async def publish(self, topic, qos, retain, payload):
        await self.client.publish(topic, payload, qos=zmqtt.QoS(qos), retain=retain)

    async def disconnect(self):
        await self.client.disconnect()


async def main():
    client = Client()
    await client.client.connect()
    agent.say("connected")
    await agent.serve_async(client)


asyncio.run(main())
