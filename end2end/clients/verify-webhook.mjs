// Verifies a delivery with the official library of Standard Webhooks: `{secret, headers, body}` on standard input. Writes
// the event that the library reads from it, or why it refuses.
import { Webhook } from "standardwebhooks";

let input = "";
for await (const piece of process.stdin) input += piece;
const { secret, headers, body } = JSON.parse(input);
try {
  console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
} catch (error) {
  console.log(`refused: ${error.message}`);
}
