"""The common part of the programs that drive one client library each, for tests/clients/compat.rs.

A program connects as its environment says, and then obeys lines on standard input:

    subscribe FILTER QOS              answered with `subscribed`
    publish TOPIC QOS RETAIN PAYLOAD  answered with `published` when the library says so
    disconnect                        answered with `disconnected`, and the program ends

It reports `connected` for every connection, and `message TOPIC QOS RETAIN PAYLOAD` for every message.
"""

import asyncio
import os
import queue
import ssl
import sys
import threading

HOST = os.environ.get("BROKER_HOST", "127.0.0.1")
PORT = int(os.environ["BROKER_PORT"])
CLIENT_ID = os.environ["CLIENT_ID"]
VERSION = int(os.environ.get("MQTT_VERSION", "4"))
STORED_SESSION = "STORED_SESSION" in os.environ
WILL_TOPIC = os.environ.get("WILL_TOPIC")
WILL_PAYLOAD = b"gone"
CA = os.environ.get("BROKER_CA")
WEBSOCKET = "WEBSOCKET" in os.environ
SESSION_EXPIRY_SECONDS = 3600

_lock = threading.Lock()


def say(*words):
    with _lock:
        print(*words, flush=True)


def message(topic, qos, retain, payload):
    payload = payload if isinstance(payload, str) else bytes(payload).decode()
    say("message", topic, int(qos), int(retain), payload)


def tls_context():
    return ssl.create_default_context(cafile=CA) if CA else None


def command(line):
    """The name of a command, and its arguments with the right types."""
    name, *words = line.rstrip("\n").split(" ", 4)
    if name == "subscribe":
        return name, (words[0], int(words[1]))
    if name == "publish":
        return name, (words[0], int(words[1]), words[2] == "1", words[3].encode())
    return name, ()


DONE = {"subscribe": "subscribed", "publish": "published", "disconnect": "disconnected"}


def serve(client):
    """Obeys all commands with the methods of `client` that are named like them."""
    for line in sys.stdin:
        name, arguments = command(line)
        getattr(client, name)(*arguments)
        say(DONE[name])
        if name == "disconnect":
            break
    # Threads of a library must not keep the process alive.
    os._exit(0)


async def serve_async(client):
    """As `serve`, for methods that are coroutines."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, arguments = command(line)
        await getattr(client, name)(*arguments)
        say(DONE[name])
        if name == "disconnect":
            break
    os._exit(0)


def serve_polling(client):
    """As `serve`, for a library that works only while its `poll` is called."""
    lines = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()
    while True:
        while not lines.empty():
            name, arguments = command(lines.get())
            getattr(client, name)(*arguments)
            say(DONE[name])
            if name == "disconnect":
                os._exit(0)
        client.poll()


def _read_lines(lines):
    for line in sys.stdin:
        lines.put(line)
