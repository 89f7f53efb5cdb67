# SPDX-License-Identifier: BSD-3-Clause
"""Commands that are left to end in their own way."""

import contextlib
import subprocess


def run(command, **options):
    """As subprocess.run(), which would kill the command on Ctrl-C, in the middle of its cleaning up."""
    interrupted = False
    with subprocess.Popen(command, **options) as process:
        while True:
            try:
                output, errors = process.communicate()
                break
            except KeyboardInterrupt:
                interrupted = True
                # It may not have got the signal itself. One that runs as another user has, from the terminal.
                with contextlib.suppress(PermissionError):
                    process.terminate()
    if interrupted:
        raise KeyboardInterrupt
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@contextlib.contextmanager
def meanwhile(command, **options):
    """Lets a command run as long as the block does, in time that nobody else wants, and then asks it to end."""
    with subprocess.Popen(["chrt", "--idle", "0", *command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait()
