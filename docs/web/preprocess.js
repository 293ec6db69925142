// Images as the network's input, to the bit as kdeov_mm.deploy.Runtime makes it with Pillow.

/**
 * Brings an image { data: RGBA, width, height } to the network's input, as model.json's `preprocessing` says.
 * Returns the input, float32 RGB in [0, 1], one plane after the other; its size [height, width]; the factors x, y from
 * the image's to the input's pixels, and the shift x, y: { input, size, scale, shift }.
 */
export function place(image, { size: [height, width], resize, pad_value: pad = 0 }) {
  let resized, shift = [0, 0];
  if (resize === 'letterbox') {
    const ratio = Math.min(height / image.height, width / image.width);
    const inside = [image.width, image.height].map(side => Math.max(Math.floor(side * ratio), 1));
    resized = ratio < 1 ? shrink(image, ...inside) : interpolate(image, ...inside);
    shift = [Math.floor((width - inside[0]) / 2), Math.floor((height - inside[1]) / 2)];
  } else if (resize === 'stretch') {
    resized = interpolate(image, width, height);
  } else {
    throw new Error(`This page does not know the resizing "${resize}" of model.json.`);
  }
  const plane = width * height, input = new Float32Array(3 * plane).fill(pad / 255);
  for (let y = 0; y < resized.height; y++) {
    for (let x = 0; x < resized.width; x++) {
      const from = 4 * (y * resized.width + x), to = (y + shift[1]) * width + x + shift[0];
      for (let c = 0; c < 3; c++) input[c * plane + to] = resized.data[from + c] / 255;
    }
  }
  return { input, size: [height, width], scale: [resized.width / image.width, resized.height / image.height], shift };
}

/** Bilinear between the four neighbours, cut off to whole numbers: Pillow's affine transform. */
export function interpolate(image, width, height) {
  if (image.width === width && image.height === height) return image;
  const data = new Uint8ClampedArray(4 * width * height), columns = neighbours(image.width, width);
  const rows = neighbours(image.height, height), source = image.data;
  for (let y = 0, to = 0; y < height; y++) {
    const above = 4 * image.width * rows.first[y], below = 4 * image.width * rows.second[y];
    for (let x = 0; x < width; x++, to += 4) {
      const left = 4 * columns.first[x], right = 4 * columns.second[x];
      for (let c = 0; c < 3; c++) {
        const upper = mix(source[above + left + c], source[above + right + c], columns.part[x]);
        const lower = mix(source[below + left + c], source[below + right + c], columns.part[x]);
        data[to + c] = Math.trunc(mix(upper, lower, rows.part[y]));
      }
      data[to + 3] = 255;
    }
  }
  return { data, width, height };
}

const mix = (a, b, part) => a + (b - a) * part;

/** For each of `to` places along a side of `from` pixels: its two neighbours, and how near it is to the second. */
function neighbours(from, to) {
  const first = new Int32Array(to), second = new Int32Array(to), part = new Float64Array(to);
  for (let i = 0; i < to; i++) {
    const place = from / to * (i + 0.5) - 0.5, below = Math.floor(place);
    first[i] = Math.max(below, 0);
    second[i] = Math.min(below + 1, from - 1);
    part[i] = place - below;
  }
  return { first, second, part };
}

const BITS = 22;  // of the weights' fractions, in Pillow's resampling of 8-bit images

/** Averages with a Hamming window over what a pixel covers, rows first: Pillow's resize. */
export function shrink(image, width, height) {
  const narrow = image.height > 100 * image.width && height < image.height && width !== image.width;
  if (narrow) return shrink(shrink(image, image.width, height), width, height);  // as Pillow does
  let { data } = image;
  if (width !== image.width) data = average(data, image.width, width, image.height, 4, 4 * image.width, 4 * width);
  if (height !== image.height) data = average(data, image.height, height, width, 4 * width, 4, 4);
  return { data, width, height };
}

/** Averages along lines of `from` pixels, `step` apart, to `to` pixels; lines begin `before` apart, later `after`. */
function average(data, from, to, lines, step, before, after) {
  const result = new Uint8ClampedArray(4 * to * lines), { starts, weights } = windows(from, to);
  for (let i = 0; i < to; i++) {
    for (let line = 0; line < lines; line++) {
      const place = before * line + step * starts[i], target = after * line + step * i;
      for (let c = 0; c < 4; c++) {
        let sum = 2 ** (BITS - 1);
        weights[i].forEach((weight, k) => { sum += weight * data[place + step * k + c]; });
        result[target + c] = Math.floor(sum / 2 ** BITS);
      }
    }
  }
  return result;
}

/** For each of `to` pixels: the first of the `from` pixels that it covers, and their weights in fixed point. */
function windows(from, to) {
  const scale = from / to, starts = [], weights = [];
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale, start = Math.max(Math.trunc(centre - scale + 0.5), 0);
    const end = Math.min(Math.trunc(centre + scale + 0.5), from), window = [];
    for (let k = start; k < end; k++) window.push(hamming((k - centre + 0.5) * (1 / scale)));
    const sum = window.reduce((a, b) => a + b, 0);
    starts.push(start);
    weights.push(window.map(weight => Math.trunc(weight / sum * 2 ** BITS + (weight < 0 ? -0.5 : 0.5))));
  }
  return { starts, weights };
}

/** The window, 1 at 0 and 0 from 1 on: sin(pi x) / (pi x) * (0.54 + 0.46 cos(pi x)). */
function hamming(x) {
  x = Math.abs(x) * Math.PI;
  if (x === 0) return 1;
  return x >= Math.PI ? 0 : Math.sin(x) / x * (0.54 + 0.46 * Math.cos(x));
}
