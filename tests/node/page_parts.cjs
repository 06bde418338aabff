// What page.cjs does beside the work of an operator: a viewer at an empty broker; widths, colours and keyboard.

"use strict";

const assert = require("node:assert");
const path = require("node:path");

const { PAGE_SHOTS, api, assertClean, column, connect, eventually, go, login, open, populate } = require("./page.cjs");

const VIEWS = [
  ["overview", "Overview"],
  ["clients", "Clients"],
  ["clients/pump-1", "pump-1"],
  ["retained", "Retained messages"],
  ["subscriptions", "Subscriptions"],
  ["routes?topic=plant%2F1%2Fstate", "Who would get this"],
  ["drops", "Drops"],
  ["refusals", "Refusals"],
  ["message", "A message's journey"],
  ["trace", "Trace"],
  ["explain", "Access rules"],
  ["store", "Store"],
  ["bridges", "Bridges and sinks"],
  ["bridges/bridge/self", "self"],
  ["bridges/sink/alarms", "alarms"],
  ["streams", "Streams"],
  ["streams/orders", "orders"],
  ["bans", "Bans"],
  ["configuration", "Configuration"],
  ["mqtt", "Subscribe and publish"],
];

/// What a view of an empty broker says.
const EMPTY = {
  clients: "No client has a session here yet.",
  retained: "There are no retained messages.",
  subscriptions: "No client is subscribed to anything.",
  "routes?topic=a": "Nobody would get it.",
  drops: "No message was dropped since the start of the broker.",
  refusals: "Nothing was refused since the start of the broker.",
  bans: "Nobody is banned.",
  bridges: "The configuration has no sinks.",
  streams: "The broker has no streams.",
  trace: "A trace needs the role operator.",
};

/// Takes the one failed request with this status out of the problems.
function expectFailure(problems, status) {
  assert(problems.length === 1 && problems[0].includes(String(status)), String(problems));
  problems.length = 0;
}

async function viewer(browser) {
  const { page, problems } = await open(browser);
  await login(page, "viewer");
  for (const [view, text] of Object.entries(EMPTY)) {
    await go(page, `#/${view}`, VIEWS.find(([known]) => known.split("?")[0] === view.split("?")[0])[1]);
    await page.locator("main .empty", { hasText: text }).waitFor();
  }
  await go(page, "#/mqtt", "Subscribe and publish");
  assert.match(await page.locator("main pre").first().innerText(), /transport = "ws"/);
  await assertClean(page, problems);

  const client = await connect("pump-1");
  await go(page, "#/clients/pump-1", "pump-1");
  for (const [view, buttons] of [
    ["clients/pump-1", ["Disconnect", "Forget"]],
    ["trace", ["Start"]],
    ["bans", ["Ban"]],
    ["store", ["Back up"]],
    ["configuration", ["Reload"]],
  ]) {
    await go(page, `#/${view}`, VIEWS.find(([known]) => known === view)[1]);
    for (const text of buttons) {
      const button = page.locator("main button", { hasText: text }).first();
      assert(await button.isDisabled(), `${view} ${text}`);
      assert.match(await button.getAttribute("title"), /^This needs the role (operator|admin); viewer has the role viewer\.$/);
    }
  }
  // The broker refuses it, too, and the page says so.
  await go(page, "#/clients/pump-1", "pump-1");
  await page.evaluate(() => document.querySelectorAll("main button").forEach((button) => (button.disabled = false)));
  await page.locator("main button", { hasText: "Disconnect" }).click();
  await page.locator("dialog button", { hasText: /^Disconnect$/ }).click();
  const reason = "this needs the role operator, and viewer has the role viewer";
  await eventually(async () => assert.equal(await page.innerText("dialog .error"), reason));
  expectFailure(problems, 403);
  await page.locator("dialog button", { hasText: "Cancel" }).click();
  assert.equal((await api("GET", "clients/pump-1")).connected, true);
  await client.endAsync();

  await go(page, "#/clients/nobody", "nobody");
  await page.locator("main .empty", { hasText: "No session has this Client Identifier." }).waitFor();
  problems.splice(0, problems.filter((text) => text.includes("404")).length);
  await checkNoAnswer(page, problems);
  // Figures stop being read when the token is revoked.
  await api("DELETE", "tokens/viewer");
  await page.locator("#login-error", { hasText: "You were logged out: the token is not valid." }).waitFor();
  assert.equal(await page.locator("#shell").isVisible(), false);
  assert.equal(await page.locator("main *").count(), 0);
  assert(problems.every((text) => text.includes("401")), String(problems));
}

/// What the page says while the broker does not answer, and that it goes on afterwards.
async function checkNoAnswer(page, problems) {
  await page.context().setOffline(true);
  await page.locator("#state", { hasText: "no answer" }).waitFor();
  await go(page, "#/subscriptions", "Subscriptions");
  await page.locator("main .failed", { hasText: "The broker does not answer." }).waitFor();
  await page.context().setOffline(false);
  await page.locator("main button", { hasText: "Try again" }).click();
  await page.locator("main .empty").waitFor();
  await page.locator("#state", { hasText: "ready" }).waitFor();
  assert(problems.every((text) => text.includes("ERR_INTERNET_DISCONNECTED")), String(problems));
  problems.length = 0;
}

async function layout(browser) {
  await populate();
  const { page, problems } = await open(browser);
  await assertFits(page, "login");
  await login(page, "operator");
  for (const [view, title] of VIEWS) {
    await go(page, `#/${view}`, title);
    await assertFits(page, view.split("?")[0].replaceAll("/", "-"));
  }
  await checkMenu(page);
  await assertClean(page, problems);
  await page.context().close();
  await keyboard(browser);
}

/// The page is not wider than its window, and has the colours that are asked for.
async function assertFits(page, name) {
  for (const width of [375, 768, 1_280]) {
    await page.setViewportSize({ width, height: 900 });
    for (const colorScheme of ["dark", "light"]) {
      await page.emulateMedia({ colorScheme });
      const [wide, colour] = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        return [scrollWidth - clientWidth, getComputedStyle(document.body).backgroundColor];
      });
      assert(wide <= 0, `${name} is ${wide} pixels too wide for ${width}`);
      assert.equal(colour, colorScheme === "dark" ? "rgb(16, 21, 26)" : "rgb(245, 246, 248)");
      if (PAGE_SHOTS) {
        await page.screenshot({ path: path.join(PAGE_SHOTS, `${name}-${width}-${colorScheme}.png`) });
      }
    }
  }
}

/// On a phone, the views are behind a button.
async function checkMenu(page) {
  await page.setViewportSize({ width: 375, height: 900 });
  assert.equal(await page.locator("#nav").isVisible(), false);
  await page.click("#menu");
  await page.locator("#nav a", { hasText: "Bans" }).click();
  await page.locator("main h1", { hasText: "Bans" }).waitFor();
  assert.equal(await page.locator("#nav").isVisible(), false);
}

/// Everything without a mouse.
async function keyboard(browser) {
  const { page, problems } = await open(browser);
  await page.keyboard.type(process.env.TOKEN_VIEWER);
  await page.keyboard.press("Enter");
  await page.waitForSelector(".tile");
  await page.keyboard.press("g");
  await page.keyboard.press("c");
  await page.locator("main h1", { hasText: "Clients" }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("pump-2");
  await page.keyboard.press("Enter");
  await eventually(async () => assert.deepEqual(await column(page, "Client Identifier"), ["pump-2"]));
  const focused = () => page.evaluate(() => document.activeElement.innerText ?? "");
  for (let steps = 0; (await focused()) !== "pump-2"; steps += 1) {
    assert(steps < 40, "the client is reached by Tab");
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  await page.locator("main h1", { hasText: "pump-2" }).waitFor();
  await page.keyboard.press("?");
  await page.locator("dialog h2", { hasText: "Keyboard shortcuts" }).waitFor();
  await page.keyboard.press("Escape");
  await eventually(async () => assert.equal(await page.locator("dialog").count(), 0));
  await page.keyboard.press("r");
  await page.locator("main h1", { hasText: "pump-2" }).waitFor();
  await assertClean(page, problems);
}

module.exports = { viewer, layout };
