"""The kube-apiserver over aiohttp: client, credentials, errors, paths, reflector. No typed models."""
