// Paths of charts. They fill a box that is stretched to the room there is.

export const WIDTH = 600;
export const HEIGHT = 100;

/** A line through values, the last one at the right edge, `places` of them fill the width. */
export function line(values, places, top) {
  return values.map((value, index) => {
    const x = WIDTH - (values.length - 1 - index) * (WIDTH / (places - 1));
    return `${index === 0 ? "M" : "L"}${x.toFixed(1)} ${height(value, top)}`;
  }).join("");
}

/** The area under values that hold for one place each; nothing where they are 0. */
export function steps(values, places, top) {
  const width = WIDTH / places;
  let path = "";
  let begin = 0;
  for (let index = 1; index <= values.length; index += 1) {
    if (index < values.length && values[index] === values[begin]) continue;
    if (values[begin] > 0) {
      const left = WIDTH - (values.length - begin) * width;
      const right = WIDTH - (values.length - index) * width;
      const y = height(values[begin], top);
      path += `M${left.toFixed(1)} ${HEIGHT}V${y}H${right.toFixed(1)}V${HEIGHT}Z`;
    }
    begin = index;
  }
  return path;
}

/** A round number that is not below any of the values. */
export function roundTop(values, least = 1) {
  const most = Math.max(least, ...values);
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((factor) => factor * power).find((top) => top >= most);
}

function height(value, top) {
  return (HEIGHT - (value / top) * (HEIGHT - 2)).toFixed(1);
}
