"""The credential boundary of a session's Pod: it alone holds secrets and talks to the outside (design §8)."""
