// What makes the pages live. Each works without this: nothing here is the only way to do anything.
"use strict";

const parsed = (html) => new DOMParser().parseFromString(html, "text/html").body.childNodes;
const fetched = (path, more = {}) =>
  fetch(path, { credentials: "same-origin", ...more, headers: { "X-Fragment": "1", ...more.headers } });

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
function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const ago = Math.floor((now - Date.parse(time.dateTime)) / 1000);
    if (ago > 0) time.textContent = `${span(ago)} ago`;
  }
  for (const time of document.querySelectorAll("time[data-until]")) {
    const left = Math.ceil((Date.parse(time.dateTime) - now) / 1000);
    time.textContent = left > 0 ? `in ${span(left)}` : "now";
  }
}

// Parts of a page that are asked for again until they are done.
const REFRESHED = 500;
function refresh(part) {
  setTimeout(async () => {
    if (!part.isConnected) return;
    if (document.hidden) return refresh(part);
    try {
      const answer = await fetched(part.dataset.refresh);
      if (!answer.ok) return;
      const nodes = [...parsed(await answer.text())];
      part.replaceWith(...nodes);
      nodes.forEach(enliven);
    } catch {
      refresh(part);
    }
  }, REFRESHED);
}

// A page of something that is still going on is loaded again; what is unfolded or read stays where it is.
function reload() {
  setTimeout(async () => {
    try {
      const answer = await fetched(location.href);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const [fresh, main] = [page.getElementById("main"), document.getElementById("main")];
      const read = !getSelection().isCollapsed && main.contains(getSelection().anchorNode);
      if (answer.ok && fresh && fresh.textContent !== main.textContent && !read) {
        const unfolded = [...main.querySelectorAll("details")].map((one) => one.open);
        const reached = "a, button, summary, pre";
        const focus = [...main.querySelectorAll(reached)].indexOf(document.activeElement);
        main.replaceChildren(...fresh.childNodes);
        main.querySelectorAll("details").forEach((one, place) => { one.open = unfolded[place] ?? false; });
        main.querySelectorAll(reached)[focus]?.focus({ preventScroll: true });
        enliven(main);
      } else if (answer.ok) reload();
    } catch {
      reload();
    }
  }, 1000);
}

// Forms whose answer belongs into the page.
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-inline]");
  if (!form) return;
  event.preventDefault();
  const place = document.getElementById(form.dataset.inline);
  const button = form.querySelector("button:not([type=button])");
  button.disabled = true;
  try {
    const body = new URLSearchParams(new FormData(form));
    const answer = await fetched(form.action, { method: "POST", body });
    place.replaceChildren(...parsed(await answer.text()));
    enliven(place);
  } catch {
    form.removeAttribute("data-inline");
    form.submit();
  } finally {
    button.disabled = false;
  }
});

// A URL is checked while it is typed.
function check(field) {
  let waiting;
  let asked = 0;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const number = ++asked;
      const answer = await fetched(`${field.dataset.check}?url=${encodeURIComponent(field.value)}`);
      if (!answer.ok || number !== asked) return;
      const said = document.getElementById("url-said");
      said.replaceChildren(...parsed(await answer.text()));
      field.toggleAttribute("aria-invalid", said.querySelector(".bad") !== null);
      if (field.hasAttribute("aria-invalid")) field.setAttribute("aria-invalid", "true");
    }, 300);
  });
}

// The log, as it happens.
function watch(rows) {
  const state = document.querySelector("[data-live-state]");
  const words = document.querySelector("[data-live-words]");
  const said = document.querySelector("[data-live-said]");
  const source = new EventSource(rows.dataset.live);
  source.addEventListener("open", () => { state.hidden = false; words.textContent = "live"; });
  source.addEventListener("error", () => { words.textContent = "connecting again"; });
  source.addEventListener("over", (event) => { source.close(); words.textContent = event.data; });
  source.addEventListener("rows", (event) => {
    const picked = new Set([...rows.querySelectorAll("input:checked")].map((box) => box.value));
    const known = new Set([...rows.querySelectorAll("tr[data-id]")].map((row) => row.dataset.id));
    const focus = rows.contains(document.activeElement) ? document.activeElement : null;
    const key = focus && [focus.closest("tr")?.dataset.id, focus.tagName, focus.name];
    const table = new DOMParser().parseFromString(`<table><tbody>${event.data}</tbody></table>`, "text/html");
    const fresh = [...table.querySelectorAll("tr")];
    const number = fresh.filter((row) => row.dataset.id && !known.has(row.dataset.id)).length;
    rows.replaceChildren(...fresh);
    for (const box of rows.querySelectorAll("input[name=pick]")) box.checked = picked.has(box.value);
    for (const row of fresh) if (row.dataset.id && !known.has(row.dataset.id)) row.classList.add("new");
    if (key) {
      const row = rows.querySelector(`tr[data-id="${key[0]}"]`);
      [...(row?.querySelectorAll("a, button, input") ?? [])].find((one) => one.tagName === key[1])?.focus();
    }
    if (number > 0) said.textContent = number === 1 ? "1 new delivery" : `${number} new deliveries`;
    tick();
  });
  addEventListener("pagehide", () => source.close());
}

function enliven(part) {
  if (!(part instanceof Element)) return;
  const all = (selector) => [...(part.matches(selector) ? [part] : []), ...part.querySelectorAll(selector)];
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

enliven(document.body);
setInterval(tick, 1000);
