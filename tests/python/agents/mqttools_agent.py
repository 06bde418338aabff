"""mqttools, 5.0 at QoS 0."""

import asyncio

import mqttools

import agent


class Library(mqttools.Client):
    async def on_message(self, message):
        agent.message(message.topic, 0, message.retain, message.message)


class Client:
    def __init__(self, client):
        self.client = client

    async def subscribe(self, topic_filter, _qos):
        await self.client.subscribe(topic_filter)

    async def publish(self, topic, _qos, retain, payload):
        self.client.publish(mqttools.Message(topic, payload, retain))

    async def disconnect(self):
        await self.client.stop()


async def main():
    arguments = {"connect_delays": [1]}
    if agent.WILL_TOPIC:
        arguments.update(will_topic=agent.WILL_TOPIC, will_message=agent.WILL_PAYLOAD)
    if agent.STORED_SESSION:
        arguments["session_expiry_interval"] = agent.SESSION_EXPIRY_SECONDS
    client = Library(agent.HOST, agent.PORT, agent.CLIENT_ID, **arguments)
    try:
        await client.start(resume_session=agent.STORED_SESSION)
    except mqttools.SessionResumeError:
        # There is no Session yet; the library is connected nevertheless.
        pass
    agent.say("connected")
    await agent.serve_async(Client(client))


asyncio.run(main())
