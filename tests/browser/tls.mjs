// Receivers whose certificate is wrong: the page says in plain words what is wrong with it and what to do.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { assert, folder, serve, until } from "./rig.mjs";
import { click, enter, follow, linkClicked, person, press, team } from "./people.mjs";

const WRONG = {
  "cert-expired": ['its certificate "a receiver" expired at 2020-02-03T00:00:00', "renew it, and see that the server loads the new one"],
  "cert-expired-intermediate": ['the intermediate certificate "Test Intermediate" that it sends expired at 2021-03-04', "let the server send the one"],
  "cert-wrong-name": ["its certificate is not valid for this host name, but for other.example.com, *.elsewhere.example", "serve one that has the host of the endpoint's URL"],
  "cert-self-signed": ['its certificate "a receiver" is self-signed', "use one from a public certificate authority"],
  "cert-incomplete-chain": ['the certificate of its issuer "Test Intermediate" was not sent', "fullchain.pem, not cert.pem"],
};

/** Receivers that misbehave as these scripts say. */
async function street(caFile, scripts) {
  const process_ = spawn(process.env.STREET, [caFile, ...scripts], { stdio: ["pipe", "pipe", "inherit"] });
  const line = await new Promise((resolve, reject) => {
    createInterface(process_.stdout).once("line", resolve);
    process_.once("exit", (status) => reject(new Error(`the street ended with ${status}`)));
  });
  const ended = new Promise((resolve) => process_.once("exit", resolve));
  return { ...JSON.parse(line), async close() { process_.stdin.end(); await ended; } };
}

export const tls = {
  async "a certificate that is wrong: what is wrong with it, and what to do"({ browser, binary }) {
    const place = await folder();
    const ca = join(place.path, "ca.pem");
    const { dns, receivers, close } = await street(ca, Object.keys(WRONG));
    const service = await serve(binary, place.path, ["--ca-file", ca, "--dns-server", dns, "--retry-schedule", "100ms"]);
    const acme = await team(service, "tls");
    for (const name of Object.keys(WRONG)) await acme.api("POST", "/v1/webhook-endpoints", { url: receivers[name], description: name });
    await acme.api("POST", "/v1/events", linkClicked());
    await until("all are given up", async () => (await acme.api("GET", "/v1/deliveries?status=dead_letter")).length === Object.keys(WRONG).length);
    const one = await person(browser, service);
    await enter(one, service, "tls");
    await one.see("failures in a row since");
    assert((await one.page.locator("main").textContent()).includes("tls certificate"), "the list does not say why");
    for (const [name, [what, step]] of Object.entries(WRONG)) {
      await click(one, "Webhooks");
      await click(one, name);
      await follow(one, "link.clicked");
      await one.page.getByRole("heading", { name: "The receiver's certificate was not accepted" }).waitFor();
      const said = await one.page.locator(".advice").textContent();
      for (const sentence of [what, step]) assert(said.includes(sentence), `${name}: ${sentence} is not in: ${said}`);
      const facts = await one.page.locator("#attempt").textContent();
      assert(facts.includes("None came."), `${name}: a response is shown: ${facts}`);
      assert(!/127\.0\.0\.1.*certificate/.test(said), `${name}: an address is told: ${said}`);
    }
    // The same while an endpoint is tried, before anything is owed to it.
    await click(one, "Webhooks");
    await click(one, "cert-expired");
    await click(one, "Send test event");
    await press(one, "Send test event");
    await one.page.locator("#test-result", { hasText: 'its certificate "a receiver" expired at 2020-02-03' }).waitFor();
    await one.page.getByRole("link", { name: "See what to do about it" }).waitFor();
    await one.fine("certificates that are wrong");
    await one.close();
    await service.stop();
    await close();
    await place.remove();
  },
};
