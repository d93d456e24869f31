"""The Kubernetes operator: observes objects, decides purely, applies thinly."""
