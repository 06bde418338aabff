// Requests to the HTTP API of this listener. The token is in this module's memory and nowhere else.

let token = null;
let caller = null;
let onLogout = () => {};

/// A request that was refused or failed. `status` is the HTTP status, 0 without an answer.
export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/// Calls `listener` with the reason when the token is not accepted any more.
export function whenLoggedOut(listener) {
  onLogout = listener;
}

/// Asks who the token belongs to: `{name, role}`. Without a token, a client certificate may do.
export async function login(secret) {
  token = secret;
  try {
    caller = await get("caller");
  } catch (error) {
    token = null;
    throw error;
  }
  return caller;
}

export function logout(reason = "") {
  [token, caller] = [null, null];
  onLogout(reason);
}

export function isLoggedIn() {
  return caller !== null;
}

/// Whether the caller has this role or a greater one.
export function may(role) {
  return caller !== null && ROLES.indexOf(caller.role) >= ROLES.indexOf(role);
}

/// Switches a control off, with the reason, if the caller may not use it.
export function needs(role, control) {
  if (!may(role)) {
    control.disabled = true;
    control.title = `This needs the role ${role}; ${caller?.name} has the role ${caller?.role}.`;
    control.classList.add("refused");
  }
  return control;
}

/// The JSON of an answer. Each segment of the path is encoded: `get(["clients", id])`.
export async function get(path, parameters = {}, signal = undefined) {
  const response = await send("GET", path, parameters, { signal });
  return response.json();
}

/// Changes something. `body` is sent as JSON. Returns the JSON of the answer, null if there is none.
export async function change(method, path, parameters = {}, body = undefined) {
  const response = await send(method, path, parameters, { body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await response.text();
  return text === "" ? null : JSON.parse(text);
}

/// The lines of an answer that goes on, one at a time.
export async function* lines(path, parameters, signal) {
  const response = await send("GET", path, parameters, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return;
    }
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) {
      if (part !== "") {
        yield JSON.parse(part);
      }
    }
  }
}

/// The metrics for Prometheus, as text.
export async function metrics(signal) {
  return (await request("GET", new URL("metrics", document.baseURI), { signal })).text();
}

function send(method, path, parameters, options) {
  const segments = [path].flat();
  if (segments.some((segment) => segment === "." || segment === "..")) {
    throw new Failure('A browser can\'t ask for something with the name "." or "..". The command line can.', 0);
  }
  const url = new URL(`api/v1/${segments.map(encodeURIComponent).join("/")}`, document.baseURI);
  const wanted = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  url.search = wanted.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  return request(method, url, options);
}

async function request(method, url, { body, signal }) {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  let response;
  try {
    response = await fetch(url, { method, body, signal, headers, cache: "no-store", credentials: "same-origin", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new Failure("The broker does not answer.", 0);
  }
  if (response.ok) {
    return response;
  }
  const reason = await reasonOf(response);
  if (response.status === 401 && caller !== null) {
    logout(`You were logged out: ${reason}.`);
  }
  throw new Failure(reason, response.status);
}

async function reasonOf(response) {
  const text = await response.text().catch(() => "");
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text.trim() || `The broker answered ${response.status}.`;
  }
}

const ROLES = ["viewer", "operator", "admin"];
