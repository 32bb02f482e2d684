// Hides what somebody at the browser does, and what must hold whatever they do: no script of a stranger's
// runs, nothing breaks the policy, no other host is asked, nothing is an error.
import { assert } from "./rig.mjs";

/** Somebody at a browser of their own, with or without scripts. `elsewhere` is what else may be asked for. */
export async function person(browser, service, { elsewhere, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, baseURL: service.base, reducedMotion: "reduce", ...options });
  const trouble = [];
  await context.addInitScript(() => {
    globalThis.violations = [];
    addEventListener("securitypolicyviolation", (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  const watch = (page) => {
    page.on("dialog", (dialog) => { trouble.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
    page.on("pageerror", (error) => trouble.push(`an error in the page: ${error.message}`));
    page.on("console", (line) => { if (line.type() === "error" && !/status of (4|5)\d\d/.test(line.text())) trouble.push(`console: ${line.text()}`); });
    const known = [service.base, "about:", elsewhere ?? service.base];
    page.on("request", (request) => { if (!known.some((one) => request.url().startsWith(one))) trouble.push(`asked for ${request.url()}`); });
  };
  context.on("page", watch);
  const page = await context.newPage();
  return {
    page,
    context,
    /** What must not have happened so far. */
    async fine(where) {
      if (options.javaScriptEnabled !== false) trouble.push(...(await page.evaluate(() => globalThis.violations.splice(0))).map((one) => `policy: ${one}`));
      const found = trouble.splice(0);
      assert(found.length === 0, `${where}: ${found.join("; ")}`);
    },
    async see(text) {
      await page.getByText(text).first().waitFor({ timeout: 20_000 });
    },
    close: () => context.close(),
  };
}

export const press = (one, name) => one.page.getByRole("button", { name, exact: true }).first().click();
export const follow = (one, name) => one.page.getByRole("link", { name }).first().click();
export const click = (one, name) => one.page.getByRole("link", { name, exact: true }).first().click();

/** Lets somebody into a team's pages by a link from the product. */
export async function enter(one, service, team) {
  const { url } = await service.api("POST", `/v1/teams/${team}/settings-link`);
  await one.page.goto(url);
  assert(new URL(one.page.url()).pathname === `/settings/teams/${team}/webhooks`, `led to ${one.page.url()}`);
}

/** Makes a team with a key that may do everything. */
export async function team(service, id, name = id) {
  await service.api("POST", "/v1/teams", { id, name });
  const { key } = await service.api("POST", `/v1/teams/${id}/api-keys`, { name: "Backend", scopes: ["read", "webhooks:write", "events:write"] });
  return { id, name, key, api: (method, path, body) => service.api(method, path, body, { key }) };
}

export const linkClicked = (name = "Investors") => ({
  type: "link.clicked",
  data: { dealRoomId: "0198c5f0-6d8b-7354-bb1e-4c2a7f9d0e13", linkId: "01907f3d-2b6a-7c1d-9e2f-0123456789ab", name, timestamp: "2026-11-23T12:00:00Z" },
});

export const linkCreated = (name = "Investors") => ({
  type: "link.created",
  data: { dealRoomId: "0198c5f0-6d8b-7354-bb1e-4c2a7f9d0e13", linkId: "01907f3d-2b6a-7c1d-9e2f-0123456789ab", name, url: "https://app.example.com/l/9f2" },
});
