// Checks the receiver's verify function with the vectors that every language shares.
//   node check_vectors.mjs
import { readFileSync } from "node:fs";
import { verify } from "./receiver.mjs";

const file = new URL("../../../crates/signature/vectors.json", import.meta.url);
const vectors = JSON.parse(readFileSync(file, "utf8"));
const cases = vectors.verify.filter(({ scheme }) => scheme === "vantagekit");

let failed = 0;
for (const { name, secret, headers, body, now, valid, headerPrefix, toleranceSeconds } of cases) {
  const lowerCase = Object.entries(headers).map(([key, value]) => [key.toLowerCase(), value]);
  const answer = verify({
    headers: Object.fromEntries(lowerCase),
    body: Buffer.from(body, "utf8"),
    secret,
    now,
    tolerance: toleranceSeconds ?? vectors.toleranceSeconds,
    prefix: (headerPrefix ?? vectors.headerPrefix).toLowerCase(),
  });
  if (answer !== valid) {
    failed += 1;
    console.error(`FAILED: ${name}: expected ${valid}, but was ${answer}`);
  }
}
console.log(`${cases.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 && cases.length > 0 ? 0 : 1);
