"""SCRAM by enhanced authentication: mqttium speaks MQTT, and scramp speaks SCRAM."""

import asyncio
import unittest

from mqttium import MQTTProtocolVersion
from mqttium.api import AsyncClient, AuthPacket
from mqttium.types import Properties
from scramp import ScramClient, ScramException

from mqtt_client import HOST, PORT, TIMEOUT, only_ours


class Login:
    """A client that authenticates, and verifies that the broker knows its credentials."""

    def __init__(self, mechanism, user, password):
        self.mechanism, self.user, self.password = mechanism, user, password
        self.done = asyncio.Event()
        self.client = AsyncClient(
            f"scram-{user}",
            protocol=MQTTProtocolVersion.MQTTv5,
            connect_properties=self.first(),
            auth_handler=self.answer,
        )

    def properties(self, data):
        return Properties({"authentication_method": self.mechanism, "authentication_data": data.encode()})

    def first(self):
        self.scram = ScramClient([self.mechanism], self.user, self.password)
        return self.properties(self.scram.get_client_first())

    async def answer(self, packet):
        data = bytes(packet.properties.get("authentication_data")).decode()
        if packet.reason_code == 0x18:
            self.scram.set_server_first(data)
            return AuthPacket(0x18, self.properties(self.scram.get_client_final()))
        self.scram.set_server_final(data)
        self.done.set()
        return None

    async def connect(self):
        connack = await asyncio.wait_for(self.client.connect(HOST, PORT), TIMEOUT)
        self.scram.set_server_final(bytes(connack.properties.get("authentication_data")).decode())

    async def again(self):
        await self.client.auth(0x19, self.first())
        await asyncio.wait_for(self.done.wait(), TIMEOUT)


@only_ours
class Scram(unittest.IsolatedAsyncioTestCase):
    async def accepted(self, mechanism, user, password):
        login = Login(mechanism, user, password)
        await login.connect()
        await login.client.publish("a/b", b"x", qos=1)
        await login.again()
        await login.client.disconnect()

    async def test_sha_256(self):
        await self.accepted("SCRAM-SHA-256", "alice", "sesam")

    async def test_sha_512(self):
        await self.accepted("SCRAM-SHA-512", "bob", "secret")

    async def test_a_wrong_password_is_refused(self):
        with self.assertRaises(Exception) as raised:
            await Login("SCRAM-SHA-256", "alice", "wrong").connect()
        self.assertNotIsInstance(raised.exception, (ScramException, TimeoutError))
        self.assertIn("134", repr(raised.exception))


if __name__ == "__main__":
    unittest.main()
