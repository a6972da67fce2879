"""Serves the Docker socket on a TCP port of the loopback, and prints the port."""

import asyncio


async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def serve(near_reader, near_writer):
    far_reader, far_writer = await asyncio.open_unix_connection("/var/run/docker.sock")
    await asyncio.gather(
        pump(near_reader, far_writer), pump(far_reader, near_writer), return_exceptions=True
    )
    for writer in (near_writer, far_writer):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
