// A webhook receiver on Node.js 18 or later, with nothing to install.
//   WEBHOOK_SECRET=whsec_… PORT=3000 node receiver.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const MAX_BODY_BYTES = 1024 * 1024;
const MAX_REMEMBERED = 100_000;

/**
 * Whether a request is genuine and recent.
 * `headers` have lower-case names, as node:http gives them; `body` is the raw body, a Buffer;
 * `secret` is the whole secret, `whsec_` included; `now` is in Unix seconds.
 */
export function verify({ headers, body, secret, now, tolerance = 300, prefix = "x-vantagekit" }) {
  const timestamp = headers[`${prefix}-timestamp`] ?? "";
  if (!/^[0-9]{1,15}$/.test(timestamp)) return false;
  if (Math.abs(now - Number(timestamp)) > tolerance) return false;

  const expected = createHmac("sha256", secret).update(`${timestamp}.`).update(body).digest();
  // While the secret is being rotated, `-next` holds the new secret's signature.
  return [`${prefix}-signature`, `${prefix}-signature-next`].some((name) => {
    const [, hex] = /^sha256=([0-9a-fA-F]{64})$/.exec(headers[name] ?? "") ?? [];
    return hex !== undefined && timingSafeEqual(Buffer.from(hex, "hex"), expected);
  });
}

/** The whole body as it arrived; null where it is larger than any delivery. */
async function rawBody(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

// A delivery may arrive twice, under the same id. In production this is a unique column of your
// database, written in the same transaction as the work, so that it outlives a restart.
const seen = new Set();

function isNew(deliveryId) {
  if (seen.has(deliveryId)) return false;
  seen.add(deliveryId);
  if (seen.size > MAX_REMEMBERED) seen.delete(seen.values().next().value);
  return true;
}

/** Your work. Slow work belongs into a durable queue, written before the answer. */
function handle(event) {
  console.log(`received ${event.type}`);
}

export function receiver(secret) {
  return createServer(async (request, response) => {
    const answer = (status) => response.writeHead(status).end();
    try {
      if (request.method !== "POST") return answer(405);
      const body = await rawBody(request);
      if (body === null) return answer(413);
      const { headers } = request;
      if (!verify({ headers, body, secret, now: Math.floor(Date.now() / 1000) })) return answer(401);

      const event = JSON.parse(body); // only now: what is parsed has been verified
      if (isNew(headers["x-vantagekit-delivery"])) setImmediate(handle, event);
      answer(204);
    } catch (error) {
      console.error(error);
      answer(500); // it will be sent again
    }
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const secret = process.env.WEBHOOK_SECRET;
  if (!secret) {
    console.error("WEBHOOK_SECRET is not set: set it to the endpoint's secret, whsec_ included.");
    process.exit(2);
  }
  const port = Number(process.env.PORT ?? 3000);
  receiver(secret).listen(port, "127.0.0.1", () => console.log(`listening on port ${port}`));
}
