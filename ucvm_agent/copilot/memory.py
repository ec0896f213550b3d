"""What signed messages leave behind."""

from __future__ import annotations

from typing import Protocol


class Memory(Protocol):
    """What a `signature.Verifier` remembers; `store.pins.Pins` is one that lasts."""

    def key(self, account: str) -> str:
        """Return the key that is pinned for an account, in base64; empty if there is none."""

    def pin(self, account: str, key: str) -> None:
        """Remember the key of an account that has none."""

    def seen(self, account: str, message_id: str) -> bool:
        """Return whether a message is remembered."""

    def newest(self, account: str) -> float:
        """Return the latest time of the messages of an account that are remembered; minus infinity without one."""

    def remember(self, account: str, message_id: str, time: float, kept: float) -> None:
        """Remember a message, and forget those that are more than `kept` seconds older than the newest."""
