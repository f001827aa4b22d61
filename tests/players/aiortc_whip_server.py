"""A WHIP endpoint on aiortc, at /whip and, by way of a 307, at /moved. Prints a line for everything that it sees:

    listening PORT
    POST|DELETE PATH STATUS right|wrong|missing     with the token that it was asked with
    connected SESSION PROFILE active|passive        the SRTP profile, and this server's role in DTLS
    frame SESSION LEFT RIGHT TOP BOTTOM WIDTH HEIGHT TIME
                                                    the bounding box of the disc in a picture, and when it was decoded
    closed SESSION                                  by the peer, by a DELETE, or for want of checks
"""

import argparse
import asyncio
import http.server
import threading
import time

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcdtlstransport import RTCCertificate, generate_certificate
from cryptography.hazmat.primitives.asymmetric import rsa

import disc

LOOP = asyncio.new_event_loop()


def say(*words):
    print(*words, flush=True)


def rsa_certificate():
    """As GStreamer has it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return RTCCertificate(key=key, cert=generate_certificate(key))


class Sessions:
    """The connections by their number. All of it runs in the loop."""

    def __init__(self, codec, setup):
        self.codec, self.setup = codec, setup
        self.open, self.count = {}, 0

    async def create(self, offer):
        self.count += 1
        number, pc = self.count, RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.open[number] = pc
        transceiver = pc.addTransceiver("video", direction="recvonly")
        codecs = RTCRtpReceiver.getCapabilities("video").codecs
        transceiver.setCodecPreferences([c for c in codecs if c.mimeType in (f"video/{self.codec}", "video/rtx")])
        # It is active for a peer that leaves it the choice, and takes the other role for one that does not.
        if self.setup == "passive":
            offer = offer.replace("a=setup:actpass", "a=setup:active")
        await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await pc.setLocalDescription(await pc.createAnswer())
        asyncio.ensure_future(self.watch(number, transceiver.receiver))
        return number, pc.localDescription.sdp

    async def watch(self, number, receiver):
        connected = False
        try:
            while True:
                frame = await receiver.track.recv()
                if not connected:
                    connected = True
                    transport = receiver.transport
                    role = {"client": "active", "server": "passive"}[transport._role]
                    say("connected", number, transport._ssl.get_selected_srtp_profile().decode(), role)
                say("frame", number, *disc.bounding_box(frame), time.monotonic())
        except MediaStreamError:
            # Its URL stays until it is deleted.
            say("closed", number)
            if number in self.open:
                await self.open[number].close()

    async def delete(self, number):
        pc = self.open.pop(number, None)
        if pc:
            await pc.close()
        return pc is not None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    busy = 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/moved":
            return self.answer(307, {"Location": "/whip"})
        if self.path != "/whip":
            return self.answer(404)
        if self.token() != "right":
            return self.answer(401, {"WWW-Authenticate": "Bearer"})
        if self.headers["Content-Type"] != "application/sdp":
            return self.answer(415)
        if Handler.busy > 0:
            Handler.busy -= 1
            return self.answer(503, {"Retry-After": "1"})
        number, sdp = self.wait_for(sessions.create(body))
        return self.answer(201, {"Location": f"whip/{number}", "ETag": "*", "Content-Type": "application/sdp"}, sdp)

    def do_DELETE(self):
        number = self.path.removeprefix("/whip/")
        if self.token() != "right":
            return self.answer(401, {"WWW-Authenticate": "Bearer"})
        found = number.isdecimal() and self.wait_for(sessions.delete(int(number)))
        return self.answer(200 if found else 404)

    def token(self):
        given = self.headers["Authorization"]
        if not given:
            return "missing" if arguments.token else "right"
        return "right" if given == f"Bearer {arguments.token}" else "wrong"

    def wait_for(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result()

    def answer(self, status, headers={}, body=""):
        say(self.command, self.path, status, self.token())
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--address", default="127.0.0.1")
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--token")
parser.add_argument("--codec", default="H264")
parser.add_argument("--setup", choices=["active", "passive"], default="active", help="the role in DTLS that it takes")
parser.add_argument("--rsa", action="store_true", help="have a DTLS certificate of RSA")
parser.add_argument("--busy", type=int, default=0, help="answer so many offers with 503 first")
arguments = parser.parse_args()
if arguments.rsa:
    RTCCertificate.generateCertificate = rsa_certificate
sessions = Sessions(arguments.codec, arguments.setup)
Handler.busy = arguments.busy
server = http.server.ThreadingHTTPServer((arguments.address, arguments.port), Handler)
say("listening", server.server_port)
threading.Thread(target=server.serve_forever, daemon=True).start()
LOOP.run_forever()
