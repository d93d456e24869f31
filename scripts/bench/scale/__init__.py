"""Scale beyond the machine: kwok's nodes and Pods under a real control plane, our operator and our server."""
