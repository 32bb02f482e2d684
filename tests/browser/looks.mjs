// How every page looks, in light and dark, wide and narrow: no serious finding of axe-core, nothing wider than
// the window, and a picture of each to look at.
import { execFileSync } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { OPERATOR_KEY, assert, folder, freePort, receiver, serve, until } from "./rig.mjs";
import { enter, linkClicked, linkCreated, person, press, team } from "./people.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// A week as a service would have left it: what is drawn should look like something.
const WEEK = `
import sqlite3, sys, time, math
base = sqlite3.connect(sys.argv[1])
now = int(time.time() // 3600)
rows = base.execute("SELECT id FROM endpoints ORDER BY id").fetchall()
def latency(center, count):
    out = bytearray()
    for bucket, share in ((center - 3, .2), (center - 1, .4), (center, .25), (center + 4, .12), (center + 10, .03)):
        n = max(1, int(count * share)); out.append(bucket)
        while n >= 128: out.append(n & 127 | 128); n >>= 7
        out.append(n)
    return bytes(out)
for place, (endpoint,) in enumerate(rows):
    for back in range(168, 0, -1):
        hour = now - back
        wave = 60 + 50 * math.sin((hour % 24 - 8) / 24 * 2 * math.pi) + (hour * 7919 + place * 31) % 17
        delivered, failed = int(wave), (hour * 13 + place) % 29 == 0 and 6 or 0
        if place == 1: delivered, failed = (int(wave), 1) if back > 7 else (0, int(wave))
        if place == 2 and back < 5: continue
        if place == 3: failed = int(wave / 6)
        base.execute("INSERT OR REPLACE INTO endpoint_hours VALUES (?, ?, ?, ?, ?, ?)", (endpoint, hour, delivered, failed, failed // 6, latency(26 + 3 * place, delivered + failed)))
base.commit()
`;

/** A team in the middle of its work. */
async function scene(binary) {
  const place = await folder();
  let service = await serve(binary, place.path);
  let acme = await team(service, "northwind", "Northwind Traders");
  const answers = [{ status: 200, body: "ok" }, { status: 503, headers: { "retry-after": "30", "content-type": "application/json" }, body: '{"error":"maintenance until 14:00","requestId":"c0ffee"}' }, { status: 401, headers: { "content-type": "application/json", "server": "nginx" }, body: '{"error":"invalid signature","hint":"expected HMAC of the raw body"}' }];
  let n = 0;
  const good = await receiver(() => answers[0]);
  const flaky = await receiver(() => answers[n++ % 3 ? 0 : 1]);
  const wrong = await receiver(() => answers[2]);
  const dead = await freePort();
  for (const [url, description, eventTypes] of [
    [`${good.url}/vantagekit`, "CRM, production", []],
    [`http://127.0.0.1:${dead}/ingest`, "Data warehouse", ["document.viewed", "deal_room.viewed", "link.clicked", "link.created"]],
    [`${good.url}/slack`, "Slack notifications", ["agreement.signed", "agreement.declined"]],
    [`${flaky.url}/events`, "Analytics", ["link.clicked", "link.created", "document.viewed"]],
    [`${wrong.url}/hooks`, null, ["link.clicked"]],
  ]) await acme.api("POST", "/v1/webhook-endpoints", { url, description, eventTypes });
  await service.stop();
  execFileSync("python3", ["-c", WEEK, join(place.path, "store.db")]);
  service = await serve(binary, place.path);
  acme = { ...acme, api: (method, path, body) => service.api(method, path, body, { key: acme.key }) };
  const endpoints = await acme.api("GET", "/v1/webhook-endpoints");
  await acme.api("PATCH", `/v1/webhook-endpoints/${endpoints[2].id}`, { paused: true });
  const examples = await acme.api("GET", "/v1/event-types");
  for (const { name, example } of examples) await acme.api("POST", "/v1/events", { type: name, data: example });
  for (let k = 0; k < 4; k++) await acme.api("POST", "/v1/events", k % 2 ? linkClicked() : linkCreated());
  await until("the unhealthy is unhealthy", async () => (await acme.api("GET", `/v1/webhook-endpoints/${endpoints[1].id}`)).status === "unhealthy");
  const refused = await until("a refused one", async () => (await acme.api("GET", `/v1/deliveries?endpoint_id=${endpoints[4].id}&status=dead_letter`))[0]);
  const retrying = await until("one that is retried", async () => (await acme.api("GET", `/v1/deliveries?endpoint_id=${endpoints[1].id}&status=retrying`))[0]);
  const delivered = await until("one that arrived", async () => (await acme.api("GET", `/v1/deliveries?endpoint_id=${endpoints[0].id}&status=delivered`))[0]);
  return { place, service, endpoints, refused, retrying, delivered, receivers: [good, flaky, wrong] };
}

const SIZES = [[1440, 900], [390, 844]];

export const looks = {
  async "every page in light and dark, wide and narrow"({ browser, binary, pictures }) {
    const { place, service, endpoints, refused, retrying, delivered, receivers } = await scene(binary);
    await mkdir(pictures, { recursive: true });
    const other = await team(service, "other", "Contoso Europe");
    await other.api("POST", "/v1/webhook-endpoints", { url: receivers[2].url, description: "CRM" });
    await other.api("POST", "/v1/events", linkClicked());
    await until("it is a dead letter", async () => (await other.api("GET", "/v1/deliveries?status=dead_letter")).length === 1);
    const { key: onlyLooks } = await service.api("POST", "/v1/teams/northwind/api-keys", { name: "Dashboards", scopes: ["read"] });
    // Another service, which has no team yet.
    const nobody = await folder();
    const fresh = await serve(binary, nobody.path);
    const [, firstRun] = /(http:\/\/\S+\/settings\/first-run\S+)/.exec(fresh.log());
    const base = "/settings/teams/northwind";
    const pages = {
      webhooks: `${base}/webhooks`,
      add: `${base}/webhooks/new`,
      endpoint: `${base}/webhooks/${endpoints[0].id}`,
      unhealthy: `${base}/webhooks/${endpoints[1].id}`,
      settings: `${base}/webhooks/${endpoints[0].id}/settings`,
      test: `${base}/webhooks/${endpoints[0].id}/test`,
      log: `${base}/deliveries`,
      refused: `${base}/deliveries/${refused.id}`,
      retrying: `${base}/deliveries/${retrying.id}`,
      delivered: `${base}/deliveries/${delivered.id}`,
      catalog: `${base}/events`,
      type: `${base}/events/deal_room.viewed`,
      debugger: `${base}/debugger`,
      keys: `${base}/keys`,
      history: `${base}/history`,
    };
    const found = [];
    for (const colorScheme of ["light", "dark"]) {
      for (const [width, height] of SIZES) {
        const one = await person(browser, service, { colorScheme, viewport: { width, height }, elsewhere: fresh.base });
        const look = async (name) => {
          await one.page.screenshot({ path: join(pictures, `${name}-${colorScheme}-${width}.png`), fullPage: true });
          found.push(...await judged(one.page, `${name}, ${colorScheme}, ${width}`));
          await one.fine(name);
        };
        await one.page.goto("/settings/sign-in");
        await look("sign-in");
        await one.page.getByLabel("API key").fill("vk_live_wrong");
        await press(one, "Sign in");
        await look("sign-in-refused");
        await one.page.goto("/settings/enter?token=over");
        await look("link-over");
        await one.page.goto(`${base}/webhooks`);
        await look("signed-out");
        await one.page.goto(firstRun);
        await look("first-run");
        await one.page.goto("/settings/sign-in");
        await one.page.getByLabel("API key").fill(OPERATOR_KEY);
        await one.page.getByRole("button", { name: "Sign in" }).click();
        await one.page.getByRole("heading", { name: "Teams" }).waitFor();
        await look("teams");
        await enter(one, service, "northwind");
        for (const [name, path] of Object.entries(pages)) {
          await one.page.goto(path);
          await look(name);
        }
        await one.page.goto(`${base}/deliveries/${"0".repeat(36)}`);
        await look("missing");
        await one.page.goto(`${base}/deliveries/${refused.id}/retry`);
        await look("only-forms");
        await one.page.goto(`${base}/deliveries?since=soon`);
        await look("log-problem");
        // Another team's link, led to from another site.
        const { url: theirs } = await service.api("POST", "/v1/teams/other/settings-link");
        await one.page.route(theirs, async (route) => route.fulfill({ response: await route.fetch({ headers: { ...route.request().headers(), "sec-fetch-site": "cross-site" } }) }));
        await one.page.goto(theirs);
        await one.page.getByRole("heading", { name: "Continue to Contoso Europe?" }).waitFor();
        await look("led-here");
        // A form that another page of the same browser has made old.
        await one.page.goto(pages.keys);
        await one.page.locator("input[name=csrf]").evaluateAll((all) => all.forEach((field) => { field.value = "old"; }));
        await one.page.getByLabel("Name").fill("k");
        await press(one, "Make the key");
        await look("not-done");
        await one.page.goto(pages.keys);
        await one.page.getByLabel("Name").fill("Reporting");
        await press(one, "Make the key");
        await look("new-key");
        await one.page.getByRole("link", { name: /keys/ }).click();
        await one.page.getByRole("button", { name: "Revoke Reporting" }).click();
        await look("revoked");
        await one.page.goto(`${base}/webhooks/${endpoints[0].id}/settings`);
        await press(one, "Rotate");
        await look("rotated");
        await one.page.goto(`${base}/webhooks/${endpoints[0].id}/settings`);
        await one.page.getByLabel("To delete it, type its name").fill("CRM");
        await press(one, "Delete the endpoint");
        await look("delete-refused");
        // A secret more in use each time would be refused in the end: all are let expire.
        await one.page.goto(`${base}/webhooks/${endpoints[0].id}/settings`);
        await one.page.getByLabel("The old secret expires").selectOption("at once (it has leaked)");
        await press(one, "Rotate");
        await one.page.goto(`${base}/deliveries/retry?status=dead_letter`);
        await look("retry-all");
        await one.page.goto(`${base}/deliveries/retry?type=agreement.expired`);
        await look("retry-none");
        await one.page.goto(pages.debugger);
        await one.page.getByLabel("Headers").fill("X-VantageKit-Timestamp: 1764000000\nX-VantageKit-Signature: sha256=954fdbff664822c994937b22a1ad5a53365f0d547fc79874f7eb9b6ab76cfded\nX-VantageKit-Delivery: " + delivered.id);
        await one.page.getByLabel("Raw body").fill('{"type": "link.clicked", "data": {}}');
        await one.page.getByLabel("Secret", { exact: true }).fill("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        await one.page.getByRole("button", { name: "Check the signature" }).click();
        await one.page.locator(".verdict").waitFor();
        await look("debugged");
        await one.page.goto(`${base}/webhooks/new`);
        await one.page.getByLabel("URL").fill("https://192.168.0.1/");
        await press(one, "Add endpoint");
        await look("add-refused");
        await one.page.getByLabel("URL").fill(`${receivers[0].url}/new`);
        await one.page.getByRole("button", { name: "Add endpoint" }).click();
        await one.page.getByRole("button", { name: "Send test event" }).click();
        await one.page.locator("#test-result .badge.good").waitFor();
        await look("created");
        const secret = await one.page.locator("#secret").textContent();
        const { raw, body } = receivers[0].arrivals.findLast((arrival) => arrival.url === "/new");
        const made = new URL(await one.page.getByRole("link", { name: "Go to the endpoint" }).getAttribute("href"), service.base);
        await service.api("DELETE", `/v1/webhook-endpoints/${made.pathname.split("/").at(-1)}`, null, { team: "northwind" });
        await one.page.goto(pages.debugger);
        await one.page.getByLabel("Headers").fill(raw.filter((_, n) => n % 2 === 0).map((name, n) => `${name}: ${raw[2 * n + 1]}`).join("\n"));
        await one.page.getByLabel("Raw body").fill(body);
        await one.page.getByLabel("Secret", { exact: true }).fill(secret);
        await press(one, "Check the signature");
        await one.page.locator(".verdict.good").first().waitFor();
        await look("debugged-valid");
        // Another team's recovery: before, while and after.
        await enter(one, service, "other");
        await one.page.goto("/settings/teams/other/deliveries/retry");
        await press(one, "Retry 1 dead letter");
        await one.page.getByText("done", { exact: true }).waitFor();
        await look("recovered");
        // While it goes on, as one of thousands would be shown.
        const recovery = one.page.url();
        await one.page.route(recovery, async (route) => {
          const answer = await route.fetch();
          const running = '<span class="badge wait">running</span> 1,234 dead letters are on the way again, of about 4,321.';
          const text = (await answer.text()).replace(/<span class="badge good">done<\/span>[^<]*/, running).replace(/<progress max="\d+" value="\d+"/, '<progress max="4321" value="1234"');
          await route.fulfill({ response: answer, body: text });
        });
        await one.page.goto(recovery);
        await one.page.getByText("running", { exact: true }).waitFor();
        await look("recovering");
        await until("it is a dead letter again", async () => (await service.api("GET", "/v1/deliveries?status=dead_letter", null, { team: "other" })).length === 1);
        // A key that may only look meets what it may not do; then the stream is lost.
        await press(one, "Sign out");
        await one.page.getByLabel("API key").fill(onlyLooks);
        await press(one, "Sign in");
        await one.page.goto(`${base}/webhooks/new`);
        await look("forbidden");
        await one.page.route("**/deliveries/live*", (route) => route.fulfill({ status: 503, body: "no" }));
        await one.page.goto(pages.log);
        await one.page.locator("#stale .said").waitFor();
        await look("not-live");
        await one.close();
      }
    }
    await fresh.stop();
    await nobody.remove();
    const empty = await team(service, "empty", "Contoso");
    const one = await person(browser, service);
    await enter(one, service, empty.id);
    await one.page.screenshot({ path: join(pictures, "empty-light-1440.png"), fullPage: true });
    found.push(...await judged(one.page, "the empty list"));
    await one.close();
    for (const each of receivers) await each.close();
    await service.stop();
    await place.remove();
    assert(found.length === 0, `\n  ${[...new Set(found)].join("\n  ")}`);
  },
};

/** What is wrong with how a page is made. */
async function judged(page, where) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  const found = wide > 0 ? [`${where}: ${wide} pixels wider than the window`] : [];
  const result = await page.evaluate(`(() => { ${axe}; return axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }); })()`);
  assert(result.passes.length > 10, `axe-core looked at next to nothing of ${where}`);
  for (const { id, impact, nodes } of result.violations) {
    if (["serious", "critical"].includes(impact)) found.push(`${where}: ${id} at ${nodes.map((node) => node.target.join(" ")).slice(0, 3).join(", ")}: ${nodes[0].failureSummary?.split("\n")[1]?.trim() ?? ""}`);
  }
  return found;
}
