// A million deliveries in the log: every page is small, and answered in under 20 ms.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { assert, folder, freePort, serve } from "./rig.mjs";
import { team } from "./people.mjs";

// Written as the service would have written them, an event and its delivery every two and a half seconds back
// to a month ago: most were delivered, some are dead letters, the newest are still owed.
const MILLION = `
import sqlite3, sys, time
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute("PRAGMA synchronous = OFF")
team = base.execute("SELECT id FROM teams").fetchone()[0]
endpoints = [row[0] for row in base.execute("SELECT id FROM endpoints ORDER BY id")]
ALL, EPOCH, now = 1000000, 1735689600000, int(time.time() * 1000)
types = ["link.clicked", "document.viewed", "deal_room.viewed", "link.created", "agreement.signed"]
body = b'{"type":"link.clicked","data":{"name":"' + b"x" * 200 + b'"}}'
def ids():
    for n in range(ALL):
        yield n, (now - (ALL - n) * 2500 - EPOCH) << 22
base.execute("BEGIN")
base.executemany("INSERT INTO events (id, team_id, event_type, deliveries, test, body) VALUES (?, ?, ?, 1, 0, ?)",
    ((event, team, types[n % 5], body) for n, event in ids()))
def standing(n):
    return 1 if n > ALL - 200 else 3 if n % 50 == 0 else 2
base.executemany("INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, 1, 0, ?, ?, 0)",
    ((event + 1, team, event, endpoints[n % len(endpoints)], types[n % 5], standing(n),
      now + 86400000 if standing(n) == 1 else None, None if standing(n) == 1 else (event >> 22) + EPOCH + 80) for n, event in ids()))
base.executemany("INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, status_code, reason, detail, first_byte_ms, response_body) VALUES (?, 1, ?, 80, ?, ?, ?, ?, 70, ?)",
    ((event + 1, (event >> 22) + EPOCH, *(("delivered", 200, None, None) if standing(n) == 2 else ("permanent_failure", 410, "http_status", "The receiver answered 410 Gone.")), b"ok") for n, event in ids()))
hour = now // 3600000
base.executemany("INSERT OR REPLACE INTO endpoint_hours VALUES (?, ?, 1400, 30, 28, X'1C900A20C804')",
    ((endpoint, hour - back) for endpoint in endpoints for back in range(192)))
base.execute("COMMIT")
`;
const ASKED = 20;

export const large = {
  async "a million deliveries in the log, and every page in under 20 ms"({ binary }) {
    const place = await folder();
    let service = await serve(binary, place.path);
    const acme = await team(service, "large");
    const port = await freePort();
    for (let n = 0; n < 10; n++) await acme.api("POST", "/v1/webhook-endpoints", { url: `http://127.0.0.1:${port}/${n}` });
    await service.stop();
    execFileSync("python3", ["-c", MILLION, join(place.path, "store.db")]);
    service = await serve(binary, place.path);
    try {
      const { url } = await service.api("POST", "/v1/teams/large/settings-link");
      const entered = await fetch(url, { redirect: "manual" });
      const cookie = entered.headers.get("set-cookie").split(";")[0];
      const [endpoint] = await service.api("GET", "/v1/webhook-endpoints", null, { team: "large" });
      const [dead] = await service.api("GET", "/v1/deliveries?status=dead_letter", null, { team: "large" });
      const day = (ago) => new Date(Date.now() - ago * 86400_000).toISOString().slice(0, 16);
      const slow = [];
      for (const path of [
        "webhooks", "webhooks/new", `webhooks/${endpoint.id}`, `webhooks/${endpoint.id}/settings`, `webhooks/${endpoint.id}/test`,
        "deliveries", "deliveries?status=delivered", "deliveries?status=dead_letter", "deliveries?status=retrying", "deliveries?status=pending",
        "deliveries?type=link.clicked&status=dead_letter", `deliveries?endpoint=${endpoint.id}`, `deliveries?since=${day(20)}&until=${day(10)}`,
        `deliveries?id=${dead.id.slice(0, 9)}`, `deliveries?id=${dead.eventId}`, "deliveries/retry?status=dead_letter", `deliveries/${dead.id}`,
        "events", "events/link.clicked", "debugger", "keys",
      ]) {
        let best = Infinity;
        for (let n = 0; n < ASKED; n++) {
          const begun = performance.now();
          const answer = await fetch(`${service.base}/settings/teams/large/${path}`, { headers: { cookie } });
          const text = await answer.text();
          best = Math.min(best, performance.now() - begun);
          assert(answer.status === 200, `${path} answered ${answer.status}: ${text}`);
          assert(text.length < 100 * 1024, `${path} has ${text.length} bytes`);
        }
        console.log(`        ${best.toFixed(1).padStart(5)} ms  ${path.replaceAll(/[0-9a-f-]{36}/g, "{id}")}`);
        if (best >= 20) slow.push(`${path} took ${best.toFixed(1)} ms`);
      }
      assert(slow.length === 0, slow.join("; "));
    } finally {
      await service.stop();
      await place.remove();
    }
  },
};
