"""A bouncing ball for every viewer that posts an offer, with aiortc."""
import argparse
import asyncio
import json

import aioice.ice
import numpy
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from av import VideoFrame

# By default, aioice ignores the loopback address.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

WIDTH, HEIGHT, RADIUS = 640, 480, 20
Y, X = numpy.ogrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
DISC = X * X + Y * Y <= RADIUS * RADIUS


class Ball(VideoStreamTrack):
    def __init__(self):
        super().__init__()
        self.x, self.y, self.dx, self.dy = 100.0, 100.0, 2.0, 1.5

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        self.x += self.dx
        self.y += self.dy
        if self.x - RADIUS < 0 or self.x + RADIUS > WIDTH:
            self.dx = -self.dx
        if self.y - RADIUS < 0 or self.y + RADIUS > HEIGHT:
            self.dy = -self.dy
        picture = numpy.zeros((HEIGHT, WIDTH, 3), numpy.uint8)
        x = min(max(int(self.x), RADIUS), WIDTH - RADIUS - 1)
        y = min(max(int(self.y), RADIUS), HEIGHT - RADIUS - 1)
        box = picture[y - RADIUS : y + RADIUS + 1, x - RADIUS : x + RADIUS + 1]
        box[DISC] = (0, 255, 0)
        frame = VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts, frame.time_base = pts, time_base
        return frame


viewers = set()


async def answer(offer):
    viewer = RTCPeerConnection()
    viewers.add(viewer)

    @viewer.on("connectionstatechange")
    async def changed():
        if viewer.connectionState in ("failed", "closed"):
            await viewer.close()
            viewers.discard(viewer)

    await viewer.setRemoteDescription(RTCSessionDescription(offer["sdp"], offer["type"]))
    viewer.addTrack(Ball())
    await viewer.setLocalDescription(await viewer.createAnswer())
    return {"sdp": viewer.localDescription.sdp, "type": viewer.localDescription.type}


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            offer = json.loads(await reader.readexactly(length))
            body = json.dumps(await answer(offer)).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
    except asyncio.IncompleteReadError:
        writer.close()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bind")
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    server = await asyncio.start_server(serve, arguments.bind, arguments.port)
    port = server.sockets[0].getsockname()[1]
    print(f"http://{arguments.bind}:{port}/", flush=True)
    await server.serve_forever()


asyncio.run(main())
