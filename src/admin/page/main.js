// The frame of the page: login, navigation, keyboard.

import { isLoggedIn, login, logout, whenLoggedOut } from "./api.js";
import * as collector from "./collector.js";
import { button, element, failed, fill, hash, loading, visible } from "./dom.js";
import * as bans from "./views/bans.js";
import * as bridges from "./views/bridges.js";
import * as client from "./views/client.js";
import * as clients from "./views/clients.js";
import * as cluster from "./views/cluster.js";
import * as configuration from "./views/configuration.js";
import * as drops from "./views/drops.js";
import * as explain from "./views/explain.js";
import * as message from "./views/message.js";
import * as mqtt from "./views/mqtt.js";
import * as overview from "./views/overview.js";
import * as refusals from "./views/refusals.js";
import * as retained from "./views/retained.js";
import * as routes from "./views/routes.js";
import * as store from "./views/store.js";
import * as streams from "./views/streams.js";
import * as subscriptions from "./views/subscriptions.js";
import * as trace from "./views/trace.js";

/// Each view has a name in the URL, a title, and the letter that goes to it after `g`.
const VIEWS = [
  ["", [["overview", "Overview", "o", overview], ["clients", "Clients", "c", clients]]],
  ["Topics", [
    ["retained", "Retained messages", "r", retained],
    ["subscriptions", "Subscriptions", "s", subscriptions],
    ["routes", "Who would get this", "w", routes],
  ]],
  ["What happened", [
    ["drops", "Drops", "d", drops],
    ["refusals", "Refusals", "f", refusals],
    ["message", "A message's journey", "j", message],
    ["trace", "Trace", "t", trace],
    ["explain", "Access rules", "a", explain],
  ]],
  ["Broker", [
    ["store", "Store", "k", store],
    ["streams", "Streams", "e", streams],
    ["bridges", "Bridges and sinks", "n", bridges],
    ["cluster", "Cluster", "l", cluster],
    ["bans", "Bans", "b", bans],
    ["configuration", "Configuration", "i", configuration],
  ]],
  ["Client", [["mqtt", "Subscribe and publish", "m", mqtt]]],
];
const ALL = VIEWS.flatMap(([, views]) => views);

const at = (id) => document.getElementById(id);
let shown = null;

function showLogin(reason) {
  collector.stop();
  shown?.abort();
  fill(at("content"));
  at("shell").hidden = true;
  at("login").hidden = false;
  at("login-error").textContent = visible(reason);
  at("token").value = "";
  at("token").focus();
}

async function enter(secret) {
  const { name, role } = await login(secret);
  at("login").hidden = true;
  at("shell").hidden = false;
  at("token").value = "";
  fill(at("who"), element("bdi", {}, visible(name)), " ", element("span", { class: "badge" }, role));
  collector.start();
  await route();
}

/// Shows the view that the URL names.
async function route() {
  if (!isLoggedIn()) {
    return;
  }
  shown?.abort();
  shown = new AbortController();
  const { signal } = shown;
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decoded);
  const [, title, , module] = ALL.find(([known]) => known === name) ?? ALL[0];
  const view = name === "clients" && rest.length > 0 ? client : module;
  const content = element("div", { class: "view" }, loading());
  fill(at("content"), content);
  document.title = `${title} – OnceMQ`;
  for (const item of at("nav").querySelectorAll("a")) {
    const is = item.dataset.view === (name || ALL[0][0]);
    item.toggleAttribute("data-current", is);
    is ? item.setAttribute("aria-current", "page") : item.removeAttribute("aria-current");
  }
  closeMenu();
  try {
    const parts = await view.render({ rest, parameters: Object.fromEntries(new URLSearchParams(query)), signal, again: route });
    if (!signal.aborted) {
      fill(content, parts);
    }
  } catch (error) {
    if (!signal.aborted) {
      fill(content, failed(error, route));
    }
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function buildNavigation() {
  for (const [group, views] of VIEWS) {
    const items = views.map(([name, title]) => element("a", { href: hash(name), "data-view": name }, title));
    at("nav").append(element("div", { class: "group" }, group && element("h2", {}, group), items));
  }
}

function closeMenu() {
  at("nav").classList.remove("open");
  at("menu").setAttribute("aria-expanded", "false");
}

function toggleMenu() {
  const open = at("nav").classList.toggle("open");
  at("menu").setAttribute("aria-expanded", String(open));
  if (open) {
    at("nav").querySelector("a").focus();
  }
}

function showState() {
  const { overview: figures, error } = collector.latest;
  const state = at("state");
  const warnings = figures?.warnings.length ?? 0;
  const [text, kind] =
    error !== null
      ? ["no answer", "bad"]
      : figures === null
        ? ["", ""]
        : figures.standby
          ? ["standby", "good"]
        : !figures.ready
          ? ["not ready", "bad"]
          : warnings > 0
            ? [`${warnings} warning${warnings > 1 ? "s" : ""}`, "warn"]
            : ["ready", "good"];
  if (state.textContent !== text) {
    state.textContent = text;
    state.className = `state ${kind}`;
  }
}

let afterG = false;

function onKey(event) {
  const typing = event.target.closest?.("input, textarea, select");
  if (event.key === "Escape") {
    closeMenu();
    if (typing) {
      event.target.blur();
    }
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !isLoggedIn() || document.querySelector("dialog[open]")) {
    return;
  }
  const wasG = afterG;
  afterG = event.key === "g" && !wasG;
  const view = wasG ? ALL.find(([, , letter]) => letter === event.key) : undefined;
  if (view !== undefined) {
    location.hash = hash(view[0]);
    at("content").focus();
  } else if (event.key === "/") {
    const search = document.querySelector("main input[type=search], main input");
    search?.focus();
    search?.select?.();
  } else if (event.key === "r") {
    route();
  } else if (event.key === "[" || event.key === "]") {
    document.querySelector(event.key === "[" ? "main .previous" : "main .next")?.click();
  } else if (event.key === "?") {
    showHelp();
  } else {
    return;
  }
  event.preventDefault();
}

function showHelp() {
  const keys = [
    ["/", "go to the first field"],
    ["r", "load the view again"],
    ["[ and ]", "the previous and the next page of a list"],
    ["Esc", "leave a field, close a dialog"],
    ...ALL.map(([, title, letter]) => [`g ${letter}`, title]),
  ];
  const rows = keys.map(([key, text]) => element("div", {}, element("dt", {}, element("kbd", {}, key)), element("dd", {}, text)));
  const dialog = element("dialog", { "aria-label": "Keyboard shortcuts" });
  dialog.append(
    element("h2", {}, "Keyboard shortcuts"),
    element("dl", { class: "facts keys" }, rows),
    element("div", { class: "actions" }, button("Close", () => dialog.close())),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function start() {
  at("starting").remove();
  buildNavigation();
  whenLoggedOut(showLogin);
  at("login-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    at("login-error").textContent = "";
    try {
      await enter(at("token").value.trim());
    } catch (error) {
      at("login-error").textContent = visible(error.message);
    }
  });
  at("logout").addEventListener("click", () => logout());
  at("menu").addEventListener("click", toggleMenu);
  at("help").addEventListener("click", showHelp);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    at("content").focus();
  });
  addEventListener("hashchange", route);
  addEventListener("keydown", onKey);
  collector.listen(showState, new AbortController().signal);
  // A browser with a client certificate needs no token.
  if (location.protocol === "https:") {
    enter(null).catch(() => showLogin(""));
  } else {
    showLogin("");
  }
}

start();
