// The page of Ballcast: asks the device for its picture, shows it, and says in words what is happening.
//
//   asking ──answer──> connecting ──connected──> waiting ──first frame──> live
//      └──────────────────┴────────── fail() ───────┴───────────────────────┘
//                                       └──> failed ──a pause──> asking
//
// An attempt is one RTCPeerConnection and all that hangs on it. There is never more than one, so that one page is
// never more than one viewer. Its AbortController ends the request, the listeners and the callbacks together.

// What each stage is called, how long it may go without progress, what to say when it does not succeed, and how far
// apart its retries may grow. Asking costs the device next to nothing, so a restarted device is found within 2 s;
// an attempt that gets further takes one of its viewer slots, so those wait longer.
const STAGES = {
  asking: {
    doing: 'Asking the device for its picture…',
    failed: `${location.host} does not answer. Check that it is switched on and on the same network as you.`,
    limitMs: 4000,
    longestPauseMs: 2000,
  },
  connecting: {
    doing: 'Connecting…',
    failed: 'The device answered, but video cannot get through. Something may block UDP: a firewall, a VPN, or a guest Wi-Fi.',
    limitMs: 6000,
    longestPauseMs: 5000,
  },
  waiting: {
    doing: 'Connected. Waiting for the first picture…',
    failed: 'Connected, but no picture comes. Check the camera or the encoder on the device.',
    limitMs: 5000,
    longestPauseMs: 5000,
  },
  live: {
    doing: 'Live',
    failed: 'The picture stopped.',
    limitMs: 3000,
    longestPauseMs: 2000,
  },
};
const CONNECTION_LOST = 'The connection to the device was lost.';
const NO_WEBRTC = 'WebRTC is switched off in this browser, and live video needs it. Allow it, or use another browser.';

const FIRST_PAUSE_MS = 250;
const REFUSED_PAUSE_MS = 30_000; // a refusal that stays the same until somebody changes something
const SETTLED_MS = 5000;         // live for this long: the next failure is a new one, and its first retry is quick
const DISCONNECTED_MS = 1000;    // 'disconnected' often heals by itself, so it gets this long
const WATCH_MS = 250;
const FIGURES_MS = 1000;

const byId = (id) => document.getElementById(id);
const page = byId('page');
const video = byId('video');
const hasFrameCallback = 'requestVideoFrameCallback' in video;

let state = 'asking';
let failure = null;          // { stage, sentence, pauseMs, refused } from a failure until the picture is live again
let attempt = null;          // { pc, abort, startedAt, stageSince, progressAt, disconnectedAt, … } or null
let connects = 0;            // attempts so far
let failures = 0;            // failures in a row
let retryTimer = 0;
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
  const mine = { pc: null, abort, startedAt: performance.now(), decoded: 0, stamps: [] };
  attempt = mine;
  connects += 1;
  firstFrameMs = null;
  enter('asking');
  try {
    if (!window.RTCPeerConnection) throw new Refusal(NO_WEBRTC, { refused: true });
    const pc = mine.pc = new RTCPeerConnection(); // no ICE servers: both sides are on one network
    pc.addEventListener('track', ({ track }) => show(track, signal), { signal });
    pc.addEventListener('connectionstatechange', connectionChanged, { signal });
    const { receiver } = pc.addTransceiver('video', { direction: 'recvonly' });
    const offer = await pc.createOffer();
    // No waiting for candidates: the device learns the browser's address from its first connectivity check.
    const [answer] = await Promise.all([ask(offer, signal), pc.setLocalDescription(offer)]);
    if (signal.aborted) return;
    enter('connecting');
    await pc.setRemoteDescription(answer);
    // A device that shuts down says so in DTLS; not every browser makes that a change of connectionState.
    receiver.transport?.addEventListener('statechange', connectionChanged, { signal });
  } catch (problem) {
    if (signal.aborted) return;
    if (problem instanceof Refusal) fail(problem.message, problem);
    else fail(`This browser could not connect: ${problem.message}`, { refused: true });
  }
}

/** Posts the offer and returns the answer, or throws the `Refusal` to show. */
async function ask({ type, sdp }, signal) {
  let response;
  try {
    response = await fetch('/offer', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ type, sdp }),
      signal,
    });
    if (response.ok) return await response.json();
  } catch {
    throw new Refusal(STAGES.asking.failed);
  }
  const problem = await response.json().catch(() => ({})); // RFC 9457: `detail` is the sentence for people
  throw new Refusal(problem.detail ?? `The device refused (HTTP status ${response.status}).`, {
    // 4xx: the same request gets the same answer, but for a timeout (408) and a rate limit (429).
    refused: response.status < 500 && ![408, 429].includes(response.status),
    retryAfterMs: 1000 * (Number(response.headers.get('Retry-After')) || 0), // Ballcast sends seconds, never a date
  });
}

class Refusal extends Error {
  constructor(sentence, { refused = false, retryAfterMs = 0 } = {}) {
    super(sentence);
    Object.assign(this, { refused, retryAfterMs });
  }
}

function connectionChanged() {
  const { pc } = attempt;
  const dtls = pc.getReceivers()[0].transport?.state;
  if (pc.connectionState === 'connected' && state === 'connecting') enter('waiting');
  attempt.disconnectedAt = pc.connectionState === 'disconnected' ? performance.now() : null;
  if ([pc.connectionState, dtls].some((s) => s === 'failed' || s === 'closed')) lose();
}

function lose() {
  fail(state === 'connecting' ? STAGES.connecting.failed : CONNECTION_LOST);
}

function enter(next) {
  state = next;
  attempt.stageSince = attempt.progressAt = performance.now();
  if (next === 'live') failure = null;
  render();
}

/** Ends the attempt, says why, and tries again after a pause that doubles from failure to failure. */
function fail(sentence, { refused = false, retryAfterMs = 0 } = {}) {
  const now = performance.now();
  if (state === 'live' && now - attempt.stageSince > SETTLED_MS) failures = 0;
  const backoffMs = refused ? REFUSED_PAUSE_MS : Math.min(FIRST_PAUSE_MS * 2 ** failures, STAGES[state].longestPauseMs);
  const pauseMs = retryAfterMs + backoffMs * (0.75 + Math.random() / 2); // spread, so that many pages do not return as one
  failures += 1;
  earliestRetryAt = now + retryAfterMs;
  failure = { stage: state, sentence, pauseMs, refused };
  leave();
  state = 'failed';
  retryTimer = setTimeout(connect, pauseMs);
  render();
}

/** Closes the attempt, if any. Closing sends DTLS close_notify, so the device forgets this viewer at once. */
function leave() {
  clearTimeout(retryTimer);
  attempt?.abort.abort();
  attempt?.pc?.close();
  attempt = null;
  needsTap = false;
  fps = latencyMs = null;
}

/** The page is back, or the network is: what failed may work now, and what was throttled gets half its limit to show it lives. */
function resume() {
  failures = 0;
  if (attempt) {
    attempt.progressAt = performance.now() - STAGES[state].limitMs / 2;
  } else {
    clearTimeout(retryTimer);
    retryTimer = setTimeout(connect, earliestRetryAt - performance.now());
  }
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
  if (needed && state === 'live') enter('waiting');
  render();
}

function presented(count) {
  frames += count;
  attempt.progressAt = performance.now();
  if (state === 'live') return;
  firstFrameMs ??= performance.now() - attempt.startedAt;
  enter('live');
  askForStamp(attempt);
}

/** Fails the stage that makes no progress. */
function watch() {
  if (!attempt) return;
  if (!hasFrameCallback && !video.paused) countDecodedFrames(attempt);
  const now = performance.now();
  if (attempt.disconnectedAt && now - attempt.disconnectedAt > DISCONNECTED_MS) return lose();
  // Chromium and Firefox make no frame callbacks in a hidden tab (WICG/video-rvfc issue 92).
  const framesAwaited = state === 'waiting' || state === 'live';
  if (framesAwaited && (document.hidden || video.paused)) attempt.progressAt = now;
  if (now - attempt.progressAt > STAGES[state].limitMs) fail(STAGES[state].failed);
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
  const doing = needsTap ? 'Press play. This browser does not start video by itself, often to save power.' : STAGES[state]?.doing;
  page.dataset.state = state;
  setText('status', failure?.sentence ?? doing);
  setText('next', !failure ? '' : state === 'failed' ? pauseInWords(failure.pauseMs) : doing);
  byId('again').hidden = !(state === 'failed' && failure.refused);
  byId('play').hidden = !needsTap;
  document.title = `${state === 'live' ? 'Live' : failure ? 'No picture' : 'Connecting'} · ${location.hostname}`;
}

function pauseInWords(ms) {
  return ms < 2000 ? 'Trying again…' : `Trying again in ${Math.round(ms / 1000)} seconds.`;
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

async function askForStamp(mine) {
  const stats = await fetch('/stats', { signal: mine.abort.signal }).then((r) => r.json()).catch(() => ({}));
  mine.stamped = hasFrameCallback && stats.stamp === true;
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

document.addEventListener('visibilitychange', () => { if (!document.hidden) resume(); });
addEventListener('online', resume);
addEventListener('pagehide', leave);
addEventListener('pageshow', (event) => { if (event.persisted) resume(); });

/** For tests and the curious, to read only. Times in ms; `latencies` are the last stamps read, one in five frames. */
window.ballcast = Object.freeze({
  get state() { return state; },                           // asking, connecting, waiting, live, failed
  get stage() { return failure ? failure.stage : state; }, // the stage that failed, until the picture is back
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
