// The page of Ballcast: connects to the device, plays its video, and shows the state of the connection as text.
//
//   asking ─answer─> connecting ─ICE─> securing ─DTLS─> waiting ─a frame─> live <─a frame─ stopped
//      └───────────────────┴──────────────┴── fail() ──────┴────────────────┘ └──no frame──>──┘
//                                                └──> failed ─a pause─> asking <─it answers───┘
//
// An attempt is one RTCPeerConnection with its request and listeners. There is never more than one, and each sends the id
// of this page, so that the device removes the previous viewer: one page is never more than one viewer. Its AbortController
// ends the request, the listeners and the callbacks together.

const unreachable = () => `${location.host} does not answer. Check that it is running and on the same network as you.`;

// The text of each state, and how long it may last without progress. After that: the name of the failed stage and the
// text to show.
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
    failed: ({ addresses }) => 'The device answered, but the video cannot get through: there was no response over UDP from '
      + `${formatAddresses(addresses)}. Allow UDP in the firewall, turn off your VPN, or leave the guest Wi‑Fi. If a setting or `
      + 'an extension of this browser restricts WebRTC, allow non-proxied UDP.',
  },
  securing: {
    doing: 'Connecting securely…',
    limitMs: 5000,
    stage: 'dtls',
    failed: () => 'The device was reached, but the encrypted connection (DTLS) failed. Something in the network changes the '
      + 'answer or drops large packets: turn off your VPN or proxy, or use another network.',
  },
  waiting: {
    doing: 'Connected. Waiting for the first picture…',
    get limitMs() { return 5000 + 2 * slowPeriodMs(); },
    stage: 'no-picture',
    failed: () => 'Connected, but no picture has arrived. Check the camera or the encoder on the device.',
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
const NEEDS_TAP = 'Press play. This browser does not start videos automatically, often to save power.';
const NO_WEBRTC = 'Live video needs WebRTC, which is turned off in this browser. Turn it on, or use another browser.';

const TARGET_STATES = { waiting: 'not connected', connecting: 'connecting…', ended: 'ended' };

// The RTP header extension by which the device has the browser rotate the picture. Its bit for mirroring has no effect
// in browsers.
const VIDEO_ORIENTATION = ' urn:3gpp:video-orientation';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 1000;   // the picture has to be back within 2 s once the device is reachable
const REFUSED_PAUSE_MS = 30_000; // for a refusal that stays the same until somebody changes something
const STABLE_MS = 5000;          // after this time in the state live, the next failure starts with the first pause again
const NO_PICTURE_MS = 10_000;    // connected without a picture: this long after showing that, make a new connection
const RECOVERY_MS = 1000;        // once the device answers again, the connection recovers within this time or not at all
const SHORT_PAUSE_MS = 2000;     // for a longer pause, the page shows its length and a button to try again
const PROBE_EVERY_MS = 500;
const PROBE_LIMIT_MS = 2000;
const UNSEEN_AFTER_MS = 500;     // without a frame callback for this long, decoded frames count as progress
const STATUS_DELAY_MS = 400;     // most connections are live before a text could be read
const CHECK_EVERY_MS = 250;
const FIGURES_EVERY_MS = 1000;
const SLOW_FPS = 3;              // while the source has no picture, the device sends the reason as a picture, twice a second

const byId = (id) => document.getElementById(id);
const page = byId('page');
const video = byId('video');
const title = page.dataset.title || (['', '80', '8080'].includes(location.port) ? location.hostname : location.host);
const hasFrameCallback = 'requestVideoFrameCallback' in video;
const clientId = takeClientId();

let state = 'asking';
let failure = null;          // { stage, sentence, pauseMs } from a failure until the picture is live again
let attempt = null;          // { pc, abort, startedAt, stateSince, progressAt, addresses, … } or null
let connects = 0;            // attempts so far
let failures = 0;            // failures in a row
let retryTimer = 0;
let statusTimer = 0;
let earliestRetryAt = 0;     // from Retry-After
let isInSight = false;       // the video is neither scrolled away nor hidden by the page around this one
let needsTap = false;        // the browser requires that the user starts the video
let frames = 0;              // frames presented so far
let firstFrameMs = null;     // of this attempt: from new RTCPeerConnection to the first frame
let fps = null;
let latencyMs = null;

// ---- Connecting ---------------------------------------------------------------------------------------------------

async function connect() {
  closeAttempt();
  const abort = new AbortController();
  const { signal } = abort;
  const thisAttempt = { pc: null, abort, decoded: hasFrameCallback ? null : 0, stamps: [] };
  attempt = thisAttempt;
  connects += 1;
  firstFrameMs = null;
  enter('asking');
  try {
    if (!window.RTCPeerConnection) throw new Refusal(NO_WEBRTC, { stage: 'no-webrtc', pauseMs: REFUSED_PAUSE_MS });
    if (failure?.stage === 'unreachable') await deviceAnswers(signal);
    if (signal.aborted) return;
    thisAttempt.startedAt = performance.now();
    const pc = thisAttempt.pc = new RTCPeerConnection(); // no ICE servers: both sides are on one network
    pc.addEventListener('track', ({ track }) => show(track, signal), { signal });
    pc.addEventListener('iceconnectionstatechange', connectionChanged, { signal });
    pc.addEventListener('connectionstatechange', connectionChanged, { signal });
    const { receiver } = pc.addTransceiver('video', { direction: 'recvonly' });
    const offer = await pc.createOffer();
    // The offer is sent without candidates: the device learns the browser's address from its first connectivity check.
    const [answer] = await Promise.all([requestAnswer(offer, signal), pc.setLocalDescription(offer)]);
    if (signal.aborted) return;
    thisAttempt.addresses = addressesIn(answer.sdp);
    thisAttempt.browserRotates = answer.sdp.includes(VIDEO_ORIENTATION);
    enter('connecting');
    await pc.setRemoteDescription(answer);
    // A device that shuts down sends a DTLS close_notify. Not every browser then changes connectionState.
    receiver.transport?.addEventListener('statechange', connectionChanged, { signal });
  } catch (problem) {
    if (signal.aborted) return;
    if (problem instanceof Refusal) fail(problem.stage, problem.message, problem);
    else fail('refused', `This browser could not connect: ${problem.message}`, { pauseMs: REFUSED_PAUSE_MS });
  }
}

/** Posts the offer and returns the answer, or throws the `Refusal` to show. */
async function requestAnswer({ type, sdp }, signal) {
  let response;
  try {
    response = await fetch('offer', {
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
  const problem = await response.json().catch(() => ({})); // RFC 9457: `detail` is the text for users
  const sentence = problem.detail ?? `The device rejected the request (HTTP status ${status}).`;
  const retryAfterMs = 1000 * (Number(headers.get('Retry-After')) || 0); // Ballcast always sends seconds, not a date
  const lacksCodec = problem.reason === 'no-codec';
  throw new Refusal(lacksCodec ? `${sentence} This browser is ${browserName()}.` : sentence, {
    stage: lacksCodec ? 'no-codec' : 'refused',
    pauseMs: pauseAfter(status, retryAfterMs),
    retryAfterMs,
  });
}

/** A repeated request gets the same answer after 4xx, except for a timeout (408) and answers with Retry-After. */
function pauseAfter(status, retryAfterMs) {
  if (status === 401) return Infinity; // a wrong token counts as a guess, so only the user retries
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
  if ([pc.connectionState, dtls].some((s) => s === 'failed' || s === 'closed')) connectionLost();
}

function connectionLost() {
  if (state === 'connecting' || state === 'securing') fail();
  else fail('stopped', CONNECTION_LOST);
}

function enter(next) {
  state = next;
  attempt.stateSince = attempt.progressAt = performance.now();
  if (next === 'live') failure = null;
  render();
}

/** Ends the attempt, shows why, and tries again after a pause that doubles with each failure. */
function fail(stage = STATES[state].stage, sentence = STATES[state].failed(attempt), { pauseMs, retryAfterMs = 0 } = {}) {
  pauseMs ??= retryAfterMs ? FIRST_PAUSE_MS : Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS);
  pauseMs = retryAfterMs + pauseMs * (0.75 + Math.random() / 2); // random, so that pages do not reconnect together
  failures += 1;
  earliestRetryAt = performance.now() + retryAfterMs;
  failure = { stage, sentence, pauseMs };
  closeAttempt();
  state = 'failed';
  if (pauseMs < Infinity) retryTimer = setTimeout(connect, pauseMs);
  render();
}

/** No more frames arrive. The connection may recover, for example after a Wi-Fi interruption. If not, a new one is made. */
async function pictureStopped() {
  const thisAttempt = attempt;
  failure = { stage: 'stopped', sentence: STATES.live.failed() };
  enter('stopped');
  await deviceAnswers(thisAttempt.abort.signal);
  await new Promise((resolve) => setTimeout(resolve, RECOVERY_MS));
  if (thisAttempt === attempt && state === 'stopped') connect();
}

/** Resolves once the device answers. A request is lost while the network is down, so the next one does not wait for it. */
function deviceAnswers(signal) {
  return new Promise((resolve) => {
    const probe = () => {
      const limit = new AbortController();
      setTimeout(() => limit.abort(), PROBE_LIMIT_MS);
      fetch('.', { method: 'HEAD', cache: 'no-store', signal: limit.signal }).then(end, () => {});
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

/** Closes the attempt, if any. Closing sends DTLS close_notify, so the device removes this viewer at once. */
function closeAttempt() {
  clearTimeout(retryTimer);
  attempt?.abort.abort();
  attempt?.pc?.close();
  attempt = null;
  video.srcObject = null; // Chromium shows black for a closed stream
  needsTap = false;
  fps = latencyMs = null;
}

/** The page is visible again or the network is back: retry after a failure, or expect a frame within half the limit. */
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

// ---- Client id, token, addresses, browser --------------------------------------------------------------------------

/** A random id of this page, which a reload keeps. It is stored only between two pages, so a duplicated tab gets its own. */
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

/** The Authorization header for the percent-decoded token of `#token=…`, or none if a header cannot contain the token. */
function authorization() {
  try {
    const token = decodeURIComponent(/[#&]token=([^&]*)/.exec(location.hash)?.[1] ?? '');
    return /^[\x21-\x7e]+$/.test(token) ? { Authorization: `Bearer ${token}` } : {};
  } catch {
    return {};
  }
}

/** The UDP candidates in an answer. */
function addressesIn(sdp) {
  const candidates = sdp.matchAll(/^a=candidate:\S+ \d+ udp \d+ (\S+) (\d+) /gim);
  return [...new Set([...candidates].map(([, host, port]) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)))];
}

/** Loopback addresses lead from another machine to that machine. */
function formatAddresses(addresses) {
  const isLoopback = (host) => /^(localhost|.*\.localhost|127\..*|\[::1\])$/.test(host);
  const isRelevant = (address) => isLoopback(location.hostname) || !isLoopback(address.replace(/:\d+$/, ''));
  const relevant = addresses.filter(isRelevant);
  return relevant.length ? new Intl.ListFormat('en', { type: 'disjunction' }).format(relevant) : 'the device, which listed no address';
}

/** From the user agent string. The order matters, as most browsers include the names of others. */
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
      framesPresented(1);
      if (attempt.stamped && frames % STAMP_EVERY === 0) readStamp(metadata.presentationTime ?? now);
    };
    video.requestVideoFrameCallback(onFrame);
  }
  play();
}

/** Turns the picture, if the device passes on frames of a source that is to be shown turned. */
function orient(source, browserRotates) {
  page.dataset.rotation = browserRotates ? 0 : source?.rotation ?? 0;
  page.toggleAttribute('data-mirrored', Boolean(source?.mirrored));
}

/** Safari in Low Power Mode ignores the autoplay attribute and refuses play() until the user asks for it. */
async function play() {
  try {
    await video.play();
  } catch (problem) {
    if (attempt && problem.name === 'NotAllowedError') setNeedsTap(true); // AbortError: a newer attempt uses the video now
  }
}

function setNeedsTap(needed) {
  needsTap = needed;
  if (needed && ['live', 'stopped'].includes(state)) enter('waiting');
  render();
}

function framesPresented(count) {
  frames += count;
  if (hasFrameCallback) attempt.decoded = null;
  const now = performance.now();
  const quick = now - attempt.progressAt < 1000 / SLOW_FPS;
  attempt.quickFrames = quick ? (attempt.quickFrames ?? 0) + count : 0;
  attempt.progressAt = now;
  if (attempt.noSignal && attempt.quickFrames === SLOW_FPS) readStats(attempt); // too fast for a picture of the reason
  if (state === 'live') return;
  firstFrameMs ??= performance.now() - attempt.startedAt;
  enter('live');
  readStats(attempt);
}

function awaitsFrames() {
  return state === 'waiting' || state === 'live';
}

/** Handles a state that makes no progress. */
async function checkProgress() {
  if (!attempt) return;
  const thisAttempt = attempt;
  const connected = attempt.pc?.connectionState === 'connected';
  if (!hasFrameCallback && !video.paused) countDecodedFrames(attempt);
  const isQuiet = performance.now() - attempt.progressAt > UNSEEN_AFTER_MS;
  if (isQuiet && hasFrameCallback && connected && awaitsFrames() && !isInSight) {
    if (await isUnseen(attempt) || thisAttempt !== attempt) return;
  }
  const now = performance.now();
  if (state === 'live' && now - attempt.stateSince > STABLE_MS) failures = 0;
  // Chromium and Firefox make no frame callbacks in a hidden tab (WICG/video-rvfc issue 92).
  if (awaitsFrames() && connected && (document.hidden || needsTap)) attempt.progressAt = now;
  const overdueMs = now - attempt.progressAt - STATES[state].limitMs;
  if (overdueMs <= 0) return;
  if (state === 'live') pictureStopped();
  else if (state === 'waiting' && connected) noPicture(overdueMs);
  else fail();
}

/** Connected without a picture. The connection is kept for a while, because a picture may still arrive. */
function noPicture(overdueMs) {
  const { stage, failed } = STATES.waiting;
  if (!attempt.askedWhy) {
    attempt.askedWhy = true;
    readStats(attempt); // a slow source may take a while to send the next picture
    return;
  }
  failure = { stage, sentence: noSignalText(attempt.noSignal) ?? failed() };
  if (overdueMs > NO_PICTURE_MS) connect();
  else render();
}

/**
 * Whether frames are decoded but not shown, or this is not known yet. Inside a page of another origin, Chromium makes no frame
 * callbacks while this frame is scrolled out of sight or not displayed. `document.hidden` is false then, and timers may run
 * once a second.
 */
async function isUnseen(thisAttempt) {
  const { framesDecoded = 0 } = (await videoStats(thisAttempt.pc)).inbound;
  if (thisAttempt !== attempt) return false;
  const before = attempt.decoded;
  attempt.decoded = framesDecoded;
  if (before === null) return true;
  if (framesDecoded > before) attempt.progressAt = performance.now();
  return framesDecoded > before;
}

/** The time between two pictures of a slow source, or 0. */
function slowPeriodMs() {
  const periodMs = attempt?.framePeriodMs ?? 0;
  return periodMs > 1000 ? periodMs : 0;
}

/** Firefox before 132 has no requestVideoFrameCallback, so decoded frames are counted instead. */
async function countDecodedFrames(thisAttempt) {
  const { framesDecoded = 0 } = (await videoStats(thisAttempt.pc)).inbound;
  if (thisAttempt !== attempt || framesDecoded <= thisAttempt.decoded) return;
  framesPresented(framesDecoded - thisAttempt.decoded);
  thisAttempt.decoded = framesDecoded;
}

// ---- Status text --------------------------------------------------------------------------------------------------

/** Shows the state. The text of a failure stays while the next attempts run, until the picture is back. */
function render() {
  const noSignal = currentNoSignal();
  const doing = noSignal ? noSignalText(noSignal) : needsTap ? NEEDS_TAP : STATES[state]?.doing;
  page.dataset.state = state;
  page.dataset.stage = stageName();
  page.toggleAttribute('data-no-signal', Boolean(noSignal));
  showStatus(failure?.sentence ?? doing);
  setText('next', noSignal ? sourceRetryText(noSignal) : !failure ? '' : state === 'failed' ? pauseText(failure.pauseMs) : doing);
  byId('again').hidden = !(state === 'failed' && failure.pauseMs > SHORT_PAUSE_MS);
  byId('play').hidden = !needsTap;
  document.title = `${state === 'live' && !noSignal ? 'Live' : noSignal || failure ? 'No picture' : 'Connecting'} · ${title}`;
}

function stageName() {
  return failure?.stage ?? (currentNoSignal() ? STATES.waiting.stage : state);
}

/** Why the source has no picture, while the device sends the reason as a picture. */
function currentNoSignal() {
  return state === 'live' ? attempt.noSignal : null;
}

function noSignalText(noSignal) {
  return noSignal?.detail ?? noSignal?.sentence;
}

/** A screen reader announces each text, so a short state has no text. */
function showStatus(text) {
  clearTimeout(statusTimer);
  const transient = !failure && !needsTap && state !== 'live';
  if (transient) statusTimer = setTimeout(() => setText('status', text), STATUS_DELAY_MS);
  else setText('status', text);
}

function pauseText(ms) {
  if (ms === Infinity) return '';
  return ms <= SHORT_PAUSE_MS ? 'Trying again…' : `Trying again in ${Math.round(ms / 1000)} seconds.`;
}

function sourceRetryText({ retry_in_s: seconds }) {
  return seconds === null ? '' : `The device tries again in ${Math.ceil(seconds)} s.`;
}

/** Does not set the same text twice, because a screen reader would announce it again. */
function setText(id, text) {
  setTextOf(byId(id), text);
}

function setTextOf(element, text) {
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

/** Shows the figures of the last second, as the difference of two samples. */
async function updateFigures() {
  const thisAttempt = attempt;
  if (!attempt || state !== 'live' || document.hidden) return;
  const { inbound, path } = await videoStats(thisAttempt.pc);
  if (thisAttempt !== attempt) return;
  const last = thisAttempt.figures;
  const now = thisAttempt.figures = { ...inbound, frames, at: performance.now() };
  if (!last) return;

  const increase = (name) => (now[name] ?? 0) - (last[name] ?? 0);
  const seconds = increase('at') / 1000;
  fps = increase('frames') / seconds;
  const kbps = 8 * increase('bytesReceived') / 1000 / seconds;
  const lost = Math.max(0, increase('packetsLost')); // a late packet counts as lost at first, and is subtracted later
  const lossPercent = 100 * lost / Math.max(1, lost + increase('packetsReceived'));
  const estimateMs = 1000 * ((path.currentRoundTripTime ?? 0) / 2
    + increase('jitterBufferDelay') / Math.max(1, increase('jitterBufferEmittedCount')));
  latencyMs = thisAttempt.stamped ? median(thisAttempt.stamps.splice(0)) ?? latencyMs : estimateMs;
  const clocksDiffer = thisAttempt.stamped && (latencyMs < -5 || latencyMs > 10_000);

  const sourceMayHaveChanged = thisAttempt.hasSource && (fps <= SLOW_FPS || thisAttempt.noSignal);
  if (sourceMayHaveChanged || (thisAttempt.hasTargets && !byId('figures').hidden)) readStats(thisAttempt);

  setText('fps', `${fps.toFixed(0)} /s`);
  setText('bitrate', kbps < 1000 ? `${kbps.toFixed(0)} kbit/s` : `${(kbps / 1000).toFixed(1)} Mbit/s`);
  setText('loss', `${lossPercent.toFixed(lossPercent && lossPercent < 10 ? 1 : 0)} %`);
  setText('latency', clocksDiffer || latencyMs === null ? '–' : `${thisAttempt.stamped ? '' : '≈ '}${latencyMs.toFixed(0)} ms`);
  setText('latency-kind', clocksDiffer ? 'clocks differ' : thisAttempt.stamped ? 'capture to screen' : 'network + buffer');
  setText('first-frame', `${firstFrameMs.toFixed(0)} ms`);
}

/** Shows each media server that the device publishes to. */
function showTargets(targets) {
  const rows = byId('figures').getElementsByClassName('target');
  for (const [index, target] of targets.entries()) {
    if (!rows[index]) byId('figures').append(byId('target').content.cloneNode(true));
    const [name, state, details] = rows[index].querySelectorAll('dt, span, small');
    setTextOf(name, `Published to ${target.server}`);
    setTextOf(state, target.state === 'live' ? `live for ${durationText(target.live_s)}` : TARGET_STATES[target.state]);
    setTextOf(details, target.state === 'live' ? targetFigures(target) : targetProblem(target));
  }
}

function targetFigures({ round_trip_ms: roundTripMs, loss, frames_sent: framesSent }) {
  const figures = [`${framesSent} frames`];
  if (loss !== null) figures.unshift(`${(100 * loss).toFixed(loss ? 1 : 0)} % lost`);
  if (roundTripMs !== null) figures.unshift(`${roundTripMs.toFixed(0)} ms`);
  return figures.join(' · ');
}

function targetProblem({ sentence, detail, retry_in_s: seconds }) {
  if (!sentence) return '';
  const text = detail ?? sentence;
  return seconds === null ? text : `${text} Next attempt in ${Math.ceil(seconds)} s.`;
}

function durationText(seconds) {
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

function median(values) {
  return values.length ? values.sort((a, b) => a - b)[values.length >> 1] : null;
}

// ---- Stamp: the capture time in the picture -----------------------------------------------------------------------

// With `--stamp` the top row of the picture is 24 blocks of 16×16 pixels, white for 1 and black for 0, the lowest bit
// at the left: the wall clock at capture, in quarter milliseconds, modulo 2^24 (70 minutes).
const STAMP_BITS = 24;
const STAMP_BLOCK = 16;
const STAMP_EVERY = 5;      // reading pixels is expensive, so only every fifth frame is read
const LATENCIES_KEPT = 4096;

const latencies = [];
const strip = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
strip.canvas.width = STAMP_BITS * STAMP_BLOCK;
strip.canvas.height = STAMP_BLOCK;

async function readStats(thisAttempt) {
  const request = fetch('stats', { headers: authorization(), signal: thisAttempt.abort.signal });
  const stats = await request.then((response) => response.json()).catch(() => null);
  if (!stats || thisAttempt !== attempt) return;
  const { source } = stats; // null for the ball
  thisAttempt.stamped = hasFrameCallback && stats.stamp === true;
  thisAttempt.hasSource = Boolean(source);
  thisAttempt.noSignal = source?.sentence ? source : null;
  orient(source, thisAttempt.browserRotates);
  thisAttempt.hasTargets = stats.targets.length > 0;
  showTargets(stats.targets);
  const framesPerSecond = stats.frames_per_second ?? source?.frames_per_second;
  if (framesPerSecond) thisAttempt.framePeriodMs = 1000 / framesPerSecond;
  render();
}

/** Measures the latency of the current frame. `shownAt` is a time of `performance.now()`. */
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
  // Negative if the clock of the device is ahead.
  const wrapped = quarters > 2 ** (STAMP_BITS - 1) ? quarters - 2 ** STAMP_BITS : quarters;
  attempt.stamps.push(wrapped / 4);
  latencies.push(wrapped / 4);
  if (latencies.length > LATENCIES_KEPT) latencies.shift();
}

/** `performance` is the more precise clock, but it may stop during sleep and ignores clock changes. Then `Date` is used. */
function wallClock(at) {
  const behind = Date.now() - (performance.timeOrigin + performance.now());
  return performance.timeOrigin + at + (Math.abs(behind) > 2 ? behind : 0);
}

// ---- Controls -----------------------------------------------------------------------------------------------------

// iPhones have no full screen for elements, only for a video.
const fullScreen = page.requestFullscreen
  ? () => (document.fullscreenElement ? document.exitFullscreen() : page.requestFullscreen())
  : video.webkitEnterFullscreen && (() => video.webkitEnterFullscreen());

/** Reads or stores whether the panel is open. If storage is switched off, it depends on the size of the screen. */
function storedPanelState(...open) {
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
  storedPanelState(open);
});
page.toggleAttribute('data-framed', window !== window.top);
const isPhone = matchMedia('(max-width: 640px), (max-height: 480px)').matches;
showFigures(storedPanelState() ?? !isPhone);

if (fullScreen) {
  byId('full-screen').hidden = false;
  byId('full-screen').addEventListener('click', fullScreen);
  video.addEventListener('dblclick', fullScreen);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'f' && !event.repeat && !event.ctrlKey && !event.metaKey && !event.altKey) fullScreen();
  });
}

video.addEventListener('playing', () => setNeedsTap(false));
// The end of a stream also pauses the video, and an iPhone pauses it on leaving full screen.
video.addEventListener('pause', () => { if (attempt && !video.ended) setNeedsTap(true); });
video.addEventListener('webkitendfullscreen', play);

new IntersectionObserver((changes) => { isInSight = changes.at(-1).isIntersecting; }).observe(video);

document.addEventListener('resume', resume); // Chromium pauses the video of a page that it freezes
document.addEventListener('visibilitychange', () => { if (!document.hidden) resume(); });
addEventListener('online', resume);
addEventListener('hashchange', connect); // the URL contains another token
addEventListener('pagehide', () => {
  storeClientId();
  closeAttempt();
});
addEventListener('pageshow', (event) => { if (event.persisted) resume(); });

/** For tests and debugging, read-only. Times in ms; `latencies` are from the last stamps read, one in five frames. */
window.ballcast = Object.freeze({
  get state() { return state; },       // a name in STATES, or failed
  get stage() { return stageName(); }, // the stage that failed, until the picture is back; else the state
  get error() { return failure?.sentence ?? noSignalText(currentNoSignal()) ?? null; },
  get connects() { return connects; },
  get firstFrameMs() { return firstFrameMs; },
  get frames() { return frames; },
  get fps() { return fps; },
  get latencyMs() { return latencyMs; },
  get latencies() { return [...latencies]; },
});

connect();
setInterval(checkProgress, CHECK_EVERY_MS);
setInterval(updateFigures, FIGURES_EVERY_MS);
