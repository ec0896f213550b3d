"""What is kept for this machine in AWS: objects of S3, parameters of SSM, secrets of the Secrets Manager.

References/clouds.md, sections 4.1, 4.5 and 4.6. Importing it loads boto3, so import it where something is fetched.
All of it blocks: call it in a thread. Credentials are the instance role's, or whatever else boto3 finds.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, ParamValidationError

from ucvm_agent.errors import SecretDelayed, SecretRefused

CONNECT_TIMEOUT, READ_TIMEOUT, TRIES = 5.0, 20.0, 5
"""Seconds, and tries of one call; throttling and faults of the service are tried again by boto3."""

_PASSING = {
    "InternalServerError", "InternalServiceError", "InternalServiceErrorException", "RequestLimitExceeded",
    "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException",
}  # fmt: skip
_HINTS = {
    "AccessDenied": "allow it in the instance's role, and s3:ListBucket so that a missing object is told as such",
    "AccessDeniedException": "allow it in the instance's role",
    "DecryptionFailure": "allow kms:Decrypt in the instance's role",
    "NoSuchBucket": "is the name right, and the region?",
    "NoSuchKey": "is the name right?",
    "ParameterNotFound": "is the name right, and the region?",
    "ResourceNotFoundException": "is the name right, and the region?",
}


class Cloud:
    """AWS as this machine sees it.

    Arguments:
        region: unless boto3's own settings name one.
        endpoint: URL of services that are not Amazon's; empty = Amazon's, or what boto3's own settings say.
        ca_file: certificates to trust instead of boto3's.
        connect: seconds for a connection.
        read: seconds for an answer.
        tries: of one call.
    """

    def __init__(
        self,
        region: str,
        *,
        endpoint: str = "",
        ca_file: Path | None = None,
        connect: float = CONNECT_TIMEOUT,
        read: float = READ_TIMEOUT,
        tries: int = TRIES,
    ) -> None:
        self._region = region
        self._endpoint = endpoint
        self._ca_file = ca_file
        self._config = Config(
            connect_timeout=connect, read_timeout=read, retries={"mode": "standard", "total_max_attempts": tries}
        )
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def read_object(self, url: str, limit: int) -> bytes:
        """Return an object of S3, `s3://BUCKET/KEY[?versionId=V]`.

        Raises:
            SecretError: there is none, it is larger than `limit` bytes, or it cannot be had.
        """
        parts = urlsplit(url)
        version = parse_qs(parts.query).get("versionId")
        request = {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")} | (
            {"VersionId": version[0]} if version else {}
        )
        if not request["Bucket"] or not request["Key"]:
            raise SecretRefused("this names no object", hint="write s3://BUCKET/KEY")
        answer = self._call("s3", "get_object", request)
        try:
            with answer["Body"] as body:
                data: bytes = body.read(limit + 1)
        except (BotoCoreError, OSError) as error:
            raise SecretDelayed(f"the object broke off: {type(error).__name__}") from None
        if len(data) > limit:
            raise SecretRefused(f"the object has more than the {limit} bytes that are read")
        return data

    def read_parameter(self, name: str) -> bytes:
        """Return a parameter of SSM, decrypted: `NAME[:VERSION|:LABEL]`.

        Raises:
            SecretError: there is none, or it cannot be had.
        """
        answer = self._call("ssm", "get_parameter", {"Name": name, "WithDecryption": True})
        return str(answer["Parameter"]["Value"]).encode()

    def read_secret(self, name: str, key: str, stage: str) -> bytes:
        """Return a secret of the Secrets Manager, or one key of it if it is a JSON object.

        Arguments:
            name: or its ARN.
            key: empty = the whole secret.
            stage: label of the version, such as AWSCURRENT.

        Raises:
            SecretError: there is none, or it cannot be had.
        """
        answer = self._call("secretsmanager", "get_secret_value", {"SecretId": name, "VersionStage": stage})
        text = answer.get("SecretString")
        if not key:
            return str(text).encode() if text is not None else bytes(answer["SecretBinary"])
        try:
            value = json.loads(text or "")[key]
        except (ValueError, KeyError, TypeError):
            raise SecretRefused(f"the secret is no JSON object with a key {key}") from None
        return value.encode() if isinstance(value, str) else json.dumps(value).encode()

    def client(self, service: str) -> Any:
        """Return boto3's client of a service, for what is not fetched by the methods above.

        Raises:
            BotoCoreError: there can be none; `fault` explains it.
            ValueError: the endpoint is no URL.
        """
        with self._lock:  # sessions are not made for several threads, clients are
            if service not in self._clients:
                session = boto3.session.Session()
                self._clients[service] = session.client(
                    service,
                    # The environment first: other clouds have regions, too.
                    region_name=session.region_name or self._region or None,
                    config=self._config,
                    endpoint_url=self._endpoint or None,
                    verify=str(self._ca_file) if self._ca_file else None,
                )
            return self._clients[service]

    def _call(self, service: str, operation: str, request: Mapping[str, object]) -> Any:
        try:
            return getattr(self.client(service), operation)(**request)
        except (ClientError, BotoCoreError, ValueError) as error:
            found = fault(error)
            if found.passes:
                raise SecretDelayed(found.message, hint="it is tried again at the next start") from None
            raise SecretRefused(found.message, hint=found.hint) from None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a call failed.

    Arguments:
        passes: another try may succeed.
    """

    message: str
    hint: str = ""
    passes: bool = False


def fault(error: ClientError | BotoCoreError | ValueError) -> Fault:
    """Return why a call failed, without the error's own text, which may quote the request."""
    match error:
        case ClientError():
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return Fault(f"AWS answered {code}", _HINTS.get(code, ""), passes=code in _PASSING or status >= 500)
        case NoCredentialsError():
            return Fault("there are no credentials for AWS", "give the instance a role")
        case NoRegionError():
            return Fault("the platform names no region of AWS", "set AWS_DEFAULT_REGION")
        case ParamValidationError():
            return Fault("this is no name of AWS")
        case _:
            return Fault(f"AWS cannot be asked: {type(error).__name__}", passes=True)
