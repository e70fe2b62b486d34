"""All guards that keep the guarantees."""

from __future__ import annotations

from typing import Final

from scripts.mutation import bus, client, mirror, monitor, registry, rest, rights, storage, wire

GUARDS: Final = (
    *registry.GUARDS,
    *rights.GUARDS,
    *storage.GUARDS,
    *bus.GUARDS,
    *wire.GUARDS,
    *client.GUARDS,
    *mirror.GUARDS,
    *rest.GUARDS,
    *monitor.GUARDS,
)
