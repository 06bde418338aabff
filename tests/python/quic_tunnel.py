"""Each connection that it accepts over TCP becomes a QUIC connection with one stream. Arguments: the port of the broker, the file with its
authority, and the files with the client's certificate and key, if it has one. It writes its own port."""

import asyncio
import sys

from aioquic.asyncio import connect
from aioquic.quic.configuration import QuicConfiguration

PORT, AUTHORITY, *CERTIFICATE = sys.argv[1:]


def configuration():
    result = QuicConfiguration(is_client=True, alpn_protocols=["mqtt"], server_name="localhost")
    result.load_verify_locations(AUTHORITY)
    if CERTIFICATE:
        result.load_cert_chain(*CERTIFICATE)
    return result


async def copy(reader, writer, is_quic):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            if not is_quic:
                await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        pass
    try:
        writer.write_eof()
    except (ConnectionError, OSError, RuntimeError, AssertionError):
        pass


async def relay(reader, writer):
    try:
        async with connect("127.0.0.1", int(PORT), configuration=configuration()) as client:
            quic_reader, quic_writer = await client.create_stream()
            closed = asyncio.ensure_future(client.wait_closed())
            copies = asyncio.ensure_future(
                asyncio.gather(copy(reader, quic_writer, True), copy(quic_reader, writer, False))
            )
            await asyncio.wait([closed, copies], return_when=asyncio.FIRST_COMPLETED)
            copies.cancel()
            closed.cancel()
    except ConnectionError as error:
        print(error, file=sys.stderr)
    writer.close()


async def main():
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
