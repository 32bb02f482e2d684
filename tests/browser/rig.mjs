// Hides how the real service, receivers on this machine and a real browser are started and ended.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { appendFileSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const OPERATOR_KEY = "vk_admin_0123456789abcdefghijABCDEFGHIJ01";
export const EVERYTHING = ["read", "webhooks:write", "events:write"];

/** A folder of one's own, removed in the end. */
export async function folder() {
  const path = await mkdtemp(join(tmpdir(), "vk-browser-"));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

let started = 0;

/** Keeps a piece of what is looked through for secrets in the end, by `cargo xtask test`. */
function keep(file, piece) {
  if (process.env.LOGS) appendFileSync(join(process.env.LOGS, file), piece);
}

/** The service with a store in `folder`. It may reach this machine, over plain HTTP. */
export async function serve(binary, folder, options = []) {
  const process_ = spawn(binary, [
    "serve", "--listen", "127.0.0.1:0", "--database-url", `sqlite:${folder}/store.db`,
    "--allow-cidr", "127.0.0.0/8", "--allow-http", ...options,
  ], { env: { PATH: process.env.PATH, VK_WEBHOOKS_ADMIN_KEY: OPERATOR_KEY }, stdio: ["ignore", "pipe", "pipe"] });
  const number = ++started;
  let log = "";
  process_.stdout.on("data", (piece) => keep(`service-${number}.out`, piece));
  process_.stderr.on("data", (piece) => keep(`service-${number}.err`, piece));
  const ended = new Promise((resolve) => process_.on("exit", resolve));
  const base = await new Promise((resolve, reject) => {
    process_.stderr.on("data", (piece) => {
      log += piece;
      const found = /listening on (http:\/\/\S+)/.exec(log);
      if (found) resolve(found[1]);
    });
    ended.then((code) => reject(new Error(`the service ended with ${code} before it listened:\n${log}`)));
  });
  keep("secrets", `${OPERATOR_KEY}\n${readFileSync(`${folder}/store.db.key`)}`);
  return {
    base,
    pid: process_.pid,
    log: () => log,
    api: (method, path, body, { key = OPERATOR_KEY, team } = {}) => call(base, method, path, body, key, team),
    async stop() {
      process_.kill("SIGTERM");
      const code = await ended;
      if (code !== 0) throw new Error(`the service ended with ${code}:\n${log}`);
    },
    kill: () => process_.kill("SIGKILL"),
  };
}

async function call(base, method, path, body, key, team) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  if (team) headers["x-vantagekit-team"] = team;
  const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text}`);
  const data = text ? JSON.parse(text).data : null;
  for (const secret of [data?.secret, data?.key]) if (secret) keep("secrets", `${secret}\n`);
  return data;
}

/** A receiver: `answer` takes a request with its body and gives {status, headers, body}. */
export async function receiver(answer = () => ({ status: 200 }), port = 0) {
  const arrivals = [];
  const server = createServer((request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      const arrival = { url: request.url, headers: request.headers, raw: request.rawHeaders, body: Buffer.concat(pieces).toString() };
      arrivals.push(arrival);
      const { status = 200, headers = {}, body = "" } = answer(arrival);
      response.writeHead(status, headers).end(body);
    });
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, arrivals, close: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }) };
}

/** A port that nobody listens at. */
export async function freePort() {
  const taken = await receiver();
  await taken.close();
  return Number(new URL(taken.url).port);
}

/** The system's Chromium, which asks nobody for anything. */
export function browser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless=new", "--no-sandbox", "--disable-background-networking", "--disable-component-update",
      "--disable-default-apps", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage", "--disable-gpu",
      "--metrics-recording-only", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ],
  });
}

/** Waits until `look` gives something. */
export async function until(what, look, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export function assert(holds, what) {
  if (!holds) throw new Error(what);
}
