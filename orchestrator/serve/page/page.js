"use strict";
// Type, hear, see what the text became, download. Speech arrives sentence by sentence as events and plays at once.
(() => {
  const WORDS = {
    bn: {
      skip: "লেখার ঘরে যান", title: "লিখুন, শুনুন", text: "লেখা", hint: "এখানে বাংলা লিখুন। যেমন: ২৬ মার্চ ১৯৭১, ৳২৫০",
      voice: "কণ্ঠ", speed: "গতি", speak: "শুনুন", stop: "থামান", keys: "Ctrl + Enter", heard: "যেভাবে পড়া হবে",
      play: "চালান", pause: "বিরতি", seek: "অবস্থান", changes: "যা বদলেছে", format: "ফাইল", download: "ডাউনলোড",
      again: "এই ধরনের ফাইলের জন্য আবার পড়া হবে; স্বর সামান্য আলাদা হতে পারে।",
      token: "এই সার্ভারের টোকেন লাগে", enter: "খুলুন", programs: "প্রোগ্রামের জন্য, OpenAI-এর মতো ঠিকানা:",
      waiting: "প্রথম বাক্য তৈরি হচ্ছে…", making: (n) => `${n}টি বাক্য তৈরি, আরও আসছে…`,
      done: (s) => `${s} সেকেন্ডের কথা`, stopped: "থামানো হয়েছে।", saving: "ফাইল তৈরি হচ্ছে…", saved: "ফাইলটি ডাউনলোড হয়েছে।",
      lost: (l) => `বলা যাবে না, অর্থে ঘাটতি হবে: ${l}`, silent: (l) => `বাদ যাবে, ধ্বনি নেই: ${l}`,
      doubtful: (l) => `কণ্ঠটি এসব অক্ষর শেখেনি, ভুল হতে পারে: ${l}`, count: (n, most) => `${n} / ${most} অক্ষর`,
      unreachable: "সার্ভারে পৌঁছানো গেল না। সেটি চলছে কি না দেখুন, তারপর আবার চেষ্টা করুন।",
      cut: "মাঝপথে থেমে গেছে: সার্ভার বাকিটা পাঠাতে পারেনি। আবার চেষ্টা করুন।",
      errors: {
        empty_text: "শোনানোর মতো কিছু লেখা নেই।", server_busy: "সার্ভার এখন ব্যস্ত। একটু পরে আবার চেষ্টা করুন।",
        text_too_long: "লেখাটি খুব বড়। ভাগ করে দিন।", token_needed: "টোকেনটি ঠিক নয়।",
        nothing_to_say: "এই কণ্ঠ এই লেখার কিছুই বলতে পারে না। বাংলা অক্ষরে লিখুন।",
        voice_failed: "কণ্ঠটি এই লেখা পড়তে পারেনি। সার্ভারের টার্মিনালে কারণ লেখা আছে।",
        stopping: "সার্ভার বন্ধ হচ্ছে। পরে আবার চেষ্টা করুন।", voice_not_found: "এই কণ্ঠ আর নেই। পাতাটি আবার খুলুন।",
        unsupported_format: "সার্ভার এই ধরনের ফাইল তৈরি করতে পারে না।",
      },
    },
    en: {
      skip: "Skip to the text", title: "Type and listen", text: "Text", hint: "Write Bangla here, such as: ২৬ মার্চ ১৯৭১, ৳২৫০",
      voice: "Voice", speed: "Speed", speak: "Speak", stop: "Stop", keys: "Ctrl + Enter", heard: "As it is read",
      play: "Play", pause: "Pause", seek: "Position", changes: "What was changed", format: "File", download: "Download",
      again: "For such a file the text is spoken once more; it may sound a little different.",
      token: "This server needs its token", enter: "Open", programs: "For programs, an address as OpenAI's:",
      waiting: "Making the first sentence…", making: (n) => `${n} ${n === "1" ? "sentence" : "sentences"} made, more to come…`,
      done: (s) => `${s} seconds of speech`, stopped: "Stopped.", saving: "Making the file…", saved: "The file was downloaded.",
      lost: (l) => `Left out, though a listener would miss it: ${l}`, silent: (l) => `Left out, as it has no sound: ${l}`,
      doubtful: (l) => `Never in the voice's training texts, so perhaps wrong: ${l}`,
      count: (n, most) => `${n} / ${most} characters`,
      unreachable: "The server cannot be reached. See whether it runs, then try again.",
      cut: "It ended in the middle: the server could not send the rest. Try again.", errors: {},
    },
  };
  const $ = (id) => document.getElementById(id);
  const text = $("text"), speed = $("speed"), seek = $("seek"), format = $("format");
  const kept = (store, name, value) => { try { if (value !== undefined) store.setItem(name, value); return store.getItem(name); } catch { return null; } };
  let language = kept(localStorage, "language") || (/^bn/i.test(navigator.language) ? "bn" : "en");
  let longest = Infinity, asking = null, previewing = null, status = null, spokenText = null;
  const words = () => WORDS[language];
  const digits = (value) => language === "bn" ? String(value).replace(/\d/g, (d) => "০১২৩৪৫৬৭৮৯"[d]) : String(value);
  const grouped = (value) => new Intl.NumberFormat(language === "bn" ? "bn-BD" : "en").format(value);

  function translate() {
    document.documentElement.lang = language;
    document.title = `${words().title} – kgtts`;
    for (const one of document.querySelectorAll("[data-say]")) one.textContent = words()[one.dataset.say];
    for (const one of document.querySelectorAll("[data-tip]")) one.title = words()[one.dataset.tip];
    for (const one of document.querySelectorAll("[data-language]")) one.setAttribute("aria-pressed", String(one.dataset.language === language));
    text.placeholder = words()[text.dataset.hint];
    seek.ariaLabel = words().seek;
    $("base").textContent = `${location.origin}/v1`;
    count();
    pace();
    say(status);
    player.draw();
  }
  function say(what, ...more) {
    status = what && typeof what === "string" ? [what, ...more] : what;
    const found = status && words()[status[0]];
    $("status").textContent = typeof found === "function" ? found(...status.slice(1).map(digits)) : found || "";
  }
  function complain(error) {
    const notice = $("notice");
    notice.hidden = !error;
    if (!error) return;
    notice.textContent = words()[error.code] || words().errors[error.code] || error.message;
    notice.className = error.code === "server_busy" ? "soon" : "";
  }
  function count() {
    const size = [...text.value].length;
    $("count").textContent = Number.isFinite(longest) ? words().count(grouped(size), grouped(longest)) : "";
    $("count").className = `small ${size > longest ? "over" : "soft"}`;
  }
  function pace() { $("speed-value").textContent = `${digits(Number(speed.value).toFixed(2))}×`; }

  class Failed extends Error {
    constructor(code, message) { super(message); this.code = code; }
  }
  async function call(path, body, signal) {
    const headers = {}, token = kept(sessionStorage, "token");
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
    } catch (error) {
      throw signal?.aborted ? error : new Failed("unreachable", "");
    }
    if (answer.ok) return answer;
    const { error } = await answer.json().catch(() => ({ error: { code: "unreachable", message: `HTTP ${answer.status}` } }));
    if (answer.status === 401) $("door").hidden = false;
    throw new Failed(error.code, error.message);
  }
  const order = (more) => ({ input: text.value, voice: $("voice").value || "default", ...more });

  // Plays what has arrived, from any place, while more arrives.
  const player = {
    pieces: [], total: 0, complete: false, at: 0, base: null, sources: [], context: null,
    reset() {
      this.pause();
      Object.assign(this, { pieces: [], total: 0, complete: false, at: 0 });
      this.draw();
    },
    unlock() { // Only a click or key may begin sound.
      this.context ??= new AudioContext();
      if (navigator.audioSession) navigator.audioSession.type = "playback"; // Also on a phone that is silenced.
      return this.context.resume();
    },
    add(samples, rate, seconds) {
      const piece = { start: this.total, seconds, rate, samples };
      this.total += seconds;
      this.pieces.push(piece);
      if (this.base !== null) {
        const late = this.context.currentTime + 0.02 - (this.base + piece.start);
        if (late > 0) this.base += late; // It had to wait for this piece.
        this.schedule(piece, 0);
      }
      this.draw();
    },
    schedule(piece, from) {
      if (!piece.samples.length) return;
      const buffer = this.context.createBuffer(1, piece.samples.length, piece.rate);
      buffer.copyToChannel(Float32Array.from(piece.samples, (one) => one / 32768), 0);
      const source = this.context.createBufferSource();
      source.buffer = buffer;
      source.connect(this.context.destination);
      source.start(this.base + piece.start + from, from);
      this.sources.push(source);
    },
    get position() {
      if (this.base === null) return this.at;
      return Math.min(Math.max(this.context.currentTime - this.base, this.at), this.total);
    },
    async play(from = this.at) {
      this.pause();
      await this.unlock();
      this.at = from >= this.total && this.complete ? 0 : from;
      this.base = this.context.currentTime + 0.03 - this.at;
      for (const piece of this.pieces) {
        const skipped = this.at - piece.start;
        if (skipped < piece.seconds) this.schedule(piece, Math.max(0, skipped));
      }
      this.draw();
      this.tick();
    },
    pause() {
      this.at = this.position;
      this.base = null;
      for (const source of this.sources) source.stop();
      this.sources = [];
      this.draw();
    },
    tick() {
      if (this.base === null) return;
      if (this.complete && this.position >= this.total) this.pause();
      this.draw();
      requestAnimationFrame(() => this.tick());
    },
    draw() {
      const now = this.position, playing = this.base !== null, minutes = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
      $("play").disabled = seek.disabled = !this.pieces.length;
      $("stop").disabled = !asking && !playing;
      $("play").className = `round${playing ? " playing" : ""}`;
      $("play").ariaLabel = playing ? words().pause : words().play;
      seek.max = this.total.toFixed(2);
      if (document.activeElement !== seek || playing) seek.value = now;
      seek.ariaValueText = `${now.toFixed(1)} / ${this.total.toFixed(1)}`;
      $("time").textContent = this.pieces.length ? digits(`${minutes(now)} / ${minutes(this.total)}`) : "";
      const current = now > 0 || playing ? this.pieces.findLastIndex((piece) => piece.start <= now + 0.01) : -1;
      [...$("sentences").children].forEach((row, index) => {
        const button = row.firstChild, is = String(playing && index === current);
        button.disabled = index >= this.pieces.length;
        if (button.getAttribute("aria-current") === is) return;
        button.setAttribute("aria-current", is);
        if (is === "true") button.scrollIntoView({ block: "nearest" });
      });
    },
  };

  function sentence(index, content) {
    const rows = $("sentences");
    while (rows.children.length <= index) {
      const button = document.createElement("button");
      button.type = "button";
      button.dir = "auto";
      button.lang = "bn";
      const place = rows.children.length;
      button.addEventListener("click", () => player.play(player.pieces[place].start));
      rows.appendChild(document.createElement("li")).appendChild(button);
    }
    rows.children[index].firstChild.textContent = content;
  }
  function showReading(read) {
    $("heard").hidden = false;
    if (spokenText === null) {
      $("sentences").replaceChildren();
      read.sentences.forEach((content, index) => sentence(index, content));
    }
    const names = (list) => list.map((one) => one.name).join(", "), notices = [];
    const harmful = read.left_out.filter((one) => one.harmful), silent = read.left_out.filter((one) => !one.harmful);
    if (harmful.length) notices.push(words().lost(names(harmful)));
    if (silent.length) notices.push(words().silent(names(silent)));
    if (read.doubtful.length) notices.push(words().doubtful(read.doubtful.join(" ")));
    $("losses").replaceChildren(...[...notices, ...read.remarks].map((notice) => {
      const row = document.createElement("li");
      row.dir = "auto";
      row.textContent = notice;
      return row;
    }));
    // Two ways of writing the same letter are no change to a reader.
    const changes = read.changes.filter((one) => one.source.normalize("NFC") !== one.result.normalize("NFC"));
    $("why").hidden = !changes.length;
    $("changes").replaceChildren(...changes.flatMap((change) => ["dt", "dd"].map((kind) => {
      const cell = document.createElement(kind);
      cell.dir = "auto";
      cell.lang = "bn";
      cell.textContent = (kind === "dt" ? change.source : change.result).trim() || "–";
      return cell;
    })));
    player.draw();
  }
  async function preview() {
    previewing?.abort();
    const mine = previewing = new AbortController();
    if (!text.value.trim() || [...text.value].length > longest) return;
    try {
      const read = await (await call("/v1/text", order(), mine.signal)).json();
      if (!mine.signal.aborted) showReading(read);
    } catch (error) {
      if (!mine.signal.aborted && error.code !== "server_busy") complain(error);
    }
  }

  async function* events(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) yield JSON.parse(part.slice(part.indexOf("data: ") + 6));
    }
  }
  function bytesOf(base64) { return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)); }

  async function speak() {
    stop(false);
    complain(null);
    if (!text.value.trim()) { complain(new Failed("empty_text", "There is nothing to say.")); text.focus(); return; }
    const mine = asking = new AbortController();
    player.reset();
    $("download").disabled = true;
    $("heard").hidden = false;
    $("sentences").replaceChildren();
    spokenText = null;
    say("waiting");
    const unlocked = player.play(0);
    preview();
    try {
      const body = order({ speed: Number(speed.value), response_format: "wav", stream_format: "sse" });
      const asked = JSON.stringify(order({ speed: body.speed }));
      const answer = await call("/v1/audio/speech", body, mine.signal);
      let rate = 0, index = 0, ended = false;
      for await (const event of events(answer.body)) {
        if (event.type === "error") throw new Failed(event.error.code, event.error.message);
        if (event.type === "speech.audio.done") { ended = true; break; }
        let bytes = bytesOf(event.audio);
        if (!rate) { // The first event begins with the header of a WAV file.
          rate = new DataView(bytes.buffer).getUint32(24, true);
          bytes = bytes.slice(44);
          spokenText = asked;
          await unlocked;
          if (mine.signal.aborted) return;
        }
        if (event.text !== undefined) {
          const samples = new Int16Array(bytes.buffer);
          sentence(index, event.text);
          player.add(samples, rate, samples.length / rate);
          index += 1;
          say("making", index);
        }
      }
      if (!ended) throw new Failed("cut", "");
      while ($("sentences").children.length > index) $("sentences").lastChild.remove();
      say("done", player.total.toFixed(1));
    } catch (error) {
      if (mine.signal.aborted) return;
      if (!player.pieces.length) player.pause();
      $("heard").hidden = !$("sentences").children.length;
      say(null);
      complain(error instanceof Failed ? error : new Failed("cut", ""));
    } finally {
      if (asking === mine) {
        asking = null;
        player.complete = true;
        $("download").disabled = !player.pieces.length;
        player.draw();
      }
    }
  }
  function stop(told = true) {
    const was = asking !== null || player.base !== null;
    asking?.abort();
    asking = null;
    player.complete = true;
    player.pause();
    $("download").disabled = !player.pieces.length;
    if (told && was) say("stopped");
  }

  function wav() {
    const rate = player.pieces[0].rate, size = player.pieces.reduce((sum, piece) => sum + piece.samples.byteLength, 0);
    const head = new DataView(new ArrayBuffer(44));
    [...`RIFF${"\0".repeat(4)}WAVEfmt ${"\0".repeat(20)}data${"\0".repeat(4)}`].forEach((letter, index) => head.setUint8(index, letter.charCodeAt(0)));
    for (const [place, value] of [[4, 36 + size], [16, 16], [24, rate], [28, 2 * rate], [40, size]]) head.setUint32(place, value, true);
    for (const [place, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) head.setUint16(place, value, true);
    return new Blob([head, ...player.pieces.map((piece) => piece.samples)], { type: "audio/wav" });
  }
  async function download() {
    complain(null);
    try {
      const kind = format.value;
      if (kind !== "wav") say("saving");
      const sound = kind === "wav" ? wav()
        : await (await call("/v1/audio/speech", { ...JSON.parse(spokenText), response_format: kind, stream: false })).blob();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(sound);
      link.download = `kgtts.${kind === "opus" ? "ogg" : kind}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      say("saved");
    } catch (error) {
      say(null);
      complain(error instanceof Failed ? error : new Failed("unreachable", ""));
    }
  }

  async function enter() {
    try {
      const told = await (await call("/v1/audio/voices")).json();
      longest = told.longest_text;
      $("voice").replaceChildren(...told.voices.map((one) => new Option(one.name, one.id)));
      $("choice").hidden = told.voices.length < 2;
      $("door").hidden = true;
      $("ask").hidden = false;
      complain(null);
      count();
      text.focus();
    } catch (error) {
      if (error.code === "token_needed") {
        $("ask").hidden = true;
        $("token").focus();
        if (kept(sessionStorage, "token")) { $("token").setCustomValidity(words().errors.token_needed || error.message); $("token").reportValidity(); }
      } else complain(error);
    }
    document.documentElement.dataset.ready = "yes";
  }

  let soon = 0;
  text.addEventListener("input", () => {
    count();
    complain(null);
    clearTimeout(soon);
    soon = setTimeout(() => { if (!asking) { if (player.base === null) { spokenText = null; player.reset(); say(null); $("download").disabled = true; } preview(); } }, 400);
  });
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); speak(); });
  $("door").addEventListener("submit", (event) => { event.preventDefault(); kept(sessionStorage, "token", $("token").value.trim()); enter(); });
  $("token").addEventListener("input", () => $("token").setCustomValidity(""));
  $("stop").addEventListener("click", () => stop());
  $("play").addEventListener("click", () => { if (player.base === null) player.play(); else player.pause(); });
  seek.addEventListener("input", () => { const to = Number(seek.value); if (player.base === null) { player.at = to; player.draw(); } else player.play(to); });
  speed.addEventListener("input", () => { pace(); kept(localStorage, "speed", speed.value); });
  format.addEventListener("change", () => { $("again").hidden = format.value === "wav"; });
  $("download").addEventListener("click", download);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); speak(); }
    if (event.key === "Escape") stop();
  });
  for (const one of document.querySelectorAll("[data-language]")) {
    one.addEventListener("click", () => { language = one.dataset.language; kept(localStorage, "language", language); translate(); if (spokenText || text.value) preview(); });
  }
  speed.value = kept(localStorage, "speed") || "1";
  translate();
  enter();
})();
