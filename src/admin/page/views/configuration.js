// The settings in force, and reading them again.

import { change, get, needs } from "../api.js";
import { ask, badge, button, checkbox, element, empty, field, fill, foreign, heading, table, visible } from "../dom.js";

export async function render({ signal }) {
  const { settings } = await get("config", {}, signal);
  const place = element("div");
  const report = element("div", { role: "status" });
  const search = field("Search", { name: "search", type: "search", placeholder: "part of a name or a value" });
  const changed = checkbox("only what is not at its default", { name: "changed" });
  const [text, only] = [search.querySelector("input"), changed.querySelector("input")];

  function draw() {
    const wanted = text.value.toLowerCase();
    const shown = settings.filter((setting) => {
      const matches = setting.key.includes(wanted) || String(setting.value).toLowerCase().includes(wanted);
      return matches && !(only.checked && setting.origin === "default");
    });
    const none = only.checked && wanted === "" ? "Every setting is at its default." : "No setting matches.";
    fill(place, shown.length > 0 ? table(COLUMNS, shown) : empty(none));
  }

  text.addEventListener("input", draw);
  only.addEventListener("change", draw);
  draw();
  const reload = needs("admin", button("Reload …", () => askReload(report)));
  return [heading("Configuration", reload), report, element("div", { class: "filters" }, search, changed), place];
}

function askReload(report) {
  ask(
    {
      title: "Reload",
      text: "The broker reads its configuration, certificates, password file and access rules again. What can't be used is kept as it was.",
      confirm: "Reload",
      danger: false,
    },
    async () => {
      const { files, restart_needed } = await change("POST", "reload");
      const restart = restart_needed.length > 0 && element("p", { class: "warning" }, `A restart is needed for ${visible(restart_needed.join(", "))}.`);
      fill(report, element("div", { class: "card" }, element("h2", {}, "Reloaded"), table(PARTS, files), restart));
    },
  );
}

function valueOf(value) {
  return value === null ? element("span", { class: "help" }, "not set") : visible(typeof value === "string" ? value : JSON.stringify(value));
}

const COLUMNS = [
  { title: "Setting", class: "main", cell: ({ key }) => element("code", {}, key) },
  { title: "Value", cell: ({ value }) => valueOf(value) },
  { title: "From", cell: ({ origin }) => (origin === "default" ? element("span", { class: "help" }, origin) : foreign(origin)) },
];
const PARTS = [
  { title: "Part", class: "main", cell: ({ name }) => foreign(name) },
  { title: "Result", cell: ({ result }) => badge(result, { kept: "bad", reloaded: "good" }[result] ?? "") },
  { title: "Why", cell: ({ error }) => error && foreign(error) },
];
