/** How sizes, times and paths are written. */

const UNITS = ["kB", "MB", "GB", "TB"];
const NUMBER = new Intl.NumberFormat("en-GB");
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** A size, in steps of 1000: "1.4 MB". */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  let value = count / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)} ${UNITS[unit] ?? ""}`;
}

/** A length of sound or film: "1:05" or "1:02:03"; "" where it is not known. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "";
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours === 0 ? `${minutes}:${rest}` : `${hours}:${String(minutes).padStart(2, "0")}:${rest}`;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/**
 * How long ago a time of the server was: "3 min ago", after a week its date. `when` is UTC where it names no
 * zone; what is no time is returned as it is. One that is ahead by less than an hour is "just now".
 */
export function ago(when: string, now: Date): string {
  const hasZone = /(?:Z|[+-]\d\d:?\d\d)$/.test(when);
  const at = new Date(hasZone ? when : `${when.replace(" ", "T")}Z`);
  const passed = now.getTime() - at.getTime();
  if (Number.isNaN(passed)) return when;
  if (passed < -HOUR_MS || passed >= 7 * DAY_MS) return DATE.format(at);
  if (passed < MINUTE_MS) return "just now";
  if (passed < HOUR_MS) return `${Math.floor(passed / MINUTE_MS)} min ago`;
  if (passed < DAY_MS) return `${Math.floor(passed / HOUR_MS)} h ago`;
  const days = Math.floor(passed / DAY_MS);
  return days === 1 ? "1 day ago" : `${days} days ago`;
}

/** A count: "12,345". */
export function number(value: number): string {
  return NUMBER.format(value);
}

const DEEPEST_INDENT = 40;

/** JSON in lines, token by token: seeds of 64 bits would not outlive JSON.parse. */
export function indented(json: string): string {
  let depth = 0;
  const line = (): string => `\n${"  ".repeat(Math.min(depth, DEEPEST_INDENT))}`;
  return json.replace(/"(?:[^"\\]|\\.)*"|\{\s*\}|\[\s*\]|\s+|[{}[\],:]/gs, (token) => {
    if (token === "{" || token === "[") {
      depth += 1;
      return token + line();
    }
    if (token === "}" || token === "]") {
      depth = Math.max(0, depth - 1);
      return line() + token;
    }
    if (token === ",") return token + line();
    if (token === ":") return ": ";
    return token.startsWith('"') ? token : token.replace(/\s+/g, "");
  });
}

/** The last part of a path. */
export function fileName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** A path without its last part; "" at the top. */
export function folder(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
