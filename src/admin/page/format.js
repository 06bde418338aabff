// Numbers, sizes and times for people.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export function count(number) {
  return number === null || number === undefined ? "–" : whole.format(number);
}

/// A number with three digits, or whole.
export function figure(number) {
  if (number === null || number === undefined || Number.isNaN(number)) {
    return "–";
  }
  return Math.abs(number) >= 100 ? whole.format(number) : fine.format(number);
}

export function rate(number) {
  return number === null || number === undefined ? "–" : `${figure(number)}/s`;
}

export function bytes(number) {
  if (number === null || number === undefined) {
    return "–";
  }
  let [value, unit] = [number, 0];
  while (value >= 1_024 && unit < UNITS.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${unit === 0 ? whole.format(value) : fine.format(value)} ${UNITS[unit]}`;
}

/// Seconds as milliseconds or microseconds.
export function latency(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) {
    return "–";
  }
  if (seconds >= 1) {
    return `${figure(seconds)} s`;
  }
  return seconds >= 0.001 ? `${figure(seconds * 1_000)} ms` : `${figure(seconds * 1_000_000)} µs`;
}

/// Seconds as days, hours, minutes and seconds: the two greatest.
export function duration(seconds) {
  if (seconds === null || seconds === undefined) {
    return "–";
  }
  const parts = [];
  let rest = Math.floor(seconds);
  for (const [unit, length] of [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]]) {
    if (rest >= length || (unit === "s" && parts.length === 0)) {
      parts.push(`${Math.floor(rest / length)} ${unit}`);
      rest %= length;
    }
  }
  return parts.slice(0, 2).join(" ");
}

/// An RFC 3339 time in the time zone of the browser.
export function time(text) {
  if (!text) {
    return "–";
  }
  const at = new Date(text);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  return `${day} ${clock}`;
}

export function reasonCode(number) {
  return number === null || number === undefined ? "–" : `0x${number.toString(16).toUpperCase().padStart(2, "0")}`;
}

export function yesNo(value) {
  return value === null || value === undefined ? "–" : value ? "yes" : "no";
}

/// The bytes of a payload as hexadecimal digits, sixteen to a line.
export function hexadecimal(bytes, bytesMax = 1_024) {
  const lines = [];
  const shown = bytes.subarray(0, bytesMax);
  for (let from = 0; from < shown.length; from += 16) {
    const line = Array.from(shown.subarray(from, from + 16), (byte) => byte.toString(16).padStart(2, "0"));
    lines.push(line.join(" "));
  }
  return lines.join("\n") + (bytes.length > bytesMax ? `\n… ${count(bytes.length - bytesMax)} more bytes` : "");
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
