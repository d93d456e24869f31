"""The sandbox's port: binds one session, fences by epoch, journals every call and hands it to the runner.

Runs in our image, in a container of its own, and survives whatever the user's code does to the tools container.
Standard library only, single-threaded but for one thread of the journal and one of files, which exist from the start:
when the Pod's process limit is reached it still answers.
"""
