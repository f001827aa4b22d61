// The page of Ballcast: asks the device for its picture, shows it, and says in words what is happening.
//
//   asking ─answer─> connecting ─ICE─> securing ─DTLS─> waiting ─a frame─> live <─a frame─ stopped
//      └───────────────────┴──────────────┴── fail() ──────┴────────────────┘ └──no frame──>──┘
//                                                └──> failed ─a pause─> asking <─it answers───┘
//
// An attempt is one RTCPeerConnection and all that hangs on it. There is never more than one, and each sends the id
// of this page, so that the device removes the previous viewer: one page is never more than one viewer. Its AbortController
// ends the request, the listeners and the callbacks together.

const unreachable = () => `${location.host} does not answer. Check that it is switched on and on the same network as you.`;

// What each state is called, and how long it may go without progress. If it does not succeed: the name of what failed,
// and what to say.
const STATES = {
  asking: {
    doing: 'Requesting video from the device…',
    limitMs: 4000,
    stage: 'unreachable',
    failed: unreachable,
  },
  connecting: {
    doing: 'Connecting…',
    limitMs: 5000,
    stage: 'udp-blocked',
    failed: ({ addresses }) => 'The device answered, but video cannot get through: there was no response over UDP from '
      + `${formatAddresses(addresses)}. Allow UDP in the firewall, switch off a VPN, or leave a guest Wi-Fi.`,
  },
  securing: {
    doing: 'Connecting securely…',
    limitMs: 5000,
    stage: 'dtls',
    failed: () => 'The device was reached, but an encrypted connection (DTLS) failed. Something in the network changes '
      + 'the answer or blocks large packets: switch off a VPN or proxy, or use another network.',
  },
  waiting: {
    doing: 'Connected. Waiting for the first picture…',
    limitMs: 5000,
    stage: 'no-picture',
    failed: () => 'Connected, but no picture arrives. Check the camera or the encoder on the device.',
  },
  live: {
    doing: 'Live',
    get limitMs() { return 1000 + 2 * (attempt.framePeriodMs ?? 1000); },
    stage: 'stopped',
    failed: () => 'The picture stopped. If it does not come back, check the device and the network.',
  },
  stopped: {
    doing: 'Waiting for the picture to come back…',
    limitMs: 5000,
    stage: 'unreachable',
    failed: unreachable,
  },
};
const CONNECTION_LOST = 'The device or the network closed the connection. If the picture does not come back, check both.';
const NO_WEBRTC = 'WebRTC is switched off in this browser, and live video needs it. Allow it, or use another browser.';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 1000;   // the picture is to be back within 2 s of being possible
const REFUSED_PAUSE_MS = 30_000; // a refusal that stays the same until somebody changes something
const SETTLED_MS = 5000;         // live for this long: the next failure is a new one, and its first retry is quick
const KEPT_MS = 10_000;          // connected without a picture: this long after saying so, a new connection may help
const HEALS_MS = 500;            // once the device answers again, the connection heals within this or not at all
const SOON_MS = 2000;            // nobody waits for a longer pause without being told, and asked
const PROBE_EVERY_MS = 500;
const PROBE_LIMIT_MS = 2000;
const SAID_AFTER_MS = 400;       // most connections are up before anyone could read what is being done
const WATCH_MS = 250;
const FIGURES_MS = 1000;

const byId = (id) => document.getElementById(id);
const page = byId('page');
const video = byId('video');
const hasFrameCallback = 'requestVideoFrameCallback' in video;
const clientId = takeClientId();

let state = 'asking';
let failure = null;          // { stage, sentence, pauseMs } from a failure until the picture is live again
let attempt = null;          // { pc, abort, startedAt, stateSince, progressAt, addresses, … } or null
let connects = 0;            // attempts so far
let failures = 0;            // failures in a row
let retryTimer = 0;
let sayTimer = 0;
let earliestRetryAt = 0;     // the device said Retry-After
let needsTap = false;        // the browser wants the user to start the video
let frames = 0;              // frames presented so far
let firstFrameMs = null;     // of this attempt: from new RTCPeerConnection to the first frame
let fps = null;
let latencyMs = null;

// ---- Connecting ---------------------------------------------------------------------------------------------------

async function connect() {
  leave();
  const abort = new AbortController();
  const { signal } = abort;
  const mine = { pc: null, abort, decoded: 0, stamps: [] };
  attempt = mine;
  connects += 1;
  firstFrameMs = null;
  enter('asking');
  try {
    if (!window.RTCPeerConnection) throw new Refusal(NO_WEBRTC, { stage: 'no-webrtc', pauseMs: REFUSED_PAUSE_MS });
    if (failure?.stage === 'unreachable') await deviceAnswers(signal);
    if (signal.aborted) return;
    mine.startedAt = performance.now();
    const pc = mine.pc = new RTCPeerConnection(); // no ICE servers: both sides are on one network
    pc.addEventListener('track', ({ track }) => show(track, signal), { signal });
    pc.addEventListener('iceconnectionstatechange', connectionChanged, { signal });
    pc.addEventListener('connectionstatechange', connectionChanged, { signal });
    const { receiver } = pc.addTransceiver('video', { direction: 'recvonly' });
    const offer = await pc.createOffer();
    // No waiting for candidates: the device learns the browser's address from its first connectivity check.
    const [answer] = await Promise.all([ask(offer, signal), pc.setLocalDescription(offer)]);
    if (signal.aborted) return;
    mine.addresses = addressesIn(answer.sdp);
    enter('connecting');
    await pc.setRemoteDescription(answer);
    // A device that shuts down says so in DTLS; not every browser makes that a change of connectionState.
    receiver.transport?.addEventListener('statechange', connectionChanged, { signal });
  } catch (problem) {
    if (signal.aborted) return;
    if (problem instanceof Refusal) fail(problem.stage, problem.message, problem);
    else fail('refused', `This browser could not connect: ${problem.message}`, { pauseMs: REFUSED_PAUSE_MS });
  }
}

/** Posts the offer and returns the answer, or throws the `Refusal` to show. */
async function ask({ type, sdp }, signal) {
  let response;
  try {
    response = await fetch('/offer', {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        'Ballcast-Client-Id': clientId,
        ...authorization(),
      },
      body: JSON.stringify({ type, sdp }),
      signal,
    });
    if (response.ok) return await response.json();
  } catch {
    throw new Refusal(unreachable(), { stage: 'unreachable' });
  }
  const { status, headers } = response;
  const problem = await response.json().catch(() => ({})); // RFC 9457: `detail` is the sentence for people
  const sentence = problem.detail ?? `The device refused (HTTP status ${status}).`;
  const retryAfterMs = 1000 * (Number(headers.get('Retry-After')) || 0); // Ballcast sends seconds, never a date
  const lacksCodec = problem.reason === 'no-codec';
  throw new Refusal(lacksCodec ? `${sentence} This browser is ${browserName()}.` : sentence, {
    stage: lacksCodec ? 'no-codec' : 'refused',
    pauseMs: pauseAfter(status, retryAfterMs),
    retryAfterMs,
  });
}

/** The same request gets the same answer after 4xx, but for a timeout (408) and what says itself when to come back. */
function pauseAfter(status, retryAfterMs) {
  if (status === 401) return Infinity; // each request without the right token counts as a guess: only a person makes one
  return status < 500 && status !== 408 && !retryAfterMs ? REFUSED_PAUSE_MS : undefined;
}

class Refusal extends Error {
  constructor(sentence, { stage, pauseMs, retryAfterMs }) {
    super(sentence);
    Object.assign(this, { stage, pauseMs, retryAfterMs });
  }
}

function connectionChanged() {
  const { pc } = attempt;
  const dtls = pc.getReceivers()[0].transport?.state;
  if (state === 'connecting' && ['connected', 'completed'].includes(pc.iceConnectionState)) enter('securing');
  if (state === 'securing' && pc.connectionState === 'connected') enter('waiting');
  if ([pc.connectionState, dtls].some((s) => s === 'failed' || s === 'closed')) lose();
}

function lose() {
  if (state === 'connecting' || state === 'securing') fail();
  else fail('stopped', CONNECTION_LOST);
}

function enter(next) {
  state = next;
  attempt.stateSince = attempt.progressAt = performance.now();
  if (next === 'live') failure = null;
  render();
}

/** Ends the attempt, says why, and tries again after a pause that doubles from failure to failure. */
function fail(stage = STATES[state].stage, sentence = STATES[state].failed(attempt), { pauseMs, retryAfterMs = 0 } = {}) {
  pauseMs ??= retryAfterMs ? FIRST_PAUSE_MS : Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS);
  pauseMs = retryAfterMs + pauseMs * (0.75 + Math.random() / 2); // spread, so that many pages do not return as one
  failures += 1;
  earliestRetryAt = performance.now() + retryAfterMs;
  failure = { stage, sentence, pauseMs };
  leave();
  state = 'failed';
  if (pauseMs < Infinity) retryTimer = setTimeout(connect, pauseMs);
  render();
}

/** The picture stands still. The connection may heal, as after a gap in the Wi-Fi; if not, a new one is made at once. */
async function stop() {
  const mine = attempt;
  failure = { stage: 'stopped', sentence: STATES.live.failed() };
  enter('stopped');
  await deviceAnswers(mine.abort.signal);
  await new Promise((resolve) => setTimeout(resolve, HEALS_MS));
  if (mine === attempt && state === 'stopped') connect();
}

/** Resolves once the device answers. What is sent while the network is away is lost, so the next question does not wait. */
function deviceAnswers(signal) {
  return new Promise((resolve) => {
    const probe = () => {
      const limit = new AbortController();
      setTimeout(() => limit.abort(), PROBE_LIMIT_MS);
      fetch('/', { method: 'HEAD', cache: 'no-store', signal: limit.signal }).then(end, () => {});
    };
    const end = () => {
      clearInterval(timer);
      resolve();
    };
    const timer = setInterval(probe, PROBE_EVERY_MS);
    signal.addEventListener('abort', end);
    probe();
  });
}

/** Closes the attempt, if any. Closing sends DTLS close_notify, so the device forgets this viewer at once. */
function leave() {
  clearTimeout(retryTimer);
  attempt?.abort.abort();
  attempt?.pc?.close();
  attempt = null;
  video.srcObject = null; // Chromium paints a closed stream black
  needsTap = false;
  fps = latencyMs = null;
}

/** The page is back, or the network is: what failed may work now, and a throttled picture gets half its limit to show it lives. */
function resume() {
  failures = 0;
  if (!attempt) {
    if (failure?.pauseMs === Infinity) return;
    clearTimeout(retryTimer);
    retryTimer = setTimeout(connect, earliestRetryAt - performance.now());
    return;
  }
  if (video.paused) play();
  if (awaitsFrames()) attempt.progressAt = performance.now() - STATES[state].limitMs / 2;
}

// ---- What the page knows ------------------------------------------------------------------------------------------

/** A random id of this page. A reload keeps it. It is stored only during the reload, so a duplicate of the tab gets a new one. */
function takeClientId() {
  const random = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  try {
    const stored = sessionStorage.getItem('clientId');
    sessionStorage.removeItem('clientId');
    return stored ?? random;
  } catch { // storage is switched off
    return random;
  }
}

function storeClientId() {
  try {
    sessionStorage.setItem('clientId', clientId);
  } catch { /* without storage, a reload gets a new id */ }
}

/** The header for the token of `#token=…`, percent-decoded. One with other characters than those of a header is nobody's. */
function authorization() {
  try {
    const token = decodeURIComponent(/[#&]token=([^&]*)/.exec(location.hash)?.[1] ?? '');
    return /^[\x21-\x7e]+$/.test(token) ? { Authorization: `Bearer ${token}` } : {};
  } catch {
    return {};
  }
}

/** Where an answer says that the device can be reached. */
function addressesIn(sdp) {
  const candidates = sdp.matchAll(/^a=candidate:\S+ \d+ udp \d+ (\S+) (\d+) /gim);
  return [...new Set([...candidates].map(([, host, port]) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)))];
}

function formatAddresses(addresses) {
  return addresses.length ? new Intl.ListFormat('en', { type: 'disjunction' }).format(addresses) : 'the device, which sent no address';
}

/** By its user agent, in which most name others, too. */
function browserName() {
  const names = { Edge: /Edg\w*\/(\d+)/, Opera: /OPR\/(\d+)/, Firefox: /(?:Firefox|FxiOS)\/(\d+)/,
    Chrome: /(?:Chrome|CriOS)\/(\d+)/, Safari: /Version\/(\d+).*Safari/ };
  for (const [name, pattern] of Object.entries(names)) {
    const version = pattern.exec(navigator.userAgent)?.[1];
    if (version) return `${name} ${version}`;
  }
  return 'unknown';
}

// ---- Frames -------------------------------------------------------------------------------------------------------

function show(track, signal) {
  video.srcObject = new MediaStream([track]);
  if (hasFrameCallback) {
    const onFrame = (now, metadata) => {
      if (signal.aborted) return;
      video.requestVideoFrameCallback(onFrame);
      if (video.paused) return; // Chromium calls back for a paused stream too
      presented(1);
      if (attempt.stamped && frames % STAMP_EVERY === 0) readStamp(metadata.presentationTime ?? now);
    };
    video.requestVideoFrameCallback(onFrame);
  }
  play();
}

/** Safari in Low Power Mode ignores the autoplay attribute and refuses play() until the user asks for it. */
async function play() {
  try {
    await video.play();
  } catch (problem) {
    if (attempt && problem.name === 'NotAllowedError') setNeedsTap(true); // AbortError: a newer attempt took the video over
  }
}

function setNeedsTap(needed) {
  needsTap = needed;
  if (needed && ['live', 'stopped'].includes(state)) enter('waiting');
  render();
}

function presented(count) {
  frames += count;
  attempt.progressAt = performance.now();
  if (state === 'live') return;
  firstFrameMs ??= performance.now() - attempt.startedAt;
  enter('live');
  askAboutPicture(attempt);
}

function awaitsFrames() {
  return state === 'waiting' || state === 'live';
}

/** Fails the state that makes no progress. */
function watch() {
  if (!attempt) return;
  if (!hasFrameCallback && !video.paused) countDecodedFrames(attempt);
  const now = performance.now();
  if (state === 'live' && now - attempt.stateSince > SETTLED_MS) failures = 0;
  const connected = attempt.pc?.connectionState === 'connected';
  // Chromium and Firefox make no frame callbacks in a hidden tab (WICG/video-rvfc issue 92).
  if (awaitsFrames() && connected && (document.hidden || needsTap)) attempt.progressAt = now;
  const overdueMs = now - attempt.progressAt - STATES[state].limitMs;
  if (overdueMs <= 0) return;
  if (state === 'live') stop();
  else if (state === 'waiting' && connected) lack(overdueMs);
  else fail();
}

/** Connected without a picture: as soon as the device has one, it comes over this connection. */
function lack(overdueMs) {
  const { stage, failed } = STATES.waiting;
  failure = { stage, sentence: failed() };
  if (overdueMs > KEPT_MS) connect();
  else render();
}

/** Firefox before 132 has no requestVideoFrameCallback: decoded frames are the nearest thing. */
async function countDecodedFrames(mine) {
  const { framesDecoded = 0 } = (await videoStats(mine.pc)).inbound;
  if (mine !== attempt || framesDecoded <= mine.decoded) return;
  presented(framesDecoded - mine.decoded);
  mine.decoded = framesDecoded;
}

// ---- Words --------------------------------------------------------------------------------------------------------

/** Writes what is happening. A failure stays readable while the next attempts run, until the picture is back. */
function render() {
  const doing = needsTap ? 'Press play. This browser does not start video by itself, often to save power.' : STATES[state]?.doing;
  page.dataset.state = state;
  page.dataset.stage = stageName();
  say(failure?.sentence ?? doing);
  setText('next', !failure ? '' : state === 'failed' ? pauseInWords(failure.pauseMs) : doing);
  byId('again').hidden = !(state === 'failed' && failure.pauseMs > SOON_MS);
  byId('play').hidden = !needsTap;
  document.title = `${state === 'live' ? 'Live' : failure ? 'No picture' : 'Connecting'} · ${location.hostname}`;
}

function stageName() {
  return failure?.stage ?? state;
}

/** A screen reader says all that is written here, so what passes at once is left out. */
function say(text) {
  clearTimeout(sayTimer);
  const passing = !failure && !needsTap && state !== 'live';
  if (passing) sayTimer = setTimeout(() => setText('status', text), SAID_AFTER_MS);
  else setText('status', text);
}

function pauseInWords(ms) {
  if (ms === Infinity) return '';
  return ms <= SOON_MS ? 'Trying again…' : `Trying again in ${Math.round(ms / 1000)} seconds.`;
}

/** Leaves equal text alone: a screen reader would say it again. */
function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

// ---- Figures ------------------------------------------------------------------------------------------------------

async function videoStats(pc) {
  const stats = [...(await pc.getStats()).values()];
  return {
    inbound: stats.find((s) => s.type === 'inbound-rtp' && s.kind === 'video') ?? {},
    path: stats.find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded') ?? {},
  };
}

/** Compares this second with the one before, and shows the difference. */
async function updateFigures() {
  const mine = attempt;
  if (!attempt || state !== 'live' || document.hidden) return;
  const { inbound, path } = await videoStats(mine.pc);
  if (mine !== attempt) return;
  const last = mine.figures;
  const now = mine.figures = { ...inbound, frames, at: performance.now() };
  if (!last) return;

  const grown = (name) => (now[name] ?? 0) - (last[name] ?? 0);
  const seconds = grown('at') / 1000;
  fps = grown('frames') / seconds;
  const kbps = 8 * grown('bytesReceived') / 1000 / seconds;
  const lost = Math.max(0, grown('packetsLost')); // a late packet counts as lost first, and is taken back later
  const lossPercent = 100 * lost / Math.max(1, lost + grown('packetsReceived'));
  const estimateMs = 1000 * ((path.currentRoundTripTime ?? 0) / 2
    + grown('jitterBufferDelay') / Math.max(1, grown('jitterBufferEmittedCount')));
  latencyMs = mine.stamped ? median(mine.stamps.splice(0)) ?? latencyMs : estimateMs;
  const clocksDiffer = mine.stamped && (latencyMs < -5 || latencyMs > 10_000);

  setText('fps', `${fps.toFixed(0)} /s`);
  setText('bitrate', kbps < 1000 ? `${kbps.toFixed(0)} kbit/s` : `${(kbps / 1000).toFixed(1)} Mbit/s`);
  setText('loss', `${lossPercent.toFixed(lossPercent && lossPercent < 10 ? 1 : 0)} %`);
  setText('latency', clocksDiffer || latencyMs === null ? '–' : `${mine.stamped ? '' : '≈ '}${latencyMs.toFixed(0)} ms`);
  setText('latency-kind', clocksDiffer ? 'clocks differ' : mine.stamped ? 'capture to screen' : 'network + buffer');
  setText('first-frame', `${firstFrameMs.toFixed(0)} ms`);
}

function median(values) {
  return values.length ? values.sort((a, b) => a - b)[values.length >> 1] : null;
}

// ---- Stamp: the capture time burnt into the picture ----------------------------------------------------------------

// With `--stamp` the top row of the picture is 24 blocks of 16×16 pixels, white for 1 and black for 0, the lowest bit
// at the left: the wall clock at capture, in quarter milliseconds, modulo 2^24 (70 minutes).
const STAMP_BITS = 24;
const STAMP_BLOCK = 16;
const STAMP_EVERY = 5;      // reading pixels back is not free, so only each fifth frame
const LATENCIES_KEPT = 4096;

const latencies = [];
const strip = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
strip.canvas.width = STAMP_BITS * STAMP_BLOCK;
strip.canvas.height = STAMP_BLOCK;

async function askAboutPicture(mine) {
  const asked = fetch('/stats', { headers: authorization(), signal: mine.abort.signal });
  const stats = await asked.then((response) => response.json()).catch(() => ({}));
  mine.stamped = hasFrameCallback && stats.stamp === true;
  if (stats.frames_per_second) mine.framePeriodMs = 1000 / stats.frames_per_second;
}

/** Takes one latency from the frame on the screen; `shownAt` is on the clock of `performance.now()`. */
function readStamp(shownAt) {
  const { width, height } = strip.canvas;
  strip.drawImage(video, 0, 0, width, height, 0, 0, width, height);
  const row = strip.getImageData(0, height / 2, width, 1).data; // RGBA
  let captured = 0;
  for (let bit = 0; bit < STAMP_BITS; bit += 1) {
    const centre = bit * STAMP_BLOCK + STAMP_BLOCK / 2;
    if (row[4 * centre] > 128) captured += 2 ** bit;
  }
  const quarters = (wallClock(shownAt) * 4 - captured) % 2 ** STAMP_BITS;
  const wrapped = quarters > 2 ** (STAMP_BITS - 1) ? quarters - 2 ** STAMP_BITS : quarters; // a clock that is ahead is below 0
  attempt.stamps.push(wrapped / 4);
  latencies.push(wrapped / 4);
  if (latencies.length > LATENCIES_KEPT) latencies.shift();
}

/** `performance` is the finer clock, but it stands still while some computers sleep, and nobody sets it: then ask `Date`. */
function wallClock(at) {
  const behind = Date.now() - (performance.timeOrigin + performance.now());
  return performance.timeOrigin + at + (Math.abs(behind) > 2 ? behind : 0);
}

// ---- Controls -----------------------------------------------------------------------------------------------------

// iPhones have no full screen for elements, only for a video.
const fullScreen = page.requestFullscreen
  ? () => (document.fullscreenElement ? document.exitFullscreen() : page.requestFullscreen())
  : video.webkitEnterFullscreen && (() => video.webkitEnterFullscreen());

/** Reads, or writes, whether the panel is open. Storage that is switched off throws: then the panel follows the screen. */
function remembered(...open) {
  try {
    if (open.length) localStorage.setItem('figures', open[0]);
    return JSON.parse(localStorage.getItem('figures'));
  } catch {
    return null;
  }
}

function showFigures(open) {
  byId('figures').hidden = !open;
  byId('figures-toggle').setAttribute('aria-expanded', open);
}

byId('again').addEventListener('click', connect);
byId('play').addEventListener('click', play);
byId('figures-toggle').addEventListener('click', () => {
  const open = byId('figures').hidden;
  showFigures(open);
  remembered(open);
});
const isPhone = matchMedia('(max-width: 640px), (max-height: 480px)').matches;
showFigures(remembered() ?? !isPhone);

if (fullScreen) {
  byId('full-screen').hidden = false;
  byId('full-screen').addEventListener('click', fullScreen);
  video.addEventListener('dblclick', fullScreen);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'f' && !event.repeat && !event.ctrlKey && !event.metaKey && !event.altKey) fullScreen();
  });
}

video.addEventListener('playing', () => setNeedsTap(false));
// A stream that ends pauses too, and so does an iPhone on leaving full screen.
video.addEventListener('pause', () => { if (attempt && !video.ended) setNeedsTap(true); });
video.addEventListener('webkitendfullscreen', play);

document.addEventListener('resume', resume); // Chromium pauses the video of a page that it freezes
document.addEventListener('visibilitychange', () => { if (!document.hidden) resume(); });
addEventListener('online', resume);
addEventListener('hashchange', connect); // another token
addEventListener('pagehide', () => {
  storeClientId();
  leave();
});
addEventListener('pageshow', (event) => { if (event.persisted) resume(); });

/** For tests and the curious, to read only. Times in ms; `latencies` are the last stamps read, one in five frames. */
window.ballcast = Object.freeze({
  get state() { return state; },       // a name in STATES, or failed
  get stage() { return stageName(); }, // what failed, until the picture is back; else the state
  get error() { return failure && failure.sentence; },
  get connects() { return connects; },
  get firstFrameMs() { return firstFrameMs; },
  get frames() { return frames; },
  get fps() { return fps; },
  get latencyMs() { return latencyMs; },
  get latencies() { return [...latencies]; },
});

connect();
setInterval(watch, WATCH_MS);
setInterval(updateFigures, FIGURES_MS);
