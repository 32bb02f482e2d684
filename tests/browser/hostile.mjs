// Sixty payloads of cross-site scripting as description, URL, event data, response header and response body.
import { assert, receiver, until } from "./rig.mjs";
import { enter, linkClicked, person, team } from "./people.mjs";

export const payloads = [
  `<script>alert(1)</script>`, `"><script>alert(1)</script>`, `'><script>alert(1)</script>`, `</script><script>alert(1)</script>`,
  `</title><script>alert(1)</script>`, `</textarea><script>alert(1)</script>`, `</pre><script>alert(1)</script>`, `</code></pre><img src=x onerror=alert(1)>`,
  `<img src=x onerror=alert(1)>`, `"><img src=x onerror=alert(1)>`, `'"><img src=x onerror=alert(1) x="`, `<img src="x" onerror="alert(1)">`,
  `<img/src=x/onerror=alert(1)>`, `<IMG SRC=x OnErRoR=alert(1)>`, `<img src=x onerror\n=alert(1)>`, `<<img src=x onerror=alert(1)>`,
  `<svg onload=alert(1)>`, `<svg/onload=alert(1)>`, `"><svg onload=alert(1)>`, `<svg><script>alert(1)</script></svg>`,
  `<svg><animate onbegin=alert(1) attributeName=x dur=1s>`, `<svg><a xlink:href="javascript:alert(1)"><text x=9 y=9>x</text></a></svg>`, `<svg><style><img src=x onerror=alert(1)></style>`, `<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>`,
  `<body onload=alert(1)>`, `<iframe src="javascript:alert(1)"></iframe>`, `<iframe srcdoc="<script>parent.alert(1)</script>"></iframe>`, `<object data="javascript:alert(1)"></object>`,
  `<embed src="javascript:alert(1)">`, `<a href="javascript:alert(1)">x</a>`, `<a href="data:text/html,<script>alert(1)</script>">x</a>`, `javascript:alert(1)`,
  `<form action="javascript:alert(1)"><button autofocus>x</button></form>`, `<button formaction="javascript:alert(1)">x</button>`, `<input autofocus onfocus=alert(1)>`, `" autofocus onfocus=alert(1) x="`,
  `' onmouseover=alert(1) x='`, `" onmouseover="alert(1)`, `x onmouseover=alert(1)`, `<details open ontoggle=alert(1)>`,
  `<video><source onerror=alert(1)></video>`, `<audio src=x onerror=alert(1)>`, `<marquee onstart=alert(1)>`, `<meta http-equiv="refresh" content="0;url=javascript:alert(1)">`,
  `<base href="https://evil.example/">`, `<link rel=stylesheet href="https://evil.example/x.css">`, `<style>@import "https://evil.example/x.css";</style>`, `<div style="background:url(https://evil.example/x)">`,
  `<script src="https://evil.example/x.js"></script>`, `<script src=//evil.example/x.js>`, `{{constructor.constructor('alert(1)')()}}`, "${alert(1)}",
  `{% raw %}<script>alert(1)</script>{% endraw %}`, `&lt;script&gt;alert(1)&lt;/script&gt;`, `&#60;script&#62;alert(1)&#60;/script&#62;`, `%3Cscript%3Ealert(1)%3C/script%3E`,
  `\\u003cscript\\u003ealert(1)\\u003c/script\\u003e`, `<noscript><p title="</noscript><img src=x onerror=alert(1)>">`, `<template><script>alert(1)</script></template><img src=x onerror=alert(1)>`, `--><script>alert(1)</script><!--`,
];

export const hostile = {
  async "60 payloads stay text, on every page that shows them"({ browser, service }) {
    assert(payloads.length === 60 && new Set(payloads).size === 60, `${payloads.length} payloads`);
    const acme = await team(service, "hostile", `<img src=x onerror=alert(1)>`);
    let payload = "";
    const target = await receiver(() => ({
      status: 400,
      headers: { "content-type": "text/html", "x-said": payload.replaceAll("\n", " ") },
      body: payload,
    }));
    const { id } = await acme.api("POST", "/v1/webhook-endpoints", { url: target.url });
    const one = await person(browser, service);
    await enter(one, service, "hostile");
    const base = "/settings/teams/hostile";
    for (payload of payloads) {
      const flat = payload.replaceAll("\n", " ");
      const url = `${target.url}/${encodeURI(flat).replaceAll("#", "%23").replaceAll("?", "%3f")}`;
      await acme.api("PATCH", `/v1/webhook-endpoints/${id}`, { description: flat, url });
      const event = await acme.api("POST", "/v1/events", linkClicked(payload));
      const delivery = await until("it was refused", async () => {
        const [found] = await acme.api("GET", `/v1/deliveries?event_id=${event.id}`);
        return found?.status === "dead_letter" && found;
      });
      const paths = [`${base}/deliveries/${delivery.id}`, `${base}/webhooks`, `${base}/webhooks/${id}/settings`, `${base}/deliveries?id=${encodeURIComponent(payload)}`];
      for (const path of paths) {
        await one.page.goto(path);
        await one.fine(`${path} with ${payload}`);
      }
      await one.page.goto(paths[0]);
      const body = await one.page.locator("#response-body").textContent();
      assert(body === payload, `the response's body is shown as ${body} and not as ${payload}`);
      const data = await one.page.locator("#request-body").textContent();
      assert(JSON.parse(data).data.name === payload, `the event's data is shown as ${data}`);
      assert((await one.page.getByLabel("Response headers").textContent()).includes(`x-said: ${flat}`), "the response's header is shown otherwise");
      const raw = await one.page.request.get(`${paths[0]}/response.txt?attempt=1`);
      assert(raw.headers()["content-type"] === "text/plain; charset=utf-8" && raw.headers()["content-disposition"].startsWith("attachment"), "the raw response is no attachment");
    }
    // What the script puts into a page by itself is no other way in.
    await one.page.goto(`${base}/webhooks/new`);
    for (const payload of payloads.slice(0, 12)) {
      await one.page.getByLabel("URL").fill(payload);
      await one.page.locator("#url-said .bad").waitFor();
      await one.page.waitForTimeout(20);
    }
    await one.page.goto(`${base}/deliveries`);
    await one.page.locator("tbody tr[data-id]").first().waitFor();
    await one.fine("the script's own pages");
    await one.close();
    await target.close();
  },
};
