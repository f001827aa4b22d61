"""Receives video over WHEP with aiortc. For each frame, prints the bounding box of the disc (left, right, top,
bottom), the width and height of the picture, and the time of decoding in seconds.

Usage: aiortc_viewer.py URL FRAMES [TOKEN]
"""

import asyncio
import contextlib
import sys
import time
import urllib.parse
import urllib.request

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

# Pixels that are brighter than the background.
BRIGHT = bytes(luma > 80 for luma in range(256))


def request(method, url, token, body=None):
    headers = {"Content-Type": "application/sdp"} if body else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method))


def disc(frame):
    luma = frame.planes[0]
    bright = bytes(luma).translate(BRIGHT)
    rows = [bright[at : at + frame.width] for at in range(0, frame.height * luma.line_size, luma.line_size)]
    lit = [y for y, row in enumerate(rows) if 1 in row]
    left = min(rows[y].index(1) for y in lit)
    right = max(rows[y].rindex(1) for y in lit)
    return left, right, lit[0], lit[-1], frame.width, frame.height


async def watch(url, frames, token):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    receiver = pc.addTransceiver("video", direction="recvonly").receiver
    await pc.setLocalDescription(await pc.createOffer())
    with request("POST", url, token, pc.localDescription.sdp.encode()) as response:
        session = urllib.parse.urljoin(url, response.headers["Location"])
        answer = RTCSessionDescription(response.read().decode(), "answer")
    await pc.setRemoteDescription(answer)
    for _ in range(frames):
        frame = await receiver.track.recv()
        print(*disc(frame), time.monotonic(), flush=True)
    request("DELETE", session, token).close()
    # The server sends close_notify, which ends the track.
    with contextlib.suppress(MediaStreamError):
        while True:
            await receiver.track.recv()
    await pc.close()


url, frames, *token = sys.argv[1:]
asyncio.run(watch(url, int(frames), token[0] if token else None))
