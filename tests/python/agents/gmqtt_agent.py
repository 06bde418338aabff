"""gmqtt."""

import asyncio
import ssl

import gmqtt

import agent


class Client:
    def __init__(self):
        will = gmqtt.Message(agent.WILL_TOPIC, agent.WILL_PAYLOAD, qos=1) if agent.WILL_TOPIC else None
        expiry = {"session_expiry_interval": agent.SESSION_EXPIRY_SECONDS} if agent.STORED_SESSION else {}
        self.client = gmqtt.Client(agent.CLIENT_ID, not agent.STORED_SESSION, will_message=will, **expiry)
        self.client.set_config({"reconnect_delay": 1, "reconnect_retries": -1})
        self.client.on_connect = lambda *_: agent.say("connected")
        self.client.on_message = self.on_message
        self.client.on_subscribe = lambda *_, **__: self.subscribed.set()
        self.subscribed = asyncio.Event()

    def on_message(self, _client, topic, payload, qos, properties):
        agent.message(topic, qos, properties["retain"], payload)
        return 0

    async def connect(self):
        tls = agent.tls_context() or False
        await self.client.connect(agent.HOST, agent.PORT, ssl=tls, version=agent.VERSION)

    async def subscribe(self, topic_filter, qos):
        self.subscribed.clear()
        self.client.subscribe(topic_filter, qos=qos)
        await self.subscribed.wait()

    async def publish(self, topic, qos, retain, payload):
        self.client.publish(topic, payload, qos=qos, retain=retain)

    async def disconnect(self):
        try:
            await self.client.disconnect()
        except ssl.SSLError as error:
            # An acknowledgement of the broker may cross the close_notify of the client.
            if error.reason != "APPLICATION_DATA_AFTER_CLOSE_NOTIFY":
                raise


async def main():
    client = Client()
    await client.connect()
    await agent.serve_async(client)


asyncio.run(main())
