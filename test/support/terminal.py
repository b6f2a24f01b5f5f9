"""Runs a command on a terminal of its own: python3 terminal.py STEPS COMMAND... prints what came of it as JSON.

STEPS is a JSON list of [text to wait for, keys to type then]; characters are bytes. A key list that begins with "signal "
names a signal to send to the command instead.
"""
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

steps = json.loads(sys.argv[1])
master, slave = pty.openpty()
before = termios.tcgetattr(slave)
child = subprocess.Popen(sys.argv[2:], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                         preexec_fn=lambda: __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0))
output = b""
seen = 0
during = None
deadline = time.monotonic() + 60
while child.poll() is None and time.monotonic() < deadline:
    if select.select([master], [], [], 0.05)[0]:
        output += os.read(master, 65536)
    if steps:
        at = output.find(steps[0][0].encode("latin1"), seen)
        if at >= 0:
            during = during or termios.tcgetattr(slave)
            seen = at + len(steps[0][0])
            keys = steps.pop(0)[1]
            if keys.startswith("signal "):
                child.send_signal(getattr(signal, keys[7:]))
            else:
                os.write(master, keys.encode("latin1"))
if child.poll() is None:
    child.kill()
status = child.wait()
while select.select([master], [], [], 0.05)[0]:
    output += os.read(master, 65536)
print(json.dumps({
    "status": status,
    "output": output.decode("latin1"),
    "isRaw": during is not None and not during[3] & (termios.ICANON | termios.ECHO | termios.ISIG),
    "isRestored": termios.tcgetattr(slave) == before,
    "stepsLeft": len(steps),
}))
