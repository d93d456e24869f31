"""A session's log as the harness reads it: a pure fold to state, and from state to the next request."""
