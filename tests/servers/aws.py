"""AWS on loopback: moto's server, and what the environment tells boto3 about it."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import boto3
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"


@contextmanager
def serve() -> Iterator[Mapping[str, str]]:
    """Serve, empty; yields the environment that leads boto3 there, which this process has meanwhile."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }
    try:
        # All servers of a process share what is in them.
        reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()
        with patch.dict(os.environ, environment):
            client("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
            yield environment
    finally:
        server.stop()


def client(service: str) -> Any:
    """Return a client that fills the server."""
    return boto3.session.Session(region_name=REGION).client(service)
