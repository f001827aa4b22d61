#!/usr/bin/env python3
"""A USB camera made of software, for the guest of `run` (root; modules vhci_hcd and uvcvideo).

It is the far end of the kernel's own USB/IP host controller (vhci_hcd): the real usbcore and the real uvcvideo talk to it,
and see a UVC 1.1 camera with one bulk endpoint.

usb_camera.py [--fifo PATH] [--port N] [--serial S] [--lie WHAT] KIND:WxH@FPS=FILE...

KIND is mjpeg (FILE: JPEG after JPEG), h264 (Annex B, an access-unit delimiter before each picture) or yuyv (raw). Each
camera has a port of the controller and a fifo (default /run/camera). Lines written to the fifo change what it does, at
once; when it has done so, it prints the line with the monotonic time.
  unplug | plug | drop    pulled out and put in again by the driver's file; drop: the cable's other end dies
  silent | talk           sends nothing, answers control requests | goes on
  TROUBLE N               the next N pictures: error (bit), cut (half of it), junk (random bytes), big (larger than
                          announced), flip (some bits), resize (a JPEG whose header has another size), empty
  storm N                 each of the next N pictures has one of these, or none
A lie is in the descriptors: zero, huge, odd (sizes), still (no time between pictures), many, none (frame descriptors),
small (bytes of a picture), format (unknown), name (escape sequences), or a number: bytes changed at random by this seed.
"""
import os, random, select, socket, struct, sys, threading, time

GUID = {"yuyv": b"YUY2", "h264": b"H264"}
TAIL = bytes.fromhex("0000100080000 0aa00389b71".replace(" ", ""))
PAYLOAD = 16384
VHCI = "/sys/devices/platform/vhci_hcd.0/"
TROUBLES = ("error", "cut", "junk", "big", "flip", "resize", "empty")
NAME = "Camera of software"


def d(subtype, body, kind=0x24):
    return struct.pack("<BBB", len(body) + 3, kind, subtype) + body


class Mode:
    def __init__(self, text):
        head, self.file = text.split("=", 1)
        self.kind, rest = head.split(":")
        size, fps = rest.split("@")
        self.w, self.h = map(int, size.split("x"))
        self.fps = int(fps)
        self.max = self.w * self.h * 2
        data = open(self.file, "rb").read()
        if self.kind == "mjpeg":
            self.pictures = [b"\xff\xd8\xff" + p for p in data.split(b"\xff\xd8\xff")[1:]]
        elif self.kind == "h264":
            self.pictures = [b"\0\0\0\1\x09" + p for p in data.split(b"\0\0\0\1\x09")[1:]]
        else:
            self.pictures = [data[i:i + self.max] for i in range(0, len(data) - self.max + 1, self.max)]
        assert self.pictures, text


def spoiled(picture, what, most):
    """A picture with this trouble. The error bit is not in the picture."""
    if what == "cut":
        return picture[:len(picture) // 2]
    if what == "junk":
        return random.randbytes(len(picture))
    if what == "big":
        return picture + bytes(most)
    if what == "empty":
        return b""
    changed = bytearray(picture)
    if what == "flip":
        for _ in range(20):
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    sof = picture.find(b"\xff\xc0")
    if what == "resize" and sof >= 0:
        changed[sof + 5:sof + 9] = random.randbytes(4)
    return bytes(changed)


class Camera:
    def __init__(self, modes, serial, lie):
        self.serial, self.lie = serial, lie
        self.kinds = {}
        for m in modes:
            self.kinds.setdefault(m.kind, []).append(m)
        self.formats = list(self.kinds.values())
        self.commit = [1, 1, 10_000_000 // self.formats[0][0].fps]
        self.probe = list(self.commit)
        self.reset()
        self.silent, self.trouble = False, []
        self.urbs, self.number, self.fid = [], 0, 0
        self.left, self.due = b"", 0
        self.lock = threading.Lock()

    def reset(self):
        """What a camera forgets without power: brightness, automatic exposure, exposure time."""
        self.controls = {(2, 2): [128, 0, 255, 1, 128, 2], (1, 2): [8, 0, 0, 9, 8, 1], (1, 4): [157, 1, 10000, 1, 157, 4]}

    def device(self):
        return struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x200, 0xEF, 2, 1, 64, 0x1209, 0x0001, 0x100, 1, 2, 3, 1)

    def configuration(self):
        units = d(2, struct.pack("<BHBBHHHB3s", 1, 0x201, 0, 0, 0, 0, 0, 3, b"\x0a\0\0"))
        units += d(5, struct.pack("<BBHB2sBB", 2, 1, 0, 2, b"\1\0", 0, 0))
        units += d(3, struct.pack("<BHBBB", 3, 0x101, 0, 2, 0))
        control = d(1, struct.pack("<HHIBB", 0x110, 13 + len(units), 48_000_000, 1, 1)) + units
        body = b""
        for f, modes in enumerate(self.formats, 1):
            kind = modes[0].kind
            if kind == "mjpeg":
                body += d(6, struct.pack("<BBBBBBBB", f, len(modes), 1, 1, 0, 0, 0, 0))
            elif kind == "yuyv":
                body += d(4, struct.pack("<BB16sBBBBBB", f, len(modes), GUID[kind] + TAIL, 16, 1, 0, 0, 0, 0))
            else:
                body += d(16, struct.pack("<BB16sBBBBBBB", f, len(modes), GUID[kind] + TAIL, 16, 1, 0, 0, 0, 0, 1))
            for n, m in enumerate(modes, 1):
                rate, interval = m.max * 8 * m.fps, 10_000_000 // m.fps
                if kind == "h264":
                    body += d(17, struct.pack("<BBHHIIIBII", n, 0, m.w, m.h, rate, rate, interval, 1, 0, interval))
                else:
                    sub = 7 if kind == "mjpeg" else 5
                    body += d(sub, struct.pack("<BBHHIIIIBI", n, 0, m.w, m.h, rate, rate, m.max, interval, 1, interval))
        body = self.lied(body)
        n = len(self.formats)
        head = d(1, struct.pack("<BHBBBBBBB", n, 13 + n + len(body), 0x81, 0, 3, 0, 0, 0, 1) + bytes(n))
        out = struct.pack("<BBBBBBBB", 8, 11, 0, 2, 14, 3, 0, 0)
        out += struct.pack("<BBBBBBBBB", 9, 4, 0, 0, 0, 14, 1, 0, 0) + control
        out += struct.pack("<BBBBBBBBB", 9, 4, 1, 0, 1, 14, 2, 0, 0) + head + body
        out += struct.pack("<BBBBHB", 7, 5, 0x81, 2, 512, 0)
        return struct.pack("<BBHBBBBB", 9, 2, 9 + len(out), 2, 1, 0, 0x80, 250) + out

    def lied(self, body):
        """The descriptors of formats and frames, with the lie in them."""
        body = bytearray(body)
        chance = random.Random(self.lie)
        at = 0
        while at < len(body):
            length, subtype = body[at], body[at + 2]
            if self.lie.isdigit():
                for _ in range(2):
                    body[at + chance.randrange(3, length)] = chance.randrange(256)
            elif subtype in (4, 6, 16):
                if self.lie in ("many", "none"):
                    body[at + 4] = 255 if self.lie == "many" else 0
                if self.lie == "format" and subtype != 6:
                    body[at + 5:at + 9] = b"\x1b[2J"
            elif self.lie in ("zero", "huge", "odd"):
                size = {"zero": (0, 0), "huge": (65535, 65535), "odd": (321, 241)}[self.lie]
                body[at + 5:at + 9] = struct.pack("<HH", *size)
            elif self.lie == "small" and subtype != 17:
                body[at + 17:at + 21] = struct.pack("<I", 16)
            elif self.lie == "still":
                body[at + length - 4:at + length] = bytes(4)
            at += length
        return bytes(body)

    def mode(self, c):
        return self.formats[c[0] - 1][c[1] - 1]

    def streaming(self, c):
        return struct.pack("<HBBIHHHHHIIIBBBB", 1, c[0], c[1], c[2], 0, 0, 0, 0, 0, 16 if self.lie == "small" else self.mode(c).max, PAYLOAD, 48_000_000, 0, 0, 0, 0)

    def answer(self, setup, data):
        """The answer to a control request, or None for a stall."""
        kind, request, value, index, length = struct.unpack("<BBHHH", setup)
        if kind == 0x80 and request == 6:
            which, n = value >> 8, value & 255
            if which == 1:
                return self.device()
            if which == 2:
                return self.configuration()
            if which == 3:
                text = ["", "Ballcast tests", "\x1b[31mred\x07\n\u202e" * 6 if self.lie == "name" else NAME, self.serial][n] if n < 4 else ""
                raw = text.encode("utf-16le") if n else b"\x09\x04"
                return bytes([len(raw) + 2, 3]) + raw
            return None
        if kind & 0x60 == 0:
            return b"\0\0" if kind & 0x80 else b""
        if kind & 0x60 != 0x20:
            return None
        if index & 255 == 1 and value >> 8 in (1, 2):
            c = self.probe if value >> 8 == 1 else self.commit
            if request == 1:
                f = min(max(data[2], 1), len(self.formats))
                n = min(max(data[3], 1), len(self.formats[f - 1]))
                c[:] = [f, n, 10_000_000 // self.formats[f - 1][n - 1].fps]
                if c is self.commit:
                    with self.lock:
                        self.left, self.due, self.number = b"", time.monotonic(), 0
                return b""
            return {0x85: struct.pack("<H", 34), 0x86: b"\3"}.get(request, self.streaming(c))
        control = self.controls.get((index >> 8, value >> 8))
        if index & 255 == 0 and control:
            size = control[5]
            if request == 1:
                control[0] = int.from_bytes(data[:size], "little")
                print(f"usb_camera: control {index >> 8}.{value >> 8} = {control[0]}", flush=True)
                return b""
            if request == 0x86:
                return b"\3"
            if request == 0x85:
                return struct.pack("<H", size)
            place = {0x81: 0, 0x82: 1, 0x83: 2, 0x84: 3, 0x87: 4}.get(request)
            return None if place is None else control[place].to_bytes(size, "little")
        return None

    def next_payload(self, now):
        """The next payload on the bulk endpoint, or None while nothing is due."""
        if not self.left:
            if self.silent or now < self.due:
                return None
            m = self.mode(self.commit)
            picture = m.pictures[self.number % len(m.pictures)]
            self.flags = 0x80
            if self.trouble:
                what = self.trouble.pop(0)
                if what == "storm":
                    what = random.choice(TROUBLES + ("none",))
                if what == "error":
                    self.flags |= 0x40
                picture = spoiled(picture, what, m.max)
            self.left, self.number, self.fid = picture, self.number + 1, self.fid ^ 1
            self.due = max(self.due + 1 / m.fps, now - 0.1)
            if not picture:
                return bytes([2, self.flags | self.fid | 2])
        part, self.left = self.left[:PAYLOAD - 2], self.left[PAYLOAD - 2:]
        return bytes([2, self.flags | self.fid | (0 if self.left else 2)]) + part


class Port:
    """One connection to vhci_hcd: plugged in from the start until detach() or drop()."""

    def __init__(self, camera, number):
        self.camera, self.number, self.running = camera, number, True
        camera.reset()
        self.socket, theirs = socket.socketpair()
        for s in (self.socket, theirs):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        camera.urbs.clear()
        with open(VHCI + "attach", "w") as f:
            f.write(f"{number} {theirs.fileno()} {65538 + number} 3")
        self.theirs = theirs
        threading.Thread(target=self.serve, daemon=True).start()

    def exact(self, n):
        data = b""
        while len(data) < n:
            ready = select.select([self.socket], [], [], self.wait())[0] if not data else True
            if not ready:
                self.pump()
                continue
            more = self.socket.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def wait(self):
        return max(0.0005, min(0.05, self.camera.due - time.monotonic())) if self.camera.urbs else 0.1

    def reply(self, seq, status, data, incoming):
        head = struct.pack(">IIIIIiiiii8x", 3, seq, 0, 0, 0, status, len(data) if incoming else self.out, 0, 0, 0)
        self.socket.sendall(head + (data if incoming else b""))

    def pump(self):
        c = self.camera
        while c.urbs:
            with c.lock:
                part = c.next_payload(time.monotonic())
            if part is None:
                return
            self.reply(c.urbs.pop(0), 0, part, True)

    def serve(self):
        c = self.camera
        try:
            while self.running:
                head = self.exact(48)
                command, seq, _, incoming, ep = struct.unpack(">IIIII", head[:20])
                if command == 2:
                    victim = struct.unpack(">I", head[20:24])[0]
                    found = victim in c.urbs
                    if found:
                        c.urbs.remove(victim)
                    self.socket.sendall(struct.pack(">IIIIIi24x", 4, seq, 0, 0, 0, -104 if found else 0))
                    continue
                length = struct.unpack(">i", head[24:28])[0]
                data = self.exact(length) if not incoming and length else b""
                self.out = length
                if ep == 0:
                    answer = c.answer(head[40:48], data)
                    self.reply(seq, 0 if answer is not None else -32, (answer or b"")[:length], incoming)
                else:
                    c.urbs.append(seq)
                self.pump()
        except (EOFError, OSError):
            pass
        self.running = False

    def detach(self):
        with open(VHCI + "detach", "w") as f:
            f.write(str(self.number))
        self.running = False
        self.socket.close()
        self.theirs.close()

    def drop(self):
        self.running = False
        self.socket.shutdown(socket.SHUT_RDWR)


def main():
    args, options = sys.argv[1:], {"fifo": "/run/camera", "port": "0", "serial": "0001", "lie": ""}
    while args[0].startswith("--"):
        options[args[0][2:]] = args[1]
        args = args[2:]
    camera = Camera([Mode(a) for a in args], options["serial"], options["lie"])
    number, fifo = int(options["port"]), options["fifo"]
    if os.path.exists(fifo):
        os.remove(fifo)
    os.mkfifo(fifo)
    commands = os.fdopen(os.open(fifo, os.O_RDWR), "r")
    port = Port(camera, number)
    print("usb_camera: plugged in", flush=True)
    for line in commands:
        word, *rest = line.split() or [""]
        began = time.monotonic()
        if word == "unplug":
            port.detach()
        elif word == "drop":
            port.drop()
        elif word == "plug":
            port = Port(camera, number)
        elif word in ("silent", "talk"):
            camera.silent, camera.due = word == "silent", time.monotonic()
        elif word in TROUBLES + ("storm",):
            camera.trouble += [word] * int(rest[0])
        print(f"usb_camera: {line.strip()} at {began:.3f}", flush=True)


if __name__ == "__main__":
    main()
