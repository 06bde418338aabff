"""awscrt, the C client of AWS IoT's SDKs, with its interface for 5.0."""

import queue

from awscrt import io, mqtt5

import agent


class Client:
    def __init__(self):
        bootstrap = io.ClientBootstrap(io.EventLoopGroup(1), io.DefaultHostResolver(io.EventLoopGroup(1)))
        connect = mqtt5.ConnectPacket(client_id=agent.CLIENT_ID, keep_alive_interval_sec=60)
        if agent.STORED_SESSION:
            connect.session_expiry_interval_sec = agent.SESSION_EXPIRY_SECONDS
        if agent.WILL_TOPIC:
            connect.will = mqtt5.PublishPacket(agent.WILL_PAYLOAD, topic=agent.WILL_TOPIC, qos=mqtt5.QoS.AT_LEAST_ONCE)
        tls = None
        if agent.CA:
            options = io.TlsContextOptions()
            options.override_default_trust_store_from_path(ca_filepath=agent.CA)
            tls = io.ClientTlsContext(options)
        rejoin = mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS
        self.stopped = queue.Queue()
        self.client = mqtt5.Client(mqtt5.ClientOptions(
            host_name=agent.HOST,
            port=agent.PORT,
            bootstrap=bootstrap,
            tls_ctx=tls,
            connect_options=connect,
            session_behavior=rejoin if agent.STORED_SESSION else mqtt5.ClientSessionBehaviorType.CLEAN,
            min_reconnect_delay_ms=500,
            max_reconnect_delay_ms=1000,
            on_publish_callback_fn=self.on_publish,
            on_lifecycle_event_connection_success_fn=lambda _: agent.say("connected"),
            on_lifecycle_event_stopped_fn=lambda _: self.stopped.put(None),
        ))
        self.client.start()

    def on_publish(self, data):
        m = data.publish_packet
        agent.message(m.topic, m.qos, m.retain, m.payload)

    def subscribe(self, topic_filter, qos):
        packet = mqtt5.SubscribePacket([mqtt5.Subscription(topic_filter, mqtt5.QoS(qos))])
        self.client.subscribe(packet).result(10)

    def publish(self, topic, qos, retain, payload):
        self.client.publish(mqtt5.PublishPacket(payload, topic=topic, qos=mqtt5.QoS(qos), retain=retain)).result(10)

    def disconnect(self):
        self.client.stop(mqtt5.DisconnectPacket())
        self.stopped.get(timeout=10)


agent.serve(Client())
