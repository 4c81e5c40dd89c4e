"""Verifies a delivery with the official library of Standard Webhooks: {secret, headers, body} on standard input. Writes
the event that the library reads from it, or why it refuses."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

given = json.load(sys.stdin)
try:
    print(json.dumps(Webhook(given["secret"]).verify(given["body"], given["headers"])))
except WebhookVerificationError as error:
    print(f"refused: {error}")
