// The nine parts, walked as a person would: against the real service, with real receivers.
import { spawn } from "node:child_process";
import { assert, folder, freePort, receiver, serve, until, OPERATOR_KEY } from "./rig.mjs";
import { click, enter, follow, linkClicked, linkCreated, person, press, team } from "./people.mjs";

/** Adds an endpoint by its form; its secret. */
async function add(one, url, description) {
  await click(one, "Webhooks");
  await one.page.getByRole("link", { name: /^Add (your first )?endpoint$/ }).first().click();
  await one.page.getByLabel("URL").fill(url);
  await one.page.getByLabel("Description").fill(description);
  await press(one, "Add endpoint");
  await one.page.getByRole("heading", { name: "Your endpoint is ready" }).waitFor();
  return one.page.locator("#secret").textContent();
}

export const walks = {
  async "1 getting in: first run, link, key, sign out, operator"({ browser, binary }) {
    const place = await folder();
    const service = await serve(binary, place.path);
    const link = /(http:\/\/\S+\/settings\/first-run\S+)/.exec(service.log());
    assert(link, `no first-run link in: ${service.log()}`);
    const one = await person(browser, service);
    await one.page.goto(link[1]);
    await one.page.getByLabel("Name").fill("Acme");
    await one.page.getByLabel("Id").fill("acme");
    await press(one, "Make the team");
    await one.see("Three steps to your first delivery");
    await press(one, "Sign out");
    await one.page.getByRole("button", { name: "Sign in" }).waitFor();
    await one.page.getByLabel("API key").fill("vk_live_wrong");
    await press(one, "Sign in");
    await one.see("This key is not valid");
    const { key } = await service.api("POST", "/v1/teams/acme/api-keys", { name: "k", scopes: ["read"] });
    await one.page.getByLabel("API key").fill(key);
    await press(one, "Sign in");
    await one.page.getByRole("heading", { name: "Webhooks", exact: true }).waitFor();
    assert(await one.page.getByRole("link", { name: "API keys" }).count() === 0, "a key that may only read sees the keys");
    await press(one, "Sign out");
    await one.page.getByLabel("API key").fill(OPERATOR_KEY);
    await press(one, "Sign in");
    await one.page.getByRole("heading", { name: "Teams" }).waitFor();
    await click(one, "Acme");
    await one.page.getByRole("link", { name: "All teams" }).waitFor();
    await one.fine("getting in");
    await one.close();
    await service.stop();
    await place.remove();
  },

  async "2 the list says how endpoints fare"({ browser, service }) {
    const acme = await team(service, "list", "Northwind");
    const good = await receiver();
    await acme.api("POST", "/v1/webhook-endpoints", { url: `${good.url}/hooks`, description: "CRM, production" });
    const refused = `http://127.0.0.1:${await freePort()}/`;
    await acme.api("POST", "/v1/webhook-endpoints", { url: refused, description: "Data warehouse" });
    for (let n = 0; n < 6; n++) await acme.api("POST", "/v1/events", linkClicked());
    const one = await person(browser, service);
    await enter(one, service, "list");
    await until("both fare as they do", async () => {
      await one.page.reload();
      const text = await one.page.locator("main").textContent();
      return /\d+ failures in a row since \d\d:\d\d UTC: connection refused/.test(text) && text.includes("100%") && text.includes("unhealthy");
    });
    await one.page.keyboard.press("Tab");
    await one.page.keyboard.press("Enter");
    assert(await one.page.evaluate(() => document.activeElement.id) === "main", "the first link does not lead past the navigation");
    await one.see("used 2 of 10");
    await one.see("The latest attempt succeeded");
    const spark = await one.page.locator("svg.spark").first().getAttribute("aria-label");
    assert(/6 delivered, 0 failed/.test(spark), spark);
    await one.fine("the list");
    await one.close();
    await good.close();
  },

  async "3 adding an endpoint: checked as typed, the secret to copy, a test event right there"({ browser, service }) {
    await team(service, "adding");
    const one = await person(browser, service, { permissions: ["clipboard-read", "clipboard-write"] });
    await enter(one, service, "adding");
    await one.see("Three steps to your first delivery");
    await follow(one, "Add your first endpoint");
    await one.page.getByLabel("URL").pressSequentially("https://192.168.0.1/", { delay: 5 });
    await one.see("it belongs to a private network (RFC 1918)");
    const port = await freePort();
    await one.page.getByLabel("URL").fill(`http://127.0.0.1:${port}/`);
    await one.see("This URL can receive deliveries.");
    await one.page.getByLabel("Description").fill("my laptop");
    await one.page.getByRole("checkbox", { name: "Link", exact: true }).check();
    assert(await one.page.getByRole("checkbox", { name: "link.clicked" }).isChecked(), "a category does not choose its types");
    assert(await one.page.getByRole("radio", { name: /Chosen events/ }).isChecked(), "choosing a type leaves all events chosen");
    await press(one, "Add endpoint");
    const secret = await one.page.locator("#secret").textContent();
    assert(secret.startsWith("whsec_"), secret);
    await one.page.locator("[data-copy=secret]").click();
    assert(await one.page.evaluate(() => navigator.clipboard.readText()) === secret, "the secret was not copied");
    await press(one, "Send test event");
    await one.page.locator("#test-result .badge.wait").waitFor();
    await one.see("See what to do about it");
    await one.fine("adding an endpoint");
    await one.close();
  },

  async "4 an endpoint: figures, pause, edit, rotate, test of any type, delete by name"({ browser, service }) {
    const acme = await team(service, "endpoint");
    const target = await receiver();
    await acme.api("POST", "/v1/webhook-endpoints", { url: `${target.url}/a`, description: "CRM" });
    for (let n = 0; n < 3; n++) await acme.api("POST", "/v1/events", linkClicked());
    await until("all arrived", () => target.arrivals.length === 3);
    const one = await person(browser, service);
    await enter(one, service, "endpoint");
    await click(one, "CRM");
    await until("they are counted", async () => { await one.page.reload(); return /of 3 attempts/.test(await one.page.locator("main").textContent()); });
    assert(/3 delivered, 0 failed/.test(await one.page.locator("svg.chart").first().getAttribute("aria-label")), "the chart says something else");
    await one.page.getByText("The same as a table").first().click();
    assert(await one.page.locator("details[open] tbody tr").count() === 1, "the table has another number of hours");
    await press(one, "Pause");
    await one.see("Paused. Deliveries are kept");
    await acme.api("POST", "/v1/events", linkClicked());
    await press(one, "Resume");
    await until("what waited arrived", () => target.arrivals.length === 4);
    await click(one, "Settings");
    await one.page.getByLabel("URL").fill(`${target.url}/b`);
    await press(one, "Save");
    await one.see("Saved.");
    await one.page.getByLabel("The old secret expires").selectOption("in an hour");
    await press(one, "Rotate");
    await one.see("There is a new secret.");
    await acme.api("POST", "/v1/events", linkClicked());
    await until("it is signed with both", () => target.arrivals.some((one) => one.url === "/b" && one.headers["x-vantagekit-signature-next"]));
    await click(one, "Send test event");
    await one.page.getByLabel("Event type").selectOption("agreement.signed");
    await one.see("signed an agreement");
    const data = one.page.getByLabel("Data");
    await data.fill((await data.inputValue()).replace(/"name": "[^"]*"/, '"name": "Edited by hand"'));
    await press(one, "Send test event");
    await one.page.locator("#test-result .badge.good").waitFor();
    assert(target.arrivals.at(-1).body.includes("Edited by hand"), target.arrivals.at(-1).body);
    await data.fill("{");
    await press(one, "Send test event");
    await one.see("The example is not valid JSON any more");
    await click(one, "Settings");
    await one.page.getByLabel("To delete it, type its name").fill("CMR");
    await press(one, "Delete the endpoint");
    await one.see("it was not deleted");
    await one.page.getByLabel("To delete it, type its name").fill("CRM");
    await press(one, "Delete the endpoint");
    await one.see("The endpoint is deleted.");
    await one.fine("an endpoint");
    await one.close();
    await target.close();
  },

  async "5 the log: live, filtered, retried one by one, picked and together"({ browser, service }) {
    const acme = await team(service, "log");
    let broken = true;
    const target = await receiver(() => ({ status: broken ? 422 : 200 }));
    await acme.api("POST", "/v1/webhook-endpoints", { url: target.url, description: "CRM" });
    const one = await person(browser, service);
    await enter(one, service, "log");
    await click(one, "Deliveries");
    await one.see("No delivery matches.");
    const rows = one.page.locator("tbody tr[data-id]");
    await acme.api("POST", "/v1/events", linkClicked());
    await rows.first().locator(".badge.bad").waitFor();
    assert(await one.page.evaluate(() => performance.getEntriesByType("navigation").length) === 1, "it was loaded again");
    for (let n = 0; n < 29; n++) await acme.api("POST", "/v1/events", n % 2 ? linkClicked() : linkCreated());
    await until("a page of rows", async () => await rows.count() === 25);
    await one.page.getByRole("combobox", { name: "Event type" }).selectOption("link.created");
    await one.page.getByLabel("Status").selectOption("dead letter");
    await press(one, "Filter");
    await until("fifteen of a type", async () => await rows.count() === 15);
    broken = false;
    await rows.nth(0).getByRole("button", { name: /^Retry/ }).click();
    await one.see("It is on its way again");
    await one.page.locator(".heading .badge.good").waitFor();
    await one.page.goBack();
    await one.page.reload();
    await until("fourteen are left", async () => await rows.count() === 14);
    for (const row of [1, 2]) await rows.nth(row).getByRole("checkbox").check();
    await press(one, "Retry selected");
    await one.see("2 deliveries are on the way again");
    await until("twelve are left", async () => await rows.count() === 12);
    await follow(one, /^Retry all dead letters/);
    await one.page.getByText("12 dead letters", { exact: true }).waitFor();
    await press(one, "Retry 12 dead letters");
    await one.see("12 dead letters are on the way again.");
    await click(one, "See the deliveries");
    await one.page.getByLabel("Status").selectOption("dead letter");
    await press(one, "Filter");
    await until("those of the other type are left", async () => await rows.count() === 15);
    const id = await rows.nth(3).getAttribute("data-id");
    await one.page.getByLabel("Id").fill(id.slice(0, 23));
    await press(one, "Filter");
    await until("one by its id", async () => await rows.count() === 1);
    await one.fine("the log");
    await one.close();
    await target.close();
  },

  async "6 one delivery: attempts, the exact request, the response, what to do"({ browser, service }) {
    const acme = await team(service, "delivery");
    const target = await receiver(() => ({ status: 401, headers: { "x-reason": "no" }, body: "signature mismatch\u202e\u0000" }));
    await acme.api("POST", "/v1/webhook-endpoints", { url: `${target.url}/h`, description: "CRM" });
    await acme.api("POST", "/v1/events", linkClicked());
    const one = await person(browser, service);
    await enter(one, service, "delivery");
    await click(one, "Deliveries");
    await one.page.locator("tbody .badge.bad").waitFor();
    await click(one, "link.clicked");
    await one.see("The receiver refused the signature, or wants a login");
    await one.see("Verify the raw body");
    const shown = await one.page.getByLabel("Request headers").textContent();
    const sent = target.arrivals[0];
    for (const name of ["x-vantagekit-signature", "x-vantagekit-timestamp", "x-vantagekit-delivery", "webhook-signature", "host", "content-length"]) {
      assert(shown.includes(`${name}: ${sent.headers[name]}`), `${name} is not shown as sent: ${shown}`);
    }
    assert(await one.page.locator("#request-body").textContent() === sent.body, "the body is not shown as sent");
    const response = await one.page.locator("#response-body").textContent();
    assert(response.trim() === "signature mismatch⟨U+202E⟩␀", response);
    await one.page.getByText("As a curl command").click();
    const command = await one.page.locator("#curl").textContent();
    const run = spawn("sh", ["-c", command], { stdio: "ignore" });
    await until("curl sent the same", () => target.arrivals.length === 2);
    await new Promise((resolve) => run.exitCode === null ? run.on("exit", resolve) : resolve());
    assert(target.arrivals[1].body === sent.body && target.arrivals[1].headers["x-vantagekit-signature"] === sent.headers["x-vantagekit-signature"], "curl sent something else");
    const [download] = await Promise.all([one.page.waitForEvent("download"), one.page.locator("section", { has: one.page.getByRole("heading", { name: "Response" }) }).getByRole("link", { name: "Raw" }).click()]);
    assert(download.suggestedFilename() === "response.txt", download.suggestedFilename());
    await follow(one, "Check the signature in the debugger");
    await one.page.getByRole("heading", { name: "Signature debugger" }).waitFor();
    await one.fine("one delivery");
    await one.close();
    await target.close();
  },

  async "7 the catalog: every type, and sending one to an endpoint"({ browser, service }) {
    const acme = await team(service, "catalog");
    const target = await receiver();
    await acme.api("POST", "/v1/webhook-endpoints", { url: target.url, description: "CRM" });
    const one = await person(browser, service);
    await enter(one, service, "catalog");
    await click(one, "Event catalog");
    assert(await one.page.locator(".types li").count() === 21, "not all types are there");
    await click(one, "document.viewed");
    await one.see("pageCount");
    await follow(one, /^Send to it/);
    await press(one, "Send test event");
    await one.page.locator("#test-result .badge.good").waitFor();
    assert(target.arrivals[0].headers["x-vantagekit-event"] === "document.viewed", "another type was sent");
    await one.fine("the catalog");
    await one.close();
    await target.close();
  },

  async "8 the debugger: valid, or what precisely is wrong"({ browser, service }) {
    const acme = await team(service, "debugger");
    const target = await receiver();
    const { secret } = await acme.api("POST", "/v1/webhook-endpoints", { url: target.url, description: "CRM" });
    await acme.api("POST", "/v1/events", linkClicked());
    await until("it arrived", () => target.arrivals.length === 1);
    const { raw, body } = target.arrivals[0];
    const lines = [];
    for (let n = 0; n < raw.length; n += 2) lines.push(`${raw[n]}: ${raw[n + 1]}`);
    const headers = lines.join("\n");
    const one = await person(browser, service);
    await enter(one, service, "debugger");
    await click(one, "Signature debugger");
    const check = async (headers, body, secret) => {
      await one.page.getByLabel("Headers").fill(headers);
      await one.page.getByLabel("Raw body").fill(body);
      await one.page.getByLabel("Secret", { exact: true }).fill(secret);
      await press(one, "Check the signature");
      await one.page.locator(".verdict").first().waitFor();
      return one.page.locator("main").textContent();
    };
    for (const [given, said] of [
      [[headers, body, secret], ["The signature is right", "byte for byte what was sent"]],
      [[headers, JSON.stringify(JSON.parse(body), null, 2), secret], ["parsed and written again", "It differs from byte"]],
      [[headers, body, "whsec_c29tZSBvdGhlciBzZWNyZXQ="], ["The secret is not one of CRM"]],
      [[headers, body, ` ${secret}`], ["has whitespace around it"]],
      [[headers.replace(/timestamp: \d+/gi, "timestamp: 1764000000"), body, secret], ["not valid"]],
      [[headers.replace(/x-vantagekit-signature: sha256=.*/i, "x-vantagekit-signature: sha256=lU/b/2ZIIsmUk3sioa1aUzZfDVR/x5h0+eubara3z90="), body, secret], ["is base64, but this scheme writes it in hex"]],
      [[headers.replace(/x-vantagekit-signature:/i, "x-signature:"), body, secret], ["missing or empty"]],
    ]) {
      const text = await check(...given);
      for (const sentence of said) assert(text.includes(sentence), `${sentence} is not in: ${text}`);
      assert(!(await one.page.content()).includes(secret), "the secret is shown");
    }
    assert(!service.log().includes(secret), "the secret is in the log");
    await one.fine("the debugger");
    await one.close();
    await target.close();
  },

  async "9 API keys: made, shown once, used, revoked"({ browser, service }) {
    await team(service, "keys");
    const one = await person(browser, service);
    await enter(one, service, "keys");
    await click(one, "API keys");
    await one.page.getByLabel("Name").fill("Publisher");
    await one.page.getByRole("checkbox", { name: /read/ }).check();
    await one.page.getByLabel("Expires").fill("2090-06-30");
    // Clicked twice, the form makes one key: of two, the first would never be seen.
    let sent = 0;
    await one.page.route("**/keys", async (route) => {
      if (route.request().method() === "POST") sent += 1;
      // Long enough for the second click to find the page still there.
      await new Promise((done) => setTimeout(done, 500));
      await route.continue();
    });
    const { x, y } = await one.page.getByRole("button", { name: "Make the key" }).boundingBox();
    for (const _ of [1, 2]) {
      await one.page.mouse.click(x + 9, y + 9);
      await one.page.waitForTimeout(150);
    }
    await one.see("Copy it now");
    await one.see("used 2 of");
    assert(sent === 1, `${sent} forms were sent`);
    await one.page.unroute("**/keys");
    const key = await one.page.locator("#key-text").textContent();
    await service.api("POST", "/v1/events", linkClicked(), { key });
    await click(one, "API keys");
    assert(!(await one.page.content()).includes(key), "the key is shown again");
    await one.see(`${key.slice(0, 16)}…`);
    assert((await one.page.locator("td[data-label=Expires] time").getAttribute("datetime")).startsWith("2090-06-30"), "no expiry");
    assert(await one.page.locator('td[data-label="Last used"] time').count() === 1, "its use is not seen");
    await one.page.getByRole("button", { name: "Revoke Publisher" }).click();
    await one.see("The key is revoked");
    const refused = await service.api("GET", "/v1/events", null, { key }).then(() => false, () => true);
    assert(refused, "a revoked key works");
    await one.fine("API keys");
    await one.close();
  },

  async "all of it without scripts"({ browser, service }) {
    await team(service, "plain");
    const acme = { api: (method, path, body) => service.api(method, path, body, { team: "plain" }) };
    let broken = false;
    const target = await receiver(() => ({ status: broken ? 410 : 200 }));
    const one = await person(browser, service, { javaScriptEnabled: false });
    await enter(one, service, "plain");
    const secret = await add(one, `${target.url}/`, "CRM");
    assert((await one.page.getByLabel("Node.js receiver").textContent()).includes(secret), "no code");
    const [tab] = await Promise.all([one.context.waitForEvent("page"), press(one, "Send test event")]);
    await until("the page of the test says delivered", async () => (await tab.locator(".heading").textContent()).includes("delivered"));
    await tab.close();
    await follow(one, "Go to the endpoint");
    await press(one, "Pause");
    await press(one, "Resume");
    await click(one, "Settings");
    await one.page.getByLabel("Description").fill("CRM 2");
    await press(one, "Save");
    await one.see("Saved.");
    broken = true;
    for (let n = 0; n < 4; n++) await acme.api("POST", "/v1/events", linkClicked());
    await until("all were refused", () => target.arrivals.length === 5);
    broken = false;
    await click(one, "Deliveries");
    const rows = one.page.locator("tbody tr[data-id]");
    await one.page.getByLabel("Status").selectOption("dead letter");
    await until("four dead letters", async () => { await press(one, "Filter"); return await rows.count() === 4; });
    await rows.nth(0).getByRole("checkbox").check();
    await press(one, "Retry selected");
    await one.see("1 delivery is on the way again");
    await until("it arrived", () => target.arrivals.length === 6);
    await follow(one, /^Retry all dead letters/);
    await one.page.getByRole("button", { name: /^Retry 3 dead letters/ }).click();
    await until("the page says that it is done", async () => (await one.page.locator("main").textContent()).includes("3 dead letters are on the way again."));
    await until("they arrived", () => target.arrivals.length === 9);
    await click(one, "Event catalog");
    await click(one, "link.clicked");
    await follow(one, /^Send to it/);
    await one.page.getByLabel("Event type").selectOption("link.expired");
    await press(one, "Show its example");
    await press(one, "Send test event");
    await until("the test arrived", () => target.arrivals.at(-1).headers["x-vantagekit-event"] === "link.expired");
    await click(one, "API keys");
    await one.page.getByLabel("Name").fill("k");
    await press(one, "Make the key");
    await one.see("Copy it now");
    await press(one, "Revoke k");
    await one.see("The key is revoked");
    await click(one, "Webhooks");
    await click(one, "CRM 2");
    await click(one, "Settings");
    await press(one, "Rotate");
    await one.see("There is a new secret.");
    await click(one, "Settings");
    await one.page.getByLabel("To delete it, type its name").fill("CRM 2");
    await press(one, "Delete the endpoint");
    await one.see("The endpoint is deleted.");
    // What arrived is judged, then somebody signs out and in again with a key.
    const { raw, body } = target.arrivals[0];
    await click(one, "Signature debugger");
    const lines = raw.filter((_, n) => n % 2 === 0).map((name, n) => `${name}: ${raw[2 * n + 1]}`);
    await one.page.getByLabel("Headers").fill(lines.join("\n"));
    await one.page.getByLabel("Raw body").fill(body);
    await one.page.getByLabel("Secret", { exact: true }).fill(secret);
    await press(one, "Check the signature");
    await one.see("The signature is right");
    await one.page.getByLabel("Secret", { exact: true }).fill("whsec_c29tZSBvdGhlciBzZWNyZXQ=");
    await press(one, "Check the signature");
    await one.see("not valid");
    await press(one, "Sign out");
    await one.page.getByLabel("API key").fill("vk_live_wrong");
    await press(one, "Sign in");
    await one.see("This key is not valid");
    const { key } = await service.api("POST", "/v1/teams/plain/api-keys", { name: "in", scopes: ["read"] });
    await one.page.getByLabel("API key").fill(key);
    await press(one, "Sign in");
    await one.page.getByRole("heading", { name: "Webhooks", exact: true }).waitFor();
    await press(one, "Sign out");
    await one.page.getByLabel("API key").waitFor();
    await one.fine("without scripts");
    await one.close();
    await target.close();
  },
};
