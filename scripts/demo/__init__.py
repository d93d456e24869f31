"""The demo: the sample session, run on the cluster and shown live."""
