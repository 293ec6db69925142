// Open-vocabulary detection in the browser: what kdeov_mm.deploy.Runtime does, with onnxruntime-web.
import * as ort from './ort/ort.wasm.min.mjs';
import { place } from './preprocess.js';

const MAX_BYTES = 50 * 2 ** 20, MAX_PIXELS = 50e6;  // of a picked file
const LEAST_SIDE = 640;  // pixels of the drawn picture's longer side
const COLOURS = ['#e6194b', '#3cb44b', '#4363d8', '#f58231', '#911eb4', '#008080', '#9a6324', '#800000', '#808000',
  '#000075'];
const element = id => document.getElementById(id);

/**
 * An exported detector with the names that it is shipped with; `folder` is what tools/deployment/make_web.py wrote.
 * The texts of an open_detector go in with each image, and the role of each competitor for each of them (1: it competes,
 * -1: it is a hyponym, 0: it does not count); those of a (closed) detector are folded into it.
 */
export class Detector {
  static async load(folder) {
    const about = await fetchFile(`${folder}/model.json`).then(answer => answer.json());
    const [weights, texts, competes] = await Promise.all(
      [`${about.kind}.onnx`, ...(about.kind === 'open_detector' ? ['texts.bin'] : []),
       ...(about.competitors ? ['competes.bin'] : [])].map(
        file => fetchFile(`${folder}/${file}`).then(answer => answer.arrayBuffer())));
    ort.env.wasm.wasmPaths = new URL('ort/', import.meta.url).href;
    if (!self.crossOriginIsolated) ort.env.wasm.numThreads = 1;  // browsers share memory between threads only there
    const session = await ort.InferenceSession.create(new Uint8Array(weights), { executionProviders: ['wasm'] });
    return new Detector(about, texts ? new Float32Array(texts) : null, session, competes ? new Int8Array(competes) : null);
  }

  constructor(about, texts, session, competes = null) {
    if (texts && texts.length !== about.names.length * about.embed_dims) {
      throw new Error(`texts.bin is not model.json's: ${texts.length} numbers for ${about.names.length} names`);
    }
    if (competes && competes.length !== about.names.length * about.competitors) {
      throw new Error(`competes.bin is not model.json's: ${competes.length} numbers for ${about.names.length} names`);
    }
    Object.assign(this, { about, texts, session, competes });
    this.index = new Map(about.names.map((name, row) => [normal(name), row]));
  }

  /** Sorts names into those that the page has embeddings of, in its spelling, and others. */
  sort(names) {
    const rows = names.map(name => this.index.get(normal(name)));
    return {
      known: [...new Set(rows.filter(row => row !== undefined))].map(row => this.about.names[row]),
      unknown: names.filter((_, i) => rows[i] === undefined),
    };
  }

  /** Names of the vocabulary that share most pairs of letters with a text (Dice's coefficient), best first. */
  similar(text, number = 3) {
    const scored = this.about.names.map(name => [similarity(normal(text), normal(name)), name]);
    return scored.filter(([score]) => score > 0.3).sort((a, b) => b[0] - a[0]).slice(0, number).map(([, name]) => name);
  }

  /**
   * Detects known names in pixels { data: RGBA, width, height }.
   * Returns { found: [{ name, score, box: [left, top, right, bottom] }], best first, prepare, network: milliseconds }.
   */
  async detect(pixels, names, threshold = this.about.threshold) {
    if (!names.length) throw new Error('Give at least one name.');
    const start = performance.now(), dims = this.about.embed_dims;
    const { input, scale, shift, size: [height, width] } = place(pixels, this.about.preprocessing);
    const feeds = { images: new ort.Tensor('float32', input, [1, 3, height, width]) };
    const rows = names.map(name => {
      const row = this.index.get(normal(name));
      if (row === undefined) throw new Error(`This page has no embedding of "${name}".`);
      return row;
    });
    if (this.texts) {
      const texts = new Float32Array(names.length * dims);
      rows.forEach((row, i) => texts.set(this.texts.subarray(row * dims, (row + 1) * dims), i * dims));
      feeds.texts = new ort.Tensor('float32', texts, [names.length, dims]);
    }
    if (this.competes) {
      const width = this.about.competitors, table = new Float32Array(names.length * width);
      rows.forEach((row, i) => table.set(this.competes.subarray(row * width, (row + 1) * width), i * width));
      feeds.competes = new ort.Tensor('float32', table, [names.length, width]);
      feeds.others = new ort.Tensor('float32', new Float32Array(dims), [1, dims]);  // the last competitor, which is none
    }
    const ready = performance.now();
    const { boxes, scores, labels } = await this.session.run(feeds);
    const network = performance.now() - ready, found = [];
    const clip = (value, limit) => Math.min(Math.max(value, 0), limit);
    scores.data.forEach((score, i) => {
      const label = Number(labels.data[i]), name = this.texts ? label : rows.indexOf(label);
      if (score < threshold || label < 0 || name < 0) return;
      const box = [0, 1, 2, 3].map(side => clip((boxes.data[4 * i + side] - shift[side % 2]) / scale[side % 2],
                                                side % 2 ? pixels.height : pixels.width));
      found.push({ name: names[name], score, box });
    });
    return { found, prepare: ready - start, network };
  }
}

async function fetchFile(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} is missing (${answer.status}); write this folder with tools/deployment/make_web.py.`);
  return answer;
}

const normal = name => name.replaceAll('_', ' ').trim().replace(/\s+/g, ' ').toLowerCase();

function similarity(first, second) {
  const pairs = text => new Set([...text].slice(1).map((letter, i) => text[i] + letter));
  const a = pairs(first), b = pairs(second);
  return 2 * [...a].filter(pair => b.has(pair)).length / (a.size + b.size || 1);
}

/** Pixels of an image file, turned as EXIF says; colours as they are stored, as Pillow reads them. */
export async function readImage(file) {
  const size = Math.ceil(file.size / 2 ** 20);
  if (file.size > MAX_BYTES) throw new Error(`${file.name} has ${size} MiB; at most 50 can be read.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  } catch {
    throw new Error(`${file.name} is not an image that this browser can read.`);
  }
  const pixels = pixelsOf(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return pixels;
}

function pixelsOf(source, width, height) {
  if (width * height > MAX_PIXELS) {
    throw new Error(`The image has ${width} × ${height} pixels; at most 50 million can be read.`);
  }
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  return context.getImageData(0, 0, width, height);
}

/** The page around the detector. */
class Page {
  constructor() {
    Object.assign(this, { detector: null, pixels: null, stream: null, busy: false });
    element('file').addEventListener('change', () => this.guard(() => this.pick()));
    element('camera').addEventListener('click', () => this.guard(() => this.toggleCamera()));
    element('capture').addEventListener('click', () => this.guard(() => this.capture()));
    element('live').addEventListener('change', () => this.guard(() => this.goLive()));
    element('names').addEventListener('input', () => this.readNames());
    element('filter').addEventListener('input', () => this.list());
    element('threshold').addEventListener('input', () => {
      this.tellThreshold();
    });
    element('threshold').addEventListener('change', () => this.guard(() => this.run()));
    element('controls').addEventListener('submit', event => {
      event.preventDefault();
      this.guard(() => this.run());
    });
  }

  async start() {
    this.detector = await Detector.load('model');
    const { names, examples, size_bytes: bytes } = this.detector.about;
    element('known').textContent = names.length;
    if (!this.detector.texts) {
      element('competition').textContent = 'Each object gets one of all names that this page knows; yours are shown.';
    }
    element('names').value = examples.join('\n');
    element('threshold').value = this.detector.about.threshold;
    this.tellThreshold();
    this.list();
    this.readNames();
    element('detect').disabled = false;
    this.tell(`Ready: a model of ${(bytes / 2 ** 20).toFixed(1)} MiB. Pick an image, or start the camera.`);
    await this.run();
  }

  tellThreshold() {
    element('threshold-value').value = Number(element('threshold').value).toFixed(2);
  }

  tell(text, error = false) {
    element('status').textContent = text;
    element('status').classList.toggle('error', error);
  }

  async guard(action) {
    try {
      await action();
    } catch (error) {
      this.tell(error.message, true);
    }
  }

  readNames() {
    const names = element('names').value.split(/[\n,]/).map(name => name.trim()).filter(Boolean);
    const { known, unknown } = this.detector ? this.detector.sort(names) : { known: [], unknown: [] };
    element('unknown').hidden = !unknown.length;
    element('unknown').textContent = unknown.map(name => {
      const similar = this.detector.similar(name).map(other => `“${other}”`).join(', ');
      return `This page does not know “${name}”, and leaves it out${similar ? `; it knows ${similar}` : ''}.`;
    }).join(' ');
    return known;
  }

  list() {
    const wanted = normal(element('filter').value);
    const names = this.detector.about.names.filter(name => normal(name).includes(wanted)).slice(0, 200);
    element('vocabulary').replaceChildren(...names.map(name => {
      const button = Object.assign(document.createElement('button'), { type: 'button', textContent: name });
      button.addEventListener('click', () => {
        const text = element('names').value.trimEnd();
        element('names').value = text ? `${text}\n${name}` : name;
        this.readNames();
      });
      const item = document.createElement('li');
      item.append(button);
      return item;
    }));
  }

  async pick() {
    const [file] = element('file').files;
    if (!file) return;
    this.pixels = await readImage(file);
    await this.run();
  }

  async run() {
    if (!this.detector || !this.pixels || this.busy) return;
    const names = this.readNames(), threshold = Number(element('threshold').value);
    this.busy = true;
    try {
      const { found, prepare, network } = await this.detector.detect(this.pixels, names, threshold);
      this.show(found, names);
      const least = threshold.toFixed(2), { width, height } = this.pixels;
      const what = found.length ? `${found.length} found` : `Nothing found with a score of ${least} or more`;
      const latency = `${prepare.toFixed(0)} ms to prepare, ${network.toFixed(0)} ms of the network`;
      this.tell(`${what} in ${width} × ${height} pixels: ${latency}.`);
    } finally {
      this.busy = false;
    }
  }

  show(found, names) {
    const whole = document.createElement('canvas'), canvas = element('picture');
    Object.assign(whole, { width: this.pixels.width, height: this.pixels.height });
    whole.getContext('2d').putImageData(this.pixels, 0, 0);
    const factor = Math.max(LEAST_SIDE / Math.max(whole.width, whole.height), 1);
    Object.assign(canvas, { width: whole.width * factor, height: whole.height * factor });
    const context = canvas.getContext('2d'), unit = Math.max(canvas.width, canvas.height) / LEAST_SIDE;
    context.drawImage(whole, 0, 0, canvas.width, canvas.height);
    context.font = `${Math.round(14 * unit)}px system-ui, sans-serif`;
    context.textBaseline = 'top';
    context.lineWidth = 2 * unit;
    for (const { name, score, box } of [...found].reverse()) {  // the best ones on top
      const [left, top, right, bottom] = box.map(side => side * factor), text = `${name} ${score.toFixed(2)}`;
      const line = 17 * unit, length = context.measureText(text).width + 4 * unit;
      const x = Math.max(Math.min(left, canvas.width - length), 0), y = Math.max(top - line, 0);
      context.fillStyle = context.strokeStyle = COLOURS[names.indexOf(name) % COLOURS.length];
      context.strokeRect(left, top, right - left, bottom - top);
      context.fillRect(x, y, length, line);
      context.fillStyle = 'white';
      context.fillText(text, x + 2 * unit, y + unit);
    }
    element('found').hidden = !found.length;
    element('found').tBodies[0].replaceChildren(...found.map(({ name, score, box }) => {
      const row = document.createElement('tr');
      row.dataset.found = JSON.stringify({ name, score, box });
      row.append(...[name, score.toFixed(3), box.map(value => value.toFixed(1)).join(', ')].map(text =>
        Object.assign(document.createElement('td'), { textContent: text })));
      return row;
    }));
  }

  async toggleCamera() {
    const video = element('video');
    if (this.stream) {
      this.stream.getTracks().forEach(track => track.stop());
      this.stream = video.srcObject = null;
    } else {
      if (!navigator.mediaDevices) throw new Error('A camera needs a page from https:// or from localhost.');
      try {
        this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
      } catch (error) {
        throw new Error(`No camera can be used: ${error.message}`);
      }
      video.srcObject = this.stream;
      await video.play();
    }
    const on = Boolean(this.stream);
    video.hidden = !on;
    element('camera').textContent = on ? 'Stop camera' : 'Start camera';
    element('capture').disabled = element('live').disabled = !on;
    if (!on) element('live').checked = false;
  }

  async capture() {
    const video = element('video');
    this.pixels = pixelsOf(video, video.videoWidth, video.videoHeight);
    await this.run();
  }

  async goLive() {
    while (this.stream && element('live').checked) {
      await this.capture();
      await new Promise(requestAnimationFrame);
    }
  }
}

const page = new Page();
page.guard(() => page.start());
