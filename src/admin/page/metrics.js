// Reads the text format of Prometheus, as far as histograms need it.

/// The histograms whose names match: a map from name to buckets `{bound, count}` in order. Counts are cumulative, and sums over all labels.
export function histograms(text, pattern) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = BUCKET.exec(line);
    if (match === null || !pattern.test(match[1])) {
      continue;
    }
    const [, name, bound, value] = match;
    const buckets = found.get(name) ?? new Map();
    const at = bound === "+Inf" ? Infinity : Number(bound);
    buckets.set(at, (buckets.get(at) ?? 0) + Number(value));
    found.set(name, buckets);
  }
  const inOrder = (buckets) => Array.from(buckets, ([bound, count]) => ({ bound, count })).sort((a, b) => a.bound - b.bound);
  return new Map(Array.from(found, ([name, buckets]) => [name, inOrder(buckets)]));
}

/// What a histogram counted since an earlier reading of it.
export function since(earlier, later) {
  const before = new Map((earlier ?? []).map(({ bound, count }) => [bound, count]));
  return later.map(({ bound, count }) => ({ bound, count: Math.max(0, count - (before.get(bound) ?? 0)) }));
}

/// The value that this share of what was counted does not exceed, interpolated within its bucket; null if nothing was counted.
export function quantile(buckets, share) {
  const total = buckets.at(-1)?.count ?? 0;
  if (total === 0) {
    return null;
  }
  const rank = total * share;
  let [bound, count] = [0, 0];
  for (const bucket of buckets) {
    if (bucket.count >= rank && bucket.count > count) {
      if (bucket.bound === Infinity) {
        return bound;
      }
      return bound + ((bucket.bound - bound) * (rank - count)) / (bucket.count - count);
    }
    [bound, count] = [bucket.bound, bucket.count];
  }
  return bound;
}

const BUCKET = /^([a-z_]+)_bucket\{(?:.*,)?le="([^"]+)".*\} ([0-9.e+]+)$/;
