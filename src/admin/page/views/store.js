// What is on disk.

import { change, get, may, needs } from "../api.js";
import { ask, badge, button, element, empty, facts, heading, notify, visible } from "../dom.js";
import { bytes, count } from "../format.js";

export async function render({ signal, again }) {
  // How far a backup is, is for admins.
  const [store, backup] = await Promise.all([get("store", {}, signal), may("admin") ? get("backup", {}, signal) : null]);
  const start = needs("admin", button("Back up …", () => askBackup(again)));
  return [heading("Store", start), element("div", { class: "columns" }, logOf(store), backup && backupOf(backup))];
}

function logOf({ durability, log }) {
  if (log === null) {
    return empty(`There is no store: the durability is ${durability}.`);
  }
  const state = log.full
    ? badge("the disk is full", "bad")
    : log.unreadable_segment !== null
      ? badge(`segment ${log.unreadable_segment} can't be read`, "bad")
      : badge("good", "good");
  const useful = log.bytes > 0 ? ` (${Math.round((100 * log.live_bytes) / log.bytes)} %)` : "";
  const group = log.commits > 0 ? ` (${(log.entries / log.commits).toFixed(1)} in a commit)` : "";
  return element(
    "div",
    { class: "card" },
    element("h2", {}, "Log"),
    facts([
      ["State", state],
      ["Durability by default", durability],
      ["Segments", count(log.segments)],
      ["Size", bytes(log.bytes)],
      ["Still needed", `${bytes(log.live_bytes)}${useful}`],
      ["Live keys", count(log.keys)],
      ["Commits since the start", count(log.commits)],
      ["Syncs since the start", count(log.syncs)],
      ["Entries since the start", `${count(log.entries)}${group}`],
    ]),
  );
}

function backupOf({ state, directory, error }) {
  return element(
    "div",
    { class: "card" },
    element("h2", {}, "Backup"),
    facts([["State", state], ["Directory", directory && visible(directory)], ["Error", error && visible(error)]]),
  );
}

function askBackup(again) {
  ask(
    { title: "Back up the store", text: "The broker writes a backup into its data directory, while clients go on.", confirm: "Back up", danger: false },
    async () => {
      await change("POST", "backup");
      notify("The backup has started.");
      again();
    },
  );
}
