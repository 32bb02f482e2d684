// What makes the pages live. Each works without this: nothing here is the only way to do anything.
"use strict";

const parsed = (html) => new DOMParser().parseFromString(html, "text/html");
const fetched = (path, more = {}) =>
  fetch(path, { credentials: "same-origin", ...more, headers: { "X-Fragment": "1", ...more.headers } });

// What is said to those who listen to a page: one short text, and only when there is something new.
const listened = document.getElementById("said");
function say(text) {
  // The very same text once more would not be read out.
  if (listened) listened.textContent = listened.textContent === text ? `${text}\u00a0` : text;
}
const told = new WeakMap();
function tell(part) {
  const text = part.dataset.say;
  if (!text || told.get(part) === text) return;
  told.set(part, text);
  say(text);
}

// Whether what the page shows is still so. `gone`: it is not looked for again.
const stale = document.getElementById("stale");
const GONE = "This page is not kept up to date any more.";
const LOST = "This page is not live at the moment. The connection is tried again by itself.";
function notLive(text) {
  if (!stale || stale.dataset.text === text) return;
  stale.dataset.text = text;
  const again = Object.assign(document.createElement("a"), { href: location.href, textContent: "Load it again" });
  const line = Object.assign(document.createElement("p"), { className: "said wait" });
  line.append(`${text} `, again);
  stale.replaceChildren(line);
}
function liveAgain() {
  if (!stale?.dataset.text) return;
  delete stale.dataset.text;
  stale.replaceChildren();
  say("Live again.");
}
// What asking again does not help with: the session is over, or what was shown is gone.
const isGone = (answer) => [401, 402, 403, 404, 410].includes(answer.status);

// Asks for a path again and again until `take` has enough of it; ever less often while it cannot be had.
const LONGEST = 30_000;
function keepAsking(path, pause, isWanted, take) {
  let wait = pause;
  const ask = async () => {
    if (!isWanted()) return;
    if (document.hidden) return void setTimeout(ask, pause);
    try {
      const answer = await fetched(path);
      if (isGone(answer)) return notLive(GONE);
      if (!answer.ok) throw Object.assign(new Error(answer.statusText), { after: answer.headers.get("retry-after") * 1000 });
      const more = take(parsed(await answer.text()));
      wait = pause;
      liveAgain();
      if (more) setTimeout(ask, wait);
    } catch (error) {
      notLive(LOST);
      wait = Math.max(Math.min(wait * 2, LONGEST), error.after || 0);
      setTimeout(ask, wait);
    }
  };
  setTimeout(ask, wait);
}

// Makes `old` like `fresh` and touches only what differs: what stays keeps its focus, what is ticked and unfolded in
// it, and is not read out anew. Rows are known by their `data-id`. What the script itself decides is left to it: what
// is hidden, unfolded or may be focused, and the words of moments that go by.
const OURS = ["hidden", "open", "tabindex"];
const MOMENTS = "time[data-ago], time[data-until]";
const isLike = (one, other) => one.nodeName === other.nodeName && one.id === other.id && one.dataset?.id === other.dataset?.id;
function patch(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name, value } of fresh.attributes) {
    if (!OURS.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!OURS.includes(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  if (old.matches(MOMENTS)) return;
  let place = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    let same = place && isLike(place, next) ? place : null;
    for (let later = place; !same && later; later = later.nextSibling) {
      if (later.nodeType === Node.ELEMENT_NODE && isLike(later, next) && later.className === next.className) same = later;
    }
    if (!same) {
      old.insertBefore(next, place);
      continue;
    }
    while (place !== same) {
      const over = place;
      place = place.nextSibling;
      over.remove();
    }
    place = same.nextSibling;
    patch(same, next);
  }
  while (place) {
    const over = place;
    place = place.nextSibling;
    over.remove();
  }
}
const isBeingRead = (part) => !getSelection().isCollapsed && part.contains(getSelection().anchorNode);

// Copying, where the browser lets us.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(document.getElementById(button.dataset.copy));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    button.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

// Moments that go by.
const span = (seconds) =>
  seconds < 60 ? `${seconds} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min`
    : seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
const show = (time, words) => { if (time.textContent !== words) time.textContent = words; };
function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const ago = Math.floor((now - Date.parse(time.dateTime)) / 1000);
    if (ago > 0) show(time, `${span(ago)} ago`);
  }
  for (const time of document.querySelectorAll("time[data-until]")) {
    const left = Math.ceil((Date.parse(time.dateTime) - now) / 1000);
    show(time, left > 0 ? `in ${span(left)}` : "now");
  }
}

// Parts of a page that are asked for again until they are done.
const REFRESHED = 500;
function refresh(part) {
  keepAsking(part.dataset.refresh, REFRESHED, () => part.isConnected, (page) => {
    patch(part, page.body.firstElementChild);
    enliven(part);
    return part.hasAttribute("data-refresh");
  });
}

// A page of something that is still going on is looked at again, until it is over.
const LOOKED = 1000;
function reload() {
  const main = document.getElementById("main");
  keepAsking(location.href, LOOKED, () => true, (page) => {
    if (!isBeingRead(main)) {
      patch(main, page.getElementById("main"));
      enliven(main);
    }
    return main.querySelector("[data-reload]") !== null;
  });
}

// Forms whose answer belongs into the page. The button is not disabled meanwhile, which would take its focus.
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-inline]");
  if (!form) return;
  event.preventDefault();
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  const place = document.getElementById(form.dataset.inline);
  try {
    const body = new URLSearchParams(new FormData(form));
    const answer = await fetched(form.action, { method: "POST", body });
    const page = parsed(await answer.text());
    // What is wrong with the session or the service is told by a page of its own.
    place.replaceChildren(...(page.querySelector("main")?.childNodes ?? page.body.childNodes));
    enliven(place);
  } catch {
    form.removeAttribute("data-inline");
    form.submit();
  } finally {
    form.ariaBusy = "false";
  }
});

// A form that is on its way is not sent a second time: a second key or endpoint would be made, and the secret of the
// first never seen. A page that comes back from the browser's memory can send its forms again.
const onItsWay = new Set();
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || form.matches("[data-inline]")) return;
  if (onItsWay.has(form)) return event.preventDefault();
  onItsWay.add(form);
  // Where the answer was given up waiting for, it can be sent again.
  setTimeout(() => onItsWay.delete(form), LONGEST);
});
addEventListener("pageshow", () => onItsWay.clear());

// A URL is checked while it is typed.
function check(field) {
  let waiting;
  let asked = 0;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const number = ++asked;
      // Where it cannot be asked now, nothing is said: the form's own answer will.
      const answer = await fetched(`${field.dataset.check}?url=${encodeURIComponent(field.value)}`).catch(() => null);
      if (!answer?.ok || number !== asked) return;
      const said = document.getElementById("url-said");
      const fresh = parsed(await answer.text()).body;
      if (said.textContent !== fresh.textContent) said.replaceChildren(...fresh.childNodes);
      if (said.querySelector(".bad")) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
    }, 300);
  });
}

// The log, as it happens. A stream that ends is opened again at once, as the service ends each after some minutes;
// one that cannot be had is tried ever less often, and the rows are fetched meanwhile.
const FIRST_WAIT = 1000;
function watch(rows) {
  const state = document.querySelector("[data-live-state]");
  const words = document.querySelector("[data-live-words]");
  const tellState = (text) => {
    state.hidden = false;
    state.classList.toggle("off", text !== "live");
    words.textContent = text;
  };
  const take = (fresh) => {
    const known = new Set([...rows.querySelectorAll("tr[data-id]")].map((row) => row.dataset.id));
    patch(rows, fresh);
    const more = [...rows.querySelectorAll("tr[data-id]")].filter((row) => !known.has(row.dataset.id));
    more.forEach((row) => row.classList.add("new"));
    if (more.length > 0) say(more.length === 1 ? "1 new delivery" : `${more.length} new deliveries`);
    tick();
  };
  let source;
  let wait = 0;
  const over = (text) => { tellState("not live"); notLive(text); };
  const connect = () => {
    source = new EventSource(rows.dataset.live);
    source.addEventListener("open", () => { wait = 0; tellState("live"); liveAgain(); });
    source.addEventListener("rows", (event) => {
      take(parsed(`<table><tbody>${event.data}</tbody></table>`).querySelector("tbody"));
    });
    source.addEventListener("over", (event) => { source.close(); over(event.data); });
    source.addEventListener("error", () => {
      source.close();
      if (wait === 0) tellState("connecting again");
      else over(LOST);
      // Not all at the same moment, where all were cut off at the same moment.
      setTimeout(again, wait * (0.75 + Math.random() / 2));
      wait = wait === 0 ? FIRST_WAIT : Math.min(wait * 2, LONGEST);
    });
  };
  const again = async () => {
    try {
      const answer = await fetched(location.href);
      if (isGone(answer)) return over(GONE);
      if (answer.ok) take(parsed(await answer.text()).querySelector("tbody[data-live]"));
    } catch {
      // The stream's own error, which is next, says so.
    }
    connect();
  };
  connect();
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) again(); });
}

// Each is brought to life once, however often the part of the page that it is in is looked through.
const lively = new Map();
function enliven(part) {
  const all = (selector) => {
    const known = lively.get(selector) ?? new WeakSet();
    lively.set(selector, known);
    const found = [...(part.matches(selector) ? [part] : []), ...part.querySelectorAll(selector)];
    return found.filter((one) => !known.has(one) && known.add(one));
  };
  [part, ...part.querySelectorAll("[data-say]")].filter((one) => one.dataset.say).forEach(tell);
  all("[data-copy]").forEach((button) => { button.hidden = false; });
  all("[data-refresh]").forEach(refresh);
  all("[data-check]").forEach(check);
  all("[data-reload]").forEach(reload);
  all("[data-without-script]").forEach((button) => { button.hidden = true; });
  all("select[data-submit]").forEach((select) => select.addEventListener("change", () => select.form.submit()));
  all("[data-pick-all]").forEach((box) => {
    box.hidden = false;
    box.addEventListener("change", () => {
      for (const one of document.querySelectorAll("input[name=pick]")) one.checked = box.checked;
    });
  });
  all("tbody[data-live]").forEach(watch);
  all("fieldset.category").forEach((category) => {
    const whole = category.querySelector("input[name=category]");
    const types = [...category.querySelectorAll("input[name=type]")];
    const show = () => {
      whole.checked = types.every((one) => one.checked);
      whole.indeterminate = !whole.checked && types.some((one) => one.checked);
    };
    whole.addEventListener("change", () => types.forEach((one) => { one.checked = whole.checked; }));
    types.forEach((one) => one.addEventListener("change", show));
    category.addEventListener("change", () => {
      const some = document.getElementById("events-some");
      if (some) some.checked = true;
    });
    show();
  });
  tick();
}

// What a page says first is read with it. What was just done or is wrong is where one goes on from.
for (const part of document.querySelectorAll("[data-say]")) told.set(part, part.dataset.say);
enliven(document.body);
setInterval(tick, 1000);
const start = location.hash ? null : document.querySelector("main [aria-invalid=true], main .said[role], main .verdict, main [data-start]");
if (start) {
  if (!start.matches("input, select, textarea")) start.tabIndex = -1;
  start.focus();
}
