// Reads the figures of the broker every two seconds while the page is visible, and keeps those of the last ten minutes for the graphs.

import { get, isLoggedIn, metrics } from "./api.js";
import { histograms, quantile, since } from "./metrics.js";

/// The last reading: `{overview, store, error}`.
export let latest = { overview: null, store: null, error: null };
/// Rows of figures, oldest first: `{at, …}`, `at` in seconds since 1970.
export const samples = [];
/// The histograms of latency that the broker has, by their metrics' names.
export const latencies = new Set();

const listeners = new Set();
let timer = null;
let before = null;
let readings = [];

export function start() {
  stop();
  timer = setTimeout(tick, 0);
}

export function stop() {
  clearTimeout(timer);
  timer = null;
  [before, readings, latest] = [null, [], { overview: null, store: null, error: null }];
  samples.length = 0;
  latencies.clear();
}

/// Calls `listener` after each reading, until `signal` is aborted.
export function listen(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener), { once: true });
}

async function tick() {
  const mine = timer;
  if (!document.hidden) {
    await read();
  }
  if (timer === mine && isLoggedIn()) {
    timer = setTimeout(tick, INTERVAL_MS);
  }
}

async function read() {
  try {
    // The metrics of a broker elsewhere may be closed to this caller; the graphs of latency are then left out.
    const [overview, store, text] = await Promise.all([get("overview"), get("store"), metrics().catch(() => "")]);
    latest = { overview, store, error: null };
    keep(overview, store, histograms(text, LATENCY));
  } catch (error) {
    latest = { ...latest, error };
  }
  for (const listener of listeners) {
    listener();
  }
}

function keep(overview, store, found) {
  const at = Date.now() / 1_000;
  const log = store.log;
  const perSecond = (name) => {
    const earlier = before?.log?.[name];
    return log === null || earlier === undefined || log[name] < earlier ? null : (log[name] - earlier) / (at - before.at);
  };
  const sample = {
    at,
    received: overview.rates.messages_received_per_second,
    sent: overview.rates.messages_sent_per_second,
    bytesReceived: overview.rates.bytes_received_per_second,
    bytesSent: overview.rates.bytes_sent_per_second,
    commits: perSecond("commits"),
    syncs: perSecond("syncs"),
    memory: overview.memory.used_bytes,
    connections: overview.connections,
    queued: overview.queued_messages,
  };
  const earlier = readings[0];
  for (const [name, buckets] of found) {
    latencies.add(name);
    sample[name] = earlier === undefined ? null : quantile(since(earlier.get(name), buckets), SHARE);
  }
  samples.push(sample);
  samples.splice(0, samples.length - SAMPLES_MAX);
  readings = [...readings.slice(-(READINGS - 1)), found];
  before = { at, log };
}

const INTERVAL_MS = 2_000;
/// Ten minutes.
const SAMPLES_MAX = 300;
/// A quantile is of the last ten seconds, so that a few messages make one.
const READINGS = 5;
/// The share of events that are not slower than what the graph shows.
export const SHARE = 0.99;
const LATENCY = /^oncemq_.+_seconds$/;
