// The receivers that a page gives to copy, run as it gives them: each takes a delivery of its endpoint and refuses one
// that is signed with another secret, both from the real service.
import { spawn } from "node:child_process";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { assert, freePort, until } from "./rig.mjs";
import { click, enter, person, press, team } from "./people.mjs";

const LANGUAGES = ["Node.js", "Python", "Go", "Rust"];
// The first build of the Rust receiver takes its time.
const STARTED = 600;

/** Puts what the page gives where it says, and runs what it says. */
async function run(one, language, folder, port, repository) {
  await one.page.getByText(language, { exact: true }).click();
  const part = one.page.locator(".language", { has: one.page.getByLabel(`${language} receiver`) });
  const file = await part.locator(".code-head span").textContent();
  const command = await part.locator(".help code").textContent();
  const code = await part.getByLabel(`${language} receiver`).textContent();
  let place = folder;
  if (language === "Rust") {
    place = join(folder, "rust");
    await mkdir(join(place, "src"), { recursive: true });
    await writeFile(join(place, "Cargo.toml"), cargoToml(code, repository));
    await cp(join(repository, "Cargo.lock"), join(place, "Cargo.lock"));
    await writeFile(join(place, "src", file), code);
  } else {
    await writeFile(join(place, file), code);
  }
  // A group of its own: `go run` and `cargo run` start what they have built, and that has to end too.
  const process_ = spawn("sh", ["-c", command.replace("PORT=3000", `PORT=${port}`)], {
    cwd: place, detached: true, stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, CARGO_TARGET_DIR: join(process.env.TARGET, "browser-receiver"), PYTHONUNBUFFERED: "1" },
  });
  let said = "";
  for (const stream of [process_.stdout, process_.stderr]) stream.on("data", (piece) => { said += piece; });
  const ended = new Promise((resolve) => process_.on("exit", resolve));
  await Promise.race([
    until(`${file} listens`, () => said.includes("listening on port"), STARTED),
    ended.then((status) => { throw new Error(`${file} ended with ${status}: ${said}`); }),
  ]);
  return { code, said: () => said, async end() { process.kill(-process_.pid, "SIGKILL"); await ended; } };
}

/** The project that the file's own words ask for. */
function cargoToml(code, repository) {
  const asked = /Cargo\.toml: vk-signature, axum 0\.8, tokio 1 \(features "macros", "net", "rt-multi-thread"\),\s+\/\/! serde_json 1\./;
  assert(asked.test(code), "the Rust receiver asks for other crates than it did");
  return `[package]
name = "webhook-receiver"
edition = "2024"

[workspace]

[dependencies]
vk-signature = { path = "${join(repository, "crates/signature")}" }
axum = "0.8"
tokio = { version = "1", features = ["macros", "net", "rt-multi-thread"] }
serde_json = "1"
`;
}

/** Runs all that the page gives, and sends each a delivery of its endpoint and one of another at the same URL. */
async function runAll(one, acme, ours, forged, port, folder, secret) {
  const delivered = async (endpoint, status) => {
    const { deliveryId } = await acme.api("POST", `/v1/webhook-endpoints/${endpoint}/test`, { type: "link.clicked" });
    const found = await until(`a delivery that is ${status}`, async () => {
      const delivery = await acme.api("GET", `/v1/deliveries/${deliveryId}`);
      return ["delivered", "dead_letter"].includes(delivery.status) && delivery;
    });
    const last = found.attempts.at(-1);
    return `${found.status} ${last.statusCode}`;
  };
  for (const language of LANGUAGES) {
    const receiver = await run(one, language, folder, port, process.env.REPOSITORY);
    try {
      assert(receiver.code.includes(secret), `${language} has not the secret in it`);
      const refused = await delivered(forged, "refused");
      assert(refused === "dead_letter 401", `${language}: a forged delivery is ${refused}: ${receiver.said()}`);
      const taken = await delivered(ours, "taken");
      assert(taken === "delivered 204", `${language}: a signed delivery is ${taken}: ${receiver.said()}`);
      await until(`${language} worked on it`, () => receiver.said().includes("received link.clicked"));
    } finally {
      await receiver.end();
    }
  }
}

export const code = {
  async "the code of all four languages, run as the page gives it"({ browser, service, place }) {
    const acme = await team(service, "code");
    const one = await person(browser, service);
    await enter(one, service, "code");
    const port = await freePort();
    const url = `http://127.0.0.1:${port}/`;
    const other = await acme.api("POST", "/v1/webhook-endpoints", { url, description: "somebody else's" });
    await click(one, "Webhooks");
    await click(one, "Add endpoint");
    await one.page.getByLabel("URL").fill(url);
    await press(one, "Add endpoint");
    const secret = await one.page.locator("#secret").textContent();
    const path = await one.page.getByRole("link", { name: "Go to the endpoint" }).getAttribute("href");
    const ours = path.split("/").at(-1);
    await runAll(one, acme, ours, other.id, port, place, secret);
    await one.page.goto(`${path}/settings`);
    await one.page.getByLabel("The old secret expires").selectOption("at once (it has leaked)");
    await press(one, "Rotate");
    const newer = await one.page.locator("#secret").textContent();
    assert(newer !== secret, "the secret is the same");
    await runAll(one, acme, ours, other.id, port, place, newer);
    await one.fine("the code");
    await one.close();
  },
};
