"use strict";
// Plays two voices that have no names, keeps the choices, and writes them as JSON.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const plays = [find("play-0"), find("play-1")];
  const choices = [...document.querySelectorAll(".choice")];
  const sounds = [new Audio(), new Audio()];
  const memory = `kgtts-votes-${data.result.test}`;
  const state = { at: 0, votes: data.pairs.map(() => null), id: name(), listener: "" };
  let heard = [false, false];

  // A name by chance, so that nobody who leaves the field empty is counted twice or taken for somebody else.
  function name() {
    const bytes = crypto.getRandomValues(new Uint8Array(6));
    return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  // A browser may refuse to remember anything; then a page that is loaded again begins anew.
  function recall() {
    try {
      const known = JSON.parse(localStorage.getItem(memory) ?? "null");
      if (!Array.isArray(known?.votes) || known.votes.length !== data.pairs.length) return;
      const isVote = (vote) => [null, "0", "1", "same"].includes(vote);
      if (!known.votes.every(isVote) || !/^[0-9a-f]{12}$/.test(known.id)) return;
      state.votes = known.votes;
      state.id = known.id;
      state.listener = String(known.listener ?? "").slice(0, 40);
      const open = state.votes.indexOf(null);
      state.at = open < 0 ? state.votes.length : open;
    } catch { /* Nothing is remembered. */ }
  }

  function remember() {
    try {
      const { votes, id, listener } = state;
      localStorage.setItem(memory, JSON.stringify({ votes, id, listener }));
    } catch { /* As above. */ }
  }

  function show() {
    const done = state.at >= data.pairs.length;
    find("trial").hidden = done;
    find("intro").hidden = done;
    find("end").hidden = !done;
    stop();
    if (done) {
      find("listener").value = state.listener;
      write();
      find("end-title").focus();
      return;
    }
    const pair = data.pairs[state.at];
    heard = state.votes[state.at] === null ? [false, false] : [true, true];
    find("place").textContent = `Sentence ${state.at + 1} of ${data.pairs.length}`;
    find("progress").value = state.at;
    find("sentence").textContent = pair.text;
    find("sentence").lang = /[\u0980-\u09ff]/.test(pair.text) ? "bn" : "";
    find("trouble").hidden = true;
    find("back").hidden = state.at === 0;
    sounds.forEach((sound, i) => { sound.src = pair.sounds[i]; });
    paint();
  }

  function paint() {
    plays.forEach((button, i) => {
      const playing = !sounds[i].paused;
      button.setAttribute("aria-pressed", String(playing));
      button.classList.toggle("heard", heard[i]);
      button.querySelector(".sign").textContent = playing ? "■" : "▶";
    });
    const ready = heard[0] && heard[1];
    for (const button of choices) {
      button.disabled = !ready;
      button.setAttribute("aria-pressed", String(state.votes[state.at] === button.dataset.choice));
    }
    find("hint").textContent = ready ? "Which one? You can listen again." : "Listen to both first.";
  }

  function stop() {
    for (const sound of sounds) { sound.pause(); }
  }

  async function play(which) {
    if (state.at >= data.pairs.length) return;
    const wasPlaying = !sounds[which].paused;
    stop();
    if (!wasPlaying) {
      sounds[which].currentTime = 0;
      try {
        await sounds[which].play();
        find("trouble").hidden = true;
      } catch (error) {
        if (error.name === "AbortError") return;  // Another one was played at once.
        find("trouble").textContent = "This sound cannot be played by this browser. Choose “No difference” to go on.";
        find("trouble").hidden = false;
        heard = [true, true];
      }
    }
    paint();
  }

  sounds.forEach((sound, i) => {
    sound.preload = "auto";
    for (const event of ["play", "pause"]) sound.addEventListener(event, paint);
    // Heard is what was listened to for the most part, or to its end.
    const listened = () => {
      if (heard[i] || !(sound.ended || sound.currentTime >= Math.min(2, 0.6 * sound.duration))) return;
      heard[i] = true;
      paint();
    };
    for (const event of ["timeupdate", "ended"]) sound.addEventListener(event, listened);
  });

  function choose(choice) {
    if (state.at >= data.pairs.length || !(heard[0] && heard[1])) return;
    state.votes[state.at] = choice;
    state.at += 1;
    remember();
    show();
  }

  function back() {
    if (state.at === 0) return;
    state.at -= 1;
    show();
  }

  // The letters are those of the voices, whichever was the first on the page.
  function letterOf(pair, vote) {
    if (vote === "same") return "same";
    return (vote === "0") === (pair.first === "A") ? "A" : "B";
  }

  function write() {
    const votes = data.pairs.map((pair, i) => ({ sentence: i + 1, first: pair.first, choice: letterOf(pair, state.votes[i]) }));
    const result = { ...data.result, listener: state.listener.trim() || state.id, id: state.id, votes };
    find("result").value = JSON.stringify(result, null, 1).replace(/\{\n\s+"sentence[^}]*\}/g, (part) => part.replace(/\s*\n\s*/g, " "));
    find("told").textContent = "";
  }

  async function copy() {
    const area = find("result");
    area.select();
    let done = false;
    try {
      await navigator.clipboard.writeText(area.value);
      done = true;
    } catch {
      done = document.execCommand("copy");
    }
    find("told").textContent = done ? "Copied: paste it into a message." : "Select the text and copy it by hand.";
  }

  function save() {
    const link = document.createElement("a");
    const address = URL.createObjectURL(new Blob([find("result").value], { type: "application/json" }));
    link.href = address;
    link.download = `votes-${state.id}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    find("told").textContent = `Saved as ${link.download}.`;
  }

  plays.forEach((button, i) => button.addEventListener("click", () => play(i)));
  for (const button of choices) button.addEventListener("click", () => choose(button.dataset.choice));
  find("back").addEventListener("click", back);
  find("again").addEventListener("click", back);
  find("copy").addEventListener("click", copy);
  find("save").addEventListener("click", save);
  find("listener").addEventListener("input", () => {
    state.listener = find("listener").value;
    remember();
    write();
  });

  const keys = {
    1: () => play(0), 2: () => play(1), ArrowLeft: () => choose("0"), ArrowDown: () => choose("same"),
    ArrowRight: () => choose("1"), Backspace: back,
  };
  document.addEventListener("keydown", (event) => {
    const isText = ["INPUT", "TEXTAREA"].includes(document.activeElement?.tagName);
    if (isText || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (!Object.hasOwn(keys, event.key) || state.at >= data.pairs.length) return;
    event.preventDefault();
    keys[event.key]();
  });

  recall();
  show();
  document.documentElement.setAttribute("data-ready", "yes");
})();
