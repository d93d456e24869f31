"""PID 1 of the `tools` container: starts processes for the supervisor's calls, ends them and reaps them.

It runs in the user's image, so it is Python 3.9 and the standard library only, and reaches that image as one zip file
that the supervisor writes (`supervisor/install.py`). Single-threaded: it must keep answering when no process or
thread can be started any more.
"""
