"""Calls an API with the token of a mounted Secret, for as long as it runs: caller.py URL [FOLDER [SECONDS]]."""

import sys
import time
import urllib.request
from pathlib import Path


def headers(folder):
    """The header lines of the Secret, as they are now.

    Kubernetes removes the folder of an earlier version right after it has put a new one in its place: whoever was just
    about to open a file there finds none, and looks again.
    """
    for tries_left in (2, 1, 0):
        try:
            lines = Path(folder, "headers").read_text(encoding="ascii")
            return dict(line.split(": ", 1) for line in lines.strip().split("\n"))
        except FileNotFoundError:
            if not tries_left:
                raise


def call(url, folder):
    request = urllib.request.Request(url)
    for name, value in headers(folder).items():
        request.add_unredirected_header(name, value)  # a redirect to another host goes without
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read()


if __name__ == "__main__":
    url, folder, seconds = (sys.argv[1:] + ["/var/run/oauth", "60"][len(sys.argv) - 2 :])[:3]
    while True:
        try:
            call(url, folder)
        except OSError as error:
            print("caller:", error, file=sys.stderr)
        time.sleep(float(seconds))
