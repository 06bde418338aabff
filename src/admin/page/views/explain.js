// Whether a client may do something, and by which rule.

import { change } from "../api.js";
import { badge, choice, element, empty, facts, failed, field, fill, foreign, form, heading } from "../dom.js";

export function render({ parameters }) {
  const place = element("div", {}, empty("Ask whether a client may publish or subscribe. It need not be connected; the rules in force decide."));
  const question = form(
    { class: "filters" },
    async ({ client_id, user, action, topic }) => {
      try {
        fill(place, answerOf(await change("POST", ["acl", "explain"], {}, { client_id, user: user || null, action, topic })));
      } catch (error) {
        fill(place, failed(error));
      }
    },
    field("Client Identifier", { name: "client_id", value: parameters.client_id, required: true }),
    field("User", { name: "user", value: parameters.user, placeholder: "empty: none" }),
    choice("Action", "action", [["publish", "publish"], ["subscribe", "subscribe"]], parameters.action ?? "publish"),
    field("Topic Name or Topic Filter", { name: "topic", value: parameters.topic, required: true }),
    element("button", { class: "primary" }, "Explain"),
  );
  return [heading("Access rules"), question, place];
}

function answerOf({ allowed, file, line, rule, reason }) {
  return element(
    "div",
    { class: "card", role: "status" },
    element("h2", {}, allowed ? badge("allowed", "good") : badge("denied", "bad")),
    facts([
      ["Reason", foreign(reason)],
      ["Rule", rule && foreign(rule)],
      ["Where", file && `${file}, line ${line}`],
    ]),
  );
}
