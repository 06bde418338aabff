// The banned addresses and users.

import { change, get, may, needs } from "../api.js";
import { ask, button, choice, element, empty, field, foreign, heading, notify, table } from "../dom.js";
import { duration } from "../format.js";

export async function render({ signal, again }) {
  const { bans } = await get("bans", {}, signal);
  const set = needs("operator", button("Ban …", () => askBan(again)));
  const columns = [
    { title: "Who", class: "main", cell: ({ address, user }) => (address === null ? ["user ", foreign(user)] : ["address ", address]) },
    { title: "For another", cell: ({ seconds_left }) => duration(seconds_left) },
    { title: "Reason", cell: ({ reason }) => foreign(reason) },
    { title: "", cell: (ban) => needs("operator", button("End the ban", () => end(ban, again))) },
  ];
  const hint = !may("operator") && element("p", { class: "help" }, "Operators can set and end bans.");
  return [heading("Bans", set), hint, bans.length > 0 ? table(columns, bans) : empty("Nobody is banned.")];
}

async function end({ address, user }, again) {
  try {
    await change("DELETE", ["bans", address === null ? "user" : "address", address ?? user]);
    notify(`${address ?? user} is not banned any more.`);
  } catch (error) {
    notify(error.message);
  }
  again();
}

function askBan(again) {
  ask(
    {
      title: "Ban an address or a user",
      text: "Its connections are not ended; it can't connect again until the ban is over.",
      fields: [
        choice("What", "kind", [["address", "an address"], ["user", "a verified user"]], "address"),
        field("Address or user", { name: "name", required: true }),
        choice("For", "seconds", [["60", "a minute"], ["3600", "an hour"], ["86400", "a day"], ["604800", "a week"]], "3600"),
        field("Reason", { name: "reason", maxlength: 200 }),
      ],
      confirm: "Ban",
    },
    async ({ kind, name, seconds, reason }) => {
      await change("POST", "bans", {}, { [kind]: name, seconds: Number(seconds), reason });
      notify(`${name} is banned.`);
      again();
    },
  );
}
