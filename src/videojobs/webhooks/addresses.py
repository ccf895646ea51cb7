"""Where a webhook may lead: to public addresses, whatever its name says and whenever it says so."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""A host and a port to its addresses."""

# An IPv4 address within, which the way there would unwrap.
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE = IPv6Network("::/96")


class AddressRefusedError(Exception):
    """The name leads to where no webhook may go, or nowhere."""


async def resolve(host: str, port: int) -> list[str]:
    """The system's answer. Numbers in any spelling (decimal, octal, short) are addresses too."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressRefusedError("its name is not known to the DNS") from None
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


async def public_addresses(
    host: str, port: int, *, resolve: Resolve = resolve, allow_loopback: bool = False
) -> list[str]:
    """The addresses to connect to, and only to these: the name may lead elsewhere a moment later.

    Raises:
        AddressRefusedError: One of them is not public. All must be, since which one would be
            taken is chance, and a name that leads to both kinds means no good.
    """
    addresses = await resolve(host, port)
    for address in addresses:
        if not _may_go_to(address, allow_loopback=allow_loopback):
            raise AddressRefusedError(
                "it leads to an address that is not public (private, loopback, link-local, "
                "metadata or the like)"
            )
    if not addresses:
        raise AddressRefusedError("its name has no address")
    return addresses


def _may_go_to(text: str, *, allow_loopback: bool) -> bool:
    try:
        # A scope, as in fe80::1%eth0, is for link-local addresses alone.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if allow_loopback and address.is_loopback:
        return True
    return all(_is_public(each) for each in (address, *_within(address)))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or (isinstance(address, IPv6Address) and address.is_site_local)
    )


def _within(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in (*_NAT64, _IPV4_COMPATIBLE)):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]
