// Numbers as people read them, none wider than its place.

const WHOLE = new Intl.NumberFormat("en");

/** A number of things. */
export function count(number) {
  return WHOLE.format(number);
}

/** A number of things a second. */
export function rate(number) {
  if (number >= 10_000) return `${short(number / 1000)}k`;
  return number >= 10 || number === 0 ? count(Math.round(number)) : number.toFixed(1);
}

/** A rate in at most four characters; none for none. */
export function tinyRate(number) {
  if (number === 0) return "";
  if (number >= 999.5) return `${short(number / 1000)}k`;
  return number >= 9.95 ? String(Math.round(number)) : number.toFixed(1);
}

/** A number of bytes. */
export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (number >= 1023.5 && power < units.length - 1) {
    number /= 1024;
    power += 1;
  }
  return `${power === 0 ? Math.round(number) : short(number)} ${units[power]}`;
}

/** A length of time, in seconds. */
export function seconds(number) {
  if (number < 9.95) return `${number.toFixed(1)} s`;
  if (number < 119.5) return `${Math.round(number)} s`;
  if (number < 7170) return `${Math.round(number / 60)} min`;
  if (number < 172_800) return `${Math.round(number / 3600)} h`;
  return `${Math.round(number / 86_400)} d`;
}

function short(number) {
  return number < 9.95 ? number.toFixed(1) : String(Math.round(number));
}
