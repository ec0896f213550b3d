"""The `meta-data` of NoCloud and vSphere: YAML or JSON with a handful of keys (references/clouds.md, 2.7 and 2.8)."""

from __future__ import annotations

from pydantic import Field

from ucvm_agent.sources.base import Metadata
from ucvm_agent.sources.claims import sound_hostname, sound_instance_id, sound_keys
from ucvm_agent.sources.documents.lenient import Document, Text, Texts, read_yaml


class MetaData(Document):
    """What is read of it."""

    instance_id: Text = Field("", alias="instance-id")
    hostname: Text = Field("", alias="local-hostname")
    public_keys: Texts = Field((), alias="public-keys")
    public_keys_data: Texts = Field((), alias="public-keys-data")
    zone: Text = Field("", alias="availability-zone")
    region: Text = ""
    seedfrom: Text = ""
    cleanup: Texts = Field((), alias="cleanup-guestinfo")

    @property
    def metadata(self) -> Metadata:
        """What it says of the instance."""
        return Metadata(
            instance_id=sound_instance_id(self.instance_id),
            hostname=sound_hostname(self.hostname),
            region=self.region,
            zone=self.zone,
            public_keys=sound_keys([*self.public_keys, *self.public_keys_data]),
        )


def read_meta_data(document: bytes | None) -> MetaData:
    """Return what the document says."""
    return read_yaml(MetaData, document, "meta-data")
