// What is live stays true and stays calm: nothing is touched that did not change, one short text is said, and where the
// stream or a part cannot be had the page says so, offers to load it again, and goes on by itself.
import { createServer, request as ask } from "node:http";
import { assert, folder, freePort, receiver, serve, until } from "./rig.mjs";
import { click, enter, linkClicked, person, press, team } from "./people.mjs";

/** Something between the browser and the service, as a proxy is: `rule` says of a request what becomes of it. */
async function between(service, rule) {
  const open = new Set();
  const server = createServer((request, response) => {
    const verdict = rule(request);
    if (verdict === "cut") return void request.socket.destroy();
    if (verdict) return void response.writeHead(verdict, { "retry-after": "1" }).end("no");
    const { hostname, port } = new URL(service.base);
    const onward = ask({ hostname, port, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    onward.on("error", () => response.destroy());
    if (request.url.includes("/deliveries/live")) open.add(response);
    response.on("close", () => { open.delete(response); onward.destroy(); });
    request.pipe(onward);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    base: `http://127.0.0.1:${server.address().port}`,
    streams: () => open.size,
    cut: () => open.forEach((response) => response.destroy()),
    close: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }),
  };
}

/** Keeps what the page says and which of its elements were replaced. */
const listen = (page) => page.evaluate(() => {
  globalThis.saidAll = [];
  const said = document.getElementById("said");
  new MutationObserver(() => globalThis.saidAll.push(said.textContent)).observe(said, { childList: true, characterData: true, subtree: true });
});
const heard = (page) => page.evaluate(() => globalThis.saidAll);
const stale = (one) => one.page.locator("#stale .said");

export const live = {
  async "the log where its stream is refused, cut and had again"({ browser, service }) {
    const acme = await team(service, "stream");
    const target = await receiver();
    await acme.api("POST", "/v1/webhook-endpoints", { url: target.url, description: "CRM" });
    let refused = true;
    const proxy = await between(service, (request) => refused && request.url.includes("/deliveries/live") && 503);
    const through = { ...service, base: proxy.base };
    const one = await person(browser, through);
    const { url } = await service.api("POST", "/v1/teams/stream/settings-link");
    await one.page.goto(url.replace(service.base, proxy.base));
    await click(one, "Deliveries");
    // Refused: it is said, and what is new is fetched all the same.
    await stale(one).getByText("This page is not live at the moment.").waitFor();
    assert(await one.page.locator("[data-live-words]").textContent() === "not live", "the list still calls itself live");
    assert(await stale(one).getByRole("link", { name: "Load it again" }).getAttribute("href") === one.page.url(), "nothing leads to the page as it is now");
    await acme.api("POST", "/v1/events", linkClicked());
    const rows = one.page.locator("tbody tr[data-id]");
    await until("the new delivery is fetched", async () => await rows.count() === 1);
    assert(proxy.streams() === 0, "a stream was had");
    await listen(one.page);
    refused = false;
    await one.page.locator("[data-live-words]", { hasText: /^live$/ }).waitFor();
    await stale(one).waitFor({ state: "detached" });
    assert((await heard(one.page)).includes("Live again."), `said: ${await heard(one.page)}`);
    // Cut once, as by a proxy that restarts: it is had again at once, and nothing is said.
    await listen(one.page);
    proxy.cut();
    await until("the stream is had again", () => proxy.streams() === 1);
    await acme.api("POST", "/v1/events", linkClicked());
    await until("it is live", async () => await rows.count() === 2);
    assert(await stale(one).count() === 0, "a stream that was had again is told of");
    // Cut for longer.
    refused = true;
    proxy.cut();
    await stale(one).waitFor();
    refused = false;
    await stale(one).waitFor({ state: "detached", timeout: 40_000 });
    await acme.api("POST", "/v1/events", linkClicked());
    await until("it is live again", async () => await rows.count() === 3);
    // The session's end is no trouble of the connection.
    await one.context.clearCookies();
    proxy.cut();
    await stale(one).getByText("This page is not kept up to date any more.").waitFor();
    await one.close();
    await proxy.close();
    await target.close();
  },

  async "what is live touches only what changed, and says it once"({ browser, binary }) {
    const place = await folder();
    const service = await serve(binary, place.path, ["--retry-schedule", "2s,2s,3s"]);
    const acme = await team(service, "calm");
    const url = `http://127.0.0.1:${await freePort()}/`;
    const { id } = await acme.api("POST", "/v1/webhook-endpoints", { url, description: "CRM" });
    const one = await person(browser, service);
    await enter(one, service, "calm");
    await one.page.goto(`/settings/teams/calm/webhooks/${id}/test`);
    await listen(one.page);
    await one.page.getByRole("button", { name: "Send test event" }).focus();
    await one.page.keyboard.press("Enter");
    const result = one.page.locator("#test-result .result");
    await result.locator("time[data-until]").waitFor();
    assert(await one.page.evaluate(() => document.activeElement.textContent) === "Send test event", "the button lost the focus");
    // While it counts down the result is the very element that it was.
    const words = new Set();
    await result.evaluate((element) => { element.mark = true; });
    await until("it counts down", async () => {
      const time = result.locator("time[data-until]");
      if (await time.count() > 0) words.add(await time.textContent());
      return words.size > 2;
    });
    await until("it is given up", async () => (await result.locator(".badge").textContent()) === "dead letter");
    assert(await result.evaluate((element) => element.mark === true), "the result was replaced");
    const said = await heard(one.page);
    assert(said.length >= 2 && said.length <= 4 && /^retrying: .*connection/i.test(said.at(-2)) && said.at(-1).startsWith("dead letter: "), `said: ${JSON.stringify(said)}`);
    assert(await one.page.locator("[aria-live] time[data-until], [role=status] time[data-until]").count() === 0, "a countdown is in a live region");
    // A delivery's own page: what is unfolded and focused stays so while attempts are added.
    const { deliveryId } = await acme.api("POST", `/v1/webhook-endpoints/${id}/test`, { type: "link.clicked" });
    await until("it was tried", async () => (await acme.api("GET", `/v1/deliveries/${deliveryId}`)).attemptCount === 1);
    await one.page.goto(`/settings/teams/calm/deliveries/${deliveryId}`);
    await listen(one.page);
    await one.page.getByText("As a curl command").click();
    await one.page.getByLabel("curl command").focus();
    await one.page.evaluate(() => { document.querySelector("#curl").mark = true; });
    await one.page.locator(".heading .badge", { hasText: "dead letter" }).waitFor();
    const kept = await one.page.evaluate(() => [document.querySelector("#curl").mark, document.activeElement.id, document.querySelector("details").open]);
    assert(JSON.stringify(kept) === '[true,"curl",true]', `kept: ${JSON.stringify(kept)}`);
    assert((await heard(one.page)).at(-1) === "dead letter, 4 attempts", `said: ${await heard(one.page)}`);
    // The log: a row that is focused and one that is ticked stay, while others come and change.
    await one.page.goto("/settings/teams/calm/deliveries");
    await one.page.locator("[data-live-words]", { hasText: /^live$/ }).waitFor();
    const row = one.page.locator(`tr[data-id="${deliveryId}"]`);
    await row.getByRole("checkbox").check();
    await row.getByRole("link").focus();
    await row.evaluate((element) => { element.mark = true; });
    await listen(one.page);
    for (let n = 0; n < 2; n++) await acme.api("POST", "/v1/events", linkClicked());
    await until("they are there and given up", async () => await one.page.locator("tbody .badge.bad").count() === 4);
    const stays = await row.evaluate((element) => [element.mark, element.querySelector("input").checked, element.contains(document.activeElement)]);
    assert(JSON.stringify(stays) === "[true,true,true]", `stays: ${JSON.stringify(stays)}`);
    const news = await heard(one.page);
    assert(news.every((text) => /^[12] new deliver(y|ies)\s?$/.test(text)) && news.length <= 2, `said: ${JSON.stringify(news)}`);
    await one.fine("what is live");
    await one.close();
    await service.stop();
    await place.remove();
  },

  async "a part that cannot be had is told, had again, and not asked for when it is gone"({ browser, binary }) {
    const place = await folder();
    const service = await serve(binary, place.path, ["--retry-schedule", "4s,4s,4s,4s,4s"]);
    const acme = await team(service, "part");
    const { id } = await acme.api("POST", "/v1/webhook-endpoints", { url: `http://127.0.0.1:${await freePort()}/` });
    let verdict = 0;
    let asked = 0;
    const proxy = await between(service, (request) => request.headers["x-fragment"] && (asked++, verdict));
    const one = await person(browser, { ...service, base: proxy.base });
    const { url } = await service.api("POST", "/v1/teams/part/settings-link");
    await one.page.goto(url.replace(service.base, proxy.base));
    await one.page.goto(`${proxy.base}/settings/teams/part/webhooks/${id}/test`);
    await press(one, "Send test event");
    await one.page.locator("#test-result .badge", { hasText: "retrying" }).waitFor();
    verdict = 503;
    await stale(one).getByText("This page is not live at the moment.").waitFor();
    const soFar = asked;
    await new Promise((resolve) => setTimeout(resolve, 4000));
    assert(asked - soFar < 5, `while it could not be had it was asked for ${asked - soFar} times in 4 s`);
    verdict = 0;
    await stale(one).waitFor({ state: "detached" });
    await until("it goes on", async () => asked > soFar + 2);
    await one.page.getByRole("link", { name: "See what to do about it" }).click();
    await one.page.locator(".heading .badge", { hasText: "retrying" }).waitFor();
    verdict = 401;
    await stale(one).getByText("This page is not kept up to date any more.").waitFor();
    const last = asked;
    await new Promise((resolve) => setTimeout(resolve, 3000));
    assert(asked === last, "what is gone was asked for again");
    await one.close();
    await proxy.close();
    await service.stop();
    await place.remove();
  },

  async "a link on another site asks before it ends a session"({ browser, service }) {
    await team(service, "mine", "Mine");
    await team(service, "theirs", "Theirs");
    const one = await person(browser, service, { elsewhere: "http://elsewhere.example/" });
    await enter(one, service, "mine");
    const { url } = await service.api("POST", "/v1/teams/theirs/settings-link");
    const page = `<!doctype html><title>Elsewhere</title><a href="${url}">Look</a>`;
    await one.context.route("http://elsewhere.example/", (route) => route.fulfill({ contentType: "text/html", body: page }));
    const lead = async () => {
      await one.page.goto("http://elsewhere.example/");
      await one.page.getByRole("link", { name: "Look" }).click();
      await one.page.getByRole("heading", { name: "Continue to Theirs?" }).waitFor();
    };
    await lead();
    await one.see("you are signed in to those of Mine");
    await one.page.getByRole("link", { name: "Stay where I am" }).click();
    await one.page.locator(".team", { hasText: "Mine" }).waitFor();
    await lead();
    await one.page.getByRole("button", { name: "Continue" }).click();
    await one.page.locator(".team", { hasText: "Theirs" }).waitFor();
    await one.fine("a link on another site");
    await one.close();
  },
};
