#!/usr/bin/env python3
"""react.py PORT PATH PATTERN FILE LINE: writes a line to a file, and waits until what the server answers matches.

The file is the fifo of a camera or a parameter of a kernel module. Prints the milliseconds from the line, and the answer.
It asks every 20 ms, and gives up after 20 s.
"""
import re, socket, sys, time

EVERY = 0.02
LIMIT = 20


def ask(port, path):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % (path.encode(), port))
        answer = b""
        while more := s.recv(4096):
            answer += more
    return answer.split(b"\r\n\r\n", 1)[1].decode().strip()


def main():
    port, path, pattern, file, line = int(sys.argv[1]), sys.argv[2], re.compile(sys.argv[3]), sys.argv[4], sys.argv[5]
    ask(port, path)
    began = time.monotonic()
    with open(file, "w") as f:
        f.write(line + "\n")
    while True:
        answer = ask(port, path)
        took = time.monotonic() - began
        if pattern.search(answer):
            print(f"{took * 1000:.0f} {answer}")
            return
        if took > LIMIT:
            sys.exit(f"no answer like {pattern.pattern} to {line}: {answer}")
        time.sleep(EVERY)


main()
