// The page of a model in service. No framework, no build step, nothing from outside.
// Whatever comes from a file or from the server is set as text, never as HTML.

const TOP = 5;
const UNSURE = 0.5;
const NAMED = 12; // so many classes are named before the first picture
const KEPT = 16;
const SMALL_PX = 160;
const STATE_EVERY_MS = 15000;

const $ = (id) => document.getElementById(id);
const drop = $("drop"), result = $("result");

let model = null;
let past = [];       // newest first: {file, name, url, answer | problem}
let current = null;  // the one that is shown
let turn = 0;        // whatever was begun in an earlier turn is stale
let request = null;  // aborted when a newer picture comes
let stream = null;   // of the camera

// --- words ---

const PROBLEMS = {
  empty_file: ["This file is empty", "It has no bytes at all. Perhaps the download did not finish."],
  image_truncated: ["This picture is cut off", "The end of the file is missing. Copy or download it again."],
  unsupported_format: ["This is not a picture the model can read", "JPEG, PNG, WebP, GIF, BMP and TIFF are read."],
  too_many_pixels: ["This picture has too many pixels", "Make it smaller, and try again."],
  body_too_large: ["This file is too large", "Make the picture smaller, or save it as JPEG."],
  too_small: ["This picture is too small", "There is hardly anything in it to be seen."],
  image_undecodable: ["This picture is damaged", "It could not be decoded. Try another copy of it."],
  busy: ["The server is busy", "Others are before you. Try again in a moment."],
  not_ready: ["The model is still starting", "Try again in a moment."],
  worker_lost: ["The model was interrupted", "It is starting again by itself. Try again in a moment."],
  inference_timeout: ["The model took too long", "Try again, or try another picture."],
  model_output_invalid: ["The model has no sensible answer", "For this picture its numbers are not numbers. The model is at fault, not you."],
  receive_timeout: ["The upload took too long", "Perhaps the connection is slow. Try again, or make the picture smaller."],
  foreign_host: ["The server does not know this address", "Whoever started it can add the name with --allow-host."],
  unreachable: ["The server does not answer", "Perhaps it was stopped, or the connection is gone."],
  camera: ["The camera cannot be used", "The browser or the system did not allow it, or there is none."],
};
const WORTH_REPEATING = new Set(["busy", "not_ready", "worker_lost", "inference_timeout", "receive_timeout", "unreachable"]);

const NOTES = {
  rotated: "The picture was turned upright, as the camera noted.",
  mode_converted: "The colours were converted to plain RGB.",
  exif_unreadable: "The picture's camera data is damaged; it was taken as upright.",
  extra_bytes: "The file holds bytes that belong to nothing; a part of it may be damaged.",
};

function noteText({ code, message }) {
  if (code === "first_frame") return `Only the first picture in this file was used (${message.replace("first_frame_of", "of").trim()}).`;
  if (code === "extension_mismatch") return `The file's name says something else, but it ${message.split(": ").pop()}.`;
  return NOTES[code] ?? message;
}

function percent(p) {
  const value = p * 100;
  if (value > 99.95 && p < 1) return "> 99.9 %";
  if (value < 0.05 && p > 0) return "< 0.1 %";
  return `${value.toFixed(1)} %`;
}

const milliseconds = (v) => (v < 10 ? `${v.toFixed(1)} ms` : v < 1000 ? `${Math.round(v)} ms` : `${(v / 1000).toFixed(1)} s`);
const megabytes = (b) => `${+(b / 1e6).toFixed(1)} MB`;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// --- asking ---

async function show(files) {
  const mine = ++turn;
  request?.abort();
  closeCamera();
  for (const file of [...files].slice(0, KEPT)) {
    if (mine !== turn) return;
    const entry = { file, name: file.name || "pasted picture", url: URL.createObjectURL(file) };
    remember(entry);
    await ask(entry, mine);
  }
}

async function ask(entry, mine) {
  delete entry.problem;
  delete entry.answer;
  display(entry);
  busy(true);
  const outcome = await predict(entry.file);
  if (mine !== turn) {
    forget(entry);
    return;
  }
  busy(false);
  Object.assign(entry, outcome);
  display(entry);
  drawHistory();
}

async function predict(file) {
  if (model && file.size > model.max_body_bytes) {
    return problem("body_too_large", `It has ${megabytes(file.size)}; the limit is ${megabytes(model.max_body_bytes)}.`);
  }
  const form = new FormData();
  form.append("file", file);
  const mine = (request = new AbortController());
  try {
    const response = await fetch("/predict", { method: "POST", body: form, signal: mine.signal });
    const body = await response.json();
    if (response.ok) return { answer: body };
    return problem(body.error.code, body.error.message, body.error.request_id);
  } catch (error) {
    if (!mine.signal.aborted) checkState();
    return problem("unreachable", String(error.message ?? error));
  }
}

const problem = (code, message, id = "") => ({ problem: { code, message, id } });

// --- showing ---

function busy(is) {
  result.setAttribute("aria-busy", String(is));
  drop.classList.toggle("busy", is);
}

function display(entry) {
  const changed = current !== entry;
  current = entry;
  if (changed) displayPicture(entry);
  const waiting = !entry.answer && !entry.problem;
  if (waiting) return;
  $("blank").hidden = true;
  $("answer").hidden = !entry.answer;
  $("problem").hidden = !entry.problem;
  if (entry.answer) displayAnswer(entry.answer, false);
  if (entry.problem) displayProblem(entry.problem);
  displayName(entry);
  markHistory();
}

function displayPicture(entry) {
  const shown = $("shown");
  $("invite").hidden = true;
  $("unshown").hidden = true;
  drop.classList.add("full");
  shown.hidden = false;
  shown.onload = () => shown.classList.toggle("tiny", Math.max(shown.naturalWidth, shown.naturalHeight) <= SMALL_PX);
  shown.onerror = () => {
    shown.hidden = true;
    $("unshown").hidden = Boolean(entry.problem);
  };
  shown.src = entry.url;
  shown.alt = entry.name;
  drop.setAttribute("aria-label", `${entry.name}. Choose another picture`);
  displayName(entry);
}

function displayName(entry) {
  const picture = entry.answer?.picture;
  const facts = [entry.name, megabytesOrLess(entry.file.size)];
  if (picture) facts.splice(1, 0, `${picture.width_px} × ${picture.height_px}`, picture.format);
  $("name").textContent = facts.join(" · ");
}

const megabytesOrLess = (b) => (b < 1e5 ? `${+(b / 1e3).toFixed(1)} kB` : megabytes(b));

function displayAnswer(answer, all) {
  $("label").textContent = answer.label;
  $("share").textContent = percent(answer.probability);
  $("unsure").hidden = answer.probability >= UNSURE;
  const rows = all ? answer.probabilities : answer.probabilities.slice(0, TOP);
  const bars = $("bars");
  bars.classList.toggle("long", all && answer.probabilities.length > 12);
  bars.replaceChildren(...rows.map(bar));
  const more = $("all");
  more.hidden = answer.probabilities.length <= TOP;
  more.textContent = all ? `Show the first ${TOP}` : `Show all ${answer.probabilities.length} classes`;
  more.setAttribute("aria-expanded", String(all));
  more.onclick = () => displayAnswer(answer, !all);
  $("notes").replaceChildren(...answer.notes.map((note) => element("li", "", noteText(note))));
  const t = answer.timings_ms;
  const times = [["wait", t.queue], ["decode", t.decode], ["prepare", t.prepare], ["model", t.infer], ["altogether", t.total]];
  $("timings").replaceChildren(...times.map(([what, value]) => {
    const pair = element("div");
    pair.append(element("dt", "", what), element("dd", "", milliseconds(value)));
    return pair;
  }));
}

function bar({ label, probability }) {
  const row = element("li");
  const track = element("div", "track");
  const fill = element("div", "fill");
  fill.style.width = `${probability * 100}%`;
  track.setAttribute("aria-hidden", "true");
  track.append(fill);
  row.append(element("span", "who", label), element("span", "much", percent(probability)), track);
  return row;
}

function displayProblem({ code, message, id }) {
  const [title, text] = PROBLEMS[code] ?? ["That did not work", message];
  $("problem-title").textContent = title;
  $("problem-text").textContent = text;
  $("problem-detail").textContent = [message, id && `request ${id}`].filter(Boolean).join(" · ");
  $("again").hidden = !(WORTH_REPEATING.has(code) && current);
  $("again").onclick = () => ask(current, ++turn);
}

// --- history ---

function remember(entry) {
  past.unshift(entry);
  for (const old of past.splice(KEPT)) URL.revokeObjectURL(old.url);
}

function forget(entry) {
  if (entry.answer || entry.problem) return;
  past = past.filter((other) => other !== entry);
  if (current !== entry) URL.revokeObjectURL(entry.url);
}

function drawHistory() {
  const done = past.filter((entry) => entry.answer || entry.problem);
  $("history-box").hidden = done.length === 0;
  $("history").replaceChildren(...done.map((entry) => {
    const item = element("li");
    const button = element("button", entry.problem ? "past failed" : "past");
    button.type = "button";
    const thumb = element("span", "thumb");
    const image = element("img");
    image.alt = "";
    image.onerror = () => image.remove();
    image.src = entry.url;
    thumb.append(image);
    const what = entry.answer ? entry.answer.label : "not read";
    const sure = entry.answer ? percent(entry.answer.probability) : entry.name;
    button.append(thumb, element("span", "what", what), element("span", "sure", sure));
    button.title = entry.name;
    button.onclick = () => {
      turn += 1;
      request?.abort();
      busy(false);
      closeCamera();
      display(entry);
    };
    entry.button = button;
    item.append(button);
    return item;
  }));
  markHistory();
}

function markHistory() {
  for (const entry of past) entry.button?.setAttribute("aria-current", String(entry === current));
}

// --- camera ---

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    $("capture").click(); // without https a browser lends its camera only through a file field
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  } catch (error) {
    $("blank").hidden = true;
    $("answer").hidden = true;
    $("problem").hidden = false;
    displayProblem(problem("camera", error.name).problem);
    return;
  }
  $("video").srcObject = stream;
  await $("video").play();
  cameraShown(true);
  $("shoot").focus();
}

function closeCamera() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  $("video").srcObject = null;
  cameraShown(false);
}

function cameraShown(is) {
  $("viewfinder").hidden = !is;
  $("camera-actions").hidden = !is;
  drop.hidden = is;
  $("actions").hidden = is;
}

function shoot() {
  const video = $("video");
  const canvas = element("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    const time = new Date().toLocaleTimeString();
    if (blob) show([new File([blob], `camera ${time}.jpg`, { type: "image/jpeg" })]);
    drop.focus();
  }, "image/jpeg", 0.92);
}

// --- the server ---

async function checkState() {
  const state = $("state");
  const set = (value, text) => {
    if (state.dataset.state === value) return;
    state.dataset.state = value;
    state.textContent = text;
  };
  try {
    const response = await fetch("/ready");
    if (response.ok) set("ready", "ready");
    else set("waiting", "starting");
    if (response.ok && !model) await learnModel();
  } catch {
    set("away", "no answer");
  }
}

async function learnModel() {
  model = await (await fetch("/model")).json();
  const classes = `${model.classes.length} ${model.classes.length === 1 ? "class" : "classes"}`;
  $("model").textContent = `${model.model} · ${classes}`;
  document.title = `${model.model} · Opsin`;
  $("about").textContent =
    `${model.model}, ${model.parameters.toLocaleString("en")} parameters, sees ${model.size_px[1]} × ${model.size_px[0]} pixels. ` +
    `Before it came into service it gave the recorded answers to ${model.golden_samples} golden samples.`;
  if (model.classes.length <= NAMED) $("knows").textContent = `It knows: ${model.classes.join(", ")}.`;
  if (!current) $("name").textContent += `, up to ${megabytes(model.max_body_bytes)}`;
  $("hash").textContent = `bundle ${model.bundle_hash.slice(0, 12)}`;
  $("hash").title = model.bundle_hash;
  $("curl").textContent = `curl -F file=@cat.jpg ${location.origin}/predict`;
}

// --- hands ---

const choose = () => $("file").click();
drop.addEventListener("click", choose);
$("choose").addEventListener("click", choose);
$("open-camera").addEventListener("click", openCamera);
$("close-camera").addEventListener("click", () => { closeCamera(); $("open-camera").focus(); });
$("shoot").addEventListener("click", shoot);

for (const input of [$("file"), $("capture")]) {
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that the same file can be chosen again
    if (files.length) show(files);
  });
}

addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length) show(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) show(event.clipboardData.files);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && stream) { closeCamera(); $("open-camera").focus(); }
});
addEventListener("pagehide", closeCamera);

checkState();
setInterval(() => { if (!document.hidden) checkState(); }, STATE_EVERY_MS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) checkState(); });
