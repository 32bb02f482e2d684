// The main path with Tab, Enter and Space only: what has the focus can be seen, comes in the order of the page, is never
// trapped, and is where one goes on from after something was done.
import { assert, receiver, until } from "./rig.mjs";
import { person, team } from "./people.mjs";

/** What has the focus, as somebody at the keyboard meets it. */
function focused() {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const label = one.labels?.[0]?.textContent ?? one.getAttribute("aria-label") ?? one.textContent;
  // A choice of language is a field that its label stands for.
  const shown = one.matches(".languages > input") ? document.querySelector(`label[for="${one.id}"]`) : one;
  const style = getComputedStyle(shown);
  const box = shown.getBoundingClientRect();
  const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  return {
    name: label.trim().replaceAll(/\s+/g, " ").slice(0, 80),
    kind: one.nodeName.toLowerCase(),
    outlined,
    inView: box.width > 0 && box.height > 0 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth,
    inMain: document.getElementById("main").contains(one),
    at: [...document.querySelectorAll("*")].indexOf(one),
    // A date is several stops, one for each of its parts.
    parts: one.matches("[type=date], [type=datetime-local]") ? 8 : 1,
  };
}

class Hands {
  constructor(one) {
    this.one = one;
    this.keys = one.page.keyboard;
    this.steps = 0;
  }

  async step(key = "Tab") {
    await this.keys.press(key);
    this.steps++;
    const found = await this.one.page.evaluate(focused);
    if (found) {
      const where = `${found.kind} "${found.name}" at ${this.one.page.url()}`;
      assert(found.outlined, `the focus cannot be seen on ${where}`);
      assert(found.inView, `the focus is out of sight on ${where}`);
    }
    return found;
  }

  /** Goes on to what is called so; every step is further down the page. */
  async to(name, kind) {
    let last = (await this.one.page.evaluate(focused))?.at ?? -1;
    const met = [];
    for (let n = 0; n < 80; n++) {
      const found = await this.step();
      assert(found, `the page ended before ${name} came; met: ${met.join(", ")}`);
      met.push(found.name);
      assert(found.at > last || (found.parts > 1 && found.at === last), `the focus jumps back to ${found.name}; met: ${met.join(", ")}`);
      last = found.at;
      if (found.name.startsWith(name) && (!kind || found.kind === kind)) return found;
    }
    throw new Error(`${name} does not come within 80 steps; met: ${met.join(", ")}`);
  }

  async press(key) { await this.keys.press(key); }
  async type(text) { await this.keys.type(text); }

  /** Waits for a page and starts at its top, or where it puts the focus itself. */
  async at(heading) {
    await this.one.page.getByRole("heading", { name: heading }).first().waitFor();
    await this.one.page.waitForLoadState("load");
    return this.one.page.evaluate(focused);
  }

  /** Goes back to the page's start, as somebody with Shift and Tab would. */
  top() {
    return this.one.page.evaluate(() => { const first = document.querySelector(".skip"); first.focus(); first.blur(); });
  }

  /** Goes once around the page: to its end and back to its start, nothing keeps the focus. */
  async around(where) {
    await this.top();
    const met = [];
    for (let n = 0; n < 250; n++) {
      const found = await this.step();
      if (!found || (met.length > 1 && found.at === met[0])) {
        assert(met.length > 3, `${where} has next to nothing to go to`);
        return;
      }
      const stops = met.slice(-found.parts).filter((at) => at === found.at).length;
      assert(stops < found.parts, `${where}: ${found.name} keeps the focus`);
      met.push(found.at);
    }
    throw new Error(`${where} does not end within 250 steps`);
  }

  async skip() {
    const first = await this.step();
    assert(first?.name === "Skip to content", `the first to come is ${first?.name}`);
    await this.press("Enter");
    assert(await this.one.page.evaluate(() => document.activeElement.id) === "main", "the link does not lead past the navigation");
    const next = await this.step();
    assert(next?.inMain, `after skipping comes ${next?.name}`);
    return next;
  }
}

export const keyboard = {
  async "the main path with the keyboard alone"({ browser, service }) {
    const { key } = await team(service, "keyboard");
    let broken = true;
    const target = await receiver(() => ({ status: broken ? 410 : 200 }));
    const one = await person(browser, service);
    const hands = new Hands(one);
    await one.page.goto("/settings/sign-in");
    // A wrong key first: one is put where it has to be mended.
    await hands.to("API key", "input");
    await hands.type("vk_live_wrong");
    await hands.to("Sign in", "button");
    await hands.press("Enter");
    await one.see("This key is not valid");
    assert((await one.page.evaluate(focused))?.name === "API key", "the focus is not at what is wrong");
    await hands.type(key);
    await hands.press("Enter");
    await hands.at("Webhooks");
    await hands.around("the empty list");
    await one.page.reload();
    await hands.skip();
    await one.page.reload();
    await hands.to("Add your first endpoint");
    await hands.press("Enter");
    await hands.at("Add an endpoint");
    await hands.to("URL");
    await hands.type(`${target.url}/`);
    await one.see("This URL can receive deliveries.");
    await hands.to("Description");
    await hands.type("CRM");
    await hands.to("All events");
    // The choice between all and some is one stop; arrows are for within it.
    await hands.to("Link", "input");
    await hands.press("Space");
    assert(await one.page.getByRole("checkbox", { name: "link.clicked" }).isChecked(), "Space does not tick");
    await hands.to("Add endpoint", "button");
    await hands.press("Enter");
    await hands.at("Your endpoint is ready");
    await hands.around("the new endpoint's page");
    await hands.top();
    await hands.to("Send test event", "button");
    await hands.press("Space");
    await one.page.locator("#test-result .badge.bad").waitFor();
    assert((await one.page.evaluate(focused))?.name === "Send test event", "the button lost the focus");
    const after = await hands.step();
    assert(after?.name === "See what to do about it", `after the button comes ${after?.name} and not what came of it`);
    await hands.top();
    await hands.to("Deliveries", "a");
    await hands.press("Enter");
    await hands.at("Deliveries");
    await hands.around("the log");
    await hands.top();
    await hands.to("Status", "select");
    await hands.to("link.", "a");
    await hands.press("Enter");
    await one.page.getByRole("heading", { name: "The receiver has nothing at this path" }).waitFor();
    await hands.around("a delivery");
    broken = false;
    await hands.top();
    await hands.to("Retry now", "button");
    await hands.press("Enter");
    await one.see("It is on its way again");
    const said = await one.page.evaluate(() => document.activeElement.textContent);
    assert(said.startsWith("It is on its way again"), `after the retry the focus is at ${said}`);
    await one.page.locator(".heading .badge.good").waitFor();
    await until("it arrived", () => target.arrivals.length === 2);
    assert((await one.page.evaluate(() => document.activeElement.textContent)).startsWith("It is on its way again"), "the focus was lost while the page went on");
    await hands.around("the delivery after its retry");
    assert(hands.steps > 100, `${hands.steps} steps`);
    await one.fine("the keyboard");
    await one.close();
    await target.close();
  },
};
