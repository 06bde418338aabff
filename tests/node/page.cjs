// Uses the page of the admin listener in a headless Chromium, as a person would, and compares what it shows with what the API says.
//
// Argument: the part to run: operator, viewer or layout. The environment has PAGE_URL, MQTT_URL, WEB_SOCKET_URL (if there is a listener for
// WebSocket), and TOKEN_VIEWER, TOKEN_OPERATOR and TOKEN_ADMIN. With PAGE_SHOTS, a folder, the layout part writes screenshots into it.

"use strict";

const assert = require("node:assert");
const path = require("node:path");
const mqtt = require("mqtt");
const { chromium } = require("playwright-core");

const { PAGE_URL, MQTT_URL, WEB_SOCKET_URL, PAGE_SHOTS } = process.env;
const MARKUP = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
const HOSTILE = [MARKUP, '"><svg onload=window.hacked=1>', "a/b?c=%2F#d&e", "\u202Egnp.exe", "__proto__", "javascript:window.hacked=1", "x".repeat(400)];
const PATIENCE_MS = 20_000;

/// Asks the API as this role.
async function api(method, place, role = "admin") {
  const headers = { Authorization: `Bearer ${process.env[`TOKEN_${role.toUpperCase()}`]}` };
  const response = await fetch(new URL(`api/v1/${place}`, PAGE_URL), { method, headers });
  const text = await response.text();
  assert(response.ok, `${method} ${place}: ${response.status} ${text}`);
  return text === "" ? null : JSON.parse(text);
}

function connect(clientId, options = {}) {
  const properties = { sessionExpiryInterval: 3_600 };
  return mqtt.connectAsync(MQTT_URL, { clientId, protocolVersion: 5, clean: false, properties, reconnectPeriod: 0, ...options }, false);
}

/// Repeats until it succeeds, or fails after a time limit.
async function eventually(check) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) {
        throw error;
      }
    }
    await new Promise((wake) => setTimeout(wake, 50));
  }
}

/// A tab. `problems` are messages of the console from warnings on, exceptions, breaches of the policy and dialogs.
async function open(browser, { width = 1_280, height = 900, colorScheme = "light" } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const problems = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("dialog", (dialog) => problems.push(`dialog: ${dialog.message()}`) && dialog.dismiss());
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol.startsWith("http") && origin !== new URL(PAGE_URL).origin) {
      problems.push(`loaded from outside: ${request.url()}`);
    }
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => console.error(`breach of the policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(PAGE_URL);
  return { page, problems };
}

async function login(page, role) {
  await page.fill("#token", process.env[`TOKEN_${role.toUpperCase()}`]);
  await page.click("text=Log in");
  await page.waitForSelector("#who .badge");
}

/// Goes to a view and waits for it.
async function go(page, hash, title) {
  await page.evaluate((to) => (location.hash = to), hash);
  await page.locator("main h1", { hasText: title }).first().waitFor();
  await eventually(async () => assert.equal(await page.locator("main .loading, main [aria-busy]").count(), 0));
}

/// The texts of a column of the table.
async function column(page, title) {
  return page.locator(`main td[data-title="${title}"]`).allInnerTexts();
}

/// The value beside a name.
function fact(page, name) {
  return page.locator("dl.facts > div", { has: page.locator("dt", { hasText: new RegExp(`^${name}$`) }) }).locator("dd");
}

/// Clicks the button of the view with exactly this text.
function press(page, text) {
  return page.locator("main button", { hasText: new RegExp(`^${text}$`) }).click();
}

/// As the page shows what can't be seen, and what is long.
function visible(text) {
  const rest = text.length > 300 ? `… ${text.length - 300} more characters` : "";
  return text.slice(0, 300).replaceAll("\u202E", "\\u{202E}") + rest;
}

const sorted = (list) => [...list].sort();

/// Nothing that clients chose has become an element or run, and the console is silent.
async function assertClean(page, problems) {
  const made = await page.evaluate(() => [document.querySelectorAll("main img, main script, main svg, main iframe").length, window.hacked ?? null]);
  assert.deepEqual(made, [0, null]);
  assert.deepEqual(problems, []);
}

/// Clients, messages and refusals with hostile names.
async function populate() {
  const clients = {};
  for (const id of [...HOSTILE, "pump-1", "pump-2"]) {
    clients[id] = await connect(id);
    await clients[id].subscribeAsync(["plant/+/state", `${MARKUP}/#`], { qos: 1 });
  }
  const away = await connect("away");
  await away.subscribeAsync(`${MARKUP}/#`, { qos: 2 });
  await away.endAsync();
  const publisher = await connect("publisher");
  await publisher.publishAsync("plant/1/state", "on", { qos: 1, retain: true });
  await publisher.publishAsync(`${MARKUP}/topic`, MARKUP, { qos: 1, retain: true });
  await publisher.publishAsync(`${"deep/".repeat(60)}x`, "deep", { qos: 1, retain: true });
  await publisher.publishAsync("bytes", Buffer.from([0, 255, 16]), { qos: 1, retain: true });
  await publisher.publishAsync(`${MARKUP}/dropped`, MARKUP, { qos: 0 });
  await assert.rejects(publisher.publishAsync("secret/1", "x", { qos: 1 }));
  return { ...clients, publisher };
}

async function checkLogin(page, problems) {
  await page.fill("#token", "oncemq_wrong");
  await page.click("text=Log in");
  await eventually(async () => assert.equal(await page.innerText("#login-error"), "the token is not valid"));
  assert(problems.length === 1 && problems[0].includes("401"), String(problems));
  problems.length = 0;
  await login(page, "operator");
  const stored = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie, document.querySelector("#token").value]);
  assert.deepEqual(stored, [0, 0, "", ""]);
}

async function checkOverview(page) {
  await eventually(async () => {
    const { connections, sessions, subscriptions, retained_messages } = await api("GET", "overview");
    const tiles = await page.locator(".tile").allInnerTexts();
    const [first, , , , fifth, sixth] = tiles.map((text) => text.replaceAll("\n", " "));
    assert(first.includes(` ${connections} `) && first.includes(`${sessions} sessions`), first);
    assert(fifth.includes(` ${subscriptions} `) && sixth.includes(` ${retained_messages} `), `${fifth} ${sixth}`);
  });
  assert(await page.locator(".chart canvas").count() >= 6);
  await eventually(async () => assert.match(await page.locator(".chart .key b").first().innerText(), /^[0-9.,]+\/s$/));
}

async function checkClients(page, problems) {
  await go(page, "#/clients", "Clients");
  const { clients } = await api("GET", "clients?limit=1000");
  assert.deepEqual(sorted(await column(page, "Client Identifier")), sorted(clients.map(({ client_id }) => visible(client_id))));
  await assertClean(page, problems);
  await page.fill("main input[name=client_id]", "ump-");
  await page.keyboard.press("Enter");
  await eventually(async () => assert.deepEqual(sorted(await column(page, "Client Identifier")), ["pump-1", "pump-2"]));
  for (const id of HOSTILE) {
    await go(page, `#/clients/${encodeURIComponent(id)}`, visible(id).slice(0, 40));
    assert.equal(await page.locator("main h1").first().innerText(), visible(id));
    const { address } = await api("GET", `clients/${encodeURIComponent(id)}`);
    assert.equal(await fact(page, "Address").innerText(), address);
    assert.deepEqual(sorted(await column(page, "Topic Filter")), sorted(["plant/+/state", `${MARKUP}/#`]));
    await assertClean(page, problems);
  }
  await go(page, "#/clients/away", "away");
  assert.deepEqual(await column(page, "Topic"), [`${MARKUP}/topic`]);
  assert.deepEqual(await column(page, "Payload"), [MARKUP]);
  assert.deepEqual(await column(page, "Event"), ["disconnected", "connected"]);
  await assertClean(page, problems);
}

async function checkTopics(page, problems) {
  await go(page, "#/retained", "Retained messages");
  for (let closed = page.locator("main details:not([open]) > summary"); await closed.count() > 0; ) {
    await closed.first().click();
  }
  assert.equal(await page.locator("main .leaf").count(), 4);
  await page.locator("main .leaf", { hasText: "topic" }).click();
  await eventually(async () => assert.equal(await page.innerText(".details pre"), MARKUP));
  assert.equal(await page.innerText(".details h2"), `${MARKUP}/topic`);
  await page.locator("main .leaf", { hasText: "bytes" }).click();
  await eventually(async () => assert.equal(await page.innerText(".details pre"), "00 ff 10"));
  await assertClean(page, problems);
  await go(page, "#/subscriptions", "Subscriptions");
  const { subscriptions } = await api("GET", "subscriptions?limit=1000");
  assert.equal((await column(page, "Topic Filter")).length, subscriptions.length);
  const topic = `${MARKUP}/x`;
  await go(page, "#/routes", "Who would get this");
  await page.fill("main input[name=topic]", topic);
  await page.keyboard.press("Enter");
  const { receivers } = await api("GET", `routes?topic=${encodeURIComponent(topic)}`);
  await eventually(async () => {
    assert.deepEqual(sorted(await column(page, "Client Identifier")), sorted(receivers.map(({ client_id }) => visible(client_id))));
  });
  assert.equal(receivers.length, HOSTILE.length + 3);
  await assertClean(page, problems);
}

async function checkWhatHappened(page, problems, clients) {
  await go(page, "#/drops", "Drops");
  const { drops } = await api("GET", "drops");
  assert.deepEqual(await column(page, "Topic"), drops.map(({ topic }) => topic).reverse());
  assert(drops.some(({ topic }) => topic === `${MARKUP}/dropped`), JSON.stringify(drops));
  await go(page, "#/refusals", "Refusals");
  assert.deepEqual(await column(page, "Topic"), ["secret/1"]);
  const { refusals } = await api("GET", "refusals");
  assert.deepEqual(await column(page, "Rule"), [refusals[0].rule]);
  await go(page, "#/explain", "Access rules");
  await page.fill("main input[name=client_id]", MARKUP);
  await page.fill("main input[name=topic]", "secret/1");
  await press(page, "Explain");
  await eventually(async () => assert.equal(await fact(page, "Rule").innerText(), "topic deny secret/#"));
  assert.equal(await page.innerText("main .card h2"), "denied");
  await go(page, "#/trace", "Trace");
  await page.fill("main input[name=topic]", "traced/#");
  await press(page, "Start");
  await eventually(async () => {
    await clients.publisher.publishAsync(`traced/${MARKUP}`, MARKUP, { qos: 1 });
    const details = await column(page, "Details");
    assert(details.some((text) => text.includes(`traced/${MARKUP}`)), String(details));
  });
  await press(page, "Stop");
  await eventually(async () => assert.match(await page.locator("main .count").first().innerText(), /^Stopped after [0-9]+ lines\.$/));
  await assertClean(page, problems);
}

async function checkBridges(page, problems, clients) {
  await clients.publisher.publishAsync("alarms/1", MARKUP, { qos: 1 });
  await clients.publisher.publishAsync("bridged/1", MARKUP, { qos: 1 });
  const { bridges, sinks } = await eventually(async () => {
    const answers = { ...(await api("GET", "bridges")), ...(await api("GET", "sinks")) };
    assert.equal(answers.sinks[0].state, "failing");
    assert.equal(answers.bridges[0].out.messages, 1);
    assert.notEqual(answers.bridges[1].last_error, null);
    return answers;
  });
  await go(page, "#/bridges", "Bridges and sinks");
  assert.deepEqual(await column(page, "Name"), [...bridges, ...sinks].map(({ name }) => name));
  assert.deepEqual(await column(page, "State"), ["connected", "not connected", "failing"]);
  assert.deepEqual(await column(page, "Last error"), ["–", bridges[1].last_error, sinks[0].last_error]);
  assert.deepEqual(await column(page, "Out"), ["1", "0"]);
  await page.locator("main td a", { hasText: /^self$/ }).click();
  await page.locator("main h1", { hasText: "Bridge self" }).waitFor();
  assert.equal(await fact(page, "State").innerText(), "connected");
  assert.equal(await fact(page, "Address").innerText(), bridges[0].address);
  assert.match(await fact(page, "To the other broker").innerText(), /^1, /);
  assert.match(await page.locator("main pre").innerText(), /"remote_prefix": "copy\/"/);
  await go(page, "#/bridges/bridge/gone", "gone");
  assert.equal(await fact(page, "Last error").innerText(), bridges[1].last_error);
  await go(page, "#/bridges/sink/alarms", "alarms");
  assert.equal(await fact(page, "State").innerText(), "failing");
  assert.equal(await fact(page, "Last error").innerText(), sinks[0].last_error);
  await page.locator("main a", { hasText: "Session and queue" }).click();
  await page.locator("main h1", { hasText: "$sink/alarms" }).waitFor();
  await assertClean(page, problems);
}

async function checkMqtt(page, problems, clients) {
  await go(page, "#/mqtt", "Subscribe and publish");
  assert.equal(await page.inputValue("main input[name=url]"), WEB_SOCKET_URL);
  await press(page, "Connect");
  await page.locator("main .badge", { hasText: /^connected$/ }).waitFor();
  await page.fill("main input[name=filter]", `${MARKUP}/#`);
  await press(page, "Subscribe");
  await page.locator("main .chips li").waitFor();
  await eventually(async () => assert.equal(await page.locator("main article").count(), 1, "the retained message"));
  await page.fill("main input[name=topic]", `${MARKUP}/own`);
  await page.fill("main textarea", MARKUP);
  await page.selectOption("main .publish select[name=qos]", "2");
  await press(page, "Publish");
  await eventually(async () => assert.match(await page.innerText("main .publish + .count"), /^acknowledged after [0-9.]+ ms/));
  await eventually(async () => assert.equal(await page.locator("main article .topic").first().innerText(), `${MARKUP}/own`));
  assert.equal(await page.locator("main article pre").first().innerText(), MARKUP);
  await clients.publisher.publishAsync(`${MARKUP}/other`, Buffer.from([255, 0]), { qos: 1 });
  await eventually(async () => assert.equal(await page.locator("main article pre").first().innerText(), "ff 00"));
  await assertClean(page, problems);
  await page.locator("main article a").first().click();
  await page.locator("main h1", { hasText: "A message's journey" }).waitFor();
  await eventually(async () => assert.equal(await page.locator("main .loading").count(), 0));
  await checkJourney(page, problems);
}

/// The journey of the message that was published last.
async function checkJourney(page, problems) {
  const id = await page.inputValue("main input[name=id]");
  assert.match(id, /^[0-9a-f]{16}-[0-9a-f]{16}$/);
  const journey = await api("GET", `messages/${id}`);
  assert.equal(await fact(page, "Topic").innerText(), journey.topic);
  assert.equal(journey.topic, `${MARKUP}/other`);
  assert.equal((await column(page, "Step")).length, journey.steps.length);
  await assertClean(page, problems);
}

async function checkChanges(page, problems) {
  await go(page, "#/clients/pump-1", "pump-1");
  const forget = page.locator("main button", { hasText: "Forget" });
  assert(await forget.isDisabled());
  assert.equal(await forget.getAttribute("title"), "This needs the role admin; operator has the role operator.");
  await page.locator("main button", { hasText: "Disconnect" }).click();
  await page.fill("dialog input[name=reason_code]", "0x97");
  await page.locator("dialog button", { hasText: /^Disconnect$/ }).click();
  await eventually(async () => assert.equal((await api("GET", "clients/pump-1")).connected, false));
  await eventually(async () => assert.equal(await fact(page, "State").innerText(), "away"));
  assert.match(await fact(page, "Last disconnect").innerText(), /kicked 0x97/);
  await go(page, "#/bans", "Bans");
  await page.locator("main button", { hasText: "Ban" }).click();
  await page.selectOption("dialog select[name=kind]", "user");
  await page.fill("dialog input[name=name]", MARKUP);
  await page.fill("dialog input[name=reason]", MARKUP);
  await page.locator("dialog button", { hasText: /^Ban$/ }).click();
  await eventually(async () => assert.deepEqual(await column(page, "Reason"), [MARKUP]));
  assert.equal((await api("GET", "bans")).bans[0].user, MARKUP);
  await page.locator("main button", { hasText: "End the ban" }).click();
  await eventually(async () => assert.deepEqual((await api("GET", "bans")).bans, []));
  await page.locator("main", { hasText: "Nobody is banned." }).waitFor();
  await assertClean(page, problems);
}

async function checkStreams(page, problems, { publisher }) {
  const member = await connect("worker");
  await member.subscribeAsync("$share/workers/$stream/orders", { qos: 1 });
  const received = [];
  member.on("message", (topic, payload) => received.push(payload.toString()));
  await publisher.publishAsync("orders/1", MARKUP, { qos: 1 });
  await publisher.publishAsync("orders/2", "second", { qos: 1 });
  await eventually(async () => {
    const { position, lag } = (await api("GET", "streams/orders/groups")).groups[0];
    assert.deepEqual([position, lag], [3, 0]);
  });
  await go(page, "#/streams", "Streams");
  assert.deepEqual([await column(page, "Name"), await column(page, "Next")], [["orders"], ["3"]]);
  await page.locator("main td a", { hasText: /^orders$/ }).click();
  await page.locator("main h1", { hasText: "Stream orders" }).waitFor();
  assert.deepEqual([await column(page, "Name"), await column(page, "Position"), await column(page, "Members")], [["workers"], ["3"], ["1"]]);
  await page.locator("main button", { hasText: "Set the position" }).click();
  await page.fill("dialog input[name=to]", "seq:2");
  await page.locator("dialog button", { hasText: /^Set$/ }).click();
  await eventually(async () => assert.deepEqual(received, [MARKUP, "second", "second"]));
  await member.endAsync();
  await assertClean(page, problems);
}

async function checkAdmin(page, problems, populated) {
  await page.click("#logout");
  await login(page, "admin");
  await checkStreams(page, problems, populated);
  await go(page, "#/store", "Store");
  const { log } = await api("GET", "store");
  assert.equal(await fact(page, "Segments").innerText(), String(log.segments));
  await go(page, "#/configuration", "Configuration");
  await page.check("main input[name=changed]");
  const set = (await api("GET", "config")).settings.filter(({ origin }) => origin !== "default");
  assert.deepEqual(await column(page, "Setting"), set.map(({ key }) => key));
  await page.locator("main button", { hasText: "Reload" }).click();
  await page.locator("dialog button", { hasText: /^Reload$/ }).click();
  await eventually(async () => assert((await column(page, "Part")).includes("access")));
  await go(page, "#/clients/away", "away");
  await page.locator("main button", { hasText: "Forget" }).click();
  await page.locator("dialog button", { hasText: /^Forget$/ }).click();
  await page.locator("main h1", { hasText: "Clients" }).waitFor();
  const { clients } = await api("GET", "clients?client_id=away");
  assert.deepEqual(clients, []);
  await assertClean(page, problems);
}

async function operator(browser) {
  const clients = await populate();
  const { page, problems } = await open(browser);
  await checkLogin(page, problems);
  await checkOverview(page);
  await checkClients(page, problems);
  await checkTopics(page, problems);
  await checkWhatHappened(page, problems, clients);
  await checkBridges(page, problems, clients);
  await checkMqtt(page, problems, clients);
  await checkChanges(page, problems);
  await checkAdmin(page, problems, clients);
}

module.exports = { MARKUP, PAGE_SHOTS, api, assertClean, column, connect, eventually, fact, go, login, open, populate };

const parts = { operator, ...require(path.join(__dirname, "page_parts.cjs")) };

async function main() {
  const part = parts[process.argv[2]];
  assert(part, `unknown part ${process.argv[2]}`);
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args });
  try {
    await part(browser);
  } finally {
    await browser.close();
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
