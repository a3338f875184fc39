"""From a message to a user's customer and subscription. Start at `inbox` (absorb) and `provisioner` (settle)."""
