"use strict";
// Draws spectrograms of the recordings when they come into view: mel bands over time, in decibels.
(() => {
  const SIZE = 1024, BANDS = 80, TOP = 8000, RANGE = 70;
  const COLOURS = [[11, 10, 28], [66, 15, 110], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];

  function samplesOf(audio) {
    const text = atob(audio.src.slice(audio.src.indexOf(",") + 1));
    const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    // kgtts wrote the file: a header of 44 bytes, then 16-bit samples.
    const channels = view.getUint16(22, true), rate = view.getUint32(24, true);
    const count = Math.floor((bytes.length - 44) / (2 * channels));
    const samples = new Float32Array(count);
    for (let i = 0; i < count; i += 1) samples[i] = view.getInt16(44 + 2 * channels * i, true) / 32768;
    return { samples, rate };
  }

  // The radix-2 Fourier transform, in place; the length is a power of two.
  function transform(re, im) {
    const n = re.length;
    for (let i = 1, j = 0; i < n; i += 1) {
      let bit = n >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) {
        [re[i], re[j]] = [re[j], re[i]];
        [im[i], im[j]] = [im[j], im[i]];
      }
    }
    for (let length = 2; length <= n; length <<= 1) {
      const half = length >> 1, angle = (-2 * Math.PI) / length;
      for (let k = 0; k < half; k += 1) {
        const c = Math.cos(angle * k), s = Math.sin(angle * k);
        for (let i = k; i < n; i += length) {
          const a = i + half, x = re[a] * c - im[a] * s, y = re[a] * s + im[a] * c;
          re[a] = re[i] - x;
          im[a] = im[i] - y;
          re[i] += x;
          im[i] += y;
        }
      }
    }
  }

  const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
  const hertz = (value) => 700 * (10 ** (value / 2595) - 1);

  function colour(share) {
    const place = Math.min(0.999, Math.max(0, share)) * (COLOURS.length - 1), low = Math.floor(place);
    return COLOURS[low].map((value, i) => value + (COLOURS[low + 1][i] - value) * (place - low));
  }

  function paint(canvas) {
    const { samples, rate } = samplesOf(canvas.parentElement.querySelector("audio"));
    const columns = Math.min(canvas.width, Math.max(1, Math.floor(samples.length / 128)));
    const hop = samples.length / columns, top = mel(Math.min(TOP, rate / 2));
    const window_ = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
    const edges = Array.from({ length: BANDS + 1 }, (_, i) => (hertz((top * i) / BANDS) * SIZE) / rate);
    const levels = new Float32Array(columns * BANDS);
    let highest = -Infinity;
    for (let column = 0; column < columns; column += 1) {
      const begin = Math.round(column * hop - SIZE / 2);
      const re = new Float64Array(SIZE), im = new Float64Array(SIZE);
      for (let i = 0; i < SIZE; i += 1) re[i] = (samples[begin + i] || 0) * window_[i];
      transform(re, im);
      for (let band = 0; band < BANDS; band += 1) {
        const low = Math.floor(edges[band]), high = Math.max(low + 1, Math.ceil(edges[band + 1]));
        let power = 0;
        for (let i = low; i < high; i += 1) power += re[i] * re[i] + im[i] * im[i];
        const level = 10 * Math.log10(power / (high - low) + 1e-10);
        levels[column * BANDS + band] = level;
        highest = Math.max(highest, level);
      }
    }
    const picture = new ImageData(columns, BANDS);
    for (let column = 0; column < columns; column += 1) {
      for (let band = 0; band < BANDS; band += 1) {
        const shade = colour(1 + (levels[column * BANDS + band] - Math.max(highest, -30)) / RANGE);
        picture.data.set([...shade, 255], 4 * ((BANDS - 1 - band) * columns + column));
      }
    }
    canvas.width = columns;
    canvas.height = BANDS;
    canvas.getContext("2d").putImageData(picture, 0, 0);
    canvas.setAttribute("data-painted", "yes");
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((item) => item.isIntersecting)) {
      seen.unobserve(entry.target);
      paint(entry.target);
    }
  }, { rootMargin: "300px" });
  for (const canvas of document.querySelectorAll("canvas.spectrogram")) seen.observe(canvas);
  window.addEventListener("beforeprint", () => document.querySelectorAll("canvas:not([data-painted])").forEach(paint));

  // Only one recording plays at a time.
  document.addEventListener("play", (event) => {
    for (const audio of document.querySelectorAll("audio")) if (audio !== event.target) audio.pause();
  }, true);
})();
