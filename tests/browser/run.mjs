// Runs all that is checked in a real browser: `node run.mjs BINARY PICTURES [PART]...`; ends with
// `N passed, N failed`. The environment names what else is needed: STREET (receivers that misbehave), REPOSITORY,
// and TARGET (where the receiver in Rust is built).
import { browser as open, folder, serve } from "./rig.mjs";
import { code } from "./code.mjs";
import { hostile } from "./hostile.mjs";
import { keyboard } from "./keyboard.mjs";
import { large } from "./large.mjs";
import { live } from "./live.mjs";
import { looks } from "./looks.mjs";
import { tls } from "./tls.mjs";
import { walks } from "./walks.mjs";

const [binary, pictures, ...only] = process.argv.slice(2);
const place = await folder();
const browser = await open();
// A short schedule: what fails is given up while somebody looks.
const service = await serve(binary, place.path, ["--retry-schedule", "200ms,400ms,800ms"]);
let [passed, failed] = [0, 0];
for (const [name, part] of Object.entries({ ...walks, ...keyboard, ...live, ...tls, ...code, ...hostile, ...large, ...looks })) {
  if (only.length > 0 && !only.some((wanted) => name.startsWith(wanted))) continue;
  const begun = Date.now();
  try {
    await part({ browser, service, binary, pictures, place: place.path });
    passed++;
    console.log(`ok      ${name} (${Date.now() - begun} ms)`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}: ${error.stack}`);
  }
}
await browser.close();
try {
  await service.stop();
} catch (error) {
  failed++;
  console.log(`FAILED  the service's end: ${error.message}`);
}
await place.remove();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
