"""Receives video over WHEP with aiortc. Prints the SRTP profile in use and whether the server is active or passive in
DTLS, then for each frame the bounding box of the disc (left, right, top, bottom), the width and height of the picture,
and the time of decoding in seconds.
"""

import argparse
import asyncio
import contextlib
import secrets
import time
import urllib.parse
import urllib.request

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, rtcdtlstransport
from aiortc.mediastreams import MediaStreamError
from aioice import ice

import disc


def request(method, url, token, body=None):
    headers = {"Content-Type": "application/sdp"} if body else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method))


def allow_only(srtp_profile):
    profiles = rtcdtlstransport.SRTP_PROFILES
    profiles[:] = [profile for profile in profiles if profile.openssl_profile.decode() == srtp_profile]


def lengthen_user_fragments(length):
    ice.random_string = lambda usual: secrets.token_hex(length)[: length if usual == 4 else usual]


class LossyNetwork:
    """Drops one of so many RTP packets of the video that arrive, none of the resent ones, and counts roll-overs of the
    video's sequence numbers.
    """

    def __init__(self, ice, drop_one_of):
        self.receive, ice._recv = ice._recv, self.receive_some
        self.drop_one_of = drop_one_of
        self.ssrc = self.last = None
        self.packets = self.roll_overs = 0

    async def receive_some(self):
        while True:
            datagram = await self.receive()
            is_rtp = 128 <= datagram[0] <= 191 and not 192 <= datagram[1] <= 223
            if not is_rtp or self.ssrc not in (None, datagram[8:12]):
                return datagram
            self.ssrc = datagram[8:12]
            number = int.from_bytes(datagram[2:4], "big")
            if self.last is not None and self.last - number > 0x8000:
                self.roll_overs += 1
            self.last = number
            self.packets += 1
            if self.packets % self.drop_one_of:
                return datagram


async def watch(arguments):
    url, token = arguments.url, arguments.token
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    receiver = pc.addTransceiver("video", direction="recvonly").receiver
    network = LossyNetwork(receiver.transport.transport, arguments.drop_one_of) if arguments.drop_one_of else None
    await pc.setLocalDescription(await pc.createOffer())
    offer = pc.localDescription.sdp.replace("a=setup:actpass", f"a=setup:{arguments.setup}")
    with request("POST", url, token, offer.encode()) as response:
        session = urllib.parse.urljoin(url, response.headers["Location"])
        answer = RTCSessionDescription(response.read().decode(), "answer")
    await pc.setRemoteDescription(answer)
    while network and not network.roll_overs:
        await receiver.track.recv()
    for index in range(arguments.frames):
        frame = await receiver.track.recv()
        if index == 0:
            profile = receiver.transport._ssl.get_selected_srtp_profile().decode()
            setup = answer.sdp.split("a=setup:")[1].split()[0]
            print(profile, setup)
        print(*disc.bounding_box(frame), time.monotonic(), flush=True)
    request("DELETE", session, token).close()
    # The server sends close_notify, which ends the track.
    with contextlib.suppress(MediaStreamError):
        while True:
            await receiver.track.recv()
    await pc.close()


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("url")
parser.add_argument("frames", type=int)
parser.add_argument("--token")
parser.add_argument("--srtp-profile", help="offer this one only, by its name in OpenSSL")
parser.add_argument("--setup", default="actpass", help="the role in DTLS that is offered")
parser.add_argument("--ufrag-length", type=int, help="of the ICE user fragment")
parser.add_argument(
    "--drop-one-of", type=int, help="lose packets, and count frames only after sequence numbers have rolled over"
)
arguments = parser.parse_args()
if arguments.srtp_profile:
    allow_only(arguments.srtp_profile)
if arguments.ufrag_length:
    lengthen_user_fragments(arguments.ufrag_length)
asyncio.run(watch(arguments))
