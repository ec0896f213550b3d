"""The pickup archive of CernVM: `/cernvm/pickup.tar.gz` of a local volume, unpacked over the system.

References/ucernvm-boot.md, section 1 (steps 07 and 97), and references/clouds.md, section 2.9. Where the bootloader of
µCernVM has unpacked it, it does not come here.
"""

from __future__ import annotations

from collections.abc import Iterable

from ucvm_agent.contextualize.actions import ExtractArchive
from ucvm_agent.contextualize.base import Action, Context, Contextualizer, Options, System


class PickupOptions(Options):
    """Nothing in the user-data concerns the archive."""


class Pickup(Contextualizer[PickupOptions]):
    """Unpacks the archive; what lies outside the system, or is no file, folder or link, is refused."""

    name = "pickup"
    options = PickupOptions
    before = ("scripts_before",)

    def plan(self, options: PickupOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the archive, if there is one."""
        if context.pickup is not None:
            yield ExtractArchive(path="/", content=context.pickup, name="pickup.tar.gz")
