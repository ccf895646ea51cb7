"""Ways to tell somebody: signed JSON over https, or a short text through Apprise.

What a message is and who gets it is the database's to say; here it only goes out.
"""

from videojobs.webhooks.addresses import AddressRefusedError, public_addresses
from videojobs.webhooks.notifying import check_notifiable, notify
from videojobs.webhooks.posting import Outcome, Poster
from videojobs.webhooks.signing import signed_headers

__all__ = [
    "AddressRefusedError",
    "Outcome",
    "Poster",
    "check_notifiable",
    "notify",
    "public_addresses",
    "signed_headers",
]
